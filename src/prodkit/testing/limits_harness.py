"""A store under test, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING

from prodkit.core.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hypothesis import settings

    from prodkit.stores import Ask, Decision, RateLimitStore

__all__ = ["RateLimitStoreHarness", "hit"]


async def hit(store: RateLimitStore, *asks: Ask) -> tuple[Decision, ...]:
    """Ask *store*, whether it answers at once or has to be awaited."""
    answer = store.hit_many(asks)
    return answer if isinstance(answer, tuple) else await answer


class RateLimitStoreHarness:
    """How a store is made, how time passes for it, and how hard it is tried.

    Attributes:
        examples: how many examples each property is tried with.
        simplifies: whether an example that fails is made as small as can be, which takes long.
    """

    examples = 30
    simplifies = True

    def tried(self) -> settings:
        """How properties are tried; needs hypothesis."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate, *((Phase.shrink,) if self.simplifies else ()))
        return settings(max_examples=self.examples, deadline=None, database=None, phases=phases)

    def make_store(self, clock: FakeClock) -> RateLimitStore | Awaitable[RateLimitStore]:
        """Return a new, empty store that reads *clock*; it is closed by the test. May be `async`."""
        raise NotImplementedError

    async def elapse(self, clock: FakeClock, seconds: float) -> None:
        """Let *seconds* pass. Override it for a store with a clock of its own."""
        clock.advance(seconds)

    @contextlib.asynccontextmanager
    async def opened(self, clock: FakeClock) -> AsyncIterator[RateLimitStore]:
        """Open a store for one scenario."""
        made = self.make_store(clock)
        store = await made if inspect.isawaitable(made) else made
        try:
            yield store
        finally:
            await store.aclose()

    def run(self, scenario: Callable[[RateLimitStore, FakeClock], Awaitable[None]]) -> None:
        """Run *scenario* with a store of its own on an event loop of its own."""

        async def main() -> None:
            clock = FakeClock()
            async with self.opened(clock) as store:
                await scenario(store, clock)

        asyncio.run(main())
