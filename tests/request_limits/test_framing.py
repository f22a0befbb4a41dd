"""Where a request ends, and what it says about itself, is the same for every reader."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.problems import Problem
from prodkit.request_limits import Limiter, Refusals, RequestLimits, RequestLimitsSettings
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened
from tests.support.server import headers_of, serving, status_of


def application() -> FastAPI:
    app = FastAPI()

    @app.api_route("/unread", methods=["GET", "POST", "DELETE"])
    async def unread() -> str:
        return "handled"

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.get("/files/{path:path}")
    async def file(path: str) -> str:
        return path

    @app.websocket("/ws/{name}")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def client_of(**options: Any) -> Any:
    return hardened(application(), RequestLimits(**options))[0]


def status_for(scope: Any, **options: Any) -> tuple[int | None, Any]:
    kit = assemble([])
    try:
        Limiter(RequestLimitsSettings(**options), kit, Refusals()).guard(RequestContext(kit, scope, 0.0))
    except Problem as problem:
        return problem.status_code, problem.headers
    return None, None


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", {b"transfer-encoding": b"chunked"}, None),
        ("1.1", {b"transfer-encoding": b"Chunked "}, None),
        ("1.1", {b"transfer-encoding": b"chunked", b"content-length": b"5"}, 400),
        ("1.0", {b"transfer-encoding": b"chunked"}, 400),
        ("1.1", {b"transfer-encoding": b"gzip, chunked"}, 501),
        ("1.1", {b"transfer-encoding": b"identity"}, 501),
        ("1.1", {b"transfer-encoding": b"chunked, chunked"}, 501),
        ("1.1", {b"transfer-encoding": b"\x0bchunked"}, None),
    ],
)
def test_transfer_codings(version: str, headers: dict[bytes, bytes], status: int | None):
    """Only chunked, only in HTTP/1.1, and never beside a length; a refusal ends the connection."""
    scope = http_scope("/read", "POST", list(headers.items()), http_version=version)
    found, answered = status_for(scope)
    assert found == status
    if status is not None:
        assert answered == {"Connection": "close"}


@pytest.mark.parametrize(
    "name", ["host", "authorization", "content-type", "content-length", "transfer-encoding", "origin"]
)
def test_repeated_lines_of_what_stands_once(name: str):
    """400, also where both say the same; names that may be repeated are not concerned."""
    lines = [(name.encode(), b"5"), (name.encode(), b"5")]
    assert status_for(http_scope("/read", "POST", lines))[0] == 400
    assert status_for(http_scope("/read", "GET", [(b"cookie", b"a=b"), (b"cookie", b"c=d")]))[0] is None


def test_body_where_none_belongs():
    """GET and HEAD have none, declared or chunked; a declared zero is none; the operator names the methods."""
    client = client_of()
    for method in ("GET", "HEAD"):
        assert client.request(method, "/unread", content=b"x").status_code == 400
        assert client.request(method, "/unread", content=iter([b"x"])).status_code == 400
    assert client.get("/unread", headers={"Content-Length": "0"}).json() == "handled"
    assert client.request("DELETE", "/unread", content=b"x").json() == "handled"
    strict = client_of(methods_without_body=["DELETE"])
    assert strict.request("GET", "/unread", content=b"x").json() == "handled"
    assert_problem(strict.request("DELETE", "/unread", content=b"x"), 400)


def test_control_characters_in_a_path():
    """400, encoded as they are, for sockets too; other characters that are not ASCII are welcome."""
    client = client_of()
    for encoded in ("%00", "%0d%0a", "%1b", "%7f", "%C2%85"):
        assert_problem(client.get(f"/files/a{encoded}b"), 400)
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(f"/ws/a{encoded}"):
            pass
        assert_problem(denied.value, 400)
    for path in ("\u00e9", "a b", "\u2028", "\u5b57"):
        assert client.get(f"/files/{path}").json() == path


def test_long_paths_names_and_cookies():
    """Segments, names of headers and of parameters, headers together, and cookies are bounded."""
    client = client_of(
        max_path_segments=10,
        max_header_name_bytes=100,
        max_total_header_bytes=2000,
        max_cookies=3,
        max_query_name_bytes=10,
    )
    cases: list[tuple[str, Any, int]] = [
        ("/files" + "/a" * 9, {}, 200),
        ("/files" + "/a" * 10, {}, 414),
        ("/unread", {"x" * 100: "a"}, 200),
        ("/unread", {"x" * 101: "a"}, 431),
        ("/unread", {f"x-{number}": "a" * 300 for number in range(7)}, 431),
        ("/unread", [("x-a", "a" * 300)] * 7, 431),
        ("/unread", {"cookie": "a=1; b=2; c=3"}, 200),
        ("/unread", {"cookie": "a=1; b=2; c=3; d=4"}, 431),
        ("/unread", [("cookie", "a=1; b=2"), ("cookie", "c=1; d=2")], 431),
        ("/unread?" + "a" * 10 + "=" + "b" * 50, {}, 200),
        ("/unread?a=b&" + "a" * 11 + "=b", {}, 400),
    ]
    for path, headers, status in cases:
        assert client.get(path, headers=headers).status_code == status, (path, headers)


@pytest.mark.process
@pytest.mark.parametrize("server_of", ["h11", "httptools"])
def test_what_a_server_lets_through(server_of: str):
    """Each ends in a refusal, the server's or ours, and never in a handler."""
    head = "POST /read HTTP/1.1\r\nHost: a\r\n"
    requests = [
        head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        head + "Content-Length: +5\r\nConnection: close\r\n\r\nhello",
        head + "Content-Length: -5\r\nConnection: close\r\n\r\nhello",
        head + "Content-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello!",
        "POST /read HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /unread HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "GET /files/a%00b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ]
    client, _ = hardened(application(), RequestLimits())
    with serving(client.app, http=server_of) as server:
        for request in requests:
            answer = server.exchange(request.encode())
            assert status_of(answer) in {400, 501}, (request, answer)


@pytest.mark.process
@pytest.mark.parametrize("server_of", ["h11", "httptools"])
def test_unread_body_ends_its_connection(server_of: str):
    """A chunked body that nobody reads is not received for ever: the connection ends with the answer.

    One that was read leaves the connection open for the next request, and one that is too large does not.
    """
    client, _ = hardened(application(), RequestLimits(max_body_bytes=1000))
    head = b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with serving(client.app, http=server_of) as server:
        # Nothing says that the body is over, and the server closes all the same.
        answer = server.exchange(b"POST /unread" + head)
        assert status_of(answer) == 200
        assert headers_of(answer)["connection"] == "close"
        answer = server.exchange(b"POST /read" + head + b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert status_of(answer) == 413
        assert headers_of(answer)["connection"] == "close"
        answer = server.exchange(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        assert status_of(answer) == 413
        last = b"GET /unread HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = server.exchange(b"POST /read" + head + b"0\r\n\r\n" + last)
        assert answer.count(b"HTTP/1.1 200") == 2
