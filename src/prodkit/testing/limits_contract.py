"""Every promise of `RateLimitStore`, as tests of a class that you derive."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from prodkit.stores import Decision, Rate
from prodkit.testing.limits_harness import hit
from prodkit.testing.limits_models import RateLimitStoreModels
from prodkit.testing.limits_permits import RateLimitStorePermits
from prodkit.testing.limits_properties import RateLimitStoreProperties
from prodkit.testing.limits_rules import RateLimitStoreRules
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from prodkit.core.clock import FakeClock
    from prodkit.stores import Ask, RateLimitStore

__all__ = ["RateLimitStoreContract"]


class RateLimitStoreContract(
    RateLimitStoreRules, RateLimitStorePermits, RateLimitStoreModels, RateLimitStoreProperties
):
    """Every promise of `prodkit.stores.RateLimitStore`, the properties included.

    Keys that are asked about in one call share a partition, so that it can be run over partitioned stores too. A store whose
    clock is its own overrides `elapse`; one that takes a clock is given one that begins in the middle of June 2025.
    """

    # ------------------------------------------------------------------------------ one bucket

    def test_a_new_bucket_holds_the_burst(self) -> None:
        """The burst is admitted at once, counted down to zero, and then no more."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(60, 60.0, burst=5)
            for left in (4, 3, 2, 1, 0):
                (decision,) = await hit(store, ("k", rate, 1))
                require((decision.allowed, decision.remaining) == (True, left), decision)
                require(decision.retry_seconds == 0.0, decision)
            (refused,) = await hit(store, ("k", rate, 1))
            require((refused.allowed, refused.remaining) == (False, 0), refused)
            require(0.5 < refused.retry_seconds <= 1.01, refused)

        self.run(scenario)

    def test_it_refills_evenly(self) -> None:
        """One unit comes back per interval, and the bucket never holds more than the burst."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rate = Rate(60, 60.0, burst=3)
            await hit(store, ("k", rate, 3))
            await self.elapse(clock, 2.0)
            require([(await hit(store, ("k", rate, 1)))[0].allowed for _ in range(3)] == [True, True, False])
            await self.elapse(clock, 3600.0)
            (full,) = await hit(store, ("k", rate, 0))
            require((full.remaining, full.reset_seconds) == (3, 0.0), full)

        self.run(scenario)

    def test_waiting_as_told_is_enough(self) -> None:
        """After `retry_seconds` the ask fits; a little earlier it does not."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rate = Rate(7, 3.0, burst=4)
            await hit(store, ("k", rate, 4))
            (refused,) = await hit(store, ("k", rate, 3))
            await self.elapse(clock, refused.retry_seconds - 0.01)
            require(not (await hit(store, ("k", rate, 3)))[0].allowed, "admitted too early")
            (again,) = await hit(store, ("k", rate, 3))
            await self.elapse(clock, again.retry_seconds)
            require((await hit(store, ("k", rate, 3)))[0].allowed, "still refused after waiting as told")

        self.run(scenario)

    def test_a_refusal_consumes_nothing(self) -> None:
        """A caller who keeps knocking is not kept out for longer."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rate = Rate(1, 10.0)
            await hit(store, ("k", rate, 1))
            for _ in range(9):
                await self.elapse(clock, 1.0)
                require(not (await hit(store, ("k", rate, 1)))[0].allowed)
            await self.elapse(clock, 1.01)
            require((await hit(store, ("k", rate, 1)))[0].allowed)

        self.run(scenario)

    def test_a_cost_over_the_burst_never_fits(self) -> None:
        """It is refused with an infinite wait, and takes nothing."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(10, 1.0, burst=10)
            (refused,) = await hit(store, ("k", rate, 11))
            require(not refused.allowed and refused.retry_seconds == math.inf, refused)
            require((await hit(store, ("k", rate, 10)))[0].allowed)

        self.run(scenario)

    def test_cost_zero_looks(self) -> None:
        """It is always allowed, says what is left and takes nothing."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(10, 1.0, burst=2)
            for left in (2, 2):
                require((await hit(store, ("k", rate, 0)))[0].remaining == left)
            await hit(store, ("k", rate, 2))
            (empty,) = await hit(store, ("k", rate, 0))
            require((empty.allowed, empty.remaining) == (True, 0), empty)

        self.run(scenario)

    def test_a_negative_cost_is_refused(self) -> None:
        """It would refill the bucket. Nothing of the call is carried out."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(10, 1.0, burst=2)
            await hit(store, ("{k}", rate, 2))
            for asks in ([("{k}", rate, -1)], [("{k}other", rate, 1), ("{k}", rate, -1)]):
                try:
                    await hit(store, *asks)
                except ValueError:
                    continue
                require(False, "a negative cost was accepted")
            require((await hit(store, ("{k}", rate, 0), ("{k}other", rate, 0)))[0].remaining == 0)
            require((await hit(store, ("{k}other", rate, 0)))[0].remaining == 2)

        self.run(scenario)

    def test_peek_and_reset(self) -> None:
        """`peek` tells what an ask of one would get and takes nothing; `reset` makes the bucket full."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(10, 10.0, burst=2)
            full = await store.peek("k", rate)
            require(full == Decision(True, 2, 0.0, 0.0, full.at_ns), full)
            await hit(store, ("k", rate, 2))
            for _ in range(2):
                empty = await store.peek("k", rate)
                require((empty.allowed, empty.remaining) == (False, 0) and empty.retry_seconds > 0.5, empty)
            await store.reset("k")
            await store.reset("never seen")
            require((await store.peek("k", rate)).remaining == 2)
            require((await hit(store, ("k", rate, 2)))[0].allowed)

        self.run(scenario)

    def test_a_smaller_rate_takes_effect_at_once(self) -> None:
        """After a change of configuration nobody waits longer than the *new* bucket, overdrawn by a burst, takes to refill."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            slow, quick = Rate(1, 86_400.0), Rate(1, 2.0)
            for others in ((), (("{k}other", quick, 1),)):
                await store.reset("{k}")
                await hit(store, ("{k}", slow, 1))
                refused = (await hit(store, ("{k}", quick, 1), *others))[0]
                require(not refused.allowed and refused.retry_seconds <= 4.1, refused)
                await self.elapse(clock, refused.retry_seconds)
                require(
                    (await hit(store, ("{k}", quick, 1), *others))[0].allowed, "locked out by the old rate"
                )

        self.run(scenario)

    # ------------------------------------------------------------------------------ several

    def test_keys_are_separate(self) -> None:
        """No key is mistaken for another, however they look."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(1, 60.0)
            keys = ["a", "A", "a ", "a/b", "a:b", "a\x00b", "ä", "a\u0308", "%", "_", "'", "x" * 500, "{a}"]
            for key in keys:
                require((await hit(store, (key, rate, 1)))[0].allowed, key)
            for key in keys:
                require(not (await hit(store, (key, rate, 1)))[0].allowed, key)

        self.run(scenario)

    def test_all_or_nothing(self) -> None:
        """One refusal, and none of the buckets is touched; each decision still speaks for itself."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            wide, narrow = Rate(100, 60.0), Rate(1, 60.0)
            both: tuple[Ask, Ask] = (("{k}wide", wide, 1), ("{k}narrow", narrow, 1))
            require([d.allowed for d in await hit(store, *both)] == [True, True])
            for _ in range(3):
                first, second = await hit(store, *both)
                require((first.allowed, first.remaining) == (True, 99), first)
                require((second.allowed, second.remaining) == (False, 0), second)
            require((await hit(store, ("{k}wide", wide, 99)))[0].allowed)

        self.run(scenario)

    def test_asks_of_one_call_that_share_a_key_add_up(self) -> None:
        """Asking twice in one call is asking for twice as much."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(3, 60.0)
            first, second = await hit(store, ("k", rate, 2), ("k", rate, 2))
            require((first.allowed, second.allowed, first.remaining, second.remaining) == (True, False, 3, 3))
            first, second = await hit(store, ("k", rate, 2), ("k", rate, 1))
            require((first.remaining, second.remaining) == (1, 0))

        self.run(scenario)

    def test_nothing_asked(self) -> None:
        """No asks, no decisions."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            require(await hit(store) == ())

        self.run(scenario)

    def test_exact_under_concurrency(self) -> None:
        """Fifty at once for a limit of five: five are admitted, and each is told another remainder."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(5, 3600.0)
            answers = await asyncio.gather(*(hit(store, ("k", rate, 1)) for _ in range(50)))
            admitted = [answer[0].remaining for answer in answers if answer[0].allowed]
            require(sorted(admitted) == [0, 1, 2, 3, 4], admitted)

        self.run(scenario)

    def test_check_passes_and_closing_twice_is_harmless(self) -> None:
        """A healthy store says so; one that was closed opens again when it is used."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            await store.check()
            await store.aclose()
            await store.aclose()
            require((await hit(store, ("k", Rate(1, 1.0), 1)))[0].allowed)

        self.run(scenario)
