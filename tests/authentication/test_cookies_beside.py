"""A credential in a header beside a cookie that may be one."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit.authentication import Authentication, StaticKeys
from prodkit.core.context import CurrentPrincipal
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from tests.authentication.secured import BEARER, CANARY, KEYS
from tests.support.recording import Contributes

WRONG = {"Authorization": "Bearer wrong"}
COOKIE = {"Cookie": "sid=good"}


class ByCookie:
    """Knows whoever sends `sid=good`; may refuse what they want to do, or be unable to decide."""

    scheme = "cookie"
    cookie_name = "sid"
    challenge = "Bearer"
    openapi = {"type": "apiKey", "in": "cookie", "name": "sid"}

    def __init__(self, *, later: bool, status: int | None = None) -> None:
        self.later, self.status = later, status

    def authenticate(self, context) -> Any:
        if context.headers.get(b"cookie") != b"sid=good":
            return None
        if self.later:
            return self._found()
        return self._known()

    async def _found(self) -> Principal:
        return self._known()

    def _known(self) -> Principal:
        if self.status is not None:
            raise Problem(self.status)
        return Principal(id="browser", kind="api_key")


def client_of(**options: Any) -> TestClient:
    app = FastAPI()
    cookies = Contributes("cookies", provides=[ByCookie(**options)])
    install(app, Authentication(StaticKeys(KEYS)), cookies)

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return principal.id

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("later", [False, True])
class TestBeside:
    def test_either_alone_is_good(self, later):
        """The key, or the cookie."""
        client = client_of(later=later)
        assert client.get("/me", headers=BEARER).json() == "ci"
        assert client.get("/me", headers=COOKIE).json() == "browser"

    @pytest.mark.parametrize("headers", [BEARER, {"X-API-Key": CANARY}])
    def test_both_are_two_callers(self, later, headers):
        """Which one is meant is not guessed."""
        assert client_of(later=later).get("/me", headers=headers | COOKIE).status_code == 400

    def test_one_that_may_not_is_somebody_too(self, later):
        """A cookie whose request is refused for another reason is a second credential all the same."""
        client = client_of(later=later, status=403)
        assert client.get("/me", headers=COOKIE).status_code == 403
        assert client.get("/me", headers=BEARER | COOKIE).status_code == 400

    def test_a_stale_cookie_does_not_count(self, later):
        """A browser sends it by itself, and it identifies nobody."""
        client = client_of(later=later)
        assert client.get("/me", headers=BEARER | {"Cookie": "sid=stale"}).json() == "ci"
        assert client_of(later=later, status=401).get("/me", headers=BEARER | COOKIE).json() == "ci"

    def test_a_wrong_key_is_not_saved_by_a_cookie(self, later):
        """Whoever sends a credential believes to be somebody."""
        assert client_of(later=later).get("/me", headers=WRONG | COOKIE).status_code == 401

    def test_who_cannot_decide_says_so(self, later):
        """503 is 503."""
        client = client_of(later=later, status=503)
        assert client.get("/me", headers=BEARER | COOKIE).status_code == 503


class ByProtocol:
    """Knows whoever sends the right word where a browser lets a page put one."""

    scheme = "protocol"
    challenge = "Bearer"
    reads_subprotocol = True
    openapi = {"type": "http", "scheme": "bearer"}

    def authenticate(self, context) -> Principal | None:
        offered = context.headers.get(b"sec-websocket-protocol")
        return Principal(id="socket", kind="test") if offered == b"bearer, word" else None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"X-API-Key": CANARY}, 400),
        ({"X-API-Key": "wrong"}, 400),
        (BEARER, 400),
        ({"Authorization": "Bearer word"}, None),
        (COOKIE, 400),
        ({"Cookie": "sid=stale"}, None),
    ],
)
def test_a_credential_in_the_subprotocol_is_one_too(headers, status):
    """Beside another one, in a header or in a cookie, it makes two; a stale cookie is none."""
    app = FastAPI()
    others = Contributes("others", provides=[ByProtocol(), ByCookie(later=False)])
    install(app, others, Authentication(StaticKeys(KEYS)))

    @app.websocket("/ws")
    async def ws(socket: WebSocket, principal: CurrentPrincipal) -> None:
        await socket.accept("bearer")
        await socket.send_text(principal.id)
        await socket.close()

    client = TestClient(app)
    connecting = client.websocket_connect("/ws", ["bearer", "word"], headers=dict(headers))
    if status is None:
        with connecting as socket:
            assert socket.receive_text() == "socket"
    else:
        with pytest.raises(WebSocketDenialResponse) as refused, connecting:
            pass
        assert refused.value.status_code == status
