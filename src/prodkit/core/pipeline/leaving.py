"""A client that leaves while its request waits for something other than its body: noticed, without losing what it sent.

ASGI tells of a disconnect by the same channel as of the body. So what is read while looking out is kept, and whoever reads the
body is given it first.

Source: ASGI HTTP 2.5, Receive Request and Disconnect events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.pipeline.watching import look_away

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext

__all__ = ["LookOut", "look_out"]

# A body in one message, and one more for servers that send an empty one after it.
_MOST_KEPT: Final = 2


class LookOut:
    """Looks out until it is stopped, somebody reads, or the client is gone.

    Of a body in several messages it takes the first only: the rest stays with the server, and that the client leaves is then not
    noticed. So at most two messages are held here, which the server would hold otherwise.

    Args:
        exchange: the request.
        on_gone: called once, when the client has left.

    Attributes:
        is_gone: whether it has.
    """

    __slots__ = ("_exchange", "_kept", "_on_gone", "_receive", "_task", "is_gone")

    def __init__(self, exchange: Exchange, on_gone: Callable[[], object]) -> None:
        self.is_gone = False
        self._exchange = exchange
        self._on_gone = on_gone
        self._kept: deque[Message] = deque()
        self._receive = exchange._from_server
        exchange._from_server = self.receive
        self._task = asyncio.ensure_future(self._look())
        self._task.add_done_callback(look_away)  # what the server raises, it raises again for whoever reads

    async def receive(self) -> Message:
        """What was kept, then what the server has."""
        await self.stop()
        return self._kept.popleft() if self._kept else await self._receive()

    async def stop(self) -> None:
        """Look out no more."""
        if not self._task.done():
            # Servers wait before they take a message out: cancelled, they have lost none.
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look(self) -> None:
        while len(self._kept) < _MOST_KEPT:
            message = await self._receive()
            self._kept.append(message)
            if message["type"] == "http.disconnect":
                self.is_gone = True
                if self._exchange.ended_at is None:
                    self._exchange.disconnected = True
                self._on_gone()
                return
            if message.get("more_body", False):
                return


def look_out(context: RequestContext, on_gone: Callable[[], object]) -> LookOut | None:
    """Have *on_gone* called when the client of *context* leaves.

    None where that cannot be told: of a WebSocket, and of a client that sends its body only when asked for it
    (`Expect: 100-continue`), since looking would ask.
    """
    if not isinstance(context, Exchange) or b"expect" in context.headers:
        return None
    return LookOut(context, on_gone)
