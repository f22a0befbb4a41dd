"""An application behind credentials that can be taken away, and a browser of few words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, public
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.features import Kit
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.web_sessions import WebSessions
from tests.support.recording import Contributes

SECRET = "canary-0123456789abcdefghijklmnopqrstuv"
OTHER_SECRET = "another-9876543210zyxwvutsrqponmlkjihgf"
ORIGIN = {"Origin": "http://testserver"}


class Badges:
    """Callers by the header `Authorization: Bearer NAME`, and whether each of them still holds."""

    scheme = "badges"
    challenge = "Bearer"
    openapi = {"type": "http", "scheme": "bearer"}

    def __init__(self) -> None:
        self.known = {
            "ann": Principal(
                id="ann",
                kind="api_key",
                scopes=frozenset({"read", "write"}),
                tenant="acme",
                plan="pro",
                claims={"key": "k1", "session": "its own"},
            ),
            "bob": Principal(id="bob", kind="jwt"),
        }
        self.unavailable = False
        self.can_tell = True

    def authenticate(self, context: Any) -> Principal | None:
        value = context.headers.get(b"authorization")
        if value is None:
            return None
        principal = self.known.get(value.decode("latin-1").removeprefix("Bearer "))
        if principal is None:
            raise Problem(401)
        return principal

    async def is_still_valid(self, principal: Principal) -> bool | None:
        if self.unavailable:
            raise Problem(503)
        return principal.id in self.known if self.can_tell else None

    def change(self, name: str, **fields: Any) -> None:
        self.known[name] = replace(self.known[name], **fields)


class ShakyStore(MemorySessionStore):
    """Counts what it is asked, and is away when it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked: list[str] = []

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.is_away:
            raise StoreUnavailableError("away")

    async def open(self, record, *, most):
        self._ask("open")
        await super().open(record, most=most)

    async def find(self, session_id):
        self._ask("find")
        return await super().find(session_id)

    async def touch(self, session_id, at):
        self._ask("touch")
        await super().touch(session_id, at)

    async def revoke(self, session_id, at):
        self._ask("revoke")
        return await super().revoke(session_id, at)

    async def revoke_subject(self, subject, at):
        self._ask("revoke_subject")
        return await super().revoke_subject(subject, at)

    async def purge(self, before, *, limit=100):
        self._ask("purge")
        return await super().purge(before, limit=limit)


@dataclass
class Browser:
    """Somebody who has logged in: the cookie, and the token that the page was given."""

    client: TestClient
    cookie: str
    token: str

    @property
    def value(self) -> str:
        return self.cookie.partition("=")[2]

    def headers(self, **more: str) -> dict[str, str]:
        return {"Cookie": self.cookie, **more}

    def send(self, method: str, path: str, **more: str) -> Any:
        """A request that the page itself makes."""
        own = {"Cookie": self.cookie, "X-CSRF-Token": self.token, **ORIGIN}
        return self.client.request(method, path, headers=own | more)

    def is_in(self) -> bool:
        return self.send("GET", "/me").status_code == 200


class World:
    """One application, and all that a test may change about it."""

    def __init__(
        self,
        store: Any = None,
        clock: Any = None,
        *features: Any,
        sockets_checked_seconds: float = 5.0,
        **options: Any,
    ) -> None:
        self.app = FastAPI()
        self.badges = Badges()
        self.store = ShakyStore() if store is None else store
        self.sessions = WebSessions(**({"secrets": {"a": SECRET}} | options))
        self.kit: Kit = install(
            self.app,
            Contributes("badges", provides=[self.store, self.badges]),
            Authentication(sockets_checked_seconds=sockets_checked_seconds),
            self.sessions,
            *features,
            clock=clock or FakeClock(),
        )
        self.clock: Any = self.kit.clock
        self.client = TestClient(self.app, raise_server_exceptions=False)
        _routes(self.app)

    def log_in(self, name: str = "ann") -> Browser:
        response = self.client.post("/session", headers={"Authorization": f"Bearer {name}"})
        assert response.status_code == 201, response.text
        self.client.cookies.clear()
        cookie = response.headers["set-cookie"].partition(";")[0]
        return Browser(self.client, cookie, response.json()["csrf_token"])


def _routes(app: FastAPI) -> None:
    async def me(principal: CurrentPrincipal) -> dict[str, Any]:
        return {
            "id": principal.id,
            "kind": principal.kind,
            "tenant": principal.tenant,
            "plan": principal.plan,
            "scopes": sorted(principal.scopes),
            "expires_at": principal.expires_at,
            "claims": dict(principal.claims),
        }

    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        app.add_api_route("/me", me, methods=[method])

    @app.get("/open")
    @public
    async def anybody(principal: CurrentPrincipal) -> str:
        return principal.id

    @app.websocket("/ws")
    async def echo(socket: WebSocket, principal: CurrentPrincipal) -> None:
        await socket.accept()
        await socket.send_text(principal.id)
        await socket.receive()
