"""Closing a connection whose client is still sending, so that it can read the answer.

A socket that is closed while bytes of its client lie unread is reset, and a reset throws away what the client has not read yet:
of a 413 a proxy then makes a 502 of its own. So our side is ended first, what still comes is thrown away, and the connection is
closed when the client has seen the end, or a moment after the last of the answer has left our hands. Until then the bound on slow
readers rules, as with every answer.

Source: RFC 9112, 9.6 (tear-down).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prodkit.serving.protocols import BoundedProtocol

__all__ = ["LingeringTransport"]

_LINGER_SECONDS: Final = 2.0
# A client that does not look at the answer at all: enough for what is under way on a fast line.
_MOST_BYTES: Final = 64 * 1024 * 1024


class LingeringTransport:
    """The transport of one connection; all but `close` and `end` is the real one's.

    Args:
        below: the real one.
        protocol: whose connection it is.
    """

    def __init__(self, below: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._below = below
        self._protocol = protocol
        self._is_lingering = False
        self.write = below.write
        self.get_extra_info = below.get_extra_info
        self.pause_reading = below.pause_reading
        self.resume_reading = below.resume_reading

    def __getattr__(self, name: str) -> Any:  # Any: whatever the real one has
        """What is rarely asked for."""
        return getattr(self._below, name)

    def end(self) -> None:
        """Close without waiting for anybody: what the client does not read now, it has had the time for."""
        self._below.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_lingering or self._below.is_closing()

    def is_gone(self) -> bool:
        """Whether it is closed, and at most waits for what is written to be taken; one that lingers is not gone yet."""
        gone: bool = self._below.is_closing()
        return gone

    def close(self) -> None:
        """Close; where a request is answered whose body is still on its way, not before its client could read that."""
        below, cycle = self._below, self._protocol.cycle
        is_unread = cycle is not None and cycle.response_complete and cycle.more_body
        if not is_unread or self.is_closing() or not below.can_write_eof():
            if not self._is_lingering:
                below.close()
            return
        self._is_lingering = True
        discarding = _Discarding(self._protocol, below)
        below.set_protocol(discarding)
        # From here on it tells when nothing waits any more, in place of when there is room for more.
        below.set_write_buffer_limits(high=0)
        if not below.get_write_buffer_size():
            discarding.resume_writing()
        below.resume_reading()
        below.write_eof()


class _Discarding(asyncio.Protocol):
    """Takes what still comes, until a moment after all is written."""

    def __init__(self, protocol: BoundedProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport
        self._left = _MOST_BYTES
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Throw *data* away."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Nobody writes."""

    def resume_writing(self) -> None:
        """All is written: the moment begins."""
        if self._timer is None:
            self._timer = self._protocol.loop.call_later(_LINGER_SECONDS, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whose connection it was."""
        if self._timer is not None:
            self._timer.cancel()
        self._protocol.connection_lost(exc)
