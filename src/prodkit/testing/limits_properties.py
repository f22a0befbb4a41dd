"""What holds of buckets whatever is asked of them; needs hypothesis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodkit.stores import Rate
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.testing.limits_harness import RateLimitStoreHarness, hit
from prodkit.testing.requirements import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import FakeClock
    from prodkit.stores import Ask, Decision, RateLimitStore

__all__ = ["RateLimitStoreProperties"]


class RateLimitStoreProperties(RateLimitStoreHarness):
    """Properties of `prodkit.stores.RateLimitStore`, each tried with many histories."""

    examples = 30
    """How many examples each property is tried with."""

    def test_never_more_than_the_rate_allows(self) -> None:
        """Over any stretch of any history: admitted cost <= burst + limit * elapsed / window."""
        from hypothesis import given, settings
        from hypothesis import strategies as st

        steps = st.lists(st.tuples(st.integers(0, 256), st.integers(1, 4)), min_size=1, max_size=40)

        @settings(max_examples=self.examples, deadline=None, database=None)
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
        from hypothesis import given, settings
        from hypothesis import strategies as st

        rates = [Rate(4, 2.0), Rate(10, 5.0, burst=3), Rate(1, 8.0, burst=6)]
        ask = st.tuples(st.sampled_from("abc"), st.sampled_from(rates), st.integers(0, 5))
        step = st.tuples(st.integers(0, 200), st.lists(ask, min_size=1, max_size=4))

        @settings(max_examples=self.examples, deadline=None, database=None)
        @given(steps=st.lists(step, min_size=1, max_size=25))
        def check(steps: list[tuple[int, list[Ask]]]) -> None:
            async def scenario(store: RateLimitStore, clock: FakeClock) -> None:
                reference = MemoryRateLimitStore(clock=clock)
                for ticks, asks in steps:
                    await self.elapse(clock, ticks / 64)
                    expected = reference.hit_many(asks)
                    require(same(await hit(store, *asks), expected), (asks, expected))
                    for key in "abc":
                        for rate in rates:
                            before = await store.peek(key, rate)
                            require(same((before,), (await reference.peek(key, rate),)), (key, rate))

            self.run(scenario)

        check()


def same(decisions: Sequence[Decision], expected: Sequence[Decision]) -> bool:
    return len(decisions) == len(expected) and all(
        (one.allowed, one.remaining) == (other.allowed, other.remaining)
        and math.isclose(one.reset_seconds, other.reset_seconds, abs_tol=1e-5)
        and math.isclose(one.retry_seconds, other.retry_seconds, abs_tol=1e-5)
        for one, other in zip(decisions, expected, strict=True)
    )
