"""The innermost class does what Starlette's exception layer, whose place it takes, would do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.assembly import assemble
from prodkit.core.pipeline import InnermostScope
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.recording import Recorder


class PaperError(Exception):
    pass


def layers(app: Any) -> list[Any]:
    found = []
    layer = app.middleware_stack
    while layer is not None:
        found.append(layer)
        layer = getattr(layer, "app", None)
    return found


def hardened(app: FastAPI) -> tuple[TestClient, Recorder]:
    recorder = Recorder()
    install(app, Correlation(), recorder)
    return TestClient(app, raise_server_exceptions=False), recorder


def test_the_frameworks_idle_layers_are_left_out():
    """FastAPI's body limiter, which has no limit, and the exception layer are not on the path of a request."""
    app = FastAPI()
    client, _ = hardened(app)
    client.get("/")
    names = [type(layer).__name__ for layer in layers(app)]
    assert names[0] == "ServerErrorMiddleware"
    assert "AppBodyLimitMiddleware" not in names
    innermost = next(layer for layer in layers(app) if isinstance(layer, InnermostScope))
    assert isinstance(innermost.app, ExceptionMiddleware)
    assert innermost.inside is innermost.app.app


def test_a_layer_of_somebody_elses_stays():
    """A subclass, as an instrumentation may put there, is left where it is."""

    class Instrumented(ExceptionMiddleware):
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    kit = assemble(())
    theirs = Instrumented(app)
    assert InnermostScope(theirs, kit=kit).inside is theirs
    assert InnermostScope(ExceptionMiddleware(app), kit=kit).inside is app


@pytest.mark.parametrize("path", ["/route", "/middleware", "/nothing"])
def test_handlers_by_type_and_by_status(path):
    """Handlers run for what routes, inner layers and the router itself raise."""
    app = FastAPI()

    @app.exception_handler(PaperError)
    def paper(request: Request, error: PaperError) -> JSONResponse:
        return JSONResponse({"handler": "paper"}, 507)

    @app.exception_handler(404)
    async def missing(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"handler": "missing"}, 404)

    @app.get("/route")
    async def route() -> None:
        raise PaperError

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        raise PaperError

    app.mount("/middleware", raw)
    client, recorder = hardened(app)
    assert client.get(path).json() == {"handler": "missing" if path == "/nothing" else "paper"}
    assert recorder.last.status == (404 if path == "/nothing" else 507)


def test_an_exception_after_the_start_keeps_its_cause():
    """A handled exception after the response has begun rises as itself, not as a complaint about it."""
    app = FastAPI()

    @app.get("/")
    async def root() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            raise PaperError

        return StreamingResponse(body())

    @app.exception_handler(PaperError)
    def paper(request: Request, error: PaperError) -> JSONResponse:
        return JSONResponse({}, 507)

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise PaperError

    app.mount("/raw", raw)
    _, recorder = hardened(app)
    with pytest.raises(PaperError):
        TestClient(app).get("/raw/x")
    assert recorder.last.outcome == "aborted"


def test_sockets():
    """An exception before the accept is handled for a socket as well."""
    app = FastAPI()

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        raise HTTPException(403)

    app.mount("/raw", raw)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        raise HTTPException(409)

    client, recorder = hardened(app)
    for path, status in [("/raw/x", 403), ("/ws", 409)]:
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
            pass
        assert refused.value.status_code == status
        assert recorder.last.status == status


def test_hardened_application_under_the_limit_of_a_bare_one():
    """Mounted in an application with `max_body_size`, ours answers with a problem, and the outer limit holds."""
    inner, outer = FastAPI(), FastAPI(max_body_size=10)

    @inner.post("/")
    async def root(request: Request) -> int:
        return len(await request.body())

    recorder = Recorder()
    install(inner, Correlation(), recorder)
    outer.mount("/sub", inner)
    client = TestClient(outer)

    def chunks() -> Any:
        yield b"12345678"
        yield b"12345678"

    assert client.post("/sub/", content=b"12345").json() == 5
    assert client.post("/sub/", content=chunks()).status_code == 413
    assert [event.outcome for event in recorder.finished] == ["ok", "refused"]
    assert not [event for event in recorder.events if type(event).__name__ == "RequestFailed"]
