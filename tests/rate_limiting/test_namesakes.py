"""A principal's id is a name within its tenant: limits are told apart by both."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting
from tests.support.recording import guarding


def test_whoever_names_a_caller_does_not_use_up_anothers_limit():
    """bob of one tenant has three requests, bob of the other three, and bob of none too."""

    def identify(context: Any) -> None:
        tenant = context.headers.get(b"x-tenant", b"").decode() or None
        context.principal = Principal(id="bob", kind="api_key", tenant=tenant)

    app = FastAPI()
    install(app, guarding(Layer.IDENTITY, identify), RateLimiting(policies=[Policy("each", "3/hour")]))
    app.get("/")(lambda: None)
    client = TestClient(app)
    for tenant in ("acme", "rivals", ""):
        seen = [client.get("/", headers={"X-Tenant": tenant}).status_code for _ in range(4)]
        assert seen == [200, 200, 200, 429], tenant
