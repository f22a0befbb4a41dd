"""Plain functions that may hang, called without blocking the event loop or the end of the process."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_in_daemon_thread"]

T = TypeVar("T")

LOGGER = logging.getLogger("prodkit")


async def call_in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Call *function* in a daemon thread of its own and return what it returns.

    Not in a pool: a busy pool would make it wait, and an executor's threads are joined when the loop closes, so that
    one that hangs would keep the process from ending. Whoever stops waiting leaves the thread behind.

    Args:
        function: called without arguments; it runs outside of the caller's context variables.
        name: of the thread, for people who look at stacks.

    Raises:
        Exception: whatever *function* raised.
        RuntimeError: there is no thread to be had.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type] # None only where T is None
        else:
            future.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            LOGGER.debug("%s came back after the event loop had closed", name)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future
