"""One fetch at a time on each event loop, shared by whoever asks meanwhile."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Flight", "Flights", "running_loop"]


class Flight:
    """A fetch under way.

    Attributes:
        has_begun: whether it may have asked the provider already. Who joins it then may be told what was true before.
        task: None until it is scheduled.
        process: the id of the process it belongs to; a child made by `fork` inherits what never comes back there.
    """

    __slots__ = ("has_begun", "process", "task")

    def __init__(self) -> None:
        self.has_begun = False
        self.process = os.getpid()
        self.task: asyncio.Task[None] | None = None


class Flights:
    """The fetches of one source; not `core.single_flight`, since it also matters whether one is under way.

    Args:
        fetch: does it, and raises nothing but `CancelledError`.
    """

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._fetch = fetch
        self._by_loop: dict[asyncio.AbstractEventLoop, Flight] = {}

    def current(self) -> Flight | None:
        """What is under way on the running loop; None where there is neither."""
        loop = running_loop()
        flight = None if loop is None else self._by_loop.get(loop)
        if flight is None or flight.task is None or flight.task.done() or flight.process != os.getpid():
            return None
        return flight

    def start(self) -> Flight:
        """Begin a fetch, unless one is under way."""
        flight = self.current()
        if flight is None:
            for loop in list(self._by_loop):
                if loop.is_closed():  # a fetch left on it never comes back
                    self._by_loop.pop(loop, None)
            loop = asyncio.get_running_loop()
            flight = self._by_loop[loop] = Flight()
            flight.task = loop.create_task(self._fly(flight, loop))
        return flight

    async def join(self) -> bool:
        """Wait for the fetch under way, or for a new one; False when it was cancelled by whoever closed this.

        Whoever stops waiting neither ends the fetch nor hurts those who wait too.
        """
        task = self.start().task
        if task is None:
            return False
        await asyncio.wait([task])
        return not task.cancelled()

    async def aclose(self) -> None:
        """End the fetch under way on this loop."""
        flight = self.current()
        if flight is not None and flight.task is not None:
            flight.task.cancel()
            await asyncio.gather(flight.task, return_exceptions=True)

    async def _fly(self, flight: Flight, loop: asyncio.AbstractEventLoop) -> None:
        flight.has_begun = True
        try:
            await self._fetch()
        finally:
            if self._by_loop.get(loop) is flight:
                self._by_loop.pop(loop, None)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop this is called on; None in a thread without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
