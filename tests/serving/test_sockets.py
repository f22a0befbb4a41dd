"""Real sockets and a real uvicorn in this process: that what it tells its protocols is what the bounds build on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import time
from typing import Any

import pytest

from tests.serving.harness import certificate, hello, real_server

pytestmark = pytest.mark.process


async def read_all(loop: asyncio.AbstractEventLoop, client: socket.socket) -> int:
    """How much there was to read."""
    size = 0
    while data := await loop.sock_recv(client, 1_000_000):
        size += len(data)
    return size


CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


# Where there is uvloop, it is taken by default, as httptools is.
LOOPS: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
KINDS: list[Any] = [
    pytest.param(asyncio.new_event_loop, "httptools", id="asyncio-httptools"),
    pytest.param(asyncio.new_event_loop, "h11", id="asyncio-h11"),
]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
    KINDS.append(pytest.param(uvloop.new_event_loop, "httptools", id="uvloop-httptools"))


def run(loop_factory: Any, coroutine: Any) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(coroutine)


async def talk(port: int, *pieces: bytes) -> tuple[bytes, float]:
    """All that is answered until the server closes, and how long that took in seconds."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 5), time.monotonic() - begun
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(("loop_factory", "parser"), KINDS)
def test_clients_that_do_not_finish(loop_factory, parser):
    """Silent, in the middle of a line, in the middle of the headers: ended in time; all others are served meanwhile."""

    async def story() -> None:
        async with real_server(hello, parser, head_seconds=0.4) as port:
            slow = [
                asyncio.create_task(talk(port, data))
                for data in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A")
            ]
            answer, seconds = await talk(port, CLOSE)
            assert answer.endswith(b"hi")
            assert seconds < 0.3
            (silent, _), (line, _), (headers, seconds) = await asyncio.gather(*slow)
            assert silent == b""
            assert line.startswith(b"HTTP/1.1 408 ")
            assert headers.startswith(b"HTTP/1.1 408 ")
            assert 0.35 < seconds < 1.5

    run(loop_factory, story())


@pytest.mark.parametrize(("loop_factory", "parser"), KINDS)
def test_what_clients_may_do(loop_factory, parser):
    """HTTP/1.0, pipelining, several requests on a connection, a body after a 100."""

    async def story() -> None:
        async with real_server(hello, parser, head_seconds=5) as port:
            answer, _ = await talk(port, b"GET / HTTP/1.0\r\n\r\n")
            assert answer.endswith(b"hi")
            answer, _ = await talk(port, CLOSE.replace(b"close", b"keep-alive") * 9 + CLOSE)
            assert answer.count(b"HTTP/1.1 200") == 10
            answer, _ = await talk(
                port,
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            )
            assert answer.endswith(b"hi")

    run(loop_factory, story())


@pytest.mark.parametrize(("loop_factory", "parser"), KINDS)
def test_one_that_does_not_read_is_cut(loop_factory, parser):
    """The request ends, nothing is kept of what was to be sent, and no error is logged for it."""
    ended = []

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 200_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.append(True)

    async def story() -> None:
        async with real_server(large, parser, write_seconds=0.3) as port:
            with socket.socket() as client:
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, CLOSE)
                end = time.monotonic() + 5
                while not ended:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.02)
                with pytest.raises(ConnectionError):
                    await read_all(loop, client)

    run(loop_factory, story())


@pytest.mark.skipif(sys.platform != "linux", reason="what waits under TLS is told by Linux only")
@pytest.mark.parametrize("loop_factory", LOOPS)
def test_one_that_does_not_read_is_cut_with_tls(loop_factory, tmp_path):
    """What waits is in a buffer that nobody shows, long after the request has ended."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})

    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def read_late(port: int) -> int:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect(("127.0.0.1", port))
            plain.settimeout(5)
            with trusting.wrap_socket(plain) as client:
                client.sendall(CLOSE)
                time.sleep(0.8)
                size = 0
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    while data := client.recv(1_000_000):
                        size += len(data)
                return size

    async def story() -> None:
        async with real_server(large, certificate=certificate(tmp_path), write_seconds=0.3) as port:
            assert await asyncio.to_thread(read_late, port) < 1_000_000

    run(loop_factory, story())


@pytest.mark.skipif(sys.platform != "linux", reason="what the client has confirmed is told by Linux only")
def test_one_that_reads_slowly_but_reads_is_served():
    """Far faster than it has to, though the buffer of the transport may not move for as long as it may take."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})

    async def story() -> None:
        async with real_server(large, write_seconds=0.2) as port:
            with socket.socket() as client:
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, CLOSE)
                read, begun = 0, time.monotonic()
                while time.monotonic() - begun < 0.8:
                    read += len(await loop.sock_recv(client, 50_000))
                    await asyncio.sleep(0.02)
                assert read < 4_000_000, "it was not slow"
                assert read + await read_all(loop, client) > 8_000_000

    run(asyncio.new_event_loop, story())


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def text_frame(text: bytes) -> bytes:
    """As a client sends it, with a mask of zeros. Source: RFC 6455, 5.2."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


@pytest.mark.parametrize(("loop_factory", "parser"), KINDS)
def test_websockets_outlive_the_time_for_a_head(loop_factory, parser):
    """They count until they end, which nobody tells; one that does not read is cut as well."""
    ended = []

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                for _ in range(200 if message["text"] == "flood" else 1):
                    await send({"type": "websocket.send", "bytes": b"x" * 200_000})
        finally:
            ended.append(True)

    async def story() -> None:
        limits = {"head_seconds": 0.2, "write_seconds": 0.3, "max_connections_per_address": 1}
        async with real_server(echo, parser, **limits) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(UPGRADE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            await asyncio.sleep(0.4)
            writer.write(text_frame(b"hello"))
            await reader.readexactly(200_000)
            assert (await talk(port))[0].startswith(b"HTTP/1.1 503 ")
            writer.write(text_frame(b"flood"))
            end = time.monotonic() + 5
            while not ended:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            while (await talk(port, CLOSE))[0].startswith(b"HTTP/1.1 503 "):
                assert time.monotonic() < end
            writer.transport.abort()

    run(loop_factory, story())
