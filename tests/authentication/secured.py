"""A small application behind two keys: one with scopes, one that expires."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, StaticKeys, public
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal
from prodkit.core.features import Kit
from prodkit.correlation import Correlation
from prodkit.installation import install

CANARY = "pk_canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
OTHER = "pk_other-00112233445566778899aabbccddeeff"
NAMES = ("canary", "9f8e7d6c5b4a39281706f5e4d3c2b1a0")


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


KEYS: dict[str, Any] = {
    "ci": {"sha256": digest(CANARY), "scopes": ["agents:run", "usage:read"], "tenant": "acme", "plan": "pro"},
    "cron": {"sha256": digest(OTHER), "expires_at": "2025-06-15T16:00:00Z"},
}
BEARER = {"Authorization": f"Bearer {CANARY}"}


def secured(app: FastAPI | None = None, *features: Any, **options: Any) -> tuple[FastAPI, TestClient, Kit]:
    app = app or FastAPI()
    authentication = Authentication(StaticKeys(KEYS), **options)
    kit = install(app, Correlation(), authentication, *features, clock=FakeClock())

    @app.get("/me")
    @app.post("/me")
    async def me(principal: CurrentPrincipal) -> dict[str, Any]:
        return {
            "id": principal.id,
            "kind": principal.kind,
            "tenant": principal.tenant,
            "plan": principal.plan,
        }

    @app.get("/open")
    @public
    async def anybody(principal: CurrentPrincipal) -> str:
        return principal.id

    return app, TestClient(app, raise_server_exceptions=False), kit
