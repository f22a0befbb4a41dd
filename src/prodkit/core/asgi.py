"""The ASGI vocabulary, header helpers, and a response that is ready to be sent.

Source: ASGI 3.0, HTTP and WebSocket message format 2.5, WebSocket Denial Response extension.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ASGIApp",
    "Answer",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "accepts_denial_response",
    "header_lines",
    "invalid_header",
    "list_members",
]

Headers = list[tuple[bytes, bytes]]

DENIAL_EXTENSION: Final = "websocket.http.response"

# RFC 9110, 5.6.2 (token) and 5.5 (field value): what a server may put on the wire without being split by it.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def header_lines(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Every line of the header *name* (lower case), in order; a repeated header is several lines."""
    return [value for key, value in headers if key == name]


def list_members(lines: Iterable[bytes]) -> Iterator[str]:
    """The members of a comma-separated header over all of its *lines*, stripped, empty ones left out.

    Source: RFC 9110, 5.6.1. Quoted commas are not understood: use it for lists of tokens and addresses.
    """
    for line in lines:
        for member in line.decode("latin-1").split(","):
            stripped = member.strip()
            if stripped:
                yield stripped


def invalid_header(name: bytes, value: bytes) -> str | None:
    """Why this pair must not be sent, or None when it may.

    A line break here would let a value add headers of its own, and makes uvicorn answer 500.
    """
    if _NAME.fullmatch(name) is None:
        return "the name is not an RFC 9110 token"
    if _VALUE.fullmatch(value) is None:
        return "the value holds control characters"
    return None


def accepts_denial_response(scope: Scope) -> bool:
    """Whether a WebSocket handshake can be refused with an HTTP response instead of a close code."""
    return DENIAL_EXTENSION in (scope.get("extensions") or ())


class Answer:
    """A whole response that is ready to be sent: what a guard returns to answer in the application's place.

    Also an ASGI application, so an exception handler may return one. For a WebSocket that was not accepted it
    sends a denial response; the pipeline turns that into a close where the server cannot do it.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Keep *status*, *body* and *headers* (lower-case names); Content-Length is added when sent."""
        self.status = status
        self.body = body
        self.headers: Headers = list(headers)

    def start(self) -> Headers:
        """The header list to send: a new list each time."""
        if self.status < 200 or self.status in (204, 304):
            return list(self.headers)
        return [*self.headers, (b"content-length", b"%d" % len(self.body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; *receive* is not called."""
        del receive
        prefix = "websocket." if scope["type"] == "websocket" else ""
        await send({"type": f"{prefix}http.response.start", "status": self.status, "headers": self.start()})
        body = b"" if scope.get("method") == "HEAD" else self.body
        await send({"type": f"{prefix}http.response.body", "body": body})
