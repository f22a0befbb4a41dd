"""The values that stores take and return."""

from __future__ import annotations

import math

import pytest

from prodkit.stores import KeyRecord, KeyStore, Rate, RateLimitStore, Store
from prodkit.stores.algorithms.gcra import decide, refuse
from prodkit.stores.memory import MemoryKeyStore, MemoryRateLimitStore


def test_burst_is_the_limit_unless_said_otherwise():
    """`Rate(100, 60.0)` holds a hundred; two spellings of the same rate are equal and hash alike."""
    assert Rate(100, 60.0).burst == 100
    assert Rate(100, 60.0) == Rate(100, 60.0, 100)
    assert hash(Rate(100, 60.0)) == hash(Rate(100, 60.0, 100))
    assert repr(Rate(100, 60.0)) == (
        "Rate(limit=100, window_seconds=60.0, burst=100, counts_denied=False, is_binding=True, lease=0)"
    )


@pytest.mark.parametrize(
    ("limit", "window_seconds", "burst", "word"),
    [
        (0, 1.0, 0, "limit"),
        (-1, 1.0, 0, "limit"),
        (1.5, 1.0, 0, "limit"),
        (True, 1.0, 0, "limit"),
        (1, 0.0, 0, "window_seconds"),
        (1, -1.0, 0, "window_seconds"),
        (1, math.nan, 0, "window_seconds"),
        (1, math.inf, 0, "window_seconds"),
        (1, 1.0, -1, "burst"),
        (1, 1.0, 2.5, "burst"),
        (2_000_000, 1.0, 0, "microsecond"),
        (1, 86_400.0, 40_000, "100 years"),
    ],
)
def test_impossible_rates_are_refused(limit, window_seconds, burst, word):
    """What no bucket can do is refused at construction, with the name of what is wrong."""
    with pytest.raises(ValueError, match=word):
        Rate(limit, window_seconds, burst)


def test_rounding_never_admits_more():
    """An interval that is no whole number of nanoseconds is rounded up."""
    rate = Rate(3, 1.0)
    assert rate.interval_ns == 333_333_334
    assert rate.interval_ns * rate.limit >= 1_000_000_000


def test_a_clock_set_back_locks_nobody_out_for_long():
    """A moment far in the future counts as a bucket overdrawn by one burst, not as years of waiting."""
    rate = Rate(10, 60.0)
    a_year = 365 * 86_400 * 10**9
    (decision,), changed = decide({"k": a_year}, 0, [("k", rate, 1)])
    assert not decision.allowed
    assert decision.reset_seconds == pytest.approx(120.0)
    assert decision.retry_seconds == pytest.approx(66.0, abs=1e-5)
    (after_the_wait,), _ = decide(changed, 66 * 10**9, [("k", rate, 1)])
    assert after_the_wait.allowed


def test_the_wait_is_rounded_up_by_two_microseconds_at_most():
    """Enough for a wall clock that resolves a quarter of one, and not worth mentioning to a client."""
    rate = Rate(1, 1.0)
    for backlog in (1, 999, 1000, 1001, 999_999_999, 1_000_000_000):
        assert 0 < refuse(rate, 1, backlog, 0).retry_seconds - backlog * 1e-9 <= 2.001e-6


def test_the_stores_are_found_by_protocol():
    """A kit finds a store by what it can do; the two kinds are not mistaken for each other."""
    limits, keys = MemoryRateLimitStore(), MemoryKeyStore()
    assert isinstance(limits, RateLimitStore)
    assert isinstance(keys, KeyStore)
    assert isinstance(limits, Store)
    assert not isinstance(keys, RateLimitStore)
    assert not isinstance(limits, KeyStore)


def test_a_record_of_a_key_cannot_be_changed():
    """Whoever got a record from a cache cannot change it for the others."""
    record = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)
    with pytest.raises(AttributeError):
        record.owner = "somebody else"  # type: ignore[misc]
    assert hash(record)
