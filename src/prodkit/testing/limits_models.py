"""Every algorithm beside the plainest telling of what it is; needs hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.testing.limits_harness import RateLimitStoreHarness, hit
from prodkit.testing.limits_reference import (
    CalendarHistory,
    FixedHistory,
    History,
    MovingHistory,
    PermitHistory,
    RateHistory,
    SlidingHistory,
)
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.core.clock import FakeClock
    from prodkit.stores import Decision, RateLimitStore, Rule

__all__ = ["RateLimitStoreModels"]

R = TypeVar("R", Rate, FixedWindow, SlidingWindow, MovingWindow, CalendarWindow)

# Whatever passes in these tests is a multiple of this, which clocks that are floats and intervals in whole microseconds
# can both tell exactly.
_TICK_SECONDS = 1 / 64


class RateLimitStoreModels(RateLimitStoreHarness):
    """Each kind of rule, tried with many histories."""

    def test_a_rate_is_its_definition(self) -> None:
        """Units come back one after the other; never more than burst plus rate times elapsed."""
        rules = [Rate(4, 4.0, 3), Rate(8, 4.0), Rate(1, 1.0, 6)]

        def bound(rule: Rate, elapsed_us: int) -> float:
            return rule.burst + rule.limit * elapsed_us / 1e6 / rule.window_seconds

        self._model(rules, RateHistory, bound)

    def test_a_fixed_window_is_its_definition(self) -> None:
        """From each multiple of the window to the next exactly the limit."""
        rules = [FixedWindow(3, 2.0), FixedWindow(7, 1.0)]
        self._model(rules, FixedHistory, lambda rule, elapsed: rule.limit * (elapsed // rule.window_us + 2))

    def test_a_sliding_window_is_its_definition(self) -> None:
        """Its formula exactly, and less than twice the limit in any stretch as long as the window."""
        rules = [SlidingWindow(3, 2.0), SlidingWindow(10, 1.0), SlidingWindow(7, 3.0)]

        def bound(rule: SlidingWindow, elapsed_us: int) -> float:
            return 2 * rule.limit - 1 if elapsed_us < rule.window_us and rule.limit > 1 else float("inf")

        self._model(rules, SlidingHistory, bound)

    def test_a_moving_window_is_its_definition(self) -> None:
        """No trailing window admits more than the limit, and none refuses below it."""
        rules = [MovingWindow(3, 2.0), MovingWindow(10, 1.0)]

        def bound(rule: MovingWindow, elapsed_us: int) -> float:
            return rule.limit if elapsed_us < rule.window_us else float("inf")

        self._model(rules, MovingHistory, bound)

    def test_a_calendar_window_is_its_definition(self) -> None:
        """On each day of the calendar exactly the limit."""
        rules = [CalendarWindow(3, "hour"), CalendarWindow(9, "day")]
        self._model(rules, CalendarHistory, lambda _rule, _elapsed: float("inf"), scale=3600 * 2)

    def test_permits_are_their_definition(self) -> None:
        """Never more holders than places, and the queue in the order of coming, whoever asks when."""
        from hypothesis import given
        from hypothesis import strategies as st

        step = st.tuples(st.integers(0, 36), st.sampled_from("edcba"), st.sampled_from([False, False, True]))

        @self.tried()
        @given(
            limit=st.integers(1, 3), queue=st.integers(0, 3), steps=st.lists(step, min_size=8, max_size=30)
        )
        def check(limit: int, queue: int, steps: list[tuple[int, str, bool]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                history = PermitHistory()
                for ticks, name, gives_back in steps:
                    await self.elapse(clock, ticks // 3 * _TICK_SECONDS)
                    permit = Permit(limit, name, 1.0, queue, 0.75 if queue else 0.0)
                    if gives_back:
                        await store.settle([("k", permit, -1, 0)])
                        history.give_back(name)
                        continue
                    (decision,) = await hit(store, ("k", permit, 1))
                    expected = history.ask(_now_us(clock), permit)
                    seen = decision.allowed, decision.remaining, decision.queued
                    require(seen == expected, (seen, expected, permit))
                    require(len(history.holding) <= limit, history.holding)

            self.run(scenario)

        check()

    def _model(
        self,
        rules: Sequence[R],
        history_of: Callable[[R], History],
        bound: Callable[[R, int], float],
        *,
        scale: int = 1,
    ) -> None:
        """Compare a store with the history, any stretch of it with the bound, and see whether waiting as told is enough."""
        from hypothesis import given
        from hypothesis import strategies as st

        steps = st.lists(st.tuples(st.integers(0, 160), st.integers(0, 4)), min_size=1, max_size=30)

        @self.tried()
        @given(rule=st.sampled_from(rules), steps=steps)
        def check(rule: R, steps: list[tuple[int, int]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                history = history_of(rule)
                for ticks, cost in steps:
                    await self.elapse(clock, ticks // 2 * _TICK_SECONDS * scale)
                    (decision,) = await hit(store, ("k", rule, cost))
                    expected = history.ask(_now_us(clock), cost)
                    require((decision.allowed, decision.remaining) == expected, (rule, decision, expected))
                _require_bound(history, lambda elapsed: bound(rule, elapsed))
                await self._wait_as_told(store, clock, rule)

            self.run(scenario)

        check()

    async def _wait_as_told(self, store: RateLimitStore, clock: FakeClock, rule: Rule) -> None:
        """Ask for more than is left; that is refused until the time has come that was told, and not any longer."""
        seen = await store.peek("k", rule)
        cost = min(seen.remaining + 1, rule.most)
        refused = await _ask(store, rule, cost)
        if refused.allowed:
            return
        if refused.retry_seconds > 0.001:
            await self.elapse(clock, refused.retry_seconds - 0.001)
            require(not (await _ask(store, rule, cost)).allowed, (rule, refused, "admitted too early"))
            refused = await _ask(store, rule, cost)
        await self.elapse(clock, refused.retry_seconds)
        require(
            (await _ask(store, rule, cost)).allowed, (rule, refused, "still refused after waiting as told")
        )


async def _ask(store: RateLimitStore, rule: Rule, cost: int) -> Decision:
    (decision,) = await hit(store, ("k", rule, cost))
    return decision


def _require_bound(history: History, bound: Callable[[int], float]) -> None:
    for index, (first, _) in enumerate(history.admitted):
        for last, _ in history.admitted[index:]:
            admitted = history.within(first, last)
            require(admitted <= bound(last - first) + 1e-6, (history.admitted, first, last))


def _now_us(clock: FakeClock) -> int:
    return int(clock.wall() * 1e6)
