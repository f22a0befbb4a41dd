"""An open WebSocket outlives the moment at which its caller was identified: here it ends when the credential does.

Source: OWASP ASVS 5.0, 7.4.1 (a session that is terminated can be used no more); close code 1008 of RFC 6455, 7.4.1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.identity import WatchesSockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.core.asgi import Message, Receive
    from prodkit.core.context import RequestContext

__all__ = ["Watch", "look_away", "watch_of"]

_SHORTEST_SECONDS: Final = 0.01
_UNCONFIRMED_SECONDS: Final = 30.0
"""How long a socket stays open while nobody can say whether its credential holds: as long as keys are remembered while
their store is away."""


class Watch:
    """Asks now and then whether a socket may stay open, and ends it when not.

    Args:
        context: of the socket, accepted.
        watchers: are asked; of several applications inside one another, each has one.
        close: sends the close.
    """

    def __init__(
        self,
        context: RequestContext,
        watchers: Sequence[WatchesSockets],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._context = context
        self._watchers = watchers
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

    async def outlives(self, task: asyncio.Future[Any]) -> bool:
        """Wait for *task*; False when the credential ended first."""
        waited: set[asyncio.Future[Any]] = {task, self._over}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return not self._over.done()

    async def stop(self) -> None:
        """Ask no more, and let nothing run on."""
        running = [task for task in (self._task, self._pending) if task is not None and not task.done()]
        for task in running:
            task.cancel()
            task.add_done_callback(look_away)
        if running:
            # Not `gather`: where this is cancelled too, the reason has to stay what whoever cancelled has given.
            await asyncio.wait(running)

    async def _run(self) -> None:
        context = self._context
        clock = context.kit.clock
        expires_at = context.principal.expires_at
        interval = min(watcher.sockets_checked_seconds for watcher in self._watchers)
        confirmed_at = clock.monotonic()
        while True:
            seconds = interval if expires_at is None else min(interval, expires_at - clock.wall())
            await asyncio.sleep(max(seconds, _SHORTEST_SECONDS))
            verdict = await self._ask()
            if verdict:
                confirmed_at = clock.monotonic()
            elif verdict is False or clock.monotonic() - confirmed_at > interval + _UNCONFIRMED_SECONDS:
                break
        self._over.set_result(None)
        await self._close()

    async def _ask(self) -> bool | None:
        """Whether all watchers say yes, one says no, or (None) nobody says no and not everybody can say."""
        context = self._context
        verdict: bool | None = True
        for watcher in self._watchers:
            try:
                said = await watcher.still_holds(context)
            except Exception as error:  # noqa: BLE001 - not to be known is not yet a reason to close; it is counted and logged
                context.kit.failed("socket watch", error)
                said = None
            if said is False:
                return False
            verdict = None if said is None else verdict
        return verdict


def look_away(task: asyncio.Future[Any]) -> None:
    """How it ended is told nobody: the socket is over."""
    if not task.cancelled():
        task.exception()


_GONE: Final = {"type": "websocket.disconnect", "code": 1008, "reason": ""}


def watch_of(context: RequestContext, close: Callable[[], Awaitable[None]]) -> Watch | None:
    """A watch over the socket of *context*; None where nobody was identified, or nobody watches."""
    if context.principal.is_anonymous:
        return None
    watchers = context.provided(WatchesSockets)  # type: ignore[type-abstract] # looked for by protocol
    return Watch(context, watchers, close) if watchers else None
