"""A server that does not answer is left alone for a moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.breaker import ORDINARY, Breaker, BreakerState
from prodkit.core.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def breaker(clock):
    return Breaker(failures=3, open_seconds=2.0, clock=clock)


def is_probe(passage):
    return passage is not None and passage is not ORDINARY


def fail(breaker, times=1):
    for _ in range(times):
        breaker.failed(breaker.enter())


def test_it_opens_at_so_many_failures_in_a_row(breaker):
    """Not one earlier, and then it refuses."""
    states = []
    for _ in range(3):
        fail(breaker)
        states.append(breaker.state)
    assert states == [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.OPEN]
    assert breaker.enter() is None
    assert (breaker.opened, breaker.refused) == (1, 1)


def test_a_success_in_between_begins_the_count_anew(breaker):
    """Failures now and then are no outage."""
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_one_probe_goes_through_when_the_time_is_up(breaker, clock):
    """And no second one beside it, however long it takes."""
    fail(breaker, 3)
    clock.advance(1.999)
    assert breaker.enter() is None
    clock.advance(0.001)
    assert is_probe(breaker.enter())
    clock.advance(60)
    assert breaker.enter() is None
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_probe_that_succeeds_closes(breaker, clock):
    """Everybody goes through again."""
    fail(breaker, 3)
    clock.advance(2)
    breaker.enter()
    breaker.succeeded()
    assert [breaker.enter() for _ in range(3)] == [ORDINARY] * 3


def test_a_probe_that_fails_waits_as_long_again(breaker, clock):
    """From its failure on; it does not count as a second opening."""
    fail(breaker, 3)
    clock.advance(2)
    probe = breaker.enter()
    clock.advance(1)
    breaker.failed(probe)
    clock.advance(1.9)
    assert breaker.enter() is None
    clock.advance(0.1)
    assert is_probe(breaker.enter())
    assert breaker.opened == 1


def test_a_cancelled_probe_is_given_back(breaker, clock):
    """The next who asks gets it at once."""
    fail(breaker, 3)
    clock.advance(2)
    breaker.abandoned(breaker.enter())
    assert is_probe(breaker.enter())


def test_calls_from_before_do_not_disturb_the_probe(breaker, clock):
    """What was under way when it opened may fail or be cancelled late."""
    late = [breaker.enter() for _ in range(2)]
    fail(breaker, 3)
    clock.advance(2)
    assert is_probe(breaker.enter())
    breaker.failed(late[0])
    breaker.abandoned(late[1])
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.enter() is None


def test_a_probe_of_an_earlier_outage_is_not_taken_for_the_one_of_now(breaker, clock):
    """It fails late, when the next outage has a probe of its own."""
    fail(breaker, 3)
    clock.advance(2)
    earlier = breaker.enter()
    breaker.succeeded()
    fail(breaker, 3)
    clock.advance(2)
    assert is_probe(breaker.enter())
    breaker.failed(earlier)
    breaker.abandoned(earlier)
    assert breaker.enter() is None


def test_late_failures_do_not_make_it_wait_longer(breaker, clock):
    """A hundred callers who time out after it opened move nothing."""
    late = [breaker.enter() for _ in range(100)]
    fail(breaker, 3)
    clock.advance(1.5)
    for passage in late:
        breaker.failed(passage)
    clock.advance(0.5)
    assert is_probe(breaker.enter())


def test_an_answer_to_a_call_from_before_closes(breaker):
    """Who answers is not dead."""
    breaker.enter()
    fail(breaker, 3)
    breaker.succeeded()
    assert breaker.enter() is ORDINARY


@pytest.mark.parametrize("bounds", [{"failures": 0}, {"open_seconds": 0.0}, {"open_seconds": float("nan")}])
def test_bounds_are_above_zero(bounds):
    """Else it would be open or closed for ever."""
    with pytest.raises(ValueError, match="above 0"):
        Breaker(**bounds)


@settings(database=None, deadline=None)
@given(st.lists(st.sampled_from(["enter", "ok", "fail", "cancel", "wait"]), max_size=60))
def test_there_is_never_a_second_probe(steps):
    """Whatever happens in whatever order, and after a pause somebody always gets through."""
    clock = FakeClock()
    breaker = Breaker(failures=2, open_seconds=1.0, clock=clock)
    under_way = []
    probe = None
    for step in steps:
        if step == "wait":
            clock.advance(0.6)
        elif step == "enter":
            passage = breaker.enter()
            if is_probe(passage):
                assert probe is None or probe not in under_way
                probe = passage
            if passage is not None:
                under_way.append(passage)
        elif under_way:
            passage = under_way.pop(0)
            if step == "ok":
                breaker.succeeded()
                probe = None  # if it is still out, it is an ordinary call from now on
            elif step == "fail":
                breaker.failed(passage)
            else:
                breaker.abandoned(passage)
    for passage in under_way:
        breaker.abandoned(passage)
    clock.advance(1.0)
    assert breaker.enter() is not None
