"""The memory stores: the contract, and what is particular to them."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores import (
    CalendarWindow,
    Decision,
    FixedWindow,
    KeyStore,
    MovingWindow,
    Permit,
    Rate,
    RateLimitStore,
    SlidingWindow,
)
from prodkit.stores.algorithms.gcra import decide
from prodkit.stores.memory import MemoryKeyStore, MemoryRateLimitStore
from prodkit.testing import KeyStoreContract, RateLimitStoreContract


class TestMemoryRateLimitStore(RateLimitStoreContract):
    """The contract of `RateLimitStore`."""

    def make_store(self, clock: FakeClock) -> RateLimitStore:
        return MemoryRateLimitStore(clock=clock)


class TestMemoryKeyStore(KeyStoreContract):
    """The contract of `KeyStore`."""

    def make_store(self) -> KeyStore:
        return MemoryKeyStore()


def test_it_answers_at_once():
    """The answer is the tuple itself: no coroutine is made on the fastest path."""
    clock = FakeClock()
    answer = MemoryRateLimitStore(clock=clock).hit_many([("k", Rate(1, 1.0), 1)])
    assert type(answer) is tuple
    assert answer == (Decision(True, 0, 1.0, 0.0, clock.monotonic_ns()),)


def test_one_ask_costs_four_calls():
    """Method, clock, length and the Decision: what is gated here is on the path of every request."""
    store = MemoryRateLimitStore()
    asks = [("k", Rate(100, 1.0), 1)]
    store.hit_many(asks)
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(event) if event in {"call", "c_call"} else None)
    try:
        store.hit_many(asks)
    finally:
        sys.setprofile(None)
    assert len(calls) - 1 <= 4  # the last one is setprofile itself


def test_the_written_out_path_decides_as_the_general_one():
    """One ask takes a path of its own; every case of it agrees with `gcra.decide`."""
    for burst in (1, 3):
        rate = Rate(2, 1.0, burst)
        for backlog_ms in (-5000, 0, 1, 400, 500, 501, 1000, 1499, 1500, 90_000):
            for cost in (0, 1, 2, 3, 4):
                clock = FakeClock()
                store = MemoryRateLimitStore(clock=clock)
                now = int(clock.monotonic() * 1e9)
                store._full_at["k"] = now + backlog_ms * 1_000_000
                store._rounds.append("k")
                expected, changed = decide(dict(store._full_at), now, [("k", rate, cost)])
                assert store.hit_many([("k", rate, cost)]) == expected
                assert store._full_at["k"] == changed.get("k", now + backlog_ms * 1_000_000)


def test_stale_buckets_are_swept_as_new_ones_come():
    """Callers who have gone leave nothing behind, without anybody ever pausing to clean up."""
    clock = FakeClock()
    store = MemoryRateLimitStore(clock=clock)
    rate = Rate(10, 1.0)
    for second in range(50):
        for caller in range(100):
            store.hit_many([(f"{second}/{caller}", rate, 1)])
        clock.advance(1.0)
    assert len(store) <= 300


def test_the_sweep_spares_the_living():
    """A bucket in use survives any number of rounds."""
    clock = FakeClock()
    store = MemoryRateLimitStore(clock=clock)
    store.hit_many([("busy", Rate(1, 1e6), 1)])
    for n in range(1000):
        clock.advance(1.0)
        store.hit_many([(f"passer-by {n}", Rate(1, 0.5), 1)])
    assert not store.hit_many([("busy", Rate(1, 1e6), 1)])[0].allowed


def test_a_flood_of_invented_keys_frees_nobody():
    """Memory stays bounded, and callers who have used up a limit stay limited while the flood goes by."""
    store = MemoryRateLimitStore(max_keys=100, clock=FakeClock())
    rate = Rate(10, 60.0)
    for n in range(100):
        store.hit_many([(f"{n}", rate, 10 if n % 5 == 0 else 1)])
    for n in range(5000):
        store.hit_many([(f"flood {n}", rate, 1)])
        assert len(store) <= 100
    limited = [store.hit_many([(f"{n}", rate, 1)])[0] for n in range(0, 100, 5)]
    assert not any(decision.allowed for decision in limited)


@pytest.mark.parametrize("max_keys", [1, 2, 3])
def test_a_tiny_store_works_too(max_keys):
    """The bound holds for the smallest stores, also when one call brings more keys than fit."""
    store = MemoryRateLimitStore(max_keys=max_keys)
    rate = Rate(5, 60.0)
    for n in range(20):
        assert store.hit_many([(f"{n}", rate, 1)])[0].allowed
        assert all(d.allowed for d in store.hit_many([(f"{n}/{m}", rate, 1) for m in range(5)]))
        assert len(store) <= max_keys


def test_looking_and_resetting_leave_no_trace():
    """Keys that were only looked at take no memory, and resets do not pile up in the sweep's queue."""
    store = MemoryRateLimitStore()
    for n in range(100):
        store.hit_many([(f"{n}", Rate(1, 1.0), 0)])
    assert len(store) == 0


