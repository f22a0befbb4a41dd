"""The ASGI middleware: one answer on its way through an encoder."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException

from prodkit.compression.choices import RouteCompression
from prodkit.compression.policy import EVENT_STREAM, Answered, Asked
from prodkit.compression.tags import as_sent, with_own_tags, with_suffix
from prodkit.core.ambient import has_certificate
from prodkit.core.asgi import header_lines
from prodkit.core.context import STATE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.compression.encoders import Encoder
    from prodkit.compression.gate import Gate
    from prodkit.core.asgi import ASGIApp, Headers, Message, Receive, Scope, Send
    from prodkit.core.context import RequestContext

__all__ = ["CompressionMiddleware"]

T = TypeVar("T")

# Up to here the loop compresses itself: 0.7 ms at most for JSON, and a thread costs 0.1.
_INLINE_BYTES: Final = 32_768
# Larger pieces are cut, so that whoever leaves is noticed; smaller whole bodies keep a Content-Length.
_PIECE_BYTES: Final = 262_144
# Threads of our own: those of the event loop belong to endpoints, which may keep all of them.
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))

_LIMITER: RunVar[CapacityLimiter] = RunVar("prodkit_compression_threads")

_CHANGED: Final = frozenset({b"accept-ranges", b"content-length", b"etag"})


class CompressionMiddleware:
    """Compresses what *gate* lets through.

    Args:
        app: the application inside.
        gate: decides, counts, and makes encoders.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self.app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP passes unchanged."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context: RequestContext = scope["state"][STATE_KEY]
        answer = Answering(self._gate, context, scope, send)
        try:
            await self.app(answer.inner_scope(), receive, answer.send)
        except RuntimeError as error:
            # Starlette takes a start that is held back for one that was sent, and a refusal behind it for a mistake.
            if answer.is_held and isinstance(error.__cause__, HTTPException):
                raise error.__cause__ from None
            raise
        finally:
            await answer.close()


