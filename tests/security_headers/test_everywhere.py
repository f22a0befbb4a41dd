"""No answer goes without: errors, refusals, redirects, preflights, mounted applications and refused sockets."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Response, WebSocket
from fastapi.exceptions import HTTPException
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.testclient import WebSocketDenialResponse

from prodkit import Settings, harden
from prodkit.cors import CORS
from prodkit.proxies import Proxies
from prodkit.rate_limiting import RateLimiting, rate_limit
from prodkit.security_headers import PRESETS

PAGE = "https://page.example"
HSTS = "strict-transport-security"
PROBES = {"/livez", "/readyz"}


@pytest.fixture
def client() -> Any:
    """The standard set, over https as a trusted proxy tells."""
    app = FastAPI()

    @app.get("/ok")
    async def ok() -> str:
        return "x"

    @app.post("/ok")
    async def post(body: dict[str, Any]) -> None: ...

    @app.head("/ok")
    async def head() -> Response:
        return Response()

    @app.get("/kept")
    async def kept() -> Response:
        return Response(status_code=304, headers={"ETag": '"1"'})

    @app.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/ok")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/limited", dependencies=[rate_limit("1/hour")])
    async def limited() -> str:
        return "x"

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.close()

    app.mount("/mounted", PlainTextResponse("x"))
    harden(
        app,
        Proxies(trusted_proxies=["10.0.0.0/8"]),
        CORS(origins=[PAGE]),
        RateLimiting(),
        settings=Settings(request_limits={"max_body_bytes": 10}),
    )
    with TestClient(
        app,
        client=("10.0.0.1", 1),
        headers={"X-Forwarded-Proto": "https"},
        raise_server_exceptions=False,
        follow_redirects=False,
    ) as client:
        yield client


ANSWERS = [
    ("GET", "/ok", 200, {}),
    ("HEAD", "/ok", 200, {}),
    ("GET", "/kept", 304, {}),
    ("GET", "/moved", 307, {}),
    ("GET", "/ok/", 307, {}),
    ("GET", "/stream", 200, {}),
    ("GET", "/mounted/", 200, {}),
    ("GET", "/nowhere", 404, {}),
    ("PUT", "/ok", 405, {}),
    ("TRACE", "/ok", 405, {}),
    ("POST", "/ok", 413, {"content": b"x" * 99}),
    ("POST", "/ok", 422, {"content": b"[]"}),
    ("GET", f"/{'x' * 9000}", 414, {}),
    ("GET", "/unavailable", 503, {}),
    ("GET", "/breaks", 500, {}),
    ("GET", "/openapi.json", 200, {}),
    ("GET", "/livez", 200, {}),
    ("GET", "/readyz", 200, {}),
    ("OPTIONS", "/ok", 204, {"headers": {"Origin": PAGE, "Access-Control-Request-Method": "GET"}}),
    (
        "OPTIONS",
        "/ok",
        403,
        {"headers": {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}},
    ),
]


def assert_complete(headers: Any, *, hsts: bool = True) -> None:
    for name, value in PRESETS["api"].items():
        assert headers.get_list(name) == [value], name
    assert "x-xss-protection" not in headers
    assert headers.get_list(HSTS) == (["max-age=63072000; includeSubDomains"] if hsts else [])


@pytest.mark.parametrize(("method", "path", "status", "send"), ANSWERS, ids=lambda value: str(value)[:12])
def test_every_answer_is_complete(client: TestClient, method: str, path: str, status: int, send: Any):
    """Each header once, whoever answered; probes alone say nothing of https, since no browser asks them."""
    answer = client.request(method, path, **send)
    assert answer.status_code == status
    assert_complete(answer.headers, hsts=path not in PROBES)


def test_refusal_of_a_limit_is_complete(client: TestClient):
    """429 as well."""
    statuses = [client.get("/limited") for _ in range(2)]
    assert [one.status_code for one in statuses] == [200, 429]
    assert_complete(statuses[1].headers)


def test_refused_socket_is_complete(client: TestClient):
    """A denial is a response, and a browser reads it."""
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/socket"):
        pass
    assert_complete(refused.value.headers)


def test_without_https_nothing_is_insisted_on(client: TestClient):
    """Over http the header means nothing, and whoever can write it could lock a browser out."""
    client.headers["X-Forwarded-Proto"] = "http"
    assert_complete(client.get("/ok").headers, hsts=False)
