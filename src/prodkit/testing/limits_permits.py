"""What is promised of permits: so many places, and a queue that is served in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.stores import Permit, Rate
from prodkit.testing.limits_harness import RateLimitStoreHarness, hit
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from prodkit.core.clock import FakeClock
    from prodkit.stores import Decision, RateLimitStore

__all__ = ["RateLimitStorePermits"]


def _permit(name: str, *, limit: int = 2, queue: int = 2, is_binding: bool = True) -> Permit:
    return Permit(limit, name, 10.0, queue, 4.0 if queue else 0.0, is_binding=is_binding)


async def _ask(store: RateLimitStore, permit: Permit) -> Decision:
    (decision,) = await hit(store, ("{k}", permit, 1))
    return decision


async def _give_back(store: RateLimitStore, name: str) -> None:
    await store.settle([("{k}", _permit(name), -1, 0)])


class RateLimitStorePermits(RateLimitStoreHarness):
    """Promises about `prodkit.stores.Permit`."""

    def test_a_permit_takes_a_place_until_it_is_given_back(self) -> None:
        """So many places and no more; a settled one is free at once, and settling it twice frees nobody else's."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for name, left in (("a", 1), ("b", 0)):
                decision = await _ask(store, _permit(name, queue=0))
                require((decision.allowed, decision.remaining, decision.queued) == (True, left, 0), decision)
                require(decision.reset_seconds == 0.0 and decision.at_ns > 0, decision)
            refused = await _ask(store, _permit("c", queue=0))
            require((refused.allowed, refused.remaining, refused.queued) == (False, 0, 0), refused)
            require(0 < refused.retry_seconds <= 1.0, refused)
            for _ in range(2):
                await _give_back(store, "a")
            await _give_back(store, "never seen")
            require((await _ask(store, _permit("c", queue=0))).allowed)
            require(not (await _ask(store, _permit("d", queue=0))).allowed)

        self.run(scenario)

    def test_a_permit_that_is_held_is_prolonged(self) -> None:
        """Asked again it is allowed, takes no second place, and its lease begins anew."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for _ in range(3):
                decision = await _ask(store, _permit("a", limit=1, queue=0))
                require((decision.allowed, decision.remaining) == (True, 0), decision)
                await self.elapse(clock, 8.0)
            require(
                not (await _ask(store, _permit("b", limit=1, queue=0))).allowed, "the lease was not prolonged"
            )
            await self.elapse(clock, 2.0)
            require(
                (await _ask(store, _permit("b", limit=1, queue=0))).allowed,
                "a lease that is over holds a place",
            )

        self.run(scenario)

    def test_the_guess_is_when_a_lease_ends(self) -> None:
        """`retry_seconds` is at most a second, and less where a place will be free before that."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            await _ask(store, _permit("a", limit=1, queue=0))
            require((await _ask(store, _permit("b", limit=1, queue=0))).retry_seconds == 1.0)
            await self.elapse(clock, 9.5)
            refused = await _ask(store, _permit("b", limit=1, queue=0))
            require(0.4999 < refused.retry_seconds < 0.5001, refused)
            await self.elapse(clock, refused.retry_seconds)
            require((await _ask(store, _permit("b", limit=1, queue=0))).allowed)

        self.run(scenario)

    def test_the_queue_is_served_in_order(self) -> None:
        """Who came first is first, and nobody overtakes, however often they ask; a full queue refuses."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for name in "ab":
                require((await _ask(store, _permit(name))).allowed)
            for _ in range(2):
                # Not in the order of their names, and all at the same time.
                for name, place in (("z", 1), ("m", 2), ("n", 0)):
                    waits = await _ask(store, _permit(name))
                    require((waits.allowed, waits.queued) == (False, place), (name, waits))
            require((await store.peek("{k}", _permit("m"))).queued == 2)
            require((await store.peek("{k}", _permit("n"))).queued == 0)
            await _give_back(store, "a")
            for name in "mn":
                require(not (await _ask(store, _permit(name))).allowed, (name, "overtook"))
            require(not (await store.peek("{k}", _permit("m"))).allowed, "peek overtook")
            require((await _ask(store, _permit("z"))).allowed, "the first was not served")
            require((await _ask(store, _permit("n"))).queued == 2, "the queue did not move up")
            await _give_back(store, "z")
            require((await _ask(store, _permit("m"))).allowed)

        self.run(scenario)

    def test_who_leaves_the_queue_is_passed(self) -> None:
        """By settling, or by having waited too long."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for name in "ab":
                await _ask(store, _permit(name))
            require((await _ask(store, _permit("c"))).queued == 1)
            await self.elapse(clock, 2.0)
            require((await _ask(store, _permit("d"))).queued == 2)
            await _give_back(store, "c")
            require((await _ask(store, _permit("d"))).queued == 1)
            await self.elapse(clock, 3.0)
            require((await _ask(store, _permit("e"))).queued == 2)
            await self.elapse(clock, 1.5)
            require((await _ask(store, _permit("e"))).queued == 1, "who waited too long is still in front")
            await _give_back(store, "a")
            require((await _ask(store, _permit("e"))).allowed)

        self.run(scenario)

    def test_who_waited_too_long_joins_at_the_end(self) -> None:
        """Behind those who came later, and with all its time again."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for name in "ab":
                await _ask(store, _permit(name))
            await _ask(store, _permit("c"))
            await self.elapse(clock, 2.0)
            require((await _ask(store, _permit("d"))).queued == 2)
            await self.elapse(clock, 2.0)
            require((await _ask(store, _permit("c"))).queued == 2, "kept a turn that was over")
            await self.elapse(clock, 3.0)
            require((await _ask(store, _permit("e"))).queued == 2, "the second wait ended with the first")

        self.run(scenario)

    def test_who_queues_takes_nothing_of_the_others(self) -> None:
        """The call is refused: nothing is consumed but a place in the queue."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(5, 3600.0)
            for name in "ab":
                require((await _ask(store, _permit(name))).allowed)
            for _ in range(2):
                counted, waits = await hit(store, ("{k}r", rate, 1), ("{k}", _permit("c"), 1))
                require((counted.allowed, counted.remaining) == (True, 5), counted)
                require((waits.allowed, waits.queued) == (False, 1), waits)
            await _give_back(store, "a")
            counted, waits = await hit(store, ("{k}r", rate, 1), ("{k}", _permit("c"), 1))
            require((counted.allowed, counted.remaining, waits.allowed) == (True, 4, True), (counted, waits))

        self.run(scenario)

    def test_who_is_refused_by_another_does_not_queue(self) -> None:
        """Waiting would not help, so a permit neither takes a place nor a turn where another ask does not fit."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            never, full = Rate(1, 1.0), _permit("x", limit=1, queue=0)
            await hit(store, ("{k}full", full, 1))
            for other in (("{k}r", never, 2), ("{k}full", _permit("y", limit=1, queue=0), 1)):
                place, refused = await hit(store, ("{k}", _permit("a", limit=1, queue=1), 1), other)
                require(
                    (place.allowed, place.remaining, place.queued, refused.allowed) == (True, 1, 0, False),
                    place,
                )
            require(
                (await _ask(store, _permit("b", limit=1, queue=1))).allowed, "a refused call took a place"
            )
            for other in (("{k}r", never, 2), ("{k}full", _permit("y", limit=1, queue=0), 1)):
                waits, refused = await hit(store, ("{k}", _permit("c", limit=1, queue=1), 1), other)
                require((waits.allowed, waits.queued, refused.allowed) == (False, 0, False), waits)
            require(
                (await _ask(store, _permit("d", limit=1, queue=1))).queued == 1, "a refused call took a turn"
            )

        self.run(scenario)

    def test_permits_of_one_call_add_up(self) -> None:
        """Two of one call take two places; one that is asked twice takes one."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            both = await hit(
                store, ("{k}", _permit("a", limit=1, queue=0), 1), ("{k}", _permit("b", limit=1, queue=0), 1)
            )
            require([decision.allowed for decision in both] == [True, False], both)
            same = await hit(
                store, ("{k}", _permit("a", limit=1, queue=0), 1), ("{k}", _permit("a", limit=1, queue=0), 1)
            )
            require([(decision.allowed, decision.remaining) for decision in same] == [(True, 0)] * 2, same)

        self.run(scenario)

    def test_a_permit_on_trial_takes_a_place_only_where_there_is_one(self) -> None:
        """It refuses nobody, and never stands in the way of the queue."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(5, 3600.0)
            for name, allowed in (("a", True), ("b", True), ("c", False)):
                trial, counted = await hit(
                    store, ("{k}", _permit(name, is_binding=False), 1), ("{k}r", rate, 1)
                )
                require((trial.allowed, trial.queued, counted.allowed) == (allowed, 0, True), (name, trial))
            require((await store.peek("{k}r", rate)).remaining == 2)
            require((await _ask(store, _permit("d"))).queued == 1, "a permit on trial queued")

        self.run(scenario)

    def test_a_permit_costs_one(self) -> None:
        """Anything else is a mistake, and nothing of the call is carried out."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(5, 3600.0)
            for cost in (0, 2, -1):
                try:
                    await hit(store, ("{k}r", rate, 1), ("{k}", _permit("a"), cost))
                except ValueError:
                    continue
                require(False, (cost, "was accepted"))
            require((await store.peek("{k}r", rate)).remaining == 5)
            require((await store.peek("{k}", _permit("b"))).remaining == 2)

        self.run(scenario)
