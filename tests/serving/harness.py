"""Connections without sockets, under a clock that a test moves; and servers with real ones."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from uvicorn.server import ServerState

from prodkit.serving import BoundedHTTP
from prodkit.serving.connections import Connections
from prodkit.serving.protocols import server_of

PARSERS = ["httptools", "h11"]
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

Application = Callable[[Any, Any, Any], Any]


class FakeLoop:
    """A clock and timers that move by hand; tasks are those of the running loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, arguments, asyncio.get_running_loop())
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., None], *arguments: object
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *arguments)

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        return self.call_at(self.now, callback, *arguments)

    def create_task(self, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine, **options)

    def timers(self) -> int:
        return sum(not handle.cancelled() for _, _, handle in self._timers)

    def advance(self, seconds: float) -> None:
        """Run what is due, each at its time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not handle.cancelled():
                handle._run()
        self.now = end

    def block(self, seconds: float) -> None:
        """Time passes in which nothing runs; then all that is due at once."""
        self.now += seconds
        self.advance(0)


class FakeTransport(asyncio.Transport):
    """Takes what is written; `waiting` is how much of it nobody has read."""

    def __init__(self, peer: tuple[str, int] | None) -> None:
        self.extra: dict[str, object] = {"peername": peer, "sockname": ("127.0.0.1", 8000)}
        super().__init__(self.extra)
        self.written = b""
        self.waiting = 0
        self.is_closed = self.is_aborted = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True
        self.waiting = 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        """As with TLS: there is no half of a connection to be closed. Those that can are in `test_lingering`."""
        return False

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Client:
    """One connection, seen from the other side."""

    def __init__(self, protocol: Any, transport: FakeTransport) -> None:
        self.protocol = protocol
        self.transport = transport

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def is_open(self) -> bool:
        return not self.transport.is_closed

    def status(self) -> int | None:
        """That of the last answer."""
        line = self.transport.written.rpartition(b"HTTP/1.1 ")[2]
        return int(line[:3]) if line else None

    def end(self) -> None:
        """The loop tells the protocol that the connection is gone."""
        self.transport.is_closed = True
        self.protocol.connection_lost(None)


class FakeServer:
    """A server of *application* with no socket."""

    def __init__(self, application: Application, parser: str = "httptools", **limits: Any) -> None:
        self.loop = FakeLoop()
        self.state = ServerState()
        self.http = BoundedHTTP(parser=parser, **limits)  # type: ignore[arg-type] # of parametrized tests
        self.config = uvicorn.Config(
            application,
            http=self.http,  # type: ignore[arg-type] # called as the class it stands for
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=65,
        )
        self.config.load()
        loop: Any = self.loop
        self.connections: Connections = server_of(
            self.state, self.http.limits, loop, self.config.loaded_app
        ).connections

    def connect(self, host: str | None = "192.0.2.1", *, tls: bool = False) -> Client:
        loop: Any = self.loop
        protocol: Any = self.http(self.config, self.state, {}, loop)
        transport = FakeTransport(None if host is None else (host, 40000))
        if tls:
            transport.extra["sslcontext"] = object()
        transport.protocol = protocol
        protocol.connection_made(transport)
        return Client(protocol, transport)

    def counts(self) -> dict[str, int]:
        """What was decided, without what never happened."""
        return {policy: count for policy, count in self.connections.counts.items() if count}


async def settle() -> None:
    """Let tasks go on until they wait for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def stuck(scope: Any, receive: Any, send: Any) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, whatever is sent."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def certificate(folder: Path) -> Path:
    """A file with a key and a certificate for it, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36500))
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    )
    return file


@contextlib.asynccontextmanager
async def real_server(
    application: Application,
    parser: str = "auto",
    *,
    certificate: Path | None = None,
    ws: str = "auto",
    **limits: Any,
) -> AsyncIterator[int]:
    """A port on which *application* is served in this process, with TLS when there is a *certificate*.

    Its end is that of `uvicorn.Server.serve`: what a shutdown raises fails the test.
    """
    config = uvicorn.Config(
        application,
        port=0,
        http=BoundedHTTP(parser=parser, **limits),  # type: ignore[arg-type] # called as the class it stands for
        log_config=None,
        lifespan="off",
        ws=ws,  # type: ignore[arg-type] # of parametrized tests
        server_header=False,
        proxy_headers=False,
        ssl_certfile=certificate,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
