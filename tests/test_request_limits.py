"""What is too large or unexpected is refused before anything of it is read."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request, UploadFile, WebSocket
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.assembly import assemble
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import MetricSource
from prodkit.core.problems import Problem
from prodkit.cors import CORS
from prodkit.installation import install
from prodkit.request_limits import (
    Limiter,
    Refusals,
    RequestLimits,
    RequestLimitsSettings,
    body_limit,
    body_limit_guard,
)
from prodkit.security_headers import SecurityHeaders
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened
from tests.support.server import headers_of, serving, status_of

APP = "https://app.example"


class Note(BaseModel):
    text: str


def application(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    router = APIRouter(prefix="/files")

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.post("/notes")
    async def note(note: Note) -> int:
        return len(note.text)

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    @app.post("/starlettes", max_body_size=10)
    async def starlettes(note: Note) -> int:
        return len(note.text)

    @router.post("/{name}", dependencies=[body_limit(4000)])
    async def upload(name: str, file: UploadFile) -> int:
        return len(await file.read())

    @router.put("/{name}", dependencies=[body_limit(20)])
    async def small(name: str, request: Request) -> int:
        return len(await request.body())

    @router.delete("/{name}", dependencies=[body_limit(20)])
    async def unread(name: str, context: CurrentContext) -> int | None:
        return context.max_body_bytes

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app.include_router(router, prefix="/v1")
    return app


def client_of(**options: Any) -> TestClient:
    return hardened(application(), RequestLimits(**options))[0]


def chunks(size: int, piece: int = 100) -> Any:
    return (b"x" * min(piece, size - start) for start in range(0, size, piece))


# ------------------------------------------------------------------------------------------------------------ bodies


def test_declared_oversize():
    """413 with the limit in it; exactly the limit passes."""
    client = client_of(max_body_bytes=1000)
    answer = client.post("/stream", content=b"x" * 1001)
    assert assert_problem(answer, 413)["max_body_bytes"] == 1000
    assert client.post("/stream", content=b"x" * 1000).json() == 1000


def test_counted_oversize():
    """A body that does not say its size ends at the same limit, also where FastAPI parses it."""
    client = client_of(max_body_bytes=1000)
    for path in ("/stream", "/notes"):
        assert_problem(client.post(path, content=chunks(1001)), 413)
    assert client.post("/stream", content=chunks(1000)).json() == 1000


@pytest.mark.parametrize("length", ["", "-1", "+5", "5, 5", "0x10", "1_0", "\u00b2", " 5", "1.0"])
def test_length_that_is_no_number(length: str):
    """Content-Length is digits, or the request is not understood."""
    scope = http_scope("/stream", "POST", [(b"content-length", length.encode("latin-1"))])
    with pytest.raises(Problem) as refused:
        decide(scope)
    assert refused.value.status_code == 400


@pytest.mark.parametrize(
    ("length", "status"), [("9" * 5000, 413), ("0" * 5000, None), ("0" * 30 + "99", None)]
)
def test_length_of_many_digits(length: str, status: int | None):
    """Huge numbers are not parsed, and leading zeros mean nothing."""
    scope = http_scope("/stream", "POST", [(b"content-length", length.encode())])
    if status is None:
        assert decide(scope, max_body_bytes=100).max_body_bytes == 100
        return
    with pytest.raises(Problem) as refused:
        decide(scope)
    assert refused.value.status_code == status


@given(st.integers(0, 10**25))
def test_declared_size_against_limit(size: int):
    """A declared size is refused exactly when it is above the limit."""
    scope = http_scope("/stream", "POST", [(b"content-length", b"%d" % size)])
    try:
        decide(scope, max_body_bytes=10**9)
    except Problem:
        assert size > 10**9
    else:
        assert size <= 10**9


def decide(scope: Any, **options: Any) -> RequestContext:
    kit = assemble([])
    context = RequestContext(kit, scope, 0.0)
    settings = RequestLimitsSettings(**{"max_header_value_bytes": 1_000_000} | options)
    Limiter(settings, kit, Refusals()).guard(context)
    return context


def test_stricter_limit_stays():
    """What another guard has put in force is only ever made smaller."""
    for before, after in ((None, 100), (50, 50), (200, 100)):
        context = RequestContext(assemble([]), http_scope("/"), 0.0)
        context.max_body_bytes = before
        Limiter(RequestLimitsSettings(max_body_bytes=100), context.kit, Refusals()).guard(context)
        assert context.max_body_bytes == after
        context.max_body_bytes = before
        assert body_limit_guard(100)(context) is None
        assert context.max_body_bytes == after


@pytest.mark.process
def test_on_a_real_server():
    """Declared and chunked, by us, by `FastAPI(max_body_size=)` or by a route: one problem, with all headers."""
    cases = [
        (application(), RequestLimits(max_body_bytes=1000), "/notes"),
        (application(max_body_size=1000), RequestLimits(), "/notes"),
        (application(), RequestLimits(), "/starlettes"),
    ]
    for app, limits, path in cases:
        client, recorder = hardened(app, CORS(origins=[APP]), SecurityHeaders(), limits)
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: {APP}\r\nContent-Type: application/json\r\n"
        body = b'{"text": "%s"}' % (b"x" * 1000)
        declared = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        pieces = b"".join(
            b"%x\r\n%s\r\n" % (len(body[at : at + 200]), body[at : at + 200])
            for at in range(0, len(body), 200)
        )
        chunked = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
        with serving(client.app) as server:
            for request in (declared, chunked):
                answer = server.exchange(request)
                headers = headers_of(answer)
                assert status_of(answer) == 413, (path, answer)
                assert headers["content-type"] == "application/problem+json"
                assert headers["access-control-allow-origin"] == APP
                assert headers["content-security-policy"].startswith("default-src 'none'")
                assert headers["x-request-id"].encode() in answer.partition(b"\r\n\r\n")[2]
        assert [(event.status, event.outcome) for event in recorder.finished] == [(413, "refused")] * 2


@pytest.mark.process
def test_declared_oversize_is_refused_unread():
    """The answer comes before a single byte of the body was sent."""
    client, _ = hardened(application(), RequestLimits())
    with serving(client.app) as server, server.connect() as connection:
        connection.sendall(b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


# ------------------------------------------------------------------------------------------------- limits of a route


def test_route_with_a_larger_limit():
    """It takes what others do not, declared or chunked, and still not everything."""
    client = client_of(max_body_bytes=1000)
    file = client.post("/v1/files/a", files={"file": b"x" * 2000})
    assert file.json() == 2000
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    part = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        + b"x" * 2000
        + b"\r\n--b--\r\n"
    )
    assert client.post("/v1/files/a", content=iter([part]), headers=head).json() == 2000
    assert_problem(client.post("/v1/files/a", files={"file": b"x" * 5000}), 413)
    assert_problem(client.post("/v1/files/a", content=chunks(5000), headers=head), 413)
    assert_problem(client.post("/nowhere", content=b"x" * 2000), 413)


def test_route_with_a_smaller_limit():
    """Its own limit holds in place of the larger one, declared or chunked, also for a body that is never read."""
    client = client_of()
    assert client.put("/v1/files/a", content=b"x" * 20).json() == 20
    assert assert_problem(client.put("/v1/files/a", content=b"x" * 21), 413)["max_body_bytes"] == 20
    assert_problem(client.put("/v1/files/a", content=chunks(21)), 413)
    assert client.delete("/v1/files/a").json() == 20
    assert_problem(client.request("DELETE", "/v1/files/a", content=b"x" * 21), 413)


def test_fastapis_own_limit_is_a_ceiling():
    """`FastAPI(max_body_size=)` stays in force inside, so no route of ours goes above it; the answer is our problem."""
    client, _ = hardened(application(max_body_size=500), RequestLimits(max_body_bytes=1000))
    assert client.post("/stream", content=b"x" * 500).json() == 500
    for path in ("/stream", "/v1/files/a"):
        assert_problem(client.post(path, content=b"x" * 501), 413)
        assert_problem(
            client.post(
                path, content=chunks(501), headers={"Content-Type": "multipart/form-data; boundary=b"}
            ),
            413,
        )


def test_route_limit_holds_for_what_reads_before_the_router():
    """Middleware that reads a declared body gets as much of it as the route takes."""
    app = application()

    @app.middleware("http")
    async def reads(request: Request, call_next: Any) -> Any:
        await request.body()
        return await call_next(request)

    client, _ = hardened(app, RequestLimits(max_body_bytes=1000))
    assert client.post("/v1/files/a", files={"file": b"x" * 2000}).json() == 2000
    assert_problem(client.post("/stream", content=b"x" * 2000), 413)


def test_route_limit_is_documented():
    """OpenAPI says 413 where a route has a limit of its own."""
    operation = client_of().get("/openapi.json").json()["paths"]["/v1/files/{name}"]["post"]
    assert operation["responses"]["413"]["description"] == "The request body is larger than 4000 bytes."


def test_impossible_route_limit():
    """A negative size does not start."""
    with pytest.raises(SettingsError, match="negative size"):
        body_limit(-1)


# ------------------------------------------------------------------------------------------------------ everything else


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "X" * 50])
def test_other_methods(method: str):
    """405 with the methods there are, before the router sees it."""
    answer = client_of().request(method, "/")
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY"


def test_methods_are_the_operators():
    """What is not listed is refused, what is listed reaches the router."""
    client = client_of(methods=["GET"])
    assert client.get("/").status_code == 200
    assert_problem(client.post("/notes", json={"text": "a"}), 405)
    assert client_of(methods=["GET", "PROPFIND"]).request("PROPFIND", "/").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/" + "a" * 99, 404),
        ("/" + "a" * 100, 414),
        ("/?" + "a" * 98, 200),
        ("/?" + "a" * 99, 414),
        ("/" + "%20" * 34, 414),
        ("/?" + "&".join("a" * 5), 200),
        ("/?" + "&".join("a" * 6), 400),
    ],
)
def test_urls(path: str, status: int):
    """The limit counts bytes as sent, path and query together; parameters are counted apart."""
    answer = client_of(max_url_bytes=100, max_query_parameters=5).get(path)
    assert answer.status_code == status
    if status >= 400:
        assert_problem(answer, status)


def test_headers_by_number_and_size():
    """431 for too many lines or too long a value, also one of a repeated line that another hides."""
    client = client_of(max_headers=20, max_header_value_bytes=2000)
    assert client.get("/", headers=[("X-A", "a")] * 10).status_code == 200
    assert_problem(client.get("/", headers=[("X-A", "a")] * 20), 431)
    assert client.get("/", headers={"X-A": "a" * 2000}).status_code == 200
    assert_problem(client.get("/", headers={"X-A": "a" * 2001}), 431)
    assert_problem(client.get("/", headers=[("X-A", "a" * 2001), ("X-A", "a")]), 431)


def test_sockets_are_limited_too():
    """A handshake has a URL and headers like any request."""
    client = client_of(max_header_value_bytes=1000)
    with client.websocket_connect("/ws"):
        pass
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect("/ws", headers={"X-A": "a" * 1024}),
    ):
        pass
    assert_problem(denied.value, 431)


def test_scope_without_raw_path():
    """`raw_path` and the query of a socket are optional in ASGI."""
    scope = http_scope("/" + "\u00e9" * 60, raw_path=None)
    with pytest.raises(Problem) as refused:
        decide(scope, max_url_bytes=100)
    assert refused.value.status_code == 414


def test_refusals_are_counted():
    """Metrics show which limit refuses how often."""
    feature = RequestLimits.from_settings(
        RequestLimitsSettings(max_body_bytes=10, max_url_bytes=100, max_headers=20)
    )
    client, _ = hardened(application(), feature)
    client.post("/stream", content=b"x" * 11)
    client.request("TRACE", "/")
    client.request("TRACE", "/")
    client.get("/", headers=[("X-A", "a")] * 20)
    client.get("/" + "a" * 200)
    source = feature.provides[0]
    assert isinstance(source, MetricSource)
    counts = {sample.labels["policy"]: sample.value for sample in source.samples()}
    assert {policy: count for policy, count in counts.items() if count} == {
        "method": 2,
        "url": 1,
        "headers": 1,
        "body": 1,
    }


def test_inner_application_may_be_stricter():
    """A mounted hardened application's own limit holds inside the larger outer one."""
    inner, outer = application(), application()
    install(inner, RequestLimits(max_body_bytes=100))
    outer.mount("/inner", inner)
    client, recorder = hardened(outer, RequestLimits(max_body_bytes=1000))
    assert client.post("/stream", content=b"x" * 101).json() == 101
    assert_problem(client.post("/inner/stream", content=b"x" * 101), 413)
    assert_problem(client.post("/inner/stream", content=chunks(101)), 413)
    assert len(recorder.finished) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"max_body_bytes": -1},
        {"methods": []},
        {"methods": ["get"]},
        {"methods": ["GET", "A B"]},
        {"max_url_bytes": 1},
        {"max_headers": 0},
        {"max_header_value_bytes": 0},
        {"max_query_parameters": -1},
    ],
)
def test_impossible_limits_are_refused(options: dict[str, Any]):
    """What would refuse everything, or is no number, does not start."""
    with pytest.raises(SettingsError, match=next(iter(options))):
        RequestLimits(**options)
