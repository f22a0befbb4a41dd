"""A provider on a real socket that answers, or fails, exactly as a test says; and a ledger to compare it with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.metering import Envelope, Meter
from prodkit.stores.ledger import Entry, LedgerStore
from prodkit.stores.memory_ledger import MemoryLedger

__all__ = ["Books", "Provider", "Reply", "Seen", "books", "events", "provider"]


@dataclass(frozen=True)
class Reply:
    """How to answer one request.

    Attributes:
        status: of the answer; None closes the connection without one.
        body: bytes, or an object that is sent as JSON.
        headers: besides the framing.
        chunked: whether the body is framed so that a cut is noticed; else by `content-length`.
        cut: bytes of the body after which the connection is closed; None: none.
        hang: bytes of the body after which nothing more comes until the client leaves; -1: not even the head.
        drip: seconds between the pieces of the body.
        piece: bytes of one.
    """

    status: int | None = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    cut: int | None = None
    hang: int | None = None
    drip: float = 0.0
    piece: int = 1

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    """A request that arrived whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def events(*documents: Any, done: bool = False, **options: Any) -> Reply:
    """A stream of server-sent events."""
    said = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in documents)
    body = said + (b"data: [DONE]\n\n" if done else b"")
    return Reply(body=body, headers={"content-type": "text/event-stream"}, chunked=True, **options)


@dataclass
class Provider:
    """What the other side is and has seen.

    Attributes:
        url: where it listens.
        answer: from a request to how it is answered.
        seen: requests that arrived whole, in order.
        arrived: set whenever one has.
        left: set when a client closed its connection before it had everything.
    """

    answer: Callable[[Seen], Reply]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def billable(self) -> list[Seen]:
        return [one for one in self.seen if one.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ")
            request = Seen(method, path, headers, json.loads(content) if content else None)
            self.seen.append(request)
            self.arrived.set()
            await self._say(self.answer(request), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _say(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reply.status is None:
            return
        if reply.hang == -1:
            await self._until_left(reader)
            return
        content = reply.content
        framing = "transfer-encoding: chunked" if reply.chunked else f"content-length: {len(content)}"
        headers = {"content-type": "application/json", **reply.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}{framing}\r\nconnection: close\r\n\r\n".encode())
        stop = next((at for at in (reply.cut, reply.hang) if at is not None), None)
        pieces = [content[:stop]] if not reply.drip else _pieces(content[:stop], reply.piece)
        for piece in pieces:
            if piece:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if reply.chunked else piece)
                await writer.drain()
            await asyncio.sleep(reply.drip)
        if reply.hang is not None:
            await self._until_left(reader)
        elif reply.chunked and reply.cut is None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        if await reader.read(1) == b"":
            self.left.set()


def _pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@contextlib.asynccontextmanager
async def provider(answer: Callable[[Seen], Reply] | Reply) -> AsyncIterator[Provider]:
    """A provider that answers every request with *answer*, or with what it returns for the request."""
    state = Provider(answer if callable(answer) else lambda _: answer)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # asyncio's own callback asks a task that was cancelled for its exception, and logs that it has none.
        with contextlib.suppress(asyncio.CancelledError):
            await state.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))


@dataclass
class Books:
    """A meter on a ledger in memory, with one envelope."""

    ledger: LedgerStore
    meter: Meter
    envelope: Envelope

    async def entries(self) -> list[Entry]:
        return list(await self.ledger.entries(limit=100_000))

    async def open_calls(self) -> int:
        return sum(not hold.envelope for hold in await self.ledger.open_holds())

    async def closed(self) -> list[tuple[str, int, bool]]:
        """Close the envelope; kind, amount and whether estimated of each entry. Nothing may be open then."""
        await self.envelope.aclose()
        assert await self.ledger.open_holds() == []
        found = await self.entries()
        assert sum(entry.amount_nano for entry in found) == self.envelope.charged_nano
        return [(entry.kind, entry.amount_nano, entry.estimated) for entry in found]


@contextlib.asynccontextmanager
async def books(amount_nano: int = 1_000_000_000, ledger: LedgerStore | None = None) -> AsyncIterator[Books]:
    """Books with an envelope of *amount_nano*."""
    store = ledger if ledger is not None else MemoryLedger()
    meter = Meter()
    meter.bind(store, SYSTEM_CLOCK)
    envelope = await meter.open(
        "run_1", amount_nano=amount_nano, attributes={"tenant": "acme", "run": "run_1"}
    )
    try:
        yield Books(store, meter, envelope)
    finally:
        await envelope.aclose()
        await meter.aclose()
