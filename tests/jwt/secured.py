"""A small application that takes tokens."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, require_scopes
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal, RequestContext
from prodkit.core.features import Kit, MetricSource
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.jwt import JWT, JWTAuthenticator, TrustedIssuer
from tests.jwt.tokens import AUDIENCE, ISSUER, SECRET, verifier
from tests.support.asgi import http_scope


def bearer(text: str | bytes) -> dict[str, Any]:
    return {"Authorization": b"Bearer " + (text.encode() if isinstance(text, str) else text)}


def feature(*hook: Any, **options: Any) -> JWT:
    """HMAC by default."""
    given: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE}
    if not {"public_keys", "jwks_uri", "secrets"} & set(options):
        given["secrets"] = [SECRET]
    return JWT(*hook, **(given | options))


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> dict[str, Any]:
        return {
            "id": principal.id,
            "kind": principal.kind,
            "scopes": sorted(principal.scopes),
            "tenant": principal.tenant,
            "plan": principal.plan,
            "expires_at": principal.expires_at,
            "claims": dict(principal.claims),
        }

    @app.get("/orders", dependencies=[require_scopes("orders:read")])
    async def orders() -> str:
        return "orders"

    @app.websocket("/ws")
    async def talk(socket: WebSocket, principal: CurrentPrincipal) -> None:
        await socket.accept("bearer" if "bearer" in socket.scope["subprotocols"] else None)
        await socket.send_text(principal.id)
        await socket.close()

    return app


def secured(jwt: JWT | None = None, *features: Any) -> tuple[TestClient, Kit]:
    app = application()
    kit = install(
        app,
        Correlation(),
        Authentication(),
        *features,
        jwt if jwt is not None else feature(),
        clock=FakeClock(),
    )
    return TestClient(app, raise_server_exceptions=False), kit


def counts(kit: Kit) -> dict[tuple[str, ...], float]:
    """The decisions and refusals that happened, by their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for source in kit.all(MetricSource)
        for sample in source.samples()
        if sample.name.startswith("prodkit_jwt_") and sample.value
    }


class Scripted:
    """A key source that does what a test says, and counts."""

    def __init__(self, keys: Any) -> None:
        self.generation = 0
        self.asked = 0
        self.keys = keys

    def keys_for(self, kid: str | None, algorithm: str) -> Any:
        self.asked += 1
        if isinstance(self.keys, BaseException):
            raise self.keys
        return self.keys() if callable(self.keys) else self.keys


def scripted(keys: Any, clock: FakeClock, **options: Any) -> tuple[Any, Scripted]:
    source = Scripted(keys)
    issuer = TrustedIssuer(verifier=verifier(keys=source, clock=clock))
    return JWTAuthenticator([issuer], **options), source


def ask(authenticator: Any, kit: Kit, text: str) -> Any:
    return authenticator.authenticate(
        RequestContext(kit, http_scope("/", headers=[(b"authorization", b"Bearer " + text.encode())]), 0.0)
    )
