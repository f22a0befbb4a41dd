"""A store that needs I/O, for what stands around one."""

from __future__ import annotations

import asyncio
from typing import Any

from prodkit.stores import Decision
from prodkit.stores.memory import MemoryRateLimitStore


class Far:
    """A store that needs I/O: the one in memory, behind an await; notes what it is asked."""

    def __init__(self, clock: Any) -> None:
        self.is_partitioned = False
        self.inner = MemoryRateLimitStore(clock=clock)
        self.asked: list[tuple[Any, ...]] = []
        self.settled: list[Any] = []
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.returned = asyncio.Event()
        self.error: Exception | None = None
        self.closed = 0

    async def hit_many(self, asks: Any) -> tuple[Decision, ...]:
        self.asked.append(tuple(asks))
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.inner.hit_many(asks)

    async def settle(self, settlements: Any) -> None:
        if self.error is not None:
            raise self.error
        self.settled.extend(settlements)
        await self.inner.settle(settlements)
        self.returned.set()

    async def peek(self, key: str, rule: Any) -> Decision:
        return await self.inner.peek(key, rule)

    async def reset(self, key: str) -> None:
        await self.inner.reset(key)

    async def check(self) -> None:
        await self.inner.check()

    async def aclose(self) -> None:
        self.closed += 1


async def ask(store: Any, *asks: Any) -> tuple[Decision, ...]:
    answer = store.hit_many(asks)
    decisions: tuple[Decision, ...] = answer if isinstance(answer, tuple) else await answer
    return decisions
