"""Applications that know their hosts, and requests for them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.problems import Problem
from prodkit.hosts import HostDecisions, HostGuard, HostsSettings
from tests.support.asgi import http_scope

OURS = ("api.example.com", "*.example.org", "[2001:db8::1]")
PROXY = ("10.0.0.1", 4711)


def served(*features: Any) -> FastAPI:
    app = FastAPI()

    @app.api_route("/", methods=["GET", "HEAD", "POST"])
    @app.get("/{path:path}")
    async def home(request: Request) -> str:
        return str(request.url)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    harden(app, *features)
    return app


def browser(
    *features: Any, url: str = "http://api.example.com", peer: Any = ("203.0.113.9", 1)
) -> TestClient:
    return TestClient(served(*features), base_url=url, client=peer, follow_redirects=False)


def judged(scope: dict[str, Any], **options: Any) -> Any:
    """What the guard says to *scope*: an answer, None, or the refusal."""
    context = RequestContext(assemble([]), scope, 0.0)
    try:
        return HostGuard(HostsSettings(**options), HostDecisions()).guard(context)
    except Problem as problem:
        return problem


def asked(*hosts: bytes, path: str = "/", **more: Any) -> dict[str, Any]:
    scope = http_scope(path, **more)
    scope["headers"] = [(b"host", host) for host in hosts]
    return scope
