"""Compressed bodies, decompressed on their way to the application, a piece at a time and within bounds.

Off unless encodings are named: neither the server nor Starlette decompresses, so a compressed body reaches the parser as
it is and is refused instead. Where it is on, no more than one piece is ever in memory, and what comes out is held
against the limit on bodies and against a ratio, while it comes out: 100 kB may stand for 100 MB.

Source: RFC 9110, 8.4 (Content-Encoding), 12.5.3 (Accept-Encoding in a 415); RFC 1952; RFC 1950; CWE-409.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NoReturn

from prodkit.core.context import STATE_KEY
from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.asgi import ASGIApp, Message, Receive, Scope, Send
    from prodkit.core.context import RequestContext
    from prodkit.request_limits.refusals import Policy, Refusals

__all__ = ["Decompressing", "DecompressionMiddleware", "Decompressor", "encodings_of"]

PIECE_BYTES: Final = 65_536
"""What one message to the application holds at most, and what the ratio forgives: as much as a server reads at once."""

# zlib's window size, and 16 for the gzip wrapper with its checksum.
_WINDOW: Final = {"gzip": 31, "deflate": 15}
_SAME: Final = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
_DROPPED: Final = frozenset({b"content-encoding", b"content-length"})


def encodings_of(context: RequestContext) -> list[str]:
    """The codings of the body in the order they were applied, lower-case; `identity` and empty ones left out."""
    value = context.headers.get(b"content-encoding", b"").decode("latin-1").lower()
    names = [name.strip() for name in value.split(",")]
    return [_SAME.get(name, name) for name in names if name not in {"", "identity"}]


class Decompressor:
    """One compressed stream, with what comes out of it bounded.

    Args:
        encoding: `gzip` or `deflate`.
        max_ratio: how many times the compressed size it may reach, beyond the first 64 KiB.
    """

    def __init__(self, encoding: str, max_ratio: int) -> None:
        self._stream = zlib.decompressobj(_WINDOW[encoding])
        self._max_ratio = max_ratio
        self._rest = b""
        self._is_full = False
        self._bytes_in = 0
        self._bytes_out = 0

    @property
    def has_more(self) -> bool:
        """Whether `take` can give more of what was fed."""
        return bool(self._rest) or self._is_full

    @property
    def is_complete(self) -> bool:
        """Whether the stream has come to its own end, its checksum right; a body without a byte has none."""
        return self._stream.eof or not self._bytes_in

    def feed(self, data: bytes) -> None:
        """Add compressed bytes. All that was fed before has to be taken."""
        self._rest = data
        self._bytes_in += len(data)

    def take(self) -> bytes:
        """At most 64 KiB of what comes next.

        Raises:
            Problem: 400 the bytes are not of this encoding, or go on behind its end; 413 the ratio is exceeded.
        """
        try:
            piece = self._stream.decompress(self._rest, PIECE_BYTES)
        except zlib.error:
            raise Problem(400, "The body is not compressed as its Content-Encoding says.") from None
        self._rest = self._stream.unconsumed_tail
        # A full piece: more may wait inside although all input is taken. Asked with nothing new, zlib gives it.
        self._is_full = len(piece) == PIECE_BYTES and not self._stream.eof
        if self._stream.unused_data:
            # A second stream behind the first: each is small, and there may be thousands.
            raise Problem(400, "The compressed body goes on behind its end.")
        self._bytes_out += len(piece)
        bound = PIECE_BYTES + self._max_ratio * self._bytes_in
        if self._bytes_out > bound:
            detail = f"The body is more than {self._max_ratio} times as large as it was sent."
            raise Problem(413, detail, max_decompression_ratio=self._max_ratio)
        return piece


class Decompressing:
    """The body of one request that is to be decompressed. Knows no context, which knows it: that would be a cycle.

    Args:
        decompressor: for its encoding.
        refusals: counts what is refused.

    Attributes:
        watchers: called with each `http.request` message after it was decompressed.
        is_taken: whether a middleware does it already; an application mounted in another has one of its own.
    """

    def __init__(self, decompressor: Decompressor, refusals: Refusals) -> None:
        self._stream = decompressor
        self._refusals = refusals
        self._is_last = False
        self._bytes = 0
        self._problem: Problem | None = None
        self.watchers: list[Callable[[Message], None]] = []
        self.is_taken = False

    async def receive(self, compressed: Receive, context: RequestContext) -> Message:
        """The next decompressed message.

        Args:
            compressed: gives the messages of the server.
            context: knows the limit on the body, which may be the route's own by now.

        Raises:
            Problem: 400 or 413, and again whenever it is asked; what the watchers raise.
        """
        if self._problem is not None:
            raise self._problem
        stream = self._stream
        while not stream.has_more:
            if self._is_last:
                return await compressed()  # that the client left, some time
            message = await compressed()
            if message["type"] != "http.request":
                return message
            self._is_last = not message.get("more_body", False)
            stream.feed(message.get("body", b""))
            if self._is_last:
                break
        message = {"type": "http.request", "body": self._piece(context.max_body_bytes)}
        message["more_body"] = stream.has_more or not self._is_last
        for watcher in self.watchers:
            watcher(message)
        return message

    def _piece(self, limit: int | None) -> bytes:
        stream = self._stream
        try:
            piece = stream.take()
        except Problem as problem:
            self._refuse("content_encoding", problem)
        if self._is_last and not stream.has_more and not stream.is_complete:
            self._refuse("content_encoding", Problem(400, "The compressed body ends before its end."))
        self._bytes += len(piece)
        if limit is not None and self._bytes > limit:
            detail = f"The request body is larger than {limit} bytes once it is decompressed."
            self._refuse("body", Problem(413, detail, max_body_bytes=limit))
        return piece

    def _refuse(self, policy: Policy, problem: Problem) -> NoReturn:
        self._refusals.counts[policy] += 1
        self._problem = problem
        raise problem


class DecompressionMiddleware:
    """Gives the application the decompressed body of the requests that the guard has marked; all others pass unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        context: RequestContext | None = scope.get("state", {}).get(STATE_KEY)
        decompressing = None if context is None else context.get(Decompressing)
        if context is None or decompressing is None or decompressing.is_taken:
            await self.app(scope, receive, send)
            return
        decompressing.is_taken = True
        # From here on the body is what it was before it was compressed, and of a length that nobody knows.
        context.headers.pop(b"content-encoding", None)
        headers = [(name, value) for name, value in scope["headers"] if name not in _DROPPED]

        async def decompressed() -> Message:
            return await decompressing.receive(receive, context)

        await self.app({**scope, "headers": headers}, decompressed, send)
