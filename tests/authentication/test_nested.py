"""A hardened application with keys inside a hardened one that knows nobody: its rules hold as they do alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from websockets.sync.client import connect

from prodkit.api_keys import APIKeys, keys_router
from prodkit.authentication import Authentication, StaticKeys, require_scopes
from prodkit.core.permission import Permission
from prodkit.installation import install
from tests.authentication.secured import BEARER, KEYS
from tests.authentication.test_sockets import HEADERS, Credential, closed_by
from tests.support.recording import Contributes
from tests.support.server import serving, wait_until


def outer_of(inner: FastAPI) -> FastAPI:
    outer = FastAPI()
    install(outer, Authentication())
    outer.mount("/inner", inner)
    return outer


@pytest.mark.parametrize("mounted", [False, True])
def test_scopes_are_asked_for_inside_as_alone(mounted):
    """Those of routes and those of routers that ask only where somebody is identified; the challenge has the inner realm."""
    inner = FastAPI()
    install(inner, Authentication(StaticKeys(KEYS), realm="within"))
    inner.get("/route", dependencies=[require_scopes("admin")])(lambda: 1)
    inner.get("/router", dependencies=[Depends(Permission(["admin"]))])(lambda: 1)
    client = TestClient(outer_of(inner) if mounted else inner)
    prefix = "/inner" if mounted else ""
    answers = [client.get(f"{prefix}/{name}", headers=BEARER) for name in ("route", "router")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert 'realm="within"' in answers[0].headers["www-authenticate"]


def test_keys_are_administered_inside_as_alone():
    """The router finds the keys of its own application."""
    inner, keys = FastAPI(), APIKeys(peppers={"1": "pepper-0123456789abcdefghijklmnopqrstuvwx"})
    inner.include_router(keys_router())
    install(inner, keys, Authentication())
    issued = asyncio.run(keys.registry.issue("ann", scopes=["keys:admin"]))
    client = TestClient(outer_of(inner))
    answer = client.get("/inner/v1/keys", headers={"Authorization": f"Bearer {issued.secret}"})
    assert [key["id"] for key in answer.json()["keys"]] == [issued.record.id]


def test_a_socket_inside_ends_with_its_credential():
    """It is watched by the application that identified its caller."""
    credential, inner = Credential(), FastAPI()
    found = Contributes("credentials", provides=[credential])
    install(inner, found, Authentication(sockets_checked_seconds=0.05))

    @inner.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    with (
        serving(outer_of(inner)) as served,
        connect(f"ws://127.0.0.1:{served.port}/inner/echo", additional_headers=HEADERS) as socket,
    ):
        wait_until(lambda: credential.asked > 1)
        credential.verdict = False
        assert closed_by(socket) == 1008


def test_two_watch_and_either_may_end_it(monkeypatch):
    """What nobody can say is borne for a while only."""
    monkeypatch.setattr("prodkit.core.pipeline.watching._UNCONFIRMED_SECONDS", 0.2)
    from prodkit.core.pipeline.watching import Watch

    class Watcher:
        sockets_checked_seconds = 0.02

        def __init__(self, *verdicts: Any) -> None:
            self.verdicts = list(verdicts)
            self.asked = 0

        async def still_holds(self, context: Any) -> Any:
            self.asked += 1
            verdict = self.verdicts[min(self.asked, len(self.verdicts)) - 1]
            if isinstance(verdict, Exception):
                raise verdict
            return verdict

    async def lasted(*watchers: Watcher) -> int:
        """How often the first was asked until it was over."""
        app = FastAPI()
        kit = install(app, Authentication())
        context = type("Context", (), {"kit": kit, "principal": type("P", (), {"expires_at": None})()})()
        closed = asyncio.Event()

        async def close() -> None:
            closed.set()

        watch = Watch(context, watchers, close)
        async with asyncio.timeout(5):
            await closed.wait()
        await watch.stop()
        return watchers[0].asked

    async def story() -> list[int]:
        return [
            await lasted(Watcher(True), Watcher(True, True, False)),
            await lasted(Watcher(True, None)),
            await lasted(Watcher(RuntimeError("a bug"))),
        ]

    first, unknown, broken = asyncio.run(story())
    assert first == 3
    assert unknown > 5
    assert broken > 5