async def test_resetting_again_and_again_takes_no_memory():
    """The sweep visits each key once, however often it was reset and hit."""
    store = MemoryRateLimitStore()
    for _ in range(100):
        store.hit_many([("k", Rate(1, 1.0), 1)])
        await store.reset("k")
    assert len(store) == len(store._rounds) == 1


def test_impossible_bounds_are_refused():
    """A store that may hold nothing is a mistake."""
    with pytest.raises(ValueError, match="max_keys"):
        MemoryRateLimitStore(max_keys=0)


WINDOWS = (FixedWindow(5, 1.0), SlidingWindow(5, 1.0), MovingWindow(5, 1.0), CalendarWindow(5, "hour"))


@pytest.mark.parametrize("rule", WINDOWS, ids=lambda rule: rule.code)
def test_what_is_over_is_swept_as_new_callers_come(rule):
    """Of any kind of rule callers who have gone leave nothing behind."""
    clock = FakeClock()
    store = MemoryRateLimitStore(clock=clock)
    for hour in range(30):
        for caller in range(50):
            store.hit_many([(f"{hour}/{caller}", rule, 1)])
        clock.advance(3600.0)
    assert len(store) <= 150


@pytest.mark.parametrize("rule", WINDOWS, ids=lambda rule: rule.code)
def test_a_flood_frees_nobody_of_any_kind(rule):
    """Windows with the smallest counts make room first."""
    store = MemoryRateLimitStore(max_keys=100, clock=FakeClock())
    for n in range(100):
        store.hit_many([(f"{n}", rule, 5 if n % 5 == 0 else 1)])
    for n in range(2000):
        store.hit_many([(f"flood {n}", rule, 1)])
        assert len(store) <= 100
    assert not any(store.hit_many([(f"{n}", rule, 1)])[0].allowed for n in range(0, 100, 5))


@pytest.mark.parametrize("rule", [Rate(5, 3600.0), *WINDOWS[:2], WINDOWS[3]], ids=lambda rule: rule.code)
def test_a_caller_takes_200_bytes_at_most(rule):
    """Of every kind but moving windows, a key of 32 characters included."""
    store = MemoryRateLimitStore(clock=FakeClock())
    tracemalloc.start()
    try:
        for n in range(5000):
            store.hit_many([(f"{n:032}", rule, 1)])
        assert tracemalloc.get_traced_memory()[0] / 5000 <= 200
    finally:
        tracemalloc.stop()


async def test_the_entries_of_moving_windows_are_bounded():
    """Not only the keys: many entries of few callers make room too, the lightest first, and what is forgotten counts no more."""
    clock = FakeClock()
    store = MemoryRateLimitStore(max_keys=10, clock=clock)
    rule = MovingWindow(1000, 3600.0)
    shelf: Any = store._shelves["m"]
    for n in range(300):
        store.hit_many([(f"{n % 5}", rule, 1 + n % 5)])
        clock.advance(0.01)
        assert sum(map(len, shelf._kept.values())) == shelf._entries <= 100
    await store.reset("4")
    store.hit_many([("4", rule, 1)])
    assert sum(map(len, shelf._kept.values())) == shelf._entries
    await store.aclose()
    assert len(store) == shelf._entries == 0


async def test_permits_leave_no_trace():
    """What was given back is swept with the next permits, and a lease that nobody gave back when it is over."""
    clock = FakeClock()
    store = MemoryRateLimitStore(clock=clock)
    for n in range(200):
        permit = Permit(1, f"{n}", 5.0)
        store.hit_many([(f"k{n}", permit, 1)])
        if n % 2:
            await store.settle([(f"k{n}", permit, -1, 0)])
        clock.advance(1.0)
    assert len(store) <= 12


def test_looking_at_windows_leaves_no_trace():
    """Neither costs of nothing nor refusals take memory."""
    store = MemoryRateLimitStore(clock=FakeClock())
    for rule in WINDOWS:
        for cost in (0, 6):
            store.hit_many([("k", rule, cost)])
    assert len(store) == 0


@pytest.mark.process
def test_two_hundred_thousand_callers_take_no_more_than_the_bound():
    """Whoever comes, the store holds its bound of keys in 200 bytes each."""
    tracemalloc.start()
    try:
        store, rule = MemoryRateLimitStore(), Rate(5, 3600.0)
        for number in range(200_000):
            store.hit_many([(f"{number:032}", rule, 1)])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(store) == 87_000
    assert taken / len(store) < 200
