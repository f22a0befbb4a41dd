"""What only a real server and a real socket can show: clients that leave, streams that break, what is on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from prodkit.core.context import RequestContext
from prodkit.core.features import Layer
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.recording import Contributes, Recorder, guarding
from tests.support.server import headers_of, read_all, serving, status_of, wait_until

STATIC = Contributes("static", response_headers={"X-Content-Type-Options": "nosniff"})


def hardened(app: FastAPI, *features: Any) -> Recorder:
    recorder = Recorder()
    install(app, Correlation(), STATIC, recorder, *features)
    return recorder


def test_every_error_on_the_wire():
    """404, 405, 422 and 500 each carry id and headers once, are one problem, and the connection stays usable."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def read(item: int) -> int:
        return item

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("x")

    recorder = hardened(app)
    with serving(app) as served:
        for path, status in [("/nothing", 404), ("/items/x", 422), ("/boom", 500), ("/items/1", 200)]:
            response = served.get(path)
            headers = headers_of(response)
            assert status_of(response) == status
            assert headers["x-content-type-options"] == "nosniff"
            assert len(headers["x-request-id"]) == 32
            if status >= 400:
                assert (
                    json.loads(response.partition(b"\r\n\r\n")[2])["correlation_id"]
                    == headers["x-request-id"]
                )
        assert (
            status_of(served.exchange(b"PUT /items/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            == 405
        )
        wait_until(lambda: len(recorder.finished) == 5)
    assert [event.outcome for event in recorder.finished] == ["refused", "refused", "error", "ok", "refused"]


def test_head_has_no_body():
    """A HEAD request that is refused has the headers of the problem and no body."""
    app = FastAPI()
    hardened(app)
    with serving(app) as served:
        response = served.exchange(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert headers_of(response)["content-type"] == "application/problem+json"
    assert response.endswith(b"\r\n\r\n")


def test_upload_whose_client_leaves():
    """A client that leaves in the middle of its body is `disconnected`, once, and no error of ours."""
    app = FastAPI()

    @app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    recorder = hardened(app)
    with serving(app) as served:
        connection = served.connect()
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n12345")
        wait_until(lambda: app.state.prodkit.in_flight == 1)
        connection.close()
        wait_until(lambda: recorder.finished)
    assert recorder.last.outcome == "disconnected"
    assert recorder.last.route == "/upload"
    assert len(recorder.events) == 1


def test_parsed_upload_whose_client_leaves():
    """The same where FastAPI reads the body and turns the broken read into a 400 nobody gets."""
    app = FastAPI()

    @app.post("/upload")
    async def upload(body: dict[str, int]) -> int:
        return len(body)

    recorder = hardened(app)
    with serving(app) as served:
        connection = served.connect()
        connection.sendall(
            b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        wait_until(lambda: app.state.prodkit.in_flight == 1)
        connection.close()
        wait_until(lambda: recorder.finished)
    assert recorder.last.outcome == "disconnected"
    assert len(recorder.events) == 1


@pytest.mark.parametrize("kind", ["stream", "sse"])
def test_stream_whose_client_leaves(kind):
    """A client that leaves a stream ends it: `disconnected`, with the generator cleaned up."""
    closed: list[str] = []
    app = FastAPI()

    async def forever() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0.01)
        finally:
            closed.append("closed")

    if kind == "stream":

        @app.get("/")
        async def stream():
            return StreamingResponse(forever(), media_type="text/event-stream")
    else:

        @app.get("/", response_class=EventSourceResponse)
        async def sse() -> AsyncIterator[dict[str, int]]:
            try:
                while True:
                    yield {"x": 1}
                    await asyncio.sleep(0.01)
            finally:
                closed.append("closed")

    recorder = hardened(app)
    with serving(app) as served:
        connection = served.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = connection.recv(4096)
        assert b"x-request-id" in first.lower()
        connection.close()
        wait_until(lambda: recorder.finished)
    assert recorder.one() == ("/", 200, "disconnected")
    assert closed == ["closed"]


def test_stream_that_breaks_is_not_completed():
    """A body that breaks in the middle never gets its last chunk, so the client can tell."""
    app = FastAPI()

    @app.get("/")
    async def root():
        async def body() -> AsyncIterator[bytes]:
            yield b"begin"
            raise RuntimeError("broke")

        return StreamingResponse(body())

    recorder = hardened(app)
    with serving(app) as served:
        response = served.get("/")
        wait_until(lambda: recorder.finished)
    assert status_of(response) == 200
    assert b"begin" in response
    assert not response.endswith(b"0\r\n\r\n")
    assert response.count(b"HTTP/1.1") == 1
    assert recorder.one() == ("/", 200, "aborted")


def test_plain_answer_to_a_vanished_client_is_ok():
    """Nothing tells an application that nobody was there to read a plain answer; the docs say so."""
    app = FastAPI()
    entered = asyncio.Event()

    @app.get("/")
    async def root() -> str:
        entered.set()
        await asyncio.sleep(0.1)
        return "nobody reads this"

    recorder = hardened(app)
    with serving(app) as served:
        connection = served.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(entered.is_set)
        connection.close()
        wait_until(lambda: recorder.finished)
    assert recorder.one() == ("/", 200, "ok")


def test_chunked_body_over_the_limit():
    """A chunked body that grows too long is answered while it is being sent."""
    app = FastAPI()

    @app.post("/")
    async def root(body: dict[str, int]) -> int:
        return len(body)

    def limit(context: RequestContext) -> None:
        context.max_body_bytes = 8

    recorder = hardened(app, guarding(Layer.EDGE, limit))
    with serving(app) as served, served.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"10\r\n" + b"1" * 16 + b"\r\n"
        )
        response = read_all(connection)
    assert status_of(response) == 413
    assert headers_of(response)["content-type"] == "application/problem+json"
    assert recorder.one() == ("/", 413, "refused")


def test_requests_in_flight_are_counted():
    """`kit.in_flight` is the number of requests under way, and 0 when all is quiet."""
    app = FastAPI()
    release = asyncio.Event()

    @app.get("/wait")
    async def wait() -> str:
        await asyncio.wait_for(release.wait(), 5)
        return "ok"

    @app.get("/release")
    async def let_go() -> None:
        release.set()

    recorder = hardened(app)
    kit = app.state.prodkit
    with serving(app) as served:
        connections = [served.connect() for _ in range(3)]
        for connection in connections:
            connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        wait_until(lambda: kit.in_flight == 3)
        served.get("/release")
        for connection in connections:
            with connection:
                assert status_of(read_all(connection)) == 200
        wait_until(lambda: len(recorder.finished) == 4)
        assert kit.in_flight == 0
