"""Remembered refusals: a flood costs no round trip, and nobody is refused whom the store would admit."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import Decision, FixedWindow, MovingWindow, Permit, Rate
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.stores.refusals import RememberingStore

RATE = Rate(10, 10.0, 2)
OTHER = Rate(100, 10.0)


class Far:
    """A store that needs I/O: the one in memory, behind an await; counts its calls."""

    is_partitioned = False

    def __init__(self, clock: FakeClock) -> None:
        self.inner = MemoryRateLimitStore(clock=clock)
        self.calls = 0
        self.arrived = asyncio.Event()
        self.may_answer: asyncio.Event | None = None
        self.error: Exception | None = None

    async def hit_many(self, asks: Any) -> tuple[Decision, ...]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        decisions = self.inner.hit_many(asks)
        self.arrived.set()
        if self.may_answer is not None:
            await self.may_answer.wait()
        return decisions

    async def settle(self, settlements: Any) -> None:
        await self.inner.settle(settlements)

    async def peek(self, key: str, rule: Any) -> Decision:
        return await self.inner.peek(key, rule)

    async def reset(self, key: str) -> None:
        await self.inner.reset(key)

    async def check(self) -> None:
        await self.inner.check()

    async def aclose(self) -> None:
        await self.inner.aclose()


def remembering(**more: Any) -> tuple[RememberingStore, Far, FakeClock]:
    clock = FakeClock()
    far = Far(clock)
    return RememberingStore(far, clock=clock, **more), far, clock


async def ask(store: Any, *asks: Any) -> tuple[Decision, ...]:
    answer = store.hit_many(asks)
    decisions: tuple[Decision, ...] = answer if isinstance(answer, tuple) else await answer
    return decisions


def test_a_flood_of_refused_requests_costs_one_round_trip() -> None:
    """After the first refusal the answer is a plain tuple, and the store hears of nothing."""

    async def flood() -> None:
        store, far, _ = remembering()
        await ask(store, ("k", RATE, 2))
        assert not (await ask(store, ("k", RATE, 1)))[0].allowed
        before = far.calls
        for _ in range(1000):
            answer = store.hit_many([("k", RATE, 1)])
            assert isinstance(answer, tuple)
            assert not answer[0].allowed
        assert far.calls == before
        assert store.answered == 1000

    asyncio.run(flood())


def test_what_is_told_ages() -> None:
    """A remembered refusal tells how long to wait from now, and waiting just that long is enough."""

    async def wait() -> None:
        store, far, clock = remembering()
        rate = Rate(10, 5.0, 2)
        await ask(store, ("k", rate, 2))
        first = (await ask(store, ("k", rate, 1)))[0]
        clock.advance(0.4)
        later = (await ask(store, ("k", rate, 1)))[0]
        assert later.retry_seconds == pytest.approx(first.retry_seconds - 0.4)
        assert later.reset_seconds == pytest.approx(first.reset_seconds - 0.4)
        clock.advance(later.retry_seconds)
        assert (await ask(store, ("k", rate, 1)))[0].allowed
        assert far.calls == 3

    asyncio.run(wait())


def test_nothing_is_remembered_for_longer_than_stated() -> None:
    """What others give back is learned after `longest_seconds` at the latest."""

    async def learn() -> None:
        store, far, clock = remembering(longest_seconds=0.5)
        slow = Rate(1, 3600.0)
        await ask(store, ("k", slow, 1))
        await ask(store, ("k", slow, 1))
        await far.inner.reset("k")
        clock.advance(0.49)
        assert not (await ask(store, ("k", slow, 1)))[0].allowed
        clock.advance(0.02)
        assert (await ask(store, ("k", slow, 1)))[0].allowed

    asyncio.run(learn())


def test_what_is_reset_or_given_back_here_counts_at_once() -> None:
    """An operator who resets a caller need not wait, nor does a request whose cost is given back."""

    async def mend() -> None:
        store, _, _ = remembering()
        slow = Rate(1, 3600.0)
        admitted = (await ask(store, ("k", slow, 1)))[0]
        assert not (await ask(store, ("k", slow, 1)))[0].allowed
        await store.settle([("k", slow, -1, admitted.at_ns)])
        assert (await ask(store, ("k", slow, 1)))[0].allowed
        assert not (await ask(store, ("k", slow, 1)))[0].allowed
        await store.reset("k")
        assert (await ask(store, ("k", slow, 1)))[0].allowed

    asyncio.run(mend())


@pytest.mark.parametrize("max_keys", [10_000, 1])
def test_a_refusal_that_was_under_way_during_a_reset_is_not_remembered(max_keys: int) -> None:
    """It was decided before, and would hide the reset for a second; also when too many resets are under way to tell them."""

    async def race() -> None:
        store, far, clock = remembering(max_keys=max_keys)
        slow = Rate(1, 3600.0)
        await ask(store, ("k", slow, 1))
        far.arrived.clear()
        far.may_answer = asyncio.Event()
        late = asyncio.ensure_future(ask(store, ("k", slow, 1)))
        await far.arrived.wait()
        clock.advance(0.01)
        await store.reset("k")
        await store.reset("another")
        far.may_answer.set()
        assert not (await late)[0].allowed
        assert (await ask(store, ("k", slow, 1)))[0].allowed

    asyncio.run(race())


@pytest.mark.parametrize(
    ("rule", "cost"),
    [(Rate(2, 60.0, counts_denied=True), 1), (Permit(1, "b"), 1), (Rate(2, 60.0, is_binding=False), 1)],
    ids=["counts what is denied", "a place", "on trial"],
)
def test_what_the_store_has_to_know_is_always_asked(rule: Any, cost: int) -> None:
    """A rule that counts refusals, a place that may be free at any time, a limit that refuses nobody."""

    class Refusing(Far):
        async def hit_many(self, asks: Any) -> tuple[Decision, ...]:
            self.calls += 1
            return tuple(Decision(False, 0, 60.0, 60.0) for _ in asks)

    async def knock() -> None:
        clock = FakeClock()
        far = Refusing(clock)
        store = RememberingStore(far, clock=clock)
        for _ in range(5):
            await ask(store, ("k", rule, cost))
        assert far.calls == 5
        assert len(store) == 0

    asyncio.run(knock())


def test_other_costs() -> None:
    """A larger cost of a bucket is refused with its own, longer wait; a smaller one may fit and is asked."""

    async def cost() -> None:
        store, far, _ = remembering()
        rate = Rate(10, 10.0, 4)
        await ask(store, ("k", rate, 3))
        two = (await ask(store, ("k", rate, 2)))[0]
        four = (await ask(store, ("k", rate, 4)))[0]
        never = (await ask(store, ("k", rate, 5)))[0]
        assert far.calls == 2
        assert four.retry_seconds == pytest.approx(two.retry_seconds + 2.0)
        assert never.retry_seconds == math.inf
        assert (await ask(store, ("k", rate, 1)))[0].allowed

    asyncio.run(cost())


def test_a_larger_cost_of_a_window_is_asked() -> None:
    """How long it takes until more fits is known of buckets only."""

    class Refusing(Far):
        async def hit_many(self, asks: Any) -> tuple[Decision, ...]:
            self.calls += 1
            return tuple(Decision(False, 0, 60.0, 60.0) for _ in asks)

    async def cost() -> None:
        clock = FakeClock()
        far = Refusing(clock)
        store = RememberingStore(far, clock=clock)
        for wanted in (1, 1, 2, 2):
            await ask(store, ("k", FixedWindow(4, 60.0), wanted))
        assert far.calls == 2

    asyncio.run(cost())


def test_another_rate_under_the_same_key_is_asked() -> None:
    """A caller whose plan was raised is admitted at once."""

    async def raise_plan() -> None:
        store, _, _ = remembering()
        await ask(store, ("k", RATE, 2))
        assert not (await ask(store, ("k", RATE, 1)))[0].allowed
        assert (await ask(store, ("k", Rate(10, 10.0, 5), 1)))[0].allowed

    asyncio.run(raise_plan())


def test_a_call_with_several_policies_is_remembered_as_a_whole() -> None:
    """The same policies are refused at once with what each was told; with other companions the store is asked."""

    async def several() -> None:
        store, far, _ = remembering()
        asks = (("a", OTHER, 1), ("k", RATE, 1), ("p", Permit(5, "one"), 1))
        await ask(store, ("k", RATE, 2))
        refused = await ask(store, *asks[:2])
        again = await ask(store, *asks[:2])
        assert [decision.allowed for decision in again] == [True, False]
        assert [decision.remaining for decision in again] == [decision.remaining for decision in refused]
        assert far.calls == 2
        await ask(store, ("b", OTHER, 1), ("k", RATE, 1))
        assert far.calls == 3

    asyncio.run(several())


def test_each_request_brings_a_permit_of_its_own() -> None:
    """A stage with a rate that refuses and places beside it is remembered, whatever the permits are called."""

    class Refusing(Far):
        async def hit_many(self, asks: Any) -> tuple[Decision, ...]:
            self.calls += 1
            return (Decision(False, 0, 60.0, 60.0), Decision(False, 0, 0.0, 1.0, queued=3))

    async def permits() -> None:
        clock = FakeClock()
        far = Refusing(clock)
        store = RememberingStore(far, clock=clock)
        await ask(store, ("k", RATE, 1), ("p", Permit(5, "one"), 1))
        answer = await ask(store, ("k", RATE, 1), ("p", Permit(5, "two"), 1))
        assert far.calls == 1
        assert [decision.queued for decision in answer] == [0, 0]
        await ask(store, ("k", RATE, 1), ("p", Permit(6, "three"), 1))
        assert far.calls == 2

    asyncio.run(permits())


def test_asks_of_one_key_in_one_call_are_not_remembered() -> None:
    """They are counted one after the other, and what each of them would be told next depends on both."""

    async def twice() -> None:
        store, far, _ = remembering()
        for _ in range(3):
            await ask(store, ("k", RATE, 2), ("k", RATE, 2))
        assert far.calls == 3

    asyncio.run(twice())


def test_memory_is_bounded() -> None:
    """A flood of refused keys leaves the bound, and everybody is still answered truly."""

    async def many() -> None:
        store, far, _ = remembering(max_keys=10)
        for number in range(50):
            await ask(store, (f"k{number}", RATE, 3))
        assert len(store) == 10
        assert far.calls == 50

    asyncio.run(many())


def test_an_error_passes_and_is_not_remembered() -> None:
    """A store that does not answer has refused nobody."""

    async def fail() -> None:
        store, far, _ = remembering()
        far.error = StoreUnavailableError("away")
        with pytest.raises(StoreUnavailableError):
            await ask(store, ("k", RATE, 1))
        far.error = None
        assert (await ask(store, ("k", RATE, 1)))[0].allowed

    asyncio.run(fail())


@pytest.mark.parametrize("options", [{"max_keys": 0}, {"longest_seconds": 0.0}], ids=str)
def test_impossible_bounds_are_refused(options: dict[str, Any]) -> None:
    """At construction, not at the first request."""
    with pytest.raises(ValueError, match="must be above 0"):
        RememberingStore(MemoryRateLimitStore(), **options)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("hit"), st.sampled_from("ab"), st.integers(0, 4)),
        st.tuples(st.just("hit"), st.just("a"), st.just(1)),
        st.tuples(st.just("both"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("back"), st.sampled_from("ab"), st.integers(1, 3)),
        st.tuples(st.just("reset"), st.sampled_from("ab"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.001, 0.1, 0.5, 1.0, 2.5]), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


@settings(database=None, deadline=None, max_examples=200)
@given(
    OPERATIONS, st.sampled_from([Rate(6, 3.0, 3), Rate(2, 4.0), FixedWindow(3, 2.0), MovingWindow(3, 2.0)])
)
def test_it_decides_as_the_store_alone(operations: list[Any], rule: Any) -> None:
    """With one worker what is admitted is the same, and of a single policy also what is left and how long to wait."""

    async def play() -> None:
        clock = FakeClock()
        plain, store = MemoryRateLimitStore(clock=clock), RememberingStore(Far(clock), clock=clock)
        for name, first, second in operations:
            if name == "wait":
                clock.advance(first)
            elif name == "reset":
                await plain.reset(first)
                await store.reset(first)
            elif name == "back":
                entry = (first, rule, -second, clock.monotonic_ns())
                await plain.settle([entry])
                await store.settle([entry])
            else:
                asks = (
                    (("a", rule, first), ("b", rule, second)) if name == "both" else ((first, rule, second),)
                )
                given, true = await ask(store, *asks), plain.hit_many(asks)
                assert all(one.allowed for one in given) == all(one.allowed for one in true)
                if len(asks) == 1:
                    assert given[0].remaining == true[0].remaining
                    assert given[0].retry_seconds == pytest.approx(true[0].retry_seconds, abs=1e-5)
                    assert given[0].reset_seconds == pytest.approx(true[0].reset_seconds, abs=1e-5)

    asyncio.run(play())
