"""The body of an answer on its way to the SDK: bounded, decoded, and read along for the ledger.

Whoever asked may go away before the answer has ended. Then the rest is either read on without them, within bounds, until it
says what it costs (*drain*), or the connection is closed and what was seen has to do (*abort*).
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from prodkit.metering.clients.decoding import Inflater, UndecodableError, encodings_of
from prodkit.metering.clients.sse import EventReader, EventTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    import httpx

    from prodkit.metering.clients.quotes import Document

__all__ = ["Account", "AnswerBody", "Pumps", "json_object", "stream_of"]

MOST_PUMPS: Final = 128
"""Abandoned answers that one process reads on at a time. Each holds a connection, and callers who leave cost nothing: beyond it
they are aborted."""


class Account(Protocol):
    """Reads an answer along, for the ledger."""

    def see(self, document: Document) -> None:
        """A JSON object of the answer: the body, or one event of a stream."""

    async def end(self, *, complete: bool) -> None:
        """Nothing more will be read; called once. What it does is begun before it first waits for anything.

        Args:
            complete: whether the answer has arrived to its end, and could be read.
        """


class Pumps:
    """Tasks that read on what nobody waits for any more.

    Args:
        seconds: how long one may take.
        most_bytes: how much one may read.
    """

    _all: Final[set[asyncio.Task[None]]] = set()

    def __init__(self, *, seconds: float, most_bytes: int) -> None:
        self.seconds = seconds
        self.most_bytes = most_bytes
        self._own: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return len(self._all) >= MOST_PUMPS

    def start(self, work: Coroutine[Any, Any, None]) -> None:  # Any: what a coroutine yields to its loop
        """Have *work* done in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        for tasks in (self._own, self._all):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def wait(self) -> None:
        """Until all that were started here have ended; each is bounded."""
        if self._own:
            await asyncio.wait(self._own)


