"""A TCP proxy on 127.0.0.1 that misbehaves on command, also towards connections that are open already."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

_PIECE = 65536


@dataclass
class Direction:
    """What happens to bytes that go one way. May be changed at any time; what already waits is not changed.

    Attributes:
        delay: seconds that each piece is held back.
        jitter: at most so many seconds more, differing from piece to piece.
        bytes_per_second: as much goes through; 0 is no bound.
        blackhole: nothing goes through; it waits, and comes out when this is over.
        drop_after: so many bytes more go through, then it is a blackhole; None is no bound.
    """

    delay: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = 0.0
    blackhole: bool = False
    drop_after: int | None = None


@dataclass
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """Between a client and the server at *port*.

    Attributes:
        to_server: what happens to questions.
        to_client: what happens to answers.
        refuse: whether new connections are reset at once.
        accepted: how many connections came so far.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.to_server = Direction()
        self.to_client = Direction()
        self.refuse = False
        self.accepted = 0
        self._target = port
        self._tls = tls
        self._random = random.Random(5)
        self._pairs: list[_Pair] = []
        self._frozen: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "it was not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._pairs)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    def heal(self) -> None:
        """Misbehave no more."""
        self.to_server = Direction()
        self.to_client = Direction()
        self.refuse = False

    def reset(self) -> None:
        """Reset every open connection, in both directions."""
        for pair in self._pairs:
            _reset(pair.client)
            _reset(pair.server)

    def freeze(self) -> None:
        """Nothing goes through what is open now, for ever; new connections are good. As when a router forgets them."""
        for pair in self._pairs:
            self._frozen |= {pair.client, pair.server}

    def half_close(self) -> None:
        """Say to every client that nothing more will come, and go on taking what it sends."""
        for pair in self._pairs:
            with contextlib.suppress(OSError, NotImplementedError):
                pair.client.write_eof()

    def cut_answers(self, data: bytes) -> None:
        """Send *data* to every client, as if the server had."""
        for pair in self._pairs:
            pair.client.write(data)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the proxy
        finally:
            self._handlers.discard(handler)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, up_writer)
        pair.tasks = [
            asyncio.ensure_future(self._pump(reader, up_writer, "to_server")),
            asyncio.ensure_future(self._pump(up_reader, writer, "to_client")),
        ]
        self._pairs.append(pair)
        try:
            await asyncio.wait(pair.tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.remove(pair)
            for task in pair.tasks:
                task.cancel()
            await asyncio.gather(*pair.tasks, return_exceptions=True)
            up_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                direction: Direction = getattr(self, way)
                if direction.delay or direction.jitter:
                    await asyncio.sleep(direction.delay + self._random.random() * direction.jitter)
                await self._through(data, writer, way)

    async def _through(self, data: bytes, writer: asyncio.StreamWriter, way: str) -> None:
        while data:
            direction: Direction = getattr(self, way)
            while direction.blackhole or direction.drop_after == 0 or writer in self._frozen:
                await asyncio.sleep(0.005)
                direction = getattr(self, way)
            size = len(data) if direction.drop_after is None else min(len(data), direction.drop_after)
            if direction.bytes_per_second:
                size = min(size, max(1, int(direction.bytes_per_second / 100)))
                await asyncio.sleep(size / direction.bytes_per_second)
            if direction.drop_after is not None:
                direction.drop_after -= size
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def fault_proxy(port: int, **how: Any) -> AsyncIterator[FaultProxy]:
    proxy = await FaultProxy(port, **how).start()
    try:
        yield proxy
    finally:
        await proxy.stop()
