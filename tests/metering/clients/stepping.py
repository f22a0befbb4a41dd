"""Cancelling something at each place where it waits, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any


class _Counted:
    """Awaits *inner*, and cancels the task that does in the wait with the number *at*, counted from 0."""

    def __init__(self, inner: Awaitable[Any], at: int) -> None:
        self._inner = inner
        self._at = at
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as end:
                return end.value
            sent = thrown = None
            if self.waits == self._at:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            self.waits += 1
            try:
                sent = yield waited_for
            except BaseException as error:
                thrown = error


async def cancelled_at(at: int, work: Callable[[], Awaitable[Any]]) -> bool:
    """Run *work* in a task that is cancelled in its wait number *at*; whether it has that many."""
    counted = _Counted(work(), at)

    async def run() -> None:
        await counted

    task = asyncio.get_running_loop().create_task(run())
    try:
        await task
    except asyncio.CancelledError:
        return True
    return counted.waits > at
