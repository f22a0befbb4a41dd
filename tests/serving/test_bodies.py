"""What comes with a body without being one, bodies that wait for their turn, and requests whose client is gone."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest

from prodkit.serving import forgetting
from tests.serving.harness import HEAD, PARSERS, FakeServer, hello, real_server, settle, stuck

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=PARSERS)
def parser(request):
    return request.param


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Reads all of a body, and answers."""
    while (await receive()).get("more_body"):
        pass
    await hello(scope, receive, send)


class Polling:
    """Asks all the time whether its client is there, until it may answer."""

    def __init__(self) -> None:
        self.may_answer = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while not self.may_answer:
            asking = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            asking.cancel()
        await hello(scope, receive, send)


class TestFraming:
    @pytest.mark.parametrize(
        ("begin", "more"),
        [
            (b"1\r\nx\r\n0\r\nX-T: ", b"a" * 5000),
            (b"1\r\nx\r\n0\r\n", b"X-T: " + b"a" * 4990 + b"\r\n"),
            (b"1;", b"a" * 5000),
        ],
        ids=["a trailer", "trailers", "an extension"],
    )
    async def test_what_has_no_end_is_cut(self, parser, begin, more):
        """It is no body, so nothing that bounds bodies sees it."""
        server = FakeServer(counting, parser, max_head_bytes=8192)
        client = server.connect()
        client.send(CHUNKED)
        await settle()
        client.send(begin)
        for _ in range(6):
            if client.is_open():
                client.send(more)
                await settle()
        assert not client.is_open()
        assert client.status() == (431 if parser == "httptools" else 400)
        assert sum(server.counts().values()) == 1

    async def test_extensions_between_a_little_body_are_cut(self):
        """A byte in each chunk does not make it a body. Source: CVE-2023-39326."""
        server = FakeServer(counting, max_head_bytes=4096)
        client = server.connect()
        client.send(CHUNKED)
        for _ in range(6):
            if client.is_open():
                client.send(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
        assert (client.is_open(), client.status()) == (False, 431)

    async def test_behind_an_answer_it_is_cut_without_another(self, parser):
        """The client would take a second answer for that to its next request."""
        server = FakeServer(hello, parser, max_head_bytes=4096)
        client = server.connect()
        client.send(CHUNKED)
        await settle()
        client.send(b"0\r\nX-T: ")
        for _ in range(6):
            if client.is_open():
                client.send(b"a" * 5000)
        assert not client.is_open()
        assert client.transport.written.count(b"HTTP/1.1") == 1

    @pytest.mark.parametrize("size", [1, 7, 5000])
    async def test_bodies_in_small_chunks_are_served(self, parser, size):
        """However many there are, and however they are cut on the way; with a trailer."""
        server = FakeServer(counting, parser, max_head_bytes=1024)
        client = server.connect()
        chunks = (b"%x\r\n%b\r\n" % (size, b"x" * size)) * 1000
        data = CHUNKED + chunks + b"0\r\nX-T: abc\r\n\r\n"
        for start in range(0, len(data), 999):
            client.send(data[start : start + 999])
        await settle()
        assert client.status() == 200
        assert server.counts() == {}

    async def test_a_body_one_byte_at_a_time_is_served(self, parser):
        """Its pace is the application's to bound."""
        server = FakeServer(counting, parser, max_head_bytes=1024)
        client = server.connect()
        for byte in CHUNKED + b"2\r\nab\r\n" * 500 + b"0\r\n\r\n" + CHUNKED + b"0\r\n\r\n":
            client.send(bytes([byte]))
        for _ in range(3):
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 2


class TestWaiting:
    async def test_a_body_that_waits_is_bounded(self, parser):
        """The request before it asks for its disconnect, and uvicorn reads on each time."""
        application = Polling()
        server = FakeServer(application, parser)
        client = server.connect()
        client.send(HEAD + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(50):
            if client.is_open():
                await asyncio.sleep(0)
                client.send(b"x" * 50_000)
        if parser == "httptools":
            assert sum(len(cycle.body) for cycle, _ in client.protocol.pipeline) == 0
        application.may_answer = True
        for _ in range(3):
            await settle()
        written = client.transport.written
        # h11 has not looked at the second yet, and nothing was said to the first.
        assert written.count(b"HTTP/1.1 200") == (1 if parser == "httptools" else 0)
        assert written.count(b"HTTP/1.1 413") == 1
        assert not client.is_open()
        assert server.counts() == {"pipelining": 1}
        assert not server.state.tasks

    async def test_behind_a_refusal_nothing_is_looked_at(self):
        """Neither garbage nor a head without end is counted, kept or answered."""
        application = Polling()
        server = FakeServer(application)
        client = server.connect()
        client.send(HEAD * 2 + b"\x00garbage\r\n\r\n")
        for _ in range(5):
            client.send(b"\x00garbage\r\n\r\n" + HEAD * 300 + b"GET /" + b"a" * 70_000)
        application.may_answer = True
        for _ in range(3):
            await settle()
        written = client.transport.written
        assert (written.count(b"HTTP/1.1"), written.count(b"HTTP/1.1 400")) == (2, 1)
        assert server.counts() == {"malformed": 1}

    async def test_who_sends_on_behind_a_refusal_is_cut(self, monkeypatch):
        """Throwing away costs little, but not nothing; the request under way ends as when its client leaves."""
        monkeypatch.setattr(forgetting, "_MAX_UNHEARD_BYTES", 1_000_000)
        server = FakeServer(Polling())
        client = server.connect()
        client.send(HEAD * 2 + b"\x00garbage\r\n\r\n")
        for _ in range(10):
            client.send(b"x" * 100_000)
        assert client.is_open()
        client.send(b"x")
        assert not client.is_open()
        assert client.protocol.running.disconnected
        for task in server.state.tasks:
            task.cancel()
        await settle()

    async def test_a_body_of_ordinary_size_may_wait(self, parser):
        """It is answered in its turn."""
        application = Polling()
        server = FakeServer(application, parser)
        client = server.connect()
        client.send(HEAD + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
        await settle()
        application.may_answer = True
        for _ in range(3):
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 2
        assert server.counts() == {}


class TestDisconnects:
    @pytest.mark.parametrize("behind", [0, 1, 3])
    async def test_the_request_under_way_is_told(self, parser, behind):
        """Whatever waits behind it; what it sends from then on goes nowhere, and what waits never begins."""
        begun = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            begun.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await receive()
            while (await receive())["type"] != "http.disconnect":
                pass
            await send({"type": "http.response.body", "body": b"late"})

        server = FakeServer(application, parser)
        client = server.connect()
        client.send(HEAD * (1 + behind))
        await settle()
        client.end()
        await settle()
        assert not server.state.tasks
        assert begun == ["/"]
        assert b"late" not in client.transport.written

    async def test_also_one_that_has_waited(self):
        """The second of three, when the first is answered."""
        application = Polling()
        server = FakeServer(application)
        client = server.connect()
        client.send(HEAD * 3)
        await settle()
        waits = [cycle for cycle, _ in reversed(client.protocol.pipeline)]
        client.protocol.pipeline[-1] = (waits[0], stuck)
        application.may_answer = True
        await settle()
        assert client.protocol.running is waits[0]
        client.end()
        assert (waits[0].disconnected, waits[1].disconnected) == (True, True)
        for task in server.state.tasks:
            task.cancel()
        await settle()


@pytest.mark.process
@pytest.mark.skipif(
    sys.platform != "linux", reason="that a client is gone whose bytes are not read is told by Linux only"
)
async def test_a_request_that_only_listens_is_told_behind_another_that_came_later(parser):
    """uvicorn stops reading at the second, and so would never see the end; whoever writes nothing would wait for ever."""
    begun, told = asyncio.Event(), asyncio.Event()

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    async with real_server(listening, parser, head_seconds=0.5) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(HEAD)
            await begun.wait()
            client.sendall(HEAD)
            await asyncio.sleep(0.1)
            assert not told.is_set()
        await asyncio.wait_for(told.wait(), 2)
