"""What every kind of rule has in common: counted, refused, waited for, settled and forgotten."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.testing.limits_harness import RateLimitStoreHarness, hit
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from prodkit.core.clock import FakeClock
    from prodkit.stores import Decision, RateLimitStore, Rule

__all__ = ["RateLimitStoreRules"]

_DAY: Final = 86_400.0


def _rules(*, counts_denied: bool = False, is_binding: bool = True) -> tuple[Rule, ...]:
    """Five a day, of every kind that counts: nothing comes back while no time passes."""
    return (
        Rate(5, _DAY, counts_denied=counts_denied, is_binding=is_binding),
        FixedWindow(5, _DAY, counts_denied=counts_denied, is_binding=is_binding),
        SlidingWindow(5, _DAY, counts_denied=counts_denied, is_binding=is_binding),
        MovingWindow(5, _DAY, counts_denied=counts_denied, is_binding=is_binding),
        CalendarWindow(5, "day", counts_denied=counts_denied, is_binding=is_binding),
    )


def _key(rule: Rule) -> str:
    return f"{{k}}{rule.code}"


async def one(store: RateLimitStore, key: str, rule: Rule, cost: int = 1) -> Decision:
    """The decision on a single ask."""
    (decision,) = await hit(store, (key, rule, cost))
    return decision


class RateLimitStoreRules(RateLimitStoreHarness):
    """Promises that are the same for every kind of rule."""

    def test_each_kind_admits_its_limit(self) -> None:
        """Counted down to nothing, then refused with a true wait, and what was asked in vain takes nothing."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for rule in _rules():
                for left in (4, 3, 2, 1, 0):
                    decision = await one(store, "k", rule)
                    require(
                        (decision.allowed, decision.remaining, decision.retry_seconds) == (True, left, 0.0),
                        decision,
                    )
                    require(decision.at_ns > 0 and decision.queued == 0, decision)
                refused = await one(store, "k", rule)
                require((refused.allowed, refused.remaining) == (False, 0), refused)
                require(0 < refused.retry_seconds <= 2 * _DAY and refused.at_ns > 0, refused)
                require((await one(store, "k", rule, 0)).allowed, rule)

        self.run(scenario)

    def test_each_kind_admits_who_waited_as_told(self) -> None:
        """After `retry_seconds` the same ask fits; a little earlier it does not."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in _rules():
                for cost in (1, 3):
                    await one(store, "k", rule, (await store.peek("k", rule)).remaining)
                    refused = await one(store, "k", rule, cost)
                    require(not refused.allowed, refused)
                    await self.elapse(clock, refused.retry_seconds - 0.01)
                    require(not (await one(store, "k", rule, cost)).allowed, (rule, "admitted too early"))
                    again = await one(store, "k", rule, cost)
                    await self.elapse(clock, again.retry_seconds)
                    require(
                        (await one(store, "k", rule, cost)).allowed, (rule, "still refused after waiting")
                    )

        self.run(scenario)

    def test_each_kind_resets_when_it_says(self) -> None:
        """After `reset_seconds` everything is there again."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in _rules():
                used = await one(store, "k", rule, 4)
                require(0 < used.reset_seconds <= 2 * _DAY, used)
                await self.elapse(clock, used.reset_seconds + 1e-5)
                require((await store.peek("k", rule)).remaining == 5, rule)

        self.run(scenario)

    def test_each_kind_refuses_for_ever_what_never_fits(self) -> None:
        """A cost over the limit gets an infinite wait, and takes nothing."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for rule in _rules():
                refused = await one(store, "k", rule, 6)
                require(
                    (refused.allowed, refused.retry_seconds, refused.remaining) == (False, math.inf, 5),
                    refused,
                )
                require((await one(store, "k", rule, 5)).allowed, rule)

        self.run(scenario)

    def test_kinds_share_nothing(self) -> None:
        """Under one key each kind counts for itself, also within one call; `reset` forgets all of them."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rules = (*_rules(), Permit(1, "a"))
            decisions = await hit(store, *(("k", rule, 1) for rule in rules))
            require([decision.remaining for decision in decisions] == [4, 4, 4, 4, 4, 0], decisions)
            for rule in rules[:-1]:
                require((await one(store, "k", rule, 4)).allowed, rule)
            require(not (await store.peek("k", Permit(1, "b"))).allowed)
            await store.reset("k")
            decisions = await hit(store, *(("k", rule, 1) for rule in (*_rules(), Permit(1, "b"))))
            require([decision.remaining for decision in decisions] == [4, 4, 4, 4, 4, 0], decisions)

        self.run(scenario)

    def test_peeking_takes_nothing(self) -> None:
        """`peek` tells what is left now, of whichever kind."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for rule in _rules():
                for left in (5, 0):
                    for _ in range(2):
                        seen = await store.peek("k", rule)
                        require((seen.allowed, seen.remaining) == (left > 0, left), (rule, seen))
                        require((seen.retry_seconds > 0) is (left == 0), (rule, seen))
                    await one(store, "k", rule, left)

        self.run(scenario)

    def test_all_kinds_in_one_call_or_none(self) -> None:
        """One of any kind that does not fit, and nothing of any kind is consumed."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for full in _rules():
                await store.reset("k")
                await one(store, "k", full, 5)
                decisions = await hit(store, *(("k", rule, 1) for rule in (*_rules(), Permit(1, "a"))))
                for rule, decision in zip(_rules(), decisions, strict=False):
                    expected = (False, 0) if rule == full else (True, 5)
                    require((decision.allowed, decision.remaining) == expected, (full, rule, decision))
                require(
                    (decisions[-1].allowed, decisions[-1].remaining, decisions[-1].queued) == (True, 1, 0)
                )
                for rule in _rules():
                    require(
                        (await store.peek("k", rule)).remaining == (0 if rule == full else 5), (full, rule)
                    )
                require((await store.peek("k", Permit(1, "b"))).allowed, full)

        self.run(scenario)

    def test_asks_of_each_kind_that_share_a_key_add_up(self) -> None:
        """Asking twice in one call is asking for twice as much."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for rule in _rules():
                first, second = await hit(store, ("k", rule, 3), ("k", rule, 3))
                require((first.allowed, second.allowed) == (True, False), rule)
                require((first.remaining, second.remaining) == (5, 5), rule)
                first, second = await hit(store, ("k", rule, 3), ("k", rule, 2))
                require((first.remaining, second.remaining) == (2, 0), rule)

        self.run(scenario)

    # ------------------------------------------------------------------------------ denied, and on trial

    def test_what_is_denied_counts_where_the_rule_says_so(self) -> None:
        """It takes what is left, and the wait that is told is true of what there is then."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in _rules(counts_denied=True):
                key = f"denied {rule.code}"
                await one(store, key, rule, 3)
                refused = await one(store, key, rule, 4)
                require((refused.allowed, refused.remaining) == (False, 0), (rule, refused))
                require((await store.peek(key, rule)).remaining == 0, rule)
                await self.elapse(clock, refused.retry_seconds)
                require((await one(store, key, rule, 4)).allowed, (rule, "still refused after waiting"))

        self.run(scenario)

    def test_knocking_keeps_out_where_it_counts(self) -> None:
        """Whoever goes on asking is not let in again: no bucket refills while it is asked of."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in (Rate(2, 2.0, counts_denied=True), MovingWindow(2, 2.0, counts_denied=True)):
                await one(store, "k", rule, 2)
                admitted = 0
                for _ in range(40):
                    await self.elapse(clock, 0.125)
                    admitted += (await one(store, "k", rule, 2)).allowed
                require(admitted == 0 or rule.code == "m", (rule, admitted))
                # A window remembers what came when, and nothing came while it was full.
                require(admitted <= 2, (rule, admitted))

        self.run(scenario)

    def test_what_is_denied_counts_also_where_another_refuses(self) -> None:
        """In a refused call asks that count what is denied consume, the others do not."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for counting in _rules(counts_denied=True):
                await store.reset("{k}")
                await store.reset("{k}never")
                never = Rate(1, 1.0)
                counted, plain, refused = await hit(
                    store, ("{k}", counting, 2), ("{k}plain", Rate(5, _DAY), 2), ("{k}never", never, 2)
                )
                require((counted.allowed, counted.remaining) == (True, 3), (counting, counted))
                require(
                    (plain.allowed, plain.remaining, refused.allowed) == (True, 5, False), (plain, refused)
                )
                require((await store.peek("{k}", counting)).remaining == 3, counting)

        self.run(scenario)

    def test_a_rule_on_trial_refuses_nobody(self) -> None:
        """It tells what it would have said and takes nothing where it does not fit; where it fits it counts."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            other = Rate(100, _DAY)
            for number, rule in enumerate(_rules(is_binding=False), start=1):
                trial, binding = await hit(store, (_key(rule), rule, 4), ("{k}other", other, 1))
                require((trial.allowed, trial.remaining, binding.allowed) == (True, 1, True), trial)
                trial, binding = await hit(store, (_key(rule), rule, 2), ("{k}other", other, 1))
                require((trial.allowed, trial.remaining, binding.allowed) == (False, 1, True), (rule, trial))
                require(trial.retry_seconds > 0, (rule, trial))
                require(binding.remaining == 100 - 2 * number, (rule, binding))
                require((await store.peek(_key(rule), rule)).remaining == 1, rule)
                refused = await hit(store, (_key(rule), rule, 1), ("{k}other", other, 101))
                require([decision.allowed for decision in refused] == [True, False], refused)
                require(
                    (await store.peek(_key(rule), rule)).remaining == 1, (rule, "a refused call consumed")
                )

        self.run(scenario)

    # ------------------------------------------------------------------------------ settled

    def test_what_is_given_back_can_be_asked_for_again(self) -> None:
        """As much as was given back, and never more than everything."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            for rule in _rules():
                first = await one(store, "k", rule, 5)
                await store.settle([("k", rule, -2, first.at_ns)])
                require((await one(store, "k", rule, 2)).allowed, rule)
                require(not (await one(store, "k", rule, 1)).allowed, rule)
                await store.settle([("k", rule, -100, first.at_ns)])
                require((await store.peek("k", rule)).remaining == 5, rule)
                require(not (await one(store, "k", rule, 6)).allowed, rule)

        self.run(scenario)

    def test_what_cost_more_is_taken_where_it_does_not_fit(self) -> None:
        """Nothing is left, and nobody is admitted before that much has come back."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in _rules():
                first = await one(store, "k", rule, 4)
                await store.settle([("k", rule, 3, first.at_ns), ("never seen", rule, -1, first.at_ns)])
                seen = await one(store, "k", rule)
                require((seen.allowed, seen.remaining) == (False, 0), (rule, seen))
                await store.settle([("k", rule, -2, first.at_ns)])
                require(not (await one(store, "k", rule)).allowed, (rule, "took only what was left"))
                seen = await store.peek("k", rule)
                await self.elapse(clock, seen.retry_seconds)
                require((await one(store, "k", rule)).allowed, (rule, "still refused after waiting"))

        self.run(scenario)

    def test_a_bucket_is_overdrawn_by_one_burst_at_most(self) -> None:
        """However much is settled, after two bursts' time everything is there again."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rate = Rate(5, 50.0)
            first = await one(store, "k", rule=rate, cost=5)
            await store.settle([("k", rate, 10**9, first.at_ns)])
            seen = await store.peek("k", rate)
            require((seen.allowed, seen.remaining) == (False, 0), seen)
            require(math.isclose(seen.reset_seconds, 100.0, abs_tol=1e-5), seen)
            require(math.isclose(seen.retry_seconds, 60.0, abs_tol=1e-5), seen)
            await self.elapse(clock, seen.retry_seconds)
            require((await one(store, "k", rate)).allowed)

        self.run(scenario)

    def test_what_is_over_is_not_settled(self) -> None:
        """Of a window that has ended, or a bucket that has refilled since, nothing is given back and nothing added."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            for rule in _rules():
                first = await one(store, "k", rule, 2)
                await self.elapse(clock, 3 * _DAY)
                await one(store, "k", rule, 3)
                await store.settle([("k", rule, -2, first.at_ns)])
                if rule.code != "g":
                    await store.settle([("k", rule, 2, first.at_ns)])
                require((await store.peek("k", rule)).remaining == 2, rule)

        self.run(scenario)

    def test_what_slid_into_the_window_before_is_settled_there(self) -> None:
        """A sliding window looks back at it, so it still counts."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rule = SlidingWindow(8, 16.0)
            await self.elapse(clock, 16.0 - clock.wall() % 16.0)
            first = await one(store, "k", rule, 8)
            await self.elapse(clock, 24.0)
            require((await store.peek("k", rule)).remaining == 4)
            await store.settle([("k", rule, -4, first.at_ns)])
            require((await store.peek("k", rule)).remaining == 6)

        self.run(scenario)

    # ------------------------------------------------------------------------------ when windows begin

    def test_windows_begin_with_their_multiples(self) -> None:
        """A fixed window begins anew at each multiple of its length, whenever it was first asked of."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rule = FixedWindow(2, 60.0)
            await self.elapse(clock, 60.0 - clock.wall() % 60.0 + 50.0)
            used = await one(store, "k", rule, 2)
            require(math.isclose(used.reset_seconds, 10.0, abs_tol=1e-5), used)
            await self.elapse(clock, 9.99)
            require(not (await one(store, "k", rule)).allowed)
            await self.elapse(clock, 0.01)
            require((await one(store, "k", rule, 2)).allowed)

        self.run(scenario)

    def test_days_begin_at_midnight_of_the_zone(self) -> None:
        """The first second of the next day there admits again, the last of this one does not."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            rules = [
                CalendarWindow(1, "day", zone="Europe/Berlin"),
                CalendarWindow(1, "month", zone="Europe/Berlin"),
                CalendarWindow(
                    1, "month", zone="Asia/Kathmandu", anchor=datetime(2024, 1, 31, tzinfo=UTC).date()
                ),
            ]
            ends = ["2025-06-16T00:00", "2025-07-01T00:00", "2025-07-31T00:00"]
            for rule, end in zip(rules, ends, strict=True):
                at = datetime.fromisoformat(end).replace(tzinfo=ZoneInfo(rule.zone)).timestamp()
                await store.reset("k")
                used = await one(store, "k", rule)
                if used.reset_seconds < at - clock.wall() - 1:
                    # The anchored month has begun meanwhile.
                    await self.elapse(clock, used.reset_seconds)
                    used = await one(store, "k", rule)
                require(math.isclose(used.reset_seconds, at - clock.wall(), abs_tol=1e-5), (rule, used))
                await self.elapse(clock, at - clock.wall() - 0.5)
                require(not (await one(store, "k", rule)).allowed, rule)
                await self.elapse(clock, 0.5)
                require((await one(store, "k", rule)).allowed, rule)

        self.run(scenario)

    def test_what_is_of_two_partitions_is_decided_or_refused(self) -> None:
        """A partitioned store says so before anything is consumed; any other decides as ever."""

        async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
            del clock
            rate = Rate(5, _DAY)
            asks = [(f"{{{name}}}", rate, 1) for name in "abcdefgh"]
            try:
                decisions = await hit(store, *asks)
            except ValueError:
                require(store.is_partitioned, "refused to decide what it can")
                left = 5
            else:
                require(not store.is_partitioned and all(decision.allowed for decision in decisions))
                left = 4
            for key, _, _ in asks:
                require((await store.peek(key, rate)).remaining == left, key)

        self.run(scenario)
