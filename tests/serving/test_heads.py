"""What becomes of clients that send slowly, too much or nonsense, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.harness import HEAD, PARSERS, FakeServer, hello, settle, stuck


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Begins an answer that does not end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b"y" * 1000})


@pytest.fixture(params=PARSERS)
def parser(request):
    return request.param


class TestHeads:
    async def test_one_that_says_nothing_is_closed_without_a_word(self, parser):
        """A browser connects ahead of need: a 408 would be the answer to what it sends later."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        server.loop.advance(9.5)
        assert client.is_open()
        server.loop.advance(1.5)
        assert not client.is_open()
        assert client.transport.written == b""
        assert server.counts() == {"head_time": 1}

    async def test_one_byte_at_a_time_does_not_buy_time(self, parser):
        """uvicorn forgets its timer at each byte; this one runs from the first to the last of the head."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX-A: bcdefghijklmnop":
            if client.is_open():
                client.send(bytes([byte]))
                server.loop.advance(0.5)
        assert not client.is_open()
        assert server.loop.now <= 1000 + 10 + 2 + 20
        assert client.status() == 408
        assert b'"type":"https://prodkit.example/request-timeout"' in client.transport.written
        assert b"connection: close" in client.transport.written

    async def test_half_a_line_is_answered_408(self, parser):
        """Somebody who reads learns why."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        client.send(b"GET /a?b=")
        server.loop.advance(11)
        assert (client.is_open(), client.status()) == (False, 408)

    async def test_a_head_in_time_is_served(self, parser):
        """However it is cut."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        for byte in HEAD:
            client.send(bytes([byte]))
            server.loop.advance(0.2)
        await settle()
        assert client.status() == 200
        server.loop.advance(60)
        assert client.is_open(), "an idle connection has the keep-alive time"
        server.loop.advance(6)
        assert not client.is_open()
        assert server.counts() == {}

    async def test_the_next_head_has_its_own_time(self, parser):
        """Counted from its first byte; also when every sweep happens to see the connection in the middle of one."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        for _ in range(20):
            client.send(HEAD[:10])
            server.loop.advance(3)
            client.send(HEAD[10:])
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 20
        client.send(HEAD[:10])
        server.loop.advance(9)
        assert client.is_open()
        server.loop.advance(3)
        assert (client.is_open(), client.status()) == (False, 408)

    async def test_a_head_that_begins_before_the_answer_has_its_time_from_there(self, parser):
        """The server sets its timer for idle connections behind each answer, though this one is not idle."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        client.send(HEAD + b"GET / HT")
        await settle()
        assert client.status() == 200
        server.loop.advance(9)
        assert client.is_open()
        server.loop.advance(3)
        assert (client.is_open(), client.status()) == (False, 408)
        assert server.counts() == {"head_time": 1}

    async def test_empty_lines_are_no_head(self, parser):
        """Parsers skip them, and they are bytes that uvicorn's own timer is forgotten for."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        client.send(HEAD)
        await settle()
        for _ in range(12):
            if client.is_open():
                client.send(b"\r\n")
                server.loop.advance(1)
        assert not client.is_open()

    @pytest.mark.parametrize("kind", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
    async def test_the_rest_of_a_body_that_nobody_reads(self, parser, kind):
        """Answered before it has come, a request may not go on for ever; it gets no second answer."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + kind + b"\r\n\r\n")
        await settle()
        assert client.status() == 200
        for _ in range(12):
            if client.is_open():
                client.send(b"0")
                server.loop.advance(1)
        assert (client.is_open(), client.status()) == (False, 200)

    async def test_a_request_under_way_has_all_the_time(self, parser):
        """How long a handler or a body takes is decided elsewhere."""
        server = FakeServer(stuck, parser, head_seconds=10)
        client = server.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        await settle()
        for _ in range(100):
            client.send(b"x")
            server.loop.advance(1)
        assert client.is_open()
        client.end()

    async def test_time_in_which_the_loop_was_blocked_does_not_count(self, parser):
        """What a client has sent meanwhile has not been read."""
        server = FakeServer(hello, parser, head_seconds=10)
        client = server.connect()
        client.send(HEAD[:10])
        server.loop.advance(5)
        server.loop.block(30)
        assert client.is_open()
        server.loop.advance(6)
        assert not client.is_open()

    async def test_no_timer_without_connections(self, parser):
        """An idle server is not woken up."""
        server = FakeServer(hello, parser)
        client = server.connect()
        assert server.loop.timers() == 1
        client.end()
        server.loop.advance(2)
        assert server.loop.timers() == 0
        assert len(server.connections) == 0
        server.connect()
        assert server.loop.timers() == 1


class TestSizes:
    async def test_a_head_without_end_is_cut(self):
        """httptools would keep all of it: 431, and the end."""
        server = FakeServer(hello, max_head_bytes=4096)
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(5):
            if client.is_open():
                client.send(b"X-A: " + b"a" * 993 + b"\r\n")
        assert (client.is_open(), client.status()) == (False, 431)
        assert server.counts() == {"head_size": 1}

    async def test_a_line_without_end_is_cut(self):
        """So would it a URL."""
        server = FakeServer(hello, max_head_bytes=4096)
        client = server.connect()
        client.send(b"GET /")
        for _ in range(5):
            if client.is_open():
                client.send(b"a" * 1000)
        assert client.status() == 431

    async def test_bodies_and_heads_before_do_not_count(self):
        """Only what is unfinished does; a body may end in the read in which the next head begins."""
        server = FakeServer(hello, max_head_bytes=1024)
        client = server.connect()
        for _ in range(20):
            client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nX-A: " + b"a" * 800 + b"\r\n\r\n"
            )
            client.send(b"b" * 5000 + b"GET / HTTP/1.1\r\n")
            client.send(b"Host: x\r\n\r\n")
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 40
        assert server.counts() == {}

    async def test_a_head_that_grows_behind_a_request_under_way(self):
        """The answer that is being written is not broken by another one, and the request learns that it is over."""
        server = FakeServer(endless, max_head_bytes=1024)
        client = server.connect()
        client.send(HEAD)
        await settle()
        client.send(b"GET /second HTTP/1.1\r\n")
        for _ in range(3):
            client.send(b"X-A: " + b"a" * 500 + b"\r\n")
        await settle()
        assert not client.is_open()
        assert client.transport.written.count(b"HTTP/1.1") == 1
        assert b"y" not in client.transport.written
        assert not server.state.tasks

    async def test_requests_in_one_read_are_bounded(self):
        """Each costs a hundred times its bytes: a hundred may wait, the last of them is told why, and none follows."""
        asked = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["path"])
            await hello(scope, receive, send)

        server = FakeServer(application)
        client = server.connect()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5000)))
        assert len(client.protocol.pipeline) == 100
        for _ in range(200):
            await settle()
        assert asked == [f"/{number}" for number in range(100)]
        written = client.transport.written
        assert (written.count(b"HTTP/1.1 200"), written.count(b"HTTP/1.1 429")) == (100, 1)
        assert written.endswith(b'waiting for answers."}')
        assert not client.is_open()
        assert server.counts() == {"pipelining": 1}

    async def test_a_websocket_that_has_begun_is_not_answered(self):
        """A head that is too long and complete is the application's to judge; the connection is another protocol's."""
        server = FakeServer(stuck, max_head_bytes=2048)
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1500 + b"\r\n")
        client.send(
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-B: "
            + b"b" * 1500
            + b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await settle()
        assert client.is_open()
        assert client.transport.written == b""
        assert client.transport.protocol is not None
        client.transport.protocol.connection_lost(None)
        for task in server.state.tasks:
            task.cancel()
        await settle()

    async def test_ordinary_pipelining_works(self, parser):
        """Answers come in order, all of them."""
        server = FakeServer(hello, parser)
        client = server.connect()
        client.send(HEAD * 50)
        for _ in range(100):
            await settle()
        assert client.transport.written.count(b"HTTP/1.1 200") == 50
        assert client.is_open()


class TestGarbage:
    @pytest.mark.parametrize(
        "data",
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELO x\r\n\r\n", b"GET\x00 / HTTP/1.1\r\n\r\n"],
    )
    async def test_it_is_answered_with_a_problem(self, parser, data):
        """TLS to a port without it, another protocol, nonsense: 400 as a problem, and the end."""
        server = FakeServer(hello, parser)
        client = server.connect()
        client.send(data)
        assert (client.is_open(), client.status()) == (False, 400)
        assert b"application/problem+json" in client.transport.written
        assert server.counts() == {"malformed": 1}

    async def test_it_does_not_get_into_an_answer(self):
        """Garbage behind a request whose answer is half written ends it, and is not answered inside of it."""
        server = FakeServer(endless)
        client = server.connect()
        client.send(HEAD)
        await settle()
        client.send(b"\x00\x00garbage\r\n\r\n")
        await settle()
        assert client.transport.written.count(b"HTTP/1.1") == 1
        assert not client.is_open()

    async def test_behind_requests_that_wait_it_is_answered_in_turn(self):
        """Those before it get their answers."""
        server = FakeServer(hello)
        client = server.connect()
        client.send(HEAD * 3 + b"\x00\r\n\r\n")
        for _ in range(20):
            await settle()
        written = client.transport.written
        assert (written.count(b"HTTP/1.1 200"), written.count(b"HTTP/1.1 400")) == (2, 1)
        assert not client.is_open()

    async def test_a_websocket_with_a_chunked_body(self, parser):
        """There is none: what would be chunks is neither taken for trailers nor for a request."""
        server = FakeServer(stuck, parser)
        client = server.connect()
        client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-A: b\r\n\r\n"
        )
        await settle()
        for task in server.state.tasks:
            task.cancel()
        await settle()

    async def test_trailers_are_no_headers(self, parser):
        """What comes behind the body cannot say who has sent it: uvicorn's own would add it to the scope."""
        seen = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["more_body"]:
                pass
            seen.append([name for name, _ in scope["headers"]])
            await hello(scope, receive, send)

        server = FakeServer(application, parser)
        client = server.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await settle()
        client.send(b"3\r\nabc\r\n0\r\nX-User: admin\r\nAuthorization: Bearer x\r\n\r\n" + HEAD)
        for _ in range(3):
            await settle()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n")
        await settle()
        assert seen[0] == [b"host", b"transfer-encoding"]
        assert seen[-1] == [b"host", b"x-own", b"content-length"]
