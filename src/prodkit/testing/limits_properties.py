"""What holds of buckets whatever is asked of them; needs hypothesis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.testing.limits_harness import RateLimitStoreHarness, hit
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import FakeClock
    from prodkit.stores import Ask, Decision, RateLimitStore, Rule, Settlement

__all__ = ["RateLimitStoreProperties"]

# Of one partition, so that they can be asked about in one call.
_KEYS = ("{k}a", "{k}b", "{k}c")


class RateLimitStoreProperties(RateLimitStoreHarness):
    """Properties of `prodkit.stores.RateLimitStore`, each tried with many histories."""

    def test_never_more_than_the_rate_allows(self) -> None:
        """Over any stretch of any history: admitted cost <= burst + limit * elapsed / window."""
        from hypothesis import given
        from hypothesis import strategies as st

        steps = st.lists(st.tuples(st.integers(0, 256), st.integers(1, 4)), min_size=1, max_size=40)

        @self.tried()
        @given(limit=st.integers(1, 20), window=st.integers(1, 10), burst=st.integers(1, 10), steps=steps)
        def check(limit: int, window: int, burst: int, steps: list[tuple[int, int]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                rate = Rate(limit, float(window), burst)
                now, admitted = 0.0, list[tuple[float, int]]()
                for ticks, cost in steps:
                    await self.elapse(clock, ticks / 64)
                    now += ticks / 64
                    (decision,) = await hit(store, ("k", rate, cost))
                    require(0 <= decision.remaining <= burst, decision)
                    if decision.allowed:
                        admitted.append((now, cost))
                for index, (start, _) in enumerate(admitted):
                    spent = 0
                    for moment, cost in admitted[index:]:
                        spent += cost
                        require(spent <= burst + limit * (moment - start) / window + 1e-6, (admitted, rate))

            self.run(scenario)

        check()

    def test_it_decides_as_the_memory_store_does(self) -> None:
        """Whatever is asked, together and at whatever time, the answers are those of the reference."""
        from hypothesis import given
        from hypothesis import strategies as st

        rates: list[Rule] = [Rate(4, 2.0), Rate(10, 5.0, burst=3), Rate(1, 8.0, burst=6)]
        ask = st.tuples(st.sampled_from(_KEYS), st.sampled_from(rates), st.integers(0, 5))
        step = st.tuples(st.integers(0, 200), st.lists(ask, min_size=1, max_size=4))

        @self.tried()
        @given(steps=st.lists(step, min_size=1, max_size=25))
        def check(steps: list[tuple[int, list[Ask]]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                reference = MemoryRateLimitStore(clock=clock)
                for ticks, asks in steps:
                    await self.elapse(clock, ticks / 64)
                    expected = reference.hit_many(asks)
                    require(same(await hit(store, *asks), expected), (asks, expected))
                    for key in _KEYS:
                        for rate in rates:
                            before = await store.peek(key, rate)
                            require(same((before,), (await reference.peek(key, rate),)), (key, rate))

            self.run(scenario)

        check()

    def test_it_decides_every_kind_as_the_memory_store_does(self) -> None:
        """Rules of all kinds in one call, counting what is denied or on trial, settled later: the answers of the reference."""
        from hypothesis import given
        from hypothesis import strategies as st

        permit = st.builds(
            Permit,
            st.just(2),
            st.sampled_from("abcd"),
            st.just(2.0),
            st.just(2),
            st.just(1.0),
            is_binding=st.sampled_from([True, True, False]),
        ).map(lambda permit: ("{k}", permit, 1))
        counted = st.tuples(st.sampled_from(_KEYS[:2]), st.sampled_from(_every_kind()), st.integers(0, 4))
        ask = st.one_of(counted, counted, counted, permit)
        # Ticks, a call, and what is settled of it.
        step = st.tuples(st.integers(0, 100), st.lists(ask, min_size=1, max_size=5), st.integers(-4, 4))

        @self.tried()
        @given(steps=st.lists(step, min_size=1, max_size=20))
        def check(steps: list[tuple[int, list[Ask], int]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                reference = MemoryRateLimitStore(clock=clock)
                pending: list[tuple[list[Settlement], list[Settlement]]] = []
                for ticks, asks, amount in steps:
                    await self.elapse(clock, ticks // 2 / 64)
                    decisions, expected = await hit(store, *asks), reference.hit_many(asks)
                    require(same(decisions, expected), (asks, decisions, expected))
                    if amount and all(decision.allowed for decision in expected):
                        pending.append(
                            (settlements(asks, decisions, amount), settlements(asks, expected, amount))
                        )
                    if len(pending) > 1 or (pending and amount < 0):
                        ours, theirs = pending.pop(0)
                        await store.settle(ours)
                        await reference.settle(theirs)
                for key, rule, _ in {
                    ask[0] + repr(ask[1]): ask for step in steps for ask in step[1]
                }.values():
                    seen, known = await store.peek(key, rule), await reference.peek(key, rule)
                    require(same((seen,), (known,)), (key, rule, seen, known))

            self.run(scenario)

        check()


def _every_kind() -> list[Rule]:
    rules: list[Rule] = []
    for counts_denied, is_binding in ((False, True), (True, True), (False, False)):
        rules += [
            Rate(5, 2.5, counts_denied=counts_denied, is_binding=is_binding),
            FixedWindow(5, 1.5, counts_denied=counts_denied, is_binding=is_binding),
            SlidingWindow(5, 1.5, counts_denied=counts_denied, is_binding=is_binding),
            MovingWindow(5, 1.5, counts_denied=counts_denied, is_binding=is_binding),
            CalendarWindow(5, "hour", counts_denied=counts_denied, is_binding=is_binding),
        ]
    return rules


def settlements(asks: Sequence[Ask], decisions: Sequence[Decision], amount: int) -> list[Settlement]:
    """What each ask of an admitted call has cost in the end; of a permit that it is given back."""
    return [
        (key, rule, -1 if rule.code == "p" else amount, decision.at_ns)
        for (key, rule, _), decision in zip(asks, decisions, strict=True)
    ]


def same(decisions: Sequence[Decision], expected: Sequence[Decision]) -> bool:
    return len(decisions) == len(expected) and all(
        (one.allowed, one.remaining, one.queued) == (other.allowed, other.remaining, other.queued)
        and math.isclose(one.reset_seconds, other.reset_seconds, abs_tol=1e-5)
        and math.isclose(one.retry_seconds, other.retry_seconds, abs_tol=1e-5)
        for one, other in zip(decisions, expected, strict=True)
    )
