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

    It may be used from several event loops, one after the other or at once: those of different loops do not join.
    """

    def __init__(self) -> None:
        # A task can be awaited only where it runs, and one whose loop was closed will never end.
        self._flights: dict[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[T]]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Return what *call* returns, or what the call already under way for *key* returns.

        Raises:
            Exception: whatever the call raised, the same for every waiter.
        """
        loop = asyncio.get_running_loop()
        flights = self._flights.get(loop)
        if flights is None:
            flights = self._of_new_loop(loop)
        flight = flights.get(key)
        if flight is None:
            flight = flights[key] = loop.create_task(self._fly(call))
            flight.add_done_callback(lambda done: self._land(loop, key, done))
        return await asyncio.shield(flight)

    @staticmethod
    async def _fly(call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    def _of_new_loop(self, loop: asyncio.AbstractEventLoop) -> dict[Hashable, asyncio.Task[T]]:
        for other in list(self._flights):
            if other.is_closed():
                self._flights.pop(other, None)
        return self._flights.setdefault(loop, {})

    def _land(self, loop: asyncio.AbstractEventLoop, key: Hashable, flight: asyncio.Task[T]) -> None:
        flights = self._flights[loop]
        del flights[key]
        if not flights:
            del self._flights[loop]
        # Retrieved here so that a failure all waiters walked away from is not reported as "never retrieved".
        if not flight.cancelled():
            flight.exception()
