"""Default deny: where strangers get in, and what callers may do."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.testclient import WebSocketDenialResponse

from prodkit.authentication import (
    Authentication,
    StaticKeys,
    is_public,
    public,
    require_any_scope,
    require_scopes,
)
from prodkit.core.context import CurrentContext, CurrentPrincipal
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.authentication.secured import BEARER, KEYS, secured
from tests.support.asgi import websocket_scope
from tests.support.recording import Recorder


class TestDefaultDeny:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"])
    def test_strangers_get_in_nowhere_else(self, method):
        """Whatever the method, private and unknown paths are 401 for strangers; callers learn which is which."""
        _, client, _ = secured()
        assert client.request(method, "/me").status_code == 401
        assert client.request(method, "/nothing").status_code == 401
        assert client.request(method, "/nothing", headers=BEARER).status_code == 404

    def test_public_endpoints_are_for_everybody(self):
        """A marked endpoint serves strangers as anonymous and callers as themselves."""
        _, client, _ = secured()
        assert client.get("/open").json() == "anonymous"
        assert client.get("/open", headers=BEARER).json() == "ci"
        assert client.head("/open").status_code == 405

    def test_the_mark_works_on_either_side_of_the_route(self):
        """`@public` stands above or below `@app.get`, since both keep the function."""
        app = FastAPI()

        @public
        @app.get("/above")
        async def above() -> int:
            return 1

        @app.get("/below")
        @public
        async def below() -> int:
            return 2

        _, client, _ = secured(app)
        assert [client.get(path).status_code for path in ("/above", "/below")] == [200, 200]

    def test_the_first_match_decides(self):
        """Where a public and a private route match one path, the one the router takes decides, in either order."""
        app = FastAPI()

        @app.get("/a/special")
        async def private() -> str:
            return "private"

        @app.get("/a/{name}")
        @public
        async def shadowed(name: str) -> str:
            return name

        @app.get("/b/{name}")
        @public
        async def first(name: str) -> str:
            return name

        @app.get("/b/special")
        async def unreachable() -> str:
            return "private"

        _, client, _ = secured(app)
        assert client.get("/a/special").status_code == 401
        assert client.get("/a/else").json() == "else"
        assert client.get("/b/special").json() == "special"
        assert [client.get(path).status_code for path in ("/a//special", "/a/special/", "/A/special")] == [
            401
        ] * 3
        assert client.get("/a/%73pecial").status_code == 401

    def test_one_path_may_be_public_for_one_method(self):
        """GET for everybody does not open POST."""
        app = FastAPI()

        @app.get("/items")
        @public
        async def read() -> int:
            return 1

        @app.post("/items")
        async def write() -> int:
            return 2

        _, client, _ = secured(app)
        assert [client.get("/items").status_code, client.post("/items").status_code] == [200, 401]

    def test_mounts_and_routers_are_behind_the_gate(self, tmp_path):
        """Included routers, mounted applications and files are denied, except for what is marked."""
        (tmp_path / "a.txt").write_text("a")
        app, inner, router = FastAPI(), FastAPI(), APIRouter(prefix="/v1")

        @router.get("/x")
        @inner.get("/x")
        async def private() -> int:
            return 1

        @router.get("/y")
        @inner.get("/y")
        @public
        async def marked() -> int:
            return 2

        app.include_router(router)
        app.mount("/inner", inner)
        app.mount("/files", StaticFiles(directory=tmp_path))
        app.mount("/public", public(StaticFiles(directory=tmp_path)))
        _, client, _ = secured(app)
        private_paths = ("/v1/x", "/inner/x", "/inner/nothing", "/inner/docs", "/files/a.txt")
        assert [client.get(path).status_code for path in private_paths] == [401] * 5
        assert [client.get(path).status_code for path in ("/v1/y", "/inner/y", "/public/a.txt")] == [200] * 3
        assert [
            client.get(path, headers=BEARER).status_code for path in ("/v1/x", "/inner/x", "/files/a.txt")
        ] == [200] * 3

    def test_documentation_is_private_unless_told(self):
        """/docs and the schema list what there is to attack; `public_docs` opens them, and nothing else."""
        paths = ("/docs", "/redoc", "/openapi.json")
        _, client, _ = secured()
        assert [client.get(path).status_code for path in paths] == [401] * 3
        _, client, _ = secured(public_docs=True)
        assert [client.get(path).status_code for path in paths] == [200] * 3
        assert client.get("/me").status_code == 401

    def test_an_endpoint_named_like_the_documentation_is_not(self):
        """`public_docs` is for what FastAPI itself made."""

        async def schema() -> int:
            return 1

        schema.__qualname__ = "FastAPI.setup.<locals>.openapi"
        app = FastAPI()
        app.get("/mine")(schema)
        _, client, _ = secured(app, public_docs=True)
        assert client.get("/mine").status_code == 401

    def test_a_path_rewritten_behind_the_gate_opens_nothing(self):
        """A middleware that rewrites a public path into a private one is noticed where the router stands."""
        app = FastAPI()

        class Rewrite:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                if scope.get("path") == "/open":
                    scope = {**scope, "path": "/me", "raw_path": b"/me"}
                await self.app(scope, receive, send)

        app.add_middleware(Rewrite)
        _, client, _ = secured(app)
        assert client.get("/open").status_code == 401
        assert client.post("/open").status_code == 401
        assert client.get("/open", headers=BEARER).json()["id"] == "ci"

    def test_middleware_of_a_mounted_application_opens_nothing(self):
        """It may send a request on to another endpoint than the one it seemed to be for: only the mount's mark counts."""

        class Override:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await self.app({**scope, "method": "DELETE"}, receive, send)

        inner, app = FastAPI(), FastAPI()

        @inner.get("/x")
        @public
        async def read() -> str:
            return "read"

        @inner.delete("/x")
        async def delete() -> str:
            return "deleted"

        inner.add_middleware(Override)
        app.mount("/inner", inner)
        _, client, _ = secured(app)
        assert client.get("/inner/x").status_code == 401
        assert client.get("/inner/x", headers=BEARER).json() == "deleted"
        public(inner)
        assert client.get("/inner/x").json() == "deleted"

    def test_the_mark_is_not_inherited(self):
        """A subclass, and a wrapper that copies attributes, are others than what was marked."""

        @public
        class Open(HTTPEndpoint):
            async def get(self, request: Any) -> PlainTextResponse:
                return PlainTextResponse("x")

        class Closed(Open): ...

        @public
        async def plain() -> int:
            return 1

        @functools.wraps(plain)
        async def wrapper() -> int:
            return await plain()

        class Methods:
            @public
            async def method(self) -> int:
                return 1

        assert [is_public(x) for x in (Open, plain, Methods().method)] == [True] * 3
        assert [is_public(x) for x in (Closed, Open({"type": "http"}, None, None), wrapper)] == [False] * 3  # type: ignore[arg-type]

    def test_documentation_of_a_mounted_application_stays_private(self):
        """`public_docs` is about the application it is set for."""
        app, inner = FastAPI(), FastAPI()
        app.mount("/inner", inner)
        _, client, _ = secured(app, public_docs=True)
        assert client.get("/docs").status_code == 200
        assert [client.get(f"/inner{path}").status_code for path in ("/docs", "/openapi.json")] == [401] * 2

    def test_an_endpoint_that_has_every_attribute_is_not_public(self):
        """A proxy or a mock answers to any name: only the mark itself counts."""

        class Proxy:
            def __getattr__(self, name: str) -> Any:
                if name == "routes":
                    raise AttributeError(name)
                return Proxy()

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                pytest.fail("reached")

        app = FastAPI()
        app.mount("/proxy", Proxy())
        _, client, _ = secured(app)
        assert client.get("/proxy/x").status_code == 401


