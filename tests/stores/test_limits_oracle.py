"""Our windows beside those of the `limits` package, on the same histories, where both mean the same.

Where they do not:

* A fixed window of `limits` begins with the first request, ours at a multiple of its length; so here each begins with a request
  at its very beginning. There a refused request is counted, which shows only with costs above 1; so here all cost 1.
* What is exactly one window old has left our moving window, and not that of `limits`; so here nothing is.
* The estimate of the sliding window is rounded down there, and up here: so ours refuses, where they differ, by one unit more.

There is no bucket that refills evenly in `limits`, no calendar, and nothing that counts what is under way.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import limits
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.aio import strategies
from limits.aio.storage import MemoryStorage

from prodkit.core.clock import FakeClock
from prodkit.rate_limiting import parse_rate
from prodkit.stores import FixedWindow, MovingWindow, SlidingWindow
from prodkit.stores.memory import MemoryRateLimitStore

WINDOW = 60
# A multiple of the window, so that ours and theirs begin together.
BEGIN = 29_166_667.0 * WINDOW
# Seconds no multiple of which, up to the longest history, is a window.
STEP = 7.0
EXAMPLES = settings(database=None, deadline=None, max_examples=60)

LIMITS = st.integers(1, 6)
# How many steps after the one before, and what it costs.
HISTORIES = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), min_size=1, max_size=40)


@pytest.fixture
def clock(monkeypatch):
    """One time for both; hypothesis moves it only forward."""
    fake = FakeClock(BEGIN)
    shown = SimpleNamespace(time=fake.wall)
    monkeypatch.setattr("limits.aio.storage.memory.time", shown)
    monkeypatch.setattr("limits.aio.strategies.time", shown)
    return fake


class Pair:
    """One rule, decided by both."""

    def __init__(self, clock, rule, theirs):
        self.clock, self.rule = clock, rule
        self.item = RateLimitItemPerSecond(rule.limit, WINDOW)
        self.ours = MemoryRateLimitStore(clock=clock)
        self.theirs = theirs(MemoryStorage())

    def hit(self, cost):
        """Whether ours admits, and what is left then."""
        (decision,) = self.ours.hit_many((("k", self.rule, cost),))
        return decision.allowed, decision.remaining

    async def told(self, cost):
        """The same of theirs."""
        allowed = await self.theirs.hit(self.item, "k", cost=cost)
        return allowed, (await self.theirs.get_window_stats(self.item, "k")).remaining

    def next_window(self, offset=0.0):
        """To the beginning of the window after the present one, and *offset* seconds into it."""
        self.clock.advance(WINDOW - self.clock.wall() % WINDOW)
        self.clock.advance(offset)


def test_moving_windows_are_theirs(clock):
    """Every decision and every remainder is the same, whatever it costs."""

    @EXAMPLES
    @given(limit=LIMITS, history=HISTORIES)
    def check(limit, history):
        async def both():
            pair = Pair(clock, MovingWindow(limit, WINDOW), strategies.MovingWindowRateLimiter)
            for steps, cost in history:
                clock.advance(steps * STEP)
                assert pair.hit(cost) == await pair.told(cost)

        asyncio.run(both())

    check()


def test_fixed_windows_are_theirs(clock):
    """Every decision and every remainder is the same, in windows that begin with a request."""

    @EXAMPLES
    @given(limit=LIMITS, windows=st.lists(st.lists(st.integers(0, 8), max_size=10), min_size=1, max_size=5))
    def check(limit, windows):
        async def both():
            pair = Pair(clock, FixedWindow(limit, WINDOW), strategies.FixedWindowRateLimiter)
            for offsets in windows:
                pair.next_window()
                passed = 0
                for offset in (0, *sorted(offsets)):
                    clock.advance((offset - passed) * STEP)
                    passed = offset
                    assert pair.hit(1) == await pair.told(1)

        asyncio.run(both())

    check()


def test_sliding_windows_are_theirs_but_for_rounding(clock):
    """What ours admits theirs does, given the same past; what ours refuses, theirs refuses with one unit more."""

    @EXAMPLES
    @given(
        limit=st.integers(1, 30),
        history=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 9)), max_size=40),
    )
    def check(limit, history):
        async def both():
            pair = Pair(clock, SlidingWindow(limit, WINDOW), strategies.SlidingWindowCounterRateLimiter)
            # So that no estimate is a whole number, which the doubles of one may put on either side.
            pair.next_window(0.0137)
            pair.next_window(0.0137)
            for steps, cost in history:
                clock.advance(steps * STEP)
                allowed, _ = pair.hit(cost)
                if allowed:
                    assert await pair.theirs.hit(pair.item, "k", cost=cost)
                else:
                    assert not await pair.theirs.test(pair.item, "k", cost=cost + 1)

        asyncio.run(both())

    check()


UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000, "year": 31_104_000}


def test_rates_are_read_as_theirs():
    """`parse_rate` reads every text of the grammar as `limits.parse` does."""

    @EXAMPLES
    @given(
        amount=st.integers(1, 1000),
        multiple=st.integers(1, 60),
        unit=st.sampled_from(sorted(UNITS)),
        form=st.sampled_from(["{a}/{m} {u}", "{a} per {m} {u}", "{a} per {m} {u}s", "{a}/{m}{u}"]),
    )
    def check(amount, multiple, unit, form):
        text = form.format(a=amount, m=multiple, u=unit)
        item, rate = limits.parse(text), parse_rate(text)
        assert (rate.limit, rate.window_seconds) == (item.amount, item.get_expiry())
        assert (rate.limit, rate.window_seconds) == (amount, multiple * UNITS[unit])

    check()


@pytest.mark.parametrize(
    "text", ["", "many", "5", "5/", "/minute", "5/fortnight", "five/minute", "5 in a minute"]
)
def test_what_is_no_rate_there_is_none_here(text):
    """What `limits` refuses is refused here, with what to write instead."""
    with pytest.raises(ValueError):
        limits.parse(text)
    with pytest.raises(ValueError, match=r"not a rate.* \| Write"):
        parse_rate(text)
