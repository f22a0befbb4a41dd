"""One call for many waiters: who asks while an answer is being fetched gets that answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Joins concurrent calls with the same key.

    The call runs in a task of its own, so a waiter that is cancelled, the first one included, neither stops it nor
    hurts the others. State lives only as long as the call: nothing is remembered.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Return what *call* returns, or what the call already under way for *key* returns.

        Raises:
            Exception: whatever the call raised, the same for every waiter.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fly(call))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    @staticmethod
    async def _fly(call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    def _land(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        # Retrieved here so that a failure all waiters walked away from is not reported as "never retrieved".
        if not flight.cancelled():
            flight.exception()
