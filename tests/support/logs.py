"""Hardened applications whose log lines go into a buffer."""

from __future__ import annotations

import io
import json
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.clock import FakeClock
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.logs import Logs


def logged(app: FastAPI, *features: Any, **options: Any) -> tuple[TestClient, Logs]:
    """*app* with logs that go into a buffer."""
    logs = Logs(**({"format": "json"} | options))
    logs.sink.stream = io.StringIO()
    install(app, Correlation(inbound="always"), *features, logs, clock=FakeClock())
    return TestClient(app, raise_server_exceptions=False), logs


def text_of(logs: Logs) -> str:
    assert isinstance(logs.sink.stream, io.StringIO)
    return logs.sink.stream.getvalue()


def lines_of(logs: Logs) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(logs).splitlines()]


def example() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: str) -> str:
        return item_id

    @app.get("/boom")
    async def boom() -> None:
        message = "no connection to postgresql://user:hunter2@db/orders"
        raise RuntimeError(message)

    @app.post("/echo")
    async def echo(body: dict[str, str]) -> dict[str, str]:
        return body

    return app
