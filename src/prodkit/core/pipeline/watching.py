"""An open WebSocket outlives the moment at which its caller was identified: here it ends when the credential does.

Source: OWASP ASVS 5.0, 7.4.1 (a session that is terminated can be used no more); close code 1008 of RFC 6455, 7.4.1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.identity import WatchesSockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.core.asgi import Message, Receive
    from prodkit.core.context import RequestContext

__all__ = ["Watch", "watch_of"]

_SHORTEST_SECONDS = 0.01


class Watch:
    """Asks now and then whether a socket may stay open, and ends it when not.

    Args:
        context: of the socket, accepted.
        watcher: is asked.
        close: sends the close.
    """

    def __init__(
        self, context: RequestContext, watcher: WatchesSockets, close: Callable[[], Awaitable[None]]
    ) -> None:
        self._context = context
        self._watcher = watcher
        self._close = close
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending: asyncio.Future[Message] | None = None
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_over(self) -> bool:
        """Whether the credential ended."""
        return self._over.done()

    async def receive(self, receive: Receive) -> Message:
        """What the client sends next, or that it is gone when the credential ended first.

        A caller that is cancelled loses no message: the next one is given what was being waited for.
        """
        if self._over.done():
            return dict(_GONE)
        if self._pending is None:
            self._pending = asyncio.ensure_future(receive())
        pending = self._pending
        waited: set[asyncio.Future[Any]] = {pending, self._over}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not pending.done():
            return dict(_GONE)
        self._pending = None
        return pending.result()

    async def stop(self) -> None:
        """Ask no more, and let nothing run on."""
        running = [task for task in (self._task, self._pending) if task is not None and not task.done()]
        for task in running:
            task.cancel()
            task.add_done_callback(_look_away)
        if running:
            # Not `gather`: where this is cancelled too, the reason has to stay what whoever cancelled has given.
            await asyncio.wait(running)

    async def _run(self) -> None:
        context = self._context
        clock = context.kit.clock
        expires_at = context.principal.expires_at
        while True:
            seconds = self._watcher.sockets_checked_seconds
            if expires_at is not None:
                seconds = min(seconds, expires_at - clock.wall())
            await asyncio.sleep(max(seconds, _SHORTEST_SECONDS))
            try:
                holds = await self._watcher.still_holds(context)
            except Exception as error:  # noqa: BLE001 - not to be known is no reason to close; it is counted and logged
                context.kit.failed("socket watch", error)
                continue
            if not holds:
                break
        self._over.set_result(None)
        await self._close()


def _look_away(task: asyncio.Future[Any]) -> None:
    """How it ended is told nobody: the socket is over."""
    if not task.cancelled():
        task.exception()


_GONE: Final = {"type": "websocket.disconnect", "code": 1008, "reason": ""}


def watch_of(context: RequestContext, close: Callable[[], Awaitable[None]]) -> Watch | None:
    """A watch over the socket of *context*; None where nobody was identified, or nobody watches."""
    if context.principal.is_anonymous:
        return None
    watcher = context.kit.one(WatchesSockets)  # type: ignore[type-abstract] # looked for by protocol
    return None if watcher is None else Watch(context, watcher, close)