class AnswerBody:
    """The body of an answer. However reading ends, the account ends once.

    Args:
        response: of the transport below.
        account: None where nothing is to be read along.
        most_bytes: decoded; beyond it reading fails.
        pumps: where it is read on when it is abandoned; None: it is aborted then.
        ended: told when the account has ended.
    """

    def __init__(
        self,
        response: httpx.Response,
        account: Account | None,
        most_bytes: int,
        *,
        pumps: Pumps | None = None,
        ended: Callable[[AnswerBody], None] | None = None,
    ) -> None:
        self._response = response
        self._account = account
        self._most_bytes = most_bytes
        self._pumps = pumps if account is not None else None
        self._tell = ended
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = EventReader() if kind == "text/event-stream" else None
        self._whole = bytearray()
        self._source: AsyncIterator[bytes] | None = None
        self._waiting: asyncio.Task[bytes | None] | None = None
        self._seen = 0
        self._complete = False
        self._broken = False
        self._draining = False

    @property
    def _ended(self) -> bool:
        return self._complete or self._broken

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        try:
            while (chunk := await self._next()) is not None:
                yield chunk
        finally:
            # Also where the iteration broke off and nobody closes: what is known by now is what there will be.
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and settle, or leave both to a pump."""
        if self._draining:
            return
        pumps, self._pumps = self._pumps, None
        if pumps is not None and not self._ended and not pumps.is_full:
            self._draining = True
            pumps.start(self.drain(pumps))
            return
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        await self._finish()

    async def drain(self, pumps: Pumps) -> None:
        """Read on within the bounds of *pumps*, and settle by what was seen then."""
        self._draining = True
        most = self._seen + pumps.most_bytes
        try:
            async with asyncio.timeout(pumps.seconds):
                if self._waiting is not None:
                    await self._waiting
                while self._account is not None and not self._ended and self._seen < most:
                    await self._step()
        except Exception:  # noqa: BLE001  the other side failed, or took too long, and whoever asked is gone
            self._broken = True
        finally:
            self._waiting = None
            await self._finish()

    async def _next(self) -> bytes | None:
        if self._pumps is None:
            return await self._step()
        # In a task of its own: httpx closes the connection under a reader that is cancelled, and there is nothing to read on.
        self._waiting = asyncio.get_running_loop().create_task(self._step())
        await asyncio.wait([self._waiting])
        done, self._waiting = self._waiting, None
        return done.result()

    async def _step(self) -> bytes | None:
        """The next piece, read along; None at the end."""
        if self._source is None:
            self._source = self._decoded()
        try:
            chunk = await anext(self._source, None)
            if chunk is None:
                self._complete = True
                return None
            self._seen += len(chunk)
            self._read_along(chunk)
        except BaseException:
            self._broken = True
            raise
        return chunk

    async def _decoded(self) -> AsyncIterator[bytes]:
        """The pieces of the body, none of them larger than what may be held of it."""
        if self._response.is_stream_consumed:  # a transport that is no network has it in memory already
            yield await self._response.aread()
            return
        encodings = encodings_of(self._response.headers.get("content-encoding", ""))
        try:
            inflater = Inflater(encodings) if encodings else None
            received = 0
            async for raw in self._response.aiter_raw():
                received += len(raw)
                if (
                    received > self._most_bytes
                ):  # also of what unpacks to nothing, or follows the end of what was packed
                    message = "the answer is larger than allowed"
                    raise self._read_error(message)
                for piece in (raw,) if inflater is None else inflater.feed(raw):
                    yield piece
            if inflater is not None and (piece := inflater.end()):
                yield piece
        except UndecodableError as error:
            raise self._read_error(str(error)) from error

    async def _finish(self) -> None:
        account, self._account = self._account, None
        try:
            if account is not None:
                self._read_rest(account)
                await account.end(complete=self._complete)
        finally:
            if self._tell is not None:
                self._tell(self)
            await self._response.aclose()

    def _read_along(self, chunk: bytes) -> None:
        if self._seen > self._most_bytes:
            message = "the answer is larger than allowed"
            raise self._read_error(message)
        if self._account is None:
            return
        if self._events is None:
            self._whole += chunk
            return
        try:
            found = self._events.feed(chunk)
        except EventTooLargeError as error:
            raise self._read_error(str(error)) from error
        for data in found:
            self._event(self._account, data)

    def _event(self, account: Account, data: str) -> None:
        if data == "[DONE]":
            self._complete = True  # the SDKs stop here, and leave the end of the body unread
        elif (document := json_object(data.encode())) is not None:
            account.see(document)

    def _read_rest(self, account: Account) -> None:
        if self._events is not None:
            if (data := self._events.end()) is not None:
                self._event(account, data)
        elif self._complete:
            document = json_object(bytes(self._whole))
            self._complete = document is not None  # without it, 2xx says nothing that can be charged by
            if document is not None:
                account.see(document)

    def _read_error(self, message: str) -> httpx.ReadError:
        import httpx  # noqa: PLC0415  an extra

        return httpx.ReadError(message, request=self._response.request)


@cache
def _stream_type() -> type[httpx.AsyncByteStream]:
    import httpx  # noqa: PLC0415  an extra, and the class it wants to see

    class BodyStream(httpx.AsyncByteStream):
        """An `AnswerBody` as httpx takes it."""

        def __init__(self, body: AnswerBody) -> None:
            self._body = body

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._body.chunks()

        async def aclose(self) -> None:
            await self._body.aclose()

    return BodyStream


def stream_of(body: AnswerBody) -> httpx.AsyncByteStream:
    """*body* as the stream of an httpx response."""
    make: Any = _stream_type()  # Any: the class has the constructor of a type that cannot be named out here
    stream: httpx.AsyncByteStream = make(body)
    return stream


def json_object(content: bytes) -> Document | None:
    """*content* as a JSON object, or None."""
    try:
        document = json.loads(content) if content else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
