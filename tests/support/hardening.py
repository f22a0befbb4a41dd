"""The smallest hardened application, and what every error of it looks like."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.recording import Contributes, Recorder

STATIC = Contributes("static", response_headers={"X-Content-Type-Options": "nosniff"})


def hardened(app: FastAPI, *features: Any) -> tuple[TestClient, Recorder]:
    recorder = Recorder()
    install(app, Correlation(inbound="always"), STATIC, recorder, *features)
    return TestClient(app, raise_server_exceptions=False), recorder


def assert_problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "correlation_id"} <= set(body)
    assert body["status"] == status
    assert body["correlation_id"] == response.headers["x-request-id"]
    return body
