"""WebSocket handshakes that nobody can read, and those that come out of turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from prodkit.serving import protocols
from tests.serving.harness import HEAD, PARSERS, FakeServer, hello, real_server, settle, stuck

LINES = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
UPGRADE = b"GET / HTTP/1.1\r\n" + LINES + b"\r\n"

UNREADABLE = {
    "chunked": b"GET / HTTP/1.1\r\n" + LINES + b"Transfer-Encoding: chunked\r\n\r\n",
    "length": b"GET / HTTP/1.1\r\n" + LINES + b"Content-Length: 5\r\n\r\n",
    "many": b"GET / HTTP/1.1\r\n"
    + LINES
    + b"".join(b"a%d: b\r\n" % number for number in range(129))
    + b"\r\n",
    "long": b"GET / HTTP/1.1\r\n" + LINES + b"X-A: " + b"a" * 9000 + b"\r\n\r\n",
    "long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + LINES + b"\r\n",
}


@pytest.fixture(params=PARSERS)
def parser(request):
    return request.param


@pytest.fixture(params=UNREADABLE)
def unreadable(request):
    return UNREADABLE[request.param]


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    """Accepts WebSockets and keeps them."""
    if scope["type"] == "http":
        await hello(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


class TestUnreadable:
    async def test_it_is_refused(self, parser, unreadable):
        """400 and the end, before another protocol has the connection; it keeps no slot."""
        server = FakeServer(stuck, parser)
        client = server.connect()
        client.send(unreadable)
        assert (client.is_open(), client.status()) == (False, 400)
        assert server.counts() == {"malformed": 1}
        assert server.state.connections == {client.protocol}
        client.end()
        assert (len(server.connections), server.state.connections) == (0, set())

    async def test_what_the_library_alone_cannot_read_is_refused_as_well(
        self, parser, unreadable, monkeypatch
    ):
        """Its next release may have bounds that ours does not know."""
        monkeypatch.setattr(protocols, "fault_of", lambda *_: None)
        server = FakeServer(stuck, parser)
        client = server.connect()
        client.send(unreadable)
        assert (client.is_open(), client.status()) == (False, 400)
        assert server.state.connections == {client.protocol}
        assert client.transport.protocol is client.protocol
        for held in list(server.state.connections):
            held.shutdown()

    async def test_one_that_can_be_read_is_handed_over(self, parser):
        """With an empty body that is said to be empty, with many headers and a long line."""
        lines = b"".join(b"a%d: b\r\n" % number for number in range(120)) + b"X-A: " + b"a" * 8000 + b"\r\n"
        server = FakeServer(accepting, parser)
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\n" + LINES + lines + b"Content-Length: 0\r\n\r\n")
        await settle()
        assert (client.is_open(), client.status()) == (True, 101)
        client.transport.protocol.connection_lost(None)
        await settle()


async def test_one_that_was_refused_by_the_library_makes_room(parser):
    """Nobody tells of its end; whoever comes next is not turned away for it."""
    server = FakeServer(stuck, parser, max_connections=1)
    client = server.connect()
    client.send(UPGRADE.replace(b"Version: 13", b"Version: 12"))
    assert not client.is_open()
    assert server.connect().is_open()


class TestOrder:
    async def test_behind_a_request_under_way_it_is_refused_in_turn(self):
        """Its own bytes never come before the answer that somebody waits for."""
        goes_on = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await goes_on.wait()
            await hello(scope, receive, send)

        server = FakeServer(application)
        client = server.connect()
        client.send(HEAD + UPGRADE)
        await settle()
        assert client.transport.written == b""
        goes_on.set()
        await settle()
        first, _, second = client.transport.written.partition(b"hi")
        assert first.startswith(b"HTTP/1.1 200")
        assert second.startswith(b"HTTP/1.1 400")
        assert not client.is_open()
        assert server.counts() == {"pipelining": 1}

    async def test_behind_an_answered_request_it_begins(self, parser):
        """A connection may be used for both, one after the other."""
        server = FakeServer(accepting, parser)
        client = server.connect()
        client.send(HEAD)
        await settle()
        client.send(UPGRADE)
        await settle()
        assert client.status() == 101
        client.transport.protocol.connection_lost(None)
        await settle()

    async def test_another_upgrade_is_a_request(self):
        """What is not spoken here is ignored, as it was. Source: RFC 9110, 7.8."""
        server = FakeServer(hello)
        client = server.connect()
        client.send(HEAD + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        for _ in range(3):
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 2


@pytest.mark.process
@pytest.mark.parametrize("implementation", ["websockets", "websockets-sansio"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
async def test_a_shutdown_finishes_what_is_under_way(parser, implementation):
    """Whatever malformed handshakes are open: nothing is raised, and the request gets its answer."""
    begun = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        await hello(scope, receive, send)

    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:

        async def sent(port: int, data: bytes) -> socket.socket:
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, data)
            return client

        async with real_server(slow, parser, ws=implementation) as port:
            for data in UNREADABLE.values():
                await sent(port, data)
            client = await sent(port, HEAD)
            await begun.wait()
        answer = b""
        while data := await loop.sock_recv(client, 65536):
            answer += data
        assert answer.endswith(b"hi")
