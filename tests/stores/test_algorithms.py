"""How rules are decided, without a store around it."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.stores.algorithms import Moment, decide, look, settle
from prodkit.stores.algorithms.gcra import decide as decide_rates
from prodkit.stores.algorithms.moments import MOST_COUNTED
from prodkit.stores.algorithms.moving import ListLog
from prodkit.stores.algorithms.permits import Places

NOW_US = 1_750_000_000_000_000
WINDOWS = (FixedWindow(5, 60.0), SlidingWindow(5, 60.0), MovingWindow(5, 60.0), CalendarWindow(5, "hour"))


class Kept:
    """A `Book` that is a dict."""

    def __init__(self) -> None:
        self.states: dict[Any, Any] = {}

    def read(self, slot: Any) -> Any:
        return self.states.get(slot)

    def write(self, slot: Any, state: Any, now: Moment) -> None:
        self.states[slot] = state


def at(us: int) -> Moment:
    return Moment((NOW_US + us) * 1000, NOW_US + us)


def ask(book: Kept, us: int, *asks: Any) -> Any:
    return decide(asks, at(us), book)


RATES = [
    Rate(limit, window, burst, counts_denied=counts_denied, is_binding=is_binding)
    for limit, window, burst in ((4, 2.0, 0), (10, 5.0, 3), (1, 8.0, 6))
    for counts_denied, is_binding in ((False, True), (True, True), (False, False))
]


@settings(max_examples=200, deadline=None, database=None)
@given(
    backlogs=st.dictionaries(st.sampled_from("abc"), st.integers(-(10**10), 10**12), max_size=3),
    asks=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(RATES), st.integers(0, 5)), max_size=5),
)
def test_rates_are_decided_the_same_in_both_places(backlogs, asks):
    """What is written out for asks that are all of rates is what is decided for any."""
    book = Kept()
    now = at(0)
    full_at = {key: now.ns + backlog for key, backlog in backlogs.items()}
    book.states = {("g", key): moment for key, moment in full_at.items()}
    expected, changed = decide_rates(full_at, now.ns, asks)
    assert decide(asks, now, book) == expected
    assert book.states == {("g", key): moment for key, moment in (full_at | changed).items()}


ALONE = [
    kind(3, 60.0, counts_denied=counts_denied, is_binding=is_binding)
    for kind in (FixedWindow, SlidingWindow, MovingWindow)
    for counts_denied, is_binding in ((False, True), (True, True), (False, False), (True, False))
]


@settings(max_examples=200, deadline=None, database=None)
@given(
    rule=st.sampled_from(ALONE),
    steps=st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(0, 4)), min_size=1, max_size=12),
)
def test_one_ask_alone_is_decided_as_one_of_several(rule, steps):
    """The path of a single ask comes to the same as the general one, where another key is asked about besides."""
    alone, several, us = Kept(), Kept(), 0
    for step, cost in steps:
        us += step
        (decision,) = ask(alone, us, ("k", rule, cost))
        assert decision == ask(several, us, ("k", rule, cost), ("other", FixedWindow(1, 1.0), 0))[0]


def test_a_refused_call_does_not_write_what_it_tried():
    """A smaller rate that cuts what the same call had tried to consume leaves no trace of it."""
    big, small = Rate(10, 100.0), Rate(1, 1.0)
    asks = [("k", big, 10), ("k", small, 1)]
    decisions, changed = decide_rates({}, 0, asks)
    assert [decision.allowed for decision in decisions] == [True, False]
    assert changed == {}


@pytest.mark.parametrize("rule", WINDOWS, ids=lambda rule: rule.code)
def test_a_clock_set_back_locks_nobody_out_for_long(rule):
    """What lies in the future counts for nothing, or as if it had come now; a wait is never longer than two windows."""
    book = Kept()
    day = 86_400_000_000
    assert ask(book, day, ("k", rule, 5))[0].allowed
    (decision,) = ask(book, 0, ("k", rule, 1))
    assert decision.allowed or decision.retry_seconds <= 2 * rule.window_seconds
    (later,) = ask(book, 2 * round(rule.window_seconds * 1e6), ("k", rule, 1))
    assert later.allowed


def test_a_moving_window_never_tells_a_wait_that_is_over():
    """Asked for a long window first and a short one then, under one key, what has left the short one is waited for no more."""
    book = Kept()
    long, short = MovingWindow(5, 60.0), MovingWindow(5, 1.0)
    ask(book, 0, ("k", long, 5))
    decisions = ask(book, 30_000_000, ("k", long, 1), ("k", short, 1))
    assert [decision.allowed for decision in decisions] == [False, False]
    assert all(decision.retry_seconds > 0 for decision in decisions)
    assert all(decision.reset_seconds >= 0 for decision in decisions)


def test_what_is_brought_back_is_what_is_counted():
    """The total of a moving window is that of its entries, also where one entry holds no more of what came in the future."""
    log = ListLog()
    for us in (10, 20, 30):
        log.add(us, MOST_COUNTED, 100)
    log.expire(0, 15)
    assert log.total == sum(cost for _, cost in log.oldest())


@pytest.mark.parametrize(("burst", "is_long"), [(4503, False), (4504, True)])
def test_long_buckets_refill_by_whole_microseconds(burst, is_long):
    """From 2**52 nanoseconds on a unit takes whole microseconds, rounded up; below that it takes nanoseconds."""
    rate = Rate(3, 3000.000001, burst)
    assert (rate.capacity_ns > 2**52) == is_long
    assert rate.interval_ns == (1_000_000_001_000 if is_long else 1_000_000_000_334)
    book = Kept()
    ask(book, 0, ("k", rate, burst))
    (refused,) = ask(book, 0, ("k", rate, 1))
    wait_us = round(refused.retry_seconds * 1e6)
    assert ask(book, wait_us, ("k", rate, 1))[0].allowed


def test_a_leap_back_keeps_the_total_of_a_moving_window():
    """What came in the future came now, and leaves a window from now."""
    book, rule = Kept(), MovingWindow(5, 60.0)
    for us in (1_000_000, 2_000_000):
        ask(book, us, ("k", rule, 2))
    (decision,) = ask(book, 1_000_000, ("k", rule, 2))
    assert (decision.allowed, decision.remaining) == (False, 1)
    assert decision.retry_seconds == pytest.approx(60.0, abs=1e-5)
    assert len(book.states["m", "k"]) == 1


@pytest.mark.parametrize("rule", WINDOWS, ids=lambda rule: rule.code)
def test_counts_are_bounded(rule):
    """However much is settled, a double still holds the count."""
    book = Kept()
    (first,) = ask(book, 0, ("k", rule, 1))
    for _ in range(2):
        settle(("k", rule, 10**30, first.at_ns), at(0), book)
    state = book.states[rule.code, "k"]
    assert (state.total if rule.code == "m" else state.counted) == MOST_COUNTED


def test_the_sliding_estimate_is_that_of_doubles():
    """First the quotient, then the product, then rounded up: a script that works in doubles gets the same number."""
    rule = SlidingWindow(1000, 49.0)
    start = NOW_US - NOW_US % rule.window_us
    for previous in (1, 3, 49, 999, 1000):
        for left in (1, 1_000_000, 7_000_000, 48_999_999, 49_000_000):
            book = Kept()
            before = Moment(0, start - 1)
            decide([("k", rule, previous)], before, book)
            now = Moment(0, start + rule.window_us - left)
            seen = look(book.read(("s", "k")), now, rule)
            assert seen.remaining == 1000 - math.ceil(previous * (left / rule.window_us))


@settings(max_examples=200, deadline=None, database=None)
@given(
    limit=st.integers(1, 10**6),
    window_us=st.integers(1000, 10**9),
    share=st.floats(0, 1),
    used=st.floats(0, 1),
    cost=st.floats(0, 1),
    left=st.floats(0, 1),
)
def test_the_wait_of_a_sliding_window_is_enough_and_not_more(limit, window_us, share, used, cost, left):
    """Whatever the numbers: a microsecond after the told time without its two of safety it fits, two before it does not."""
    rule = SlidingWindow(limit, window_us / 1e6)
    start = NOW_US - NOW_US % rule.window_us
    now = start + min(int((1 - left) * rule.window_us), rule.window_us - 1)
    book = Kept()
    if previous := int(limit * share):
        decide([("k", rule, previous)], Moment(0, start - 1), book)
    if counted := min(int(limit * used), look(book.read(("s", "k")), Moment(0, now), rule).remaining):
        decide([("k", rule, counted)], Moment(0, now), book)
    asked = max(int(limit * cost), 1)
    state = book.read(("s", "k"))
    (decision,) = decide([("k", rule, asked)], Moment(0, now), Copied(state))
    if decision.allowed:
        return
    wait_us = round(decision.retry_seconds * 1e6) - 2
    assert decide([("k", rule, asked)], Moment(0, now + wait_us + 1), Copied(state))[0].allowed
    assert (
        wait_us < 2
        or not decide([("k", rule, asked)], Moment(0, now + wait_us - 2), Copied(state))[0].allowed
    )


class Copied(Kept):
    """A book of one state of a sliding window."""

    def __init__(self, state: Any) -> None:
        super().__init__()
        if state is not None:
            self.states["s", "k"] = state


def test_a_log_keeps_one_entry_for_a_microsecond():
    """A million asks at the same moment are one entry, and what is given back wholly is none."""
    log = ListLog()
    for _ in range(3):
        log.add(5, 2, 10)
    assert (len(log), log.total, list(log.oldest())) == (1, 6, [(5, 6)])
    assert log.change(5, -6)
    assert (len(log), log.total, log.newest_us()) == (0, 0, 0)
    assert not log.change(5, -1)


def test_a_place_is_given_to_the_next_when_a_lease_ends():
    """Who holds is looked through only when some lease may have ended, and none is missed."""
    places = Places()
    places.hold(Permit(2, "long", 60.0), 0)
    places.hold(Permit(2, "short", 1.0), 0)
    places.expire(999_999, 0)
    assert set(places.holders) == {"long", "short"}
    places.expire(1_000_000, 0)
    assert set(places.holders) == {"long"}
    places.expire(60_000_000, 0)
    assert not places.holders
    assert places.ends_us == 60_000_000


def test_two_permits_wait_for_two_places():
    """Both queue while permits are all that is in the way; the first that is refused for good lets none of them queue."""
    book = Kept()
    tenant, shared = Permit(1, "t1", 60.0, 1, 9.0), Permit(1, "s1", 60.0, 1, 9.0)
    assert all(one.allowed for one in ask(book, 0, ("t", tenant, 1), ("s", shared, 1)))
    second = ("t", Permit(1, "t2", 60.0, 1, 9.0), 1), ("s", Permit(1, "s2", 60.0, 1, 9.0), 1)
    assert [one.queued for one in ask(book, 0, *second)] == [1, 1]
    third = ("other", Permit(1, "o", 60.0, 1, 9.0), 1), ("s", Permit(1, "s3", 60.0, 1, 9.0), 1)
    assert [(one.allowed, one.queued) for one in ask(book, 0, *third)] == [(True, 0), (False, 0)]
    settle(("t", tenant, -1, 0), at(0), book)
    assert [(one.allowed, one.queued) for one in ask(book, 0, *second)] == [(True, 0), (False, 1)]
    settle(("s", shared, -1, 0), at(0), book)
    assert all(one.allowed for one in ask(book, 0, *second))


def test_asking_again_in_a_long_queue_takes_no_walk_along_it():
    """How many lines of ours run does not grow with the queue, or a thousand who wait would stop a worker."""
    lines = []
    for length in (10, 1000):
        book, count = Kept(), [0]
        for number in range(length + 1):
            ask(book, 0, ("k", Permit(1, f"p{number}", 60.0, 5000, 60.0), 1))
        last = "k", Permit(1, f"p{length}", 60.0, 5000, 60.0), 1

        def trace(frame, event, argument, count=count):
            count[0] += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            (decision,) = ask(book, 1, last)
        finally:
            sys.settrace(before)
        assert decision.queued == length
        lines.append(count[0])
    assert lines[1] <= lines[0] + 5


def test_the_place_in_a_queue_leaves_out_who_got_one_in_this_call():
    """Two of a call that come from the queue: the second is behind neither the first nor anybody else who has gone in."""
    book = Kept()
    held = Permit(2, "h1", 60.0, 9, 60.0), Permit(2, "h2", 60.0, 9, 60.0)
    assert all(ask(book, 0, ("k", permit, 1))[0].allowed for permit in held)
    names = ("a", "b", "c")
    queued = [ask(book, 1, ("k", Permit(2, name, 60.0, 9, 60.0), 1))[0].queued for name in names]
    assert queued == [1, 2, 3]
    for permit in held:
        settle(("k", permit, -1, 0), at(1), book)
    both = [("k", Permit(2, name, 60.0, 9, 60.0), 1) for name in ("a", "b")]
    assert [decision.allowed for decision in ask(book, 2, *both)] == [True, True]