class Answering:
    """One answer: its start is held back only until it is known how it goes out.

    A start that has not been sent yet may be replaced by another one, as an exception handler does.
    """

    __slots__ = (
        "_context",
        "_encoder",
        "_encoding",
        "_error",
        "_flushed_at",
        "_gate",
        "_held",
        "_is_event_stream",
        "_is_head",
        "_is_pending",
        "_late",
        "_lock",
        "_make",
        "_scope",
        "_send",
        "_timer",
    )

    def __init__(self, gate: Gate, context: RequestContext, scope: Scope, send: Send) -> None:
        self._gate = gate
        self._context = context
        self._scope = scope
        self._send = send
        self._held: Message | None = None
        self._make: Callable[[], Encoder] | None = None
        self._encoder: Encoder | None = None
        self._encoding = ""
        self._is_head = self._is_event_stream = self._is_pending = False
        self._flushed_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._error: BaseException | None = None

    @property
    def is_held(self) -> bool:
        """Whether the application has sent a start that the client does not have."""
        return self._held is not None

    def inner_scope(self) -> Scope:
        """The scope for the application: its own tags in conditions, no way to send a file past an encoder."""
        scope = self._scope
        headers = self._context.headers
        if b"if-none-match" in headers or b"if-match" in headers:
            own = with_own_tags(scope["headers"])
            if own is not None:
                scope = {**scope, "headers": own}
        extensions = scope.get("extensions")
        if extensions and "http.response.zerocopysend" in extensions:
            kept = {name: value for name, value in extensions.items() if name != "http.response.zerocopysend"}
            scope = {**scope, "extensions": kept}
        return scope

    async def send(self, message: Message) -> None:
        """What the application sends."""
        kind = message["type"]
        if kind == "http.response.body":
            if self._encoder is not None:
                await self._encoded(message)
            elif self._held is not None:
                await self._first(message)
            elif self._is_head:
                await self._send({**message, "body": b""})
            else:
                await self._send(message)
        elif kind == "http.response.start" and self._encoder is None:
            await self._start(message)
        else:
            # A file handed to the server, trailers, hints.
            await self._release()
            await self._send(message)

    async def close(self) -> None:
        """Let go of the encoder, however the answer ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._encoder is not None:
            self._encoder = None
            self._gate.active -= 1
        late, self._late = self._late, None
        if late is not None and not late.done():
            late.cancel()
            await asyncio.wait([late])

    # ------------------------------------------------------------------------------------------------- the start

    async def _start(self, message: Message) -> None:
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        self._held = None
        if message["status"] == 304:
            await self._send(self._not_modified(message, headers))
            return
        answered = Answered(message["status"], headers)
        context = self._context
        answered.sets_cookie |= b"set-cookie" in context.response_headers
        own = context.get(RouteCompression)
        asked = Asked(context.headers, has_certificate(self._scope), None if own is None else own.is_wanted)
        verdict = self._gate.judge(asked, answered, self._accept_encoding())
        if verdict.depends_on_client:
            context.vary_on(b"accept-encoding")
        if verdict.encoding is None or verdict.make is None:
            await self._send(message)
            return
        self._encoding, self._make = verdict.encoding, verdict.make
        self._is_event_stream = answered.content_type == EVENT_STREAM
        self._held = {**message, "headers": headers}
        if self._scope["method"] == "HEAD":
            await self._begin_head()
        elif answered.length is None and "http.response.pathsend" not in (
            self._scope.get("extensions") or ()
        ):
            # A stream: the client is to know at once that it has begun.
            await self._begin()

    def _accept_encoding(self) -> bytes:
        """What the client wants, on however many lines.

        HTTP/1.0 has no chunks, which a compressed answer without a length needs; uvicorn sends them all the same.
        """
        if self._scope.get("http_version") == "1.0":
            return b""
        if self._context.has_repeated_headers:
            return b",".join(header_lines(self._scope["headers"], b"accept-encoding"))
        wanted: bytes = self._context.headers.get(b"accept-encoding", b"")
        return wanted

    def _not_modified(self, message: Message, headers: Headers) -> Message:
        """A 304 names the variant the client has, and the tag it has it by."""
        asked = self._scope["headers"]
        named = [(name, as_sent(value, asked) if name == b"etag" else value) for name, value in headers]
        if named == headers:
            return message
        self._context.vary_on(b"accept-encoding")
        return {**message, "headers": named}

    async def _release(self) -> None:
        """The held start goes out as it came."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(held)

    async def _commit(self, length: int | None = None) -> None:
        """The held start goes out as that of a compressed answer."""
        held, self._held = self._held, None
        assert held is not None  # noqa: S101 - told to the type checker; every caller has looked
        encoding = self._encoding
        headers: Headers = [pair for pair in held["headers"] if pair[0] not in _CHANGED]
        headers += [
            (name, with_suffix(value, encoding)) for name, value in held["headers"] if name == b"etag"
        ]
        headers.append((b"content-encoding", encoding.encode("ascii")))
        if length is not None and not held.get("trailers"):
            headers.append((b"content-length", b"%d" % length))
        await self._send({**held, "headers": headers})

    async def _begin_head(self) -> None:
        """The headers that GET would have, without a length nobody knows yet (RFC 9110, 9.3.2)."""
        self._is_head = True
        self._gate.count(self._encoding, "allowed")
        await self._commit()

    async def _begin(self) -> bool:
        """Make an encoder and send the start, unless too many are at work already; whether that was so."""
        gate = self._gate
        if gate.active >= gate.max_active or self._make is None:
            gate.count("capacity", "degraded")
            await self._release()
            return False
        self._encoder = self._make()
        gate.active += 1
        gate.count(self._encoding, "allowed")
        await self._commit()
        return True

    # -------------------------------------------------------------------------------------------------- the body

    async def _first(self, message: Message) -> None:
        """The first piece of a body whose size was told; the only one, most often."""
        body: bytes = message.get("body", b"")
        if message.get("more_body") or len(body) > _PIECE_BYTES:
            await self._encoded(message) if await self._begin() else await self._send(message)
            return
        gate = self._gate
        if len(body) < gate.min_body_bytes or self._make is None:
            gate.count("size", "bypassed")
        elif len(body) > _INLINE_BYTES and gate.active >= gate.max_active:
            gate.count("capacity", "degraded")
        else:
            gate.active += 1
            try:
                whole = await _off_loop(partial(_whole, self._make(), body), len(body))
            finally:
                gate.active -= 1
            if len(whole) < len(body):
                gate.count(self._encoding, "allowed")
                gate.measure(self._encoding, len(body), len(whole))
                await self._commit(len(whole))
                await self._send({**message, "body": whole})
                return
            gate.count("size", "bypassed")
        await self._release()
        await self._send(message)

    async def _encoded(self, message: Message) -> None:
        """A piece of a body that goes through the encoder."""
        body = memoryview(message.get("body", b""))
        is_last = not message.get("more_body")
        async with self._lock:
            if self._error is not None:
                raise self._error
            while len(body) > _PIECE_BYTES:
                await self._feed(body[:_PIECE_BYTES], flush=False)
                body = body[_PIECE_BYTES:]
            if not is_last:
                await self._feed(body, flush=self._is_due())
                self._arrange_flush()
                return
            encoder = self._encoder
            if encoder is None:  # closed while we waited: nobody is there any more
                return
            out = await _off_loop(partial(_end, encoder, body), len(body))
            self._is_pending = False
            self._gate.measure(self._encoding, len(body), len(out))
            await self.close()
            await self._send({"type": message["type"], "body": out, "more_body": False})

    async def _feed(self, body: memoryview, *, flush: bool) -> None:
        encoder = self._encoder
        if encoder is None or (not body and not self._is_pending):
            return
        out = await _off_loop(partial(encoder.feed, body, flush=flush), len(body))
        self._gate.measure(self._encoding, len(body), len(out))
        self._is_pending = not flush
        if flush:
            self._flushed_at = asyncio.get_running_loop().time()
        if out:
            await self._send({"type": "http.response.body", "body": out, "more_body": True})

    def _is_due(self) -> bool:
        """Whether what was fed goes out at once: every event, and the first piece after a pause."""
        if self._is_event_stream:
            return True
        return asyncio.get_running_loop().time() - self._flushed_at >= self._gate.flush_seconds

    def _arrange_flush(self) -> None:
        """What is kept back goes out in time, also when the application sends nothing more."""
        if self._is_pending and self._timer is None and self._encoder is not None:
            due_at = self._flushed_at + self._gate.flush_seconds
            self._timer = asyncio.get_running_loop().call_at(due_at, self._flush_soon)

    def _flush_soon(self) -> None:
        self._timer = None
        self._late = asyncio.ensure_future(self._flush_late())

    async def _flush_late(self) -> None:
        async with self._lock:
            if self._is_pending and self._encoder is not None:
                try:
                    await self._feed(memoryview(b""), flush=True)
                except Exception as error:  # noqa: BLE001 - raised where the application sends next
                    self._error = error


def _whole(encoder: Encoder, body: bytes) -> bytes:
    return encoder.feed(body, flush=False) + encoder.finish()


def _end(encoder: Encoder, body: memoryview) -> bytes:
    return (encoder.feed(body, flush=False) if body else b"") + encoder.finish()


async def _off_loop(work: Callable[[], T], size: int) -> T:
    """The result of *work* on *size* bytes: of a thread when it takes long. The compressors let go of the GIL.

    Whoever is cancelled meanwhile waits for the end of the piece, so no thread works on an encoder that was let go of.
    """
    if size <= _INLINE_BYTES:
        return work()
    try:
        limiter = _LIMITER.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _LIMITER.set(limiter)
    return await run_sync(work, limiter=limiter)