class TestWebSockets:
    def app(self) -> tuple[FastAPI, TestClient]:
        app, client, _ = secured()

        @app.websocket("/ws")
        async def ws(socket: WebSocket, principal: CurrentPrincipal) -> None:
            await socket.accept()
            await socket.send_text(principal.id)
            await socket.close()

        @app.websocket("/ws/open")
        @public
        async def opened(socket: WebSocket) -> None:
            await socket.accept()
            await socket.close()

        return app, client

    def test_a_handshake_needs_a_credential_as_well(self):
        """Strangers and wrong keys are denied with a 401, callers are known to the handler."""
        _, client = self.app()
        for headers in ({}, {"X-API-Key": "wrong"}):
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/ws", headers=headers),
            ):
                pass
            assert refused.value.status_code == 401
        with client.websocket_connect("/ws", headers=BEARER) as socket:
            assert socket.receive_text() == "ci"
        with client.websocket_connect("/ws/open"):
            pass

    async def test_a_server_without_denial_responses_closes(self):
        """There the refusal is close code 1008, and the handler does not run."""
        app, _ = self.app()
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(websocket_scope("/ws"), receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


class TestScopes:
    def client(self) -> tuple[TestClient, Recorder]:
        app = FastAPI()
        recorder = Recorder()

        @app.post("/run", dependencies=[require_scopes("agents:run", "usage:read")])
        async def run(item: dict[str, int], context: CurrentContext) -> int:
            return len(item)

        @app.post("/admin", dependencies=[require_scopes("agents:run", "admin")])
        async def admin(item: dict[str, int]) -> int:
            return len(item)

        @app.get("/any", dependencies=[require_any_scope("admin", "usage:read")])
        @public
        async def either() -> int:
            return 1

        @app.get("/none", dependencies=[require_any_scope("admin", "owner")])
        async def neither() -> int:
            return 1

        install(app, Correlation(), Authentication(StaticKeys(KEYS)), recorder)
        return TestClient(app, raise_server_exceptions=False), recorder

    def test_scopes_are_all_or_any(self):
        """`require_scopes` asks for every scope, `require_any_scope` for one."""
        client, _ = self.client()
        assert client.post("/run", json={"a": 1}, headers=BEARER).status_code == 200
        assert client.post("/admin", json={}, headers=BEARER).status_code == 403
        assert client.get("/any", headers=BEARER).status_code == 200
        assert client.get("/none", headers=BEARER).status_code == 403

    def test_a_missing_scope_is_named(self):
        """The 403 says which scopes are required, in the problem and as RFC 6750 has it."""
        client, _ = self.client()
        response = client.post("/admin", json={}, headers=BEARER)
        assert response.json()["type"].endswith("/insufficient-scope")
        assert response.json()["required_scopes"] == ["admin", "agents:run"]
        assert response.headers["www-authenticate"] == (
            'Bearer realm="api", error="insufficient_scope", scope="admin agents:run"'
        )

    def test_it_is_decided_before_the_body_is_read(self):
        """What a caller may not do is not parsed for him."""
        client, recorder = self.client()
        assert client.post("/admin", content=b"not json", headers=BEARER).status_code == 403
        assert recorder.last.context.bytes_received == 0

    def test_a_scope_of_a_public_route_still_asks_who(self):
        """Public lets strangers reach the rule; the rule asks for a credential."""
        client, _ = self.client()
        response = client.get("/any")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="api"'

    @pytest.mark.parametrize("scopes", [(), ("",), ("two words",), ('quo"te',), ("ünïcode",)])
    def test_scopes_that_cannot_be_told_are_refused(self, scopes):
        """A scope has to fit into a challenge (RFC 6749, 3.3)."""
        with pytest.raises(ValueError, match="scopes are"):
            require_scopes(*scopes)


def test_openapi_says_what_each_route_asks_for():
    """Schemes, requirements with scopes, 401 and 403 are in the document; public routes ask for nothing."""
    app = FastAPI()

    @app.post("/run", dependencies=[require_scopes("agents:run")])
    async def run() -> int:
        return 1

    _, client, _ = secured(app)
    document = client.get("/openapi.json", headers=BEARER).json()
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    assert document["paths"]["/run"]["post"]["security"] == [{"apiKey": ["agents:run"]}]
    assert {"401", "403"} <= set(document["paths"]["/run"]["post"]["responses"])
    assert document["paths"]["/me"]["get"]["security"] == [{"apiKey": []}]
    assert "403" not in document["paths"]["/me"]["get"]["responses"]
    assert document["paths"]["/open"]["get"]["security"] == []
    assert "401" not in document["paths"]["/open"]["get"]["responses"]
