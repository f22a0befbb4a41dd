"""How much of what was written the other side has really taken, as the system knows it."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio

    from prodkit.serving.lingering import LingeringTransport

__all__ = ["Taking", "forget_unsent", "has_ended", "taking"]

# struct tcp_info begins with 8 bytes, 24 u32 and 2 u64. Source: Linux, include/uapi/linux/tcp.h, unchanged since 4.6.
_WORDS: Final = struct.Struct("=120xQ16xI")  # tcpi_bytes_acked, tcpi_notsent_bytes
# The first of the 8 bytes, when the client has sent its last or a reset. Source: Linux, include/net/tcp_states.h.
_ENDED: Final = frozenset({7, 8, 9})
_RESET: Final = struct.pack("ii", 1, 0)


class Taking(NamedTuple):
    """What the system knows of a connection over TCP.

    Attributes:
        confirmed: bytes that the client's system has confirmed since the connection was made.
        unsent: bytes that the kernel keeps because the client has no room for them.
    """

    confirmed: int
    unsent: int


def taking(transport: asyncio.BaseTransport | LingeringTransport) -> Taking | None:
    """What the client takes; None where nobody can tell: on a Unix socket, on a closed one, and beside Linux.

    The buffer of the transport does not tell it. The kernel takes from there in lumps of up to megabytes, so a client that
    takes a little all the time looks as if it took nothing for minutes; and with TLS the buffer is another transport's.
    """
    known = _info(transport, _WORDS.size)
    return None if known is None else Taking._make(_WORDS.unpack(known))


def has_ended(transport: asyncio.BaseTransport | LingeringTransport) -> bool:
    """Whether the client sends nothing more, as far as anybody can tell; see `taking`."""
    known = _info(transport, 1)
    return known is not None and known[0] in _ENDED


def _info(transport: asyncio.BaseTransport | LingeringTransport, size: int) -> bytes | None:
    if sys.platform != "linux":
        return None
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        known: bytes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:
        return None  # closed meanwhile
    return known if len(known) == size else None


def forget_unsent(transport: asyncio.BaseTransport | LingeringTransport) -> None:
    """Make the close that follows a reset, so that the kernel does not keep offering what nobody takes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            return  # closed meanwhile, which is what was wanted
