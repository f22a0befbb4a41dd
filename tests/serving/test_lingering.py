"""A client that is still sending can read why nobody wants it."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from fastapi import FastAPI, Request

from prodkit import harden
from prodkit.request_limits import RequestLimits
from prodkit.serving import BoundedHTTP, lingering
from tests.support.server import read_all, serving, status_of, wait_until

LARGE = 8 * 1024 * 1024
REFUSED = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"


def application():
    app = FastAPI()

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    harden(app, RequestLimits(max_body_bytes=1000))
    return app


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize("framing", [b"Content-Length: %d" % LARGE, b"Transfer-Encoding: chunked"])
def test_a_413_arrives_though_the_body_is_on_its_way(parser, framing, loop):
    """All of it was sent before anything is read; a reset would have thrown the answer away."""
    with (
        serving(application(), http=BoundedHTTP(parser=parser), loop=loop) as server,
        server.connect() as connection,
    ):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
        body = b"x" * LARGE
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (LARGE, body) if b"chunked" in framing else body)
        time.sleep(0.2)  # what a reset needs to arrive
        answer = bytearray()
        while piece := connection.recv(65536):
            answer += piece
        assert status_of(bytes(answer)) == 413
        assert answer.endswith(b"}")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_does_not_stop_is_cut_off(loop, monkeypatch):
    """A client that sends on and on has its moment, and is gone then."""
    monkeypatch.setattr(lingering, "_LINGER_SECONDS", 0.3)
    with (
        serving(application(), http=BoundedHTTP(), loop=loop) as server,
        server.connect() as connection,
    ):
        connection.sendall(REFUSED)
        assert status_of(read_all(connection)) == 413
        started = time.monotonic()

        def is_cut() -> bool:
            try:
                connection.send(b"x")
            except OSError:
                return True
            return False

        wait_until(is_cut)
        assert 0.2 < time.monotonic() - started < 2


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_slow_reader_gets_all_of_its_answer(loop, monkeypatch):
    """Reading may take far longer than the moment that begins when all is written."""
    monkeypatch.setattr(lingering, "_LINGER_SECONDS", 0.1)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"x" * 3 * LARGE})

    options: Any = {"http": BoundedHTTP(), "loop": loop, "lifespan": "off"}
    with serving(large, **options) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(REFUSED + b"x" * 100_000)
        size, paused = 0, 0
        while piece := connection.recv(1_000_000):
            size += len(piece)
            if size > paused + 2_000_000 and size < LARGE:
                paused = size
                time.sleep(0.15)
        assert size > 3 * LARGE


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_counts_until_it_is_gone(loop):
    """Whoever is still heard holds a connection: otherwise a moment for each would be room for any number of them."""
    http = BoundedHTTP(head_seconds=0.5, max_connections_per_address=1)
    with serving(application(), http=http, loop=loop) as server:
        with server.connect() as connection:
            connection.sendall(REFUSED)
            assert status_of(read_all(connection)) == 413
            time.sleep(0.2)  # four looks at all connections
            assert status_of(server.exchange(b"")) == 503
        wait_until(lambda: status_of(server.get("/")) != 503)
