"""Whatever is sent, in whatever pieces: nothing raises, and no connection is held without a request under way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.harness import HEAD, PARSERS, FakeServer, settle

REQUESTS = st.sampled_from(
    [
        HEAD,
        b"GET /path?query=%zz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhel",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
)
JUNK = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"\r\n", b"GET / HTTP/1.1\r\nHo", b"\x16\x03\x01", b" \t", b"G" * 3000]),
)
PIECES = st.lists(st.one_of(REQUESTS, JUNK), max_size=6)


@pytest.mark.parametrize("parser", PARSERS)
@settings(database=None, deadline=None, max_examples=120)
@given(pieces=PIECES, cuts=st.lists(st.integers(1, 40), max_size=8), reads_bodies=st.booleans())
def test_nothing_holds_a_connection(parser, pieces, cuts, reads_bodies):
    """Bytes that follow one a second do not, either; half a head, half a body and nonsense are closed in their time."""
    failures: list[str] = []

    class Failures(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failures.append(record.getMessage())

    async def application(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        if reads_bodies and message.get("more_body"):
            await receive()
        # As `request_limits` does: after a 2xx h11 would leave the connection to the application.
        status = 405 if scope["method"] == "CONNECT" else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    async def story() -> None:
        server = FakeServer(application, parser, head_seconds=10, max_head_bytes=2048)
        client = server.connect()
        data = b"".join(pieces)
        for size in [*cuts, len(data)]:
            piece, data = data[:size], data[size:]
            if piece and client.is_open():
                client.send(piece)
                await settle()
        for _ in range(80):
            if client.is_open():
                client.send(b"x")
                await settle()
                server.loop.advance(1)
        cycle = client.protocol.cycle
        if cycle is None or cycle.response_complete:
            assert not client.is_open()
        client.end()
        await settle()
        assert len(server.connections) == 0
        assert not server.state.tasks

    handler = Failures(logging.ERROR)
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    try:
        asyncio.run(story())
    finally:
        logger.removeHandler(handler)
    assert failures == []
