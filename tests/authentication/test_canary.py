"""No credential is written anywhere: a whole application, every kind of credential, and a search that is known to find."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.testclient import WebSocketDenialResponse

from prodkit import CurrentContext, CurrentPrincipal, Settings, harden
from prodkit.api_keys import KeyRegistry, keys_router
from prodkit.authentication import public
from prodkit.logs import Logs
from prodkit.testing.identity_provider import LocalIdentityProvider
from tests.support.envelopes import Envelopes, receiving

AUDIENCE = "canary"
OPERATOR = "operator-" + "o" * 40
METRICS = {"Authorization": f"Bearer {OPERATOR}"}


class Item(BaseModel):
    """A body."""

    number: int


@dataclass
class Searched:
    """Everything that was written, by place, and what is looked for in it.

    Attributes:
        places: text by where it stands.
        canaries: pieces of credentials by what they are pieces of.
    """

    places: dict[str, str] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, text: str) -> None:
        self.places[place] = self.places.get(place, "") + text + "\n"

    def watch(self, what: str, credential: str) -> None:
        """The middle of *credential*: enough to be no accident, and found also where an end is cut off."""
        middle = len(credential) // 2
        self.canaries[what] = credential[middle - 9 : middle + 9]

    def found(self) -> set[tuple[str, str]]:
        return {
            (place, what)
            for place, text in self.places.items()
            for what, canary in self.canaries.items()
            if canary in text
        }


def application(settings: Settings, logs: Logs) -> tuple[FastAPI, Any]:
    """An application with careless endpoints."""
    app = FastAPI()

    @app.get("/")
    @public
    async def home() -> str:
        return "home"

    @app.get("/me")
    @app.post("/me")
    async def me(principal: CurrentPrincipal, context: CurrentContext) -> dict[str, str]:
        return {"id": principal.id, "reprs": f"{principal!r} {context!r} {context.get(str)!r}"}

    @app.post("/items/{number}")
    async def item(number: int, body: Item) -> int:
        return number + body.number

    @app.get("/careless")
    async def careless(request: Request) -> None:
        headers = dict(request.headers)
        structlog.get_logger("app").info("asked", headers=headers, url=str(request.url))
        logging.getLogger("app").warning("asked with %s", headers.get("authorization"))
        logging.getLogger("app").warning("asked with %s", headers)
        sent = headers.get("authorization") or headers.get("x-api-key") or headers.get("cookie")
        message = f"the other service did not like {sent}"
        raise RuntimeError(message)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.include_router(keys_router())
    return app, harden(app, logs, settings=settings)


def ask_everything(client: TestClient, searched: Searched, credential: dict[str, str], note: str) -> None:
    """Everywhere where a credential of a caller may come by, good or not."""
    for method, path in (
        ("GET", "/me"),
        ("POST", "/me"),
        ("GET", "/"),
        ("GET", "/careless"),
        ("GET", "/nothing"),
        ("DELETE", "/me"),
        ("POST", "/items/x"),
        ("GET", "/v1/keys"),
        ("GET", "/session"),
    ):
        response = client.request(
            method, path, headers=credential, json={"number": "x"} if "items" in path else None
        )
        shown = {name: value for name, value in response.headers.items() if name != "set-cookie"}
        body = "" if path == "/session" and response.status_code == 200 else response.text
        searched.add("answers", f"{note} {method} {path} {response.status_code} {shown} {body}")
    with contextlib.suppress(WebSocketDenialResponse), client.websocket_connect("/ws", headers=credential):
        pass


def cycle(folder: Path, dsn: str, envelopes: Envelopes, provider: LocalIdentityProvider) -> Searched:
    """A life of the application, and everything it has written."""
    searched = Searched()
    pepper, secret = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
    settings = Settings(
        _env_file=None,
        environment="development",
        store=f"sqlite:///{folder / 'app.db'}",
        operations={"token": OPERATOR},
        error_reporting={"sentry_dsn": dsn},
        authentication={"failures_per_minute": 0},
        api_keys={"peppers": {"1": pepper}},
        jwt={"issuer": provider.issuer, "audience": [AUDIENCE]},
        web_sessions={"secrets": {"1": secret}, "secure": False},
    )
    logs = Logs(format="json", level="DEBUG")
    logs.sink.stream = stream = io.StringIO()
    app, kit = application(settings, logs)
    registry = kit.one(KeyRegistry)
    with TestClient(app, raise_server_exceptions=False) as client:
        issued = asyncio.run(registry.issue("ann", scopes=["keys:admin"], tenant="acme", networks=[]))
        token = provider.token(sub="bob", audience=AUDIENCE)
        key = issued.secret
        searched.watch("pepper", pepper)
        searched.watch("session secret", secret)
        searched.watch("key", key)
        header, payload, signature = token.split(".")
        searched.watch("token", payload)
        searched.watch("signature", signature)

        good = {
            "key": {"Authorization": f"Bearer {key}"},
            "x-api-key": {"X-API-Key": key},
            "token": {"Authorization": f"Bearer {token}"},
        }
        for note, credential in good.items():
            ask_everything(client, searched, credential, note)
        login = client.post("/session", headers=good["key"])
        assert login.status_code == 201
        cookie = login.headers["set-cookie"].partition(";")[0]
        searched.watch("cookie", cookie.split(".")[1])
        searched.watch("cookie signature", cookie.split(".")[2])
        csrf = login.json()["csrf_token"]
        searched.watch("csrf", csrf)
        client.cookies.clear()
        # A browser; and one that another site has misled.
        ask_everything(
            client,
            searched,
            {"Cookie": cookie, "X-CSRF-Token": csrf, "Sec-Fetch-Site": "same-origin"},
            "cookie",
        )
        ask_everything(client, searched, {"Cookie": cookie}, "cookie alone")
        client.cookies.clear()

        flipped = "A" if key[-1] != "A" else "B"
        bad = {
            "bad key": {"Authorization": f"Bearer {key[:-1]}{flipped}"},
            "half a key": {"X-API-Key": key[:50]},
            "basic": {"Authorization": f"Basic {key}"},
            "bad token": {"Authorization": f"Bearer {header}.{payload}.{signature[:-2]}AA"},
            "unsigned": {"Authorization": f"Bearer {header}.{payload}."},
            "no scheme": {"Authorization": token},
            "bad cookie": {"Cookie": f"{cookie[:-2]}AA"},
            "two": {"Authorization": f"Bearer {key}", "X-API-Key": token},
            "key and cookie": {"Authorization": f"Bearer {key}", "Cookie": cookie},
        }
        for note, credential in bad.items():
            ask_everything(client, searched, credential, note)
        client.cookies.clear()
        for path in (f"/me?api_key={key}", f"/me?access_token={token}", f"/items/{key}", f"/{token}"):
            response = client.get(path, headers=good["key"])
            searched.add("answers", f"{response.status_code} {response.headers} {response.text}")
            client.get(path)
        made = client.post("/v1/keys", headers=good["key"], json={"owner": "new", "scopes": []})
        assert made.status_code == 201, made.text
        client.delete(f"/v1/keys/{issued.record.id}", headers=good["key"])
        ask_everything(client, searched, good["key"], "revoked")
        searched.add("metrics", client.get("/metrics", headers=METRICS).text)
        for name, thing in {
            "settings": settings,
            "kit": kit,
            "registry": registry,
            "issued": issued,
            "features": list(kit.features.values()),
        }.items():
            searched.add("reprs", f"{name}: {thing!r} {vars(thing) if name == 'kit' else ''}")
        searched.add(
            "reprs", str([provided for feature in kit.features.values() for provided in feature.provides])
        )
    for file in sorted(folder.iterdir()):
        searched.add("store", file.read_bytes().decode("latin-1"))
    searched.add("log", stream.getvalue())
    searched.add("reports", b"\n".join(envelopes.raw).decode("utf-8", "replace"))
    assert "RuntimeError" in searched.places["reports"]
    assert "prodkit_api_keys_decisions_total" in searched.places["metrics"]
    assert issued.record.id in searched.places["store"]
    return searched


def test_the_search_finds_credentials_where_redaction_is_off(tmp_path, monkeypatch):
    """Careless endpoints, and redaction that does nothing: what logs and reports hold then is found."""
    for name in (
        "prodkit.logs.processors.redact",
        "prodkit.logs.processors.redact_text",
        "prodkit.error_reporting.sentry.redact_text",
    ):
        monkeypatch.setattr(name, lambda value, **_: value)
    with receiving() as (dsn, envelopes), LocalIdentityProvider(audience=AUDIENCE) as provider:
        found = cycle(tmp_path, dsn, envelopes, provider).found()
    for place in ("log", "reports"):
        for what in ("key", "token", "signature", "cookie", "cookie signature"):
            assert (place, what) in found
    assert {place for place, _ in found} == {"log", "reports"}, "elsewhere nothing depends on redaction"


def test_no_credential_is_written_anywhere(tmp_path):
    """Logs, reports, answers, metrics, the store's files and every repr: not a piece of one."""
    with receiving() as (dsn, envelopes), LocalIdentityProvider(audience=AUDIENCE) as provider:
        searched = cycle(tmp_path, dsn, envelopes, provider)
    assert len(searched.canaries) == 8
    assert all(len(text) > 100 for text in searched.places.values()), searched.places.keys()
    assert searched.found() == set()
