"""What OWASP asks and no feature's own tests show: types of bodies, methods, message boundaries, and what is told nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from pydantic import BaseModel

from prodkit import Problem, Settings, harden
from tests.support.server import Served, serving, status_of

SECRET = "the-inside-of-the-handler"


class Sum(BaseModel):
    amount: int


def application(**sections: Any) -> FastAPI:
    """One route for each way to answer."""
    app = FastAPI(debug=True)

    @app.get("/sum")
    async def read() -> Sum:
        return Sum(amount=1)

    @app.post("/sum")
    async def write(given: Sum) -> int:
        return given.amount

    @app.get("/text", response_class=PlainTextResponse)
    async def text() -> str:
        return "é"

    @app.get("/broken")
    async def broken() -> None:
        secret = SECRET
        raise RuntimeError(secret)

    @app.get("/validates")
    async def validates(number: int) -> None: ...

    @app.get("/refuses")
    async def refuses() -> None:
        raise HTTPException(409, {"reason": "é"})

    @app.get("/gone")
    async def gone() -> None:
        raise Problem(410)

    @app.delete("/sum", status_code=204)
    async def delete() -> None: ...

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()

    given: dict[str, Any] = {
        "environment": "development",
        "operations": {"networks": ["127.0.0.0/8"]},
        "logs": {"level": "CRITICAL", "access": False},
        "rate_limiting": {"address": "100000/minute"},
    }
    harden(app, settings=Settings(_env_file=None, **{**given, **sections}))
    return app


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 5000))


PATHS = [
    "/sum",
    "/text",
    "/broken",
    "/validates",
    "/refuses",
    "/gone",
    "/nowhere",
    "/livez",
    "/readyz",
    "/readyz?verbose",
    "/startupz",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
]


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(application())


@pytest.mark.parametrize("path", PATHS)
def test_each_body_has_its_type(client: TestClient, path: str) -> None:
    """4.1.1: of answers, errors, probes, metrics and documentation; where it is text, with a character set that fits."""
    for method in ("GET", "POST", "TRACE", "PUT"):
        answer = client.request(method, path)
        kind = answer.headers["content-type"]
        if kind.startswith("text/") or "xml" in kind:
            assert "charset=utf-8" in kind.lower()
            answer.content.decode("utf-8")
        else:
            assert kind.partition(";")[0].endswith("json")
            answer.json()
        assert answer.headers["content-length"] == str(len(answer.content))


def test_no_route_takes_a_method_it_does_not_declare(client: TestClient) -> None:
    """4.1.4: 405 with the methods that there are, for every other method on every path, HEAD and OPTIONS included."""
    document = client.get("/openapi.json").json()
    methods = {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "QUERY",
        "TRACE",
        "CONNECT",
        "MKCOL",
    }
    for path, item in document["paths"].items():
        declared = {method.upper() for method in item}
        for method in methods - declared:
            answer = client.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert answer.headers["allow"]


@pytest.mark.parametrize("path", PATHS)
def test_trace_tells_nobody_anything(client: TestClient, path: str) -> None:
    """13.4.4: refused, and nothing of the request comes back, wherever it is sent."""
    answer = client.request("TRACE", path, headers={"Cookie": "a=secret-of-a-caller"})
    assert answer.status_code in {404, 405}
    assert "secret-of-a-caller" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_json_that_a_form_can_send_is_not_read(client: TestClient, kind: str | None) -> None:
    """3.5.2: a body of a type that needs no preflight, or of none, is no JSON, whatever stands in it."""
    headers = {} if kind is None else {"Content-Type": kind}
    assert client.post("/sum", content=b'{"amount": 1}', headers=headers).status_code in {400, 415, 422}
    assert client.post("/sum", json={"amount": 1}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_is_wrapped_into_a_function(client: TestClient, path: str) -> None:
    """3.5.6: parameters that ask for a script change nothing, and nothing of ours has the type of one."""
    asked = client.get(path, params={"callback": "steal", "jsonp": "steal", "verbose": ""})
    assert "steal" not in asked.text
    assert "javascript" not in asked.headers["content-type"]


@pytest.mark.parametrize("path", ["/broken", "/validates?number=" + SECRET, "/nowhere/" + SECRET])
def test_failures_tell_nothing(client: TestClient, path: str) -> None:
    """13.4.2: also with debugging on, neither code nor the text of an exception nor what was sent stands in an error."""
    answer = client.get(path, headers={"X-Debug": "1", "Accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"
    for word in (SECRET, "Traceback", "RuntimeError", ".py"):
        assert word not in answer.text + str(answer.headers)


def test_no_directory_is_listed(tmp_path: Path) -> None:
    """13.4.3: a folder that is served shows its files and no list of them, and nothing beside it."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "page.css").write_text("a {}")
    (tmp_path / "secret.txt").write_text("secret")
    app = application()
    app.mount("/files", StaticFiles(directory=folder))
    client = client_of(app)
    assert client.get("/files/page.css").status_code == 200
    for path in (
        "/files",
        "/files/",
        "/files/.",
        "/files/..%2fsecret.txt",
        "/files/%2e%2e/secret.txt",
        "/files//",
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "page.css" not in answer.text


def test_nothing_about_the_connection_is_sent(client: TestClient) -> None:
    """4.2.3: that is the server's, and in HTTP/2 it would break the answer."""
    forbidden = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
    for path in PATHS:
        assert not forbidden & {name.lower() for name in client.get(path).headers}, path


def test_nothing_made_for_tests_is_loaded() -> None:
    """15.2.3: a hardened application imports neither our helpers for tests nor the libraries they are made with."""
    program = (
        "import sys; from fastapi import FastAPI; from prodkit import harden; harden(FastAPI());"
        "print([name for name in sys.modules if name.split('.')[0] in"
        " {'pytest', 'hypothesis', 'schemathesis', 'tests', 'examples'} or name.startswith('prodkit.testing')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def served() -> Any:
    with serving(application()) as one:
        yield one


HIDDEN = b"GET /text HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SMUGGLED = {
    "length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    % (5 + len(HIDDEN)),
    "two lengths": b"Content-Length: 13\r\nContent-Length: %d\r\n\r\n" % (13 + len(HIDDEN)),
    "a list of lengths": b"Content-Length: 13, 14\r\n\r\n",
    "a sign": b"Content-Length: +13\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding nobody knows": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"Content-Length: 13\r\n Transfer-Encoding: chunked\r\n\r\n",
    "no number of a chunk": b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a line break alone": b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.process
@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_hides_in_another(served: Served, name: str) -> None:
    """4.2.1: what two servers could read in two ways is refused, and what stands behind it is not taken for a request."""
    head = b"POST /sum HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    ended = served.exchange(head + SMUGGLED[name] + HIDDEN)
    assert 400 <= status_of(ended) < 600
    assert ended.count(b"HTTP/1.1 ") == 1
    assert "é".encode() not in ended
    # Where nothing is ambiguous, the second request is one.
    plain = served.exchange(head + b'Content-Length: 13\r\n\r\n{"amount": 1}' + HIDDEN)
    assert plain.count(b"HTTP/1.1 200") == 2
