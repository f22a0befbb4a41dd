"""What browsers send, and an application that would do whatever they ask."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from prodkit.fetch_metadata import FetchMetadata
from tests.support.hardening import assert_problem, hardened

APP, EVIL = "https://app.example", "https://evil.example"
COOKIE = {"Cookie": "sid=1"}


def sent(site: str = "cross-site", mode: str = "cors", dest: str = "empty", **more: str) -> dict[str, str]:
    """Headers as a browser sends them."""
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, **more}


FORM = sent(mode="navigate", dest="document", Origin=EVIL)
IMAGE = sent(mode="no-cors", dest="image")
LINK = sent(mode="navigate", dest="document")


def application() -> FastAPI:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY"])
    async def anything(path: str) -> str:
        return "reached"

    @app.websocket("/{path:path}")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def client_of(*features: Any, **options: Any) -> TestClient:
    return hardened(application(), *features, FetchMetadata(**options))[0]


def refused(client: TestClient, headers: dict[str, str], method: str = "GET", path: str = "/x") -> bool:
    answer = client.request(method, path, headers=headers)
    if answer.status_code == 200:
        return False
    assert assert_problem(answer, 403)["type"].endswith("/cross-origin-request")
    return True
