"""A client that is still sending can read why nobody wants it."""

from __future__ import annotations

import socket
import time

import pytest
from fastapi import FastAPI, Request

from prodkit import harden
from prodkit.request_limits import RequestLimits
from prodkit.serving import BoundedHTTP
from tests.support.server import read_all, serving, status_of, wait_until

LARGE = 8 * 1024 * 1024


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


def test_who_does_not_stop_is_cut_off():
    """A client that sends on and on has its moment, and is gone then."""
    with serving(application(), http=BoundedHTTP()) as server, server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n")
        assert status_of(read_all(connection)) == 413
        started = time.monotonic()

        def is_cut() -> bool:
            try:
                connection.send(b"x")
            except OSError:
                return True
            return False

        wait_until(is_cut)
        assert time.monotonic() - started < 4
        assert connection.family == socket.AF_INET
