"""A store behind an await that can be held up, and fail."""

from __future__ import annotations

import asyncio
from typing import Any

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.rate_limiting import RateLimiting
from prodkit.stores.memory import MemoryRateLimitStore


class Slow(MemoryRateLimitStore):
    """A store behind an await that can be held up, and fail."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.is_down = False
        self.calls = 0

    def hit_many(self, asks: Any) -> Any:
        return self._hit(asks)

    async def _hit(self, asks: Any) -> Any:
        self.calls += 1
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise StoreUnavailableError("away")
        return super().hit_many(asks)

    admit = None  # type: ignore[assignment]  # it needs I/O


def counts(limiting: RateLimiting, name: str) -> tuple[int, int]:
    limit = next(limit for limit in limiting.limiter.limits if limit.policy.name == name)
    return limit.allowed, limit.denied
