"""WebSocket handshakes that uvicorn's own protocols could not read.

uvicorn writes the head of an upgrade once more for the WebSocket library and forgets the connection. What the library cannot parse
it keeps to itself: no application is asked, nothing is answered, nothing ends the connection, and a later shutdown raises.

Source: RFC 9112, 6 (the body of a request); websockets, `http11.py` (128 headers, 8192 bytes a line).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

__all__ = ["fault_of", "is_begun"]

_MAX_HEADERS: Final = 128
_MAX_LINE_BYTES: Final = 8192
# What stands in a line beside its parts: ": " and the end, and in the first one "GET ", " HTTP/1.1" and the end.
_OF_HEADER: Final = 4
_OF_FIRST_LINE: Final = 15


def fault_of(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Why a WebSocket cannot begin with this head, for a person; None when it can."""
    if len(target) + _OF_FIRST_LINE > _MAX_LINE_BYTES:
        return f"The request line of a WebSocket is longer than {_MAX_LINE_BYTES} bytes."
    count = 0
    for name, value in headers:
        count += 1
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return "The request for a WebSocket has no body."
        if len(name) + len(value) + _OF_HEADER > _MAX_LINE_BYTES:
            return f"A header of the request for a WebSocket is longer than {_MAX_LINE_BYTES} bytes."
    if count > _MAX_HEADERS:
        return f"The request for a WebSocket has more than {_MAX_HEADERS} headers."
    return None


def is_begun(protocol: asyncio.BaseProtocol) -> bool:
    """Whether *protocol*, which has been given a whole head, could read it.

    Those of uvicorn that do not say answer and close by themselves what they cannot read.
    """
    return bool(getattr(protocol, "handshake_initiated", True))
