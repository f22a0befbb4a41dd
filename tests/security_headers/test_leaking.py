"""Headers that tell what software runs here do not leave, whoever in the application sets them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Receive, Scope, Send

from prodkit.installation import install
from prodkit.security_headers import LEAKING, SecurityHeaders
from tests.security_headers.pages import client_of

LEAKS = {"Server": "shop/1.2", "X-Powered-By": "PHP/8", "X-AspNet-Version": "4", "SourceMap": "/app.js.map"}


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """A mounted application that writes names as it likes, as raw ASGI."""
    headers = ((name.encode(), value.encode()) for name, value in LEAKS.items())
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"X-Own", b"1")]})
    await send({"type": "http.response.body", "body": b"foreign"})


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/own")
    async def own(response: Response) -> str:
        response.headers.update(LEAKS)
        response.headers["X-Own"] = "1"
        return "x"

    @app.get("/error")
    async def error() -> None:
        raise HTTPException(404, headers=LEAKS | {"X-Own": "1"})

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]), headers=LEAKS | {"X-Own": "1"})

    app.router.routes.append(Mount("/foreign", app=foreign))
    app.mount("/plain", PlainTextResponse("x", headers=LEAKS | {"X-Own": "1"}))
    return app


PATHS = ["/own", "/error", "/stream", "/foreign", "/plain"]


@pytest.mark.parametrize("path", PATHS)
def test_they_are_removed(path: str):
    """From answers, errors, streams and mounted applications; other headers and the body stay."""
    answer = client_of(application()).get(path)
    assert LEAKING.isdisjoint(answer.headers)
    assert answer.headers["x-own"] == "1"
    assert answer.content
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", PATHS)
def test_those_that_are_wanted_are_kept(path: str):
    """By name in any case; `*` keeps all."""
    headers = client_of(application(), kept_headers=["SERVER", "sourcemap"]).get(path).headers
    assert headers["server"] == "shop/1.2"
    assert LEAKING & set(headers) == {"server", "sourcemap"}
    assert LEAKING & set(client_of(application(), kept_headers=["*"]).get(path).headers) == {
        name.lower() for name in LEAKS
    }


def test_we_leak_nothing_ourselves():
    """No header of ours is one of those, and none is the harmful filter of old browsers."""
    headers = TestClient(client_of(FastAPI()).app).get("/docs").headers
    assert LEAKING.isdisjoint(headers)
    assert "x-xss-protection" not in headers


def test_refused_sockets():
    """What an application says when it refuses a handshake, and when it accepts one."""
    app = FastAPI()

    @app.websocket("/refused")
    async def refused(websocket: WebSocket) -> None:
        await websocket.send_denial_response(Response(status_code=403, headers=LEAKS))

    @app.websocket("/accepted")
    async def accepted(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(name.encode(), value.encode()) for name, value in LEAKS.items()])
        await websocket.close()

    client = client_of(app)
    with pytest.raises(WebSocketDenialResponse) as denial, client.websocket_connect("/refused"):
        pass
    assert LEAKING.isdisjoint(denial.value.headers)
    with client.websocket_connect("/accepted") as socket:
        sent: Any = socket.extra_headers  # Starlette's own annotation says that there are none
        assert LEAKING.isdisjoint(name.decode().lower() for name, _ in sent)


def test_below_a_hardened_application():
    """What the outer application keeps is decided there; what it removes nobody inside can keep."""
    inner, app = application(), FastAPI()
    install(inner, SecurityHeaders(kept_headers=["*"]))
    app.mount("/inner", inner)
    assert LEAKING.isdisjoint(client_of(app).get("/inner/own").headers)


def test_header_of_ones_own():
    """What an operator writes down himself he wants to be read."""
    app = application()
    headers = client_of(app, overrides={"Server": "shop"}).get("/nowhere").headers
    assert headers.get_list("server") == ["shop"]
