"""How much is admitted beyond a limit that workers lease from: never more than stated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Rate, SlidingWindow
from prodkit.stores.leases import LeasingStore
from tests.stores.far import Far, ask

WORKERS = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, WORKERS - 1), st.integers(1, 5)),
        st.tuples(st.integers(0, WORKERS - 1), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 1.0, 3.0])),
        st.tuples(st.just("back"), st.integers(0, WORKERS - 1)),
    ),
    min_size=10,
    max_size=120,
)


def most_in_windows(admitted: list[tuple[float, int]], seconds: float, *, fixed: bool) -> int:
    """The most units in any trailing, or any fixed, window of *seconds*."""
    if fixed:
        counts: dict[int, int] = {}
        for moment, cost in admitted:
            counts[int(moment // seconds)] = counts.get(int(moment // seconds), 0) + cost
        return max(counts.values(), default=0)
    return max(
        (sum(cost for moment, cost in admitted if end - seconds < moment <= end) for end, _ in admitted),
        default=0,
    )


def excess_of(rule: Any, admitted: list[tuple[float, int]]) -> float:
    """How much more was admitted than the rule itself promises in its worst stretch of time."""
    if isinstance(rule, Rate):
        worst = -1.0
        for start, (begin, _) in enumerate(admitted):
            total = 0
            for moment, cost in admitted[start:]:
                total += cost
                worst = max(worst, total - rule.burst - rule.limit * (moment - begin) / rule.window_seconds)
        return worst - 1e-6
    most = most_in_windows(
        admitted, rule.window_seconds, fixed=not isinstance(rule, (MovingWindow, SlidingWindow))
    )
    return most - (2 * rule.limit if isinstance(rule, SlidingWindow) else rule.limit)


@pytest.mark.parametrize(
    "rule",
    [
        Rate(4, 1.0, 20, lease=5),
        FixedWindow(20, 5.0, lease=5),
        MovingWindow(20, 5.0, lease=5),
        SlidingWindow(20, 5.0, lease=5),
        CalendarWindow(20, "hour", lease=5),
    ],
    ids=lambda rule: type(rule).__name__,
)
@settings(database=None, deadline=None, max_examples=60)
@given(STEPS)
def test_three_workers_admit_at_most_their_leases_more(rule: Any, steps: list[Any]) -> None:
    """In no stretch of time more than the rule's own promise and three leases; and no refusal while the store has room."""

    async def work() -> None:
        clock = FakeClock()
        far = Far(clock)
        stores = [LeasingStore(far, clock=clock) for _ in range(WORKERS)]
        admitted: list[tuple[float, int]] = []
        for who, what in steps:
            if who == "wait":
                clock.advance(what)
            elif who == "back":
                await stores[what].give_back()
            else:
                (decision,) = await ask(stores[who], ("k", rule, what))
                assert stores[who].held("k") <= rule.lease
                if decision.allowed:
                    admitted.append((clock.wall(), what))
                else:
                    assert (await far.peek("k", rule)).remaining < what
        assert excess_of(rule, admitted) <= WORKERS * rule.lease
        for store in stores:
            await store.aclose()
        if isinstance(rule, CalendarWindow) and excess_of(rule, admitted) < 0:
            # Nothing is lost: what is left is what nobody was given.
            assert (await far.peek("k", rule)).remaining == rule.limit - sum(cost for _, cost in admitted)

    asyncio.run(work())


def test_the_excess_can_be_seen() -> None:
    """The bound is no empty promise: two workers with full portions do pass the limit of a window, by what they held."""

    async def exceed() -> None:
        clock = FakeClock(wall=1_750_000_000.0)
        far = Far(clock)
        rule = FixedWindow(20, 10.0, lease=5)
        stores = [LeasingStore(far, clock=clock, lease_seconds=60.0) for _ in range(2)]
        for store in stores:
            await ask(store, ("k", rule, 1))
        clock.advance(10.0)
        admitted = 0
        for store in stores:
            while (await ask(store, ("k", rule, 1)))[0].allowed:
                admitted += 1
        assert admitted == 20 + 2 * 4

    asyncio.run(exceed())
