"""Writes that no request waits for: when a key was last used, and digests with the new pepper."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["Background"]

_MOST_TASKS: Final = 100
_FAREWELL_SECONDS: Final = 1.0


class Background:
    """A few tasks at a time. What does not fit in is left out: every one of them comes again with the next use.

    Attributes:
        failures: how often each kind of task failed or was left out.
    """

    __slots__ = ("_tasks", "failures")

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.failures: dict[str, int] = dict.fromkeys(kinds, 0)

    def __iter__(self) -> Iterator[asyncio.Task[object]]:
        """The tasks under way."""
        return iter(set(self._tasks))

    def start(self, kind: str, work: Callable[[], Coroutine[object, object, object]]) -> None:
        """Have *work* done, unless too much is under way. Needs a running event loop."""
        if len(self._tasks) >= _MOST_TASKS:
            self.failures[kind] += 1
            return
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(work())
        # The loop keeps tasks by weak references only.
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(kind, done))

    async def aclose(self) -> None:
        """Wait a moment for what is under way, then give it up."""
        loop = asyncio.get_running_loop()
        tasks = {task for task in self._tasks if task.get_loop() is loop}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_FAREWELL_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_FAREWELL_SECONDS)

    def _ended(self, kind: str, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        # Retrieved here, or the loop would complain about it; the store's failure shows in health and at the next look.
        if task.cancelled() or task.exception() is not None:
            self.failures[kind] += 1
