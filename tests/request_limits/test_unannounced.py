"""In HTTP/2 and later a body needs no header that says it comes; it is checked all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI, Request

from prodkit.request_limits import RequestLimits, content_types, json_limits
from tests.support.asgi import http_scope
from tests.support.hardening import hardened


def application() -> FastAPI:
    app = FastAPI()

    async def size(request: Request) -> int:
        return len(await request.body())

    async def kind(request: Request) -> str:
        return type(await request.json()).__name__

    app.api_route("/any", methods=["POST", "PUT", "PATCH", "DELETE"])(size)
    app.post("/tables", dependencies=[content_types("text/csv")])(size)
    app.post("/json")(kind)
    app.post("/flat", dependencies=[json_limits(max_depth=1)])(kind)
    return app


async def ask(
    path: str, pieces: list[bytes], method: str = "POST", headers: Any = (), **options: Any
) -> tuple[int, Any, dict[bytes, bytes]]:
    """Status, JSON and headers of the answer to a request of HTTP/2 whose body comes in *pieces*."""
    client, _ = hardened(application(), RequestLimits(**options))
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await client.app(http_scope(path, method, list(headers), http_version="2"), receive, send)
    answered = dict(sent[0]["headers"])
    if sent[0]["status"] >= 400:
        assert answered[b"content-type"] == b"application/problem+json"
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:])), answered


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("pieces", [[], [b""]])
async def test_request_without_a_body(method: str, pieces: list[bytes]):
    """It is served as ever, whatever types of bodies there may be."""
    status, found, _ = await ask("/any", pieces, method, content_types=["text/csv"])
    assert (status, found) == (200, 0)
    assert (await ask("/tables", pieces, content_types=["image/png"]))[:2] == (200, 0)


@pytest.mark.parametrize("pieces", [[b"x"], [b"", b"x"]])
async def test_body_without_a_type(pieces: list[bytes]):
    """415 where types are named, by the application or by the route, whose own hold."""
    status, problem, headers = await ask("/any", pieces, content_types=["image/png"])
    assert (status, problem["status"]) == (415, 415)
    assert headers[b"accept-post"] == b"image/png"
    for options in ({}, {"content_types": ["image/png"]}):
        status, problem, headers = await ask("/tables", pieces, **options)
        assert (status, problem["detail"]) == (415, "A body has to be one of: text/csv.")
        assert headers[b"accept-post"] == b"text/csv"
    assert (await ask("/any", pieces))[:2] == (200, 1)


async def test_method_without_bodies():
    """400 for the first byte of one."""
    status, problem, _ = await ask("/any", [b"x"], "DELETE", methods_without_body=["DELETE"])
    assert (status, problem["detail"]) == (400, "A DELETE request has no body here.")
    assert (await ask("/any", [], "DELETE", methods_without_body=["DELETE"]))[:2] == (200, 0)


@pytest.mark.parametrize(("path", "depth"), [("/json", 64), ("/flat", 1)])
async def test_json(path: str, depth: int):
    """It is measured with the limits of the application or of the route."""
    for pieces in ([b"[" * 100_000], [b" ", b"[" * 100, b"]" * 100]):
        status, problem, _ = await ask(path, pieces)
        assert (status, problem["max_json_depth"]) == (400, depth)
    assert (await ask(path, [b"[" * depth + b"]" * depth]))[:2] == (200, "list")


async def test_compressed_body():
    """What names a coding is taken to have a body of it."""
    status, problem, headers = await ask("/any", [b"x"], headers=[(b"content-encoding", b"gzip")])
    assert (status, problem["detail"]) == (415, "A body with this Content-Encoding is not taken.")
    assert headers[b"accept-encoding"] == b"identity"
