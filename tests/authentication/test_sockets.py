"""Open WebSockets end when the credential does that they were opened with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from prodkit.authentication import Authentication, StaticKeys, public
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from tests.authentication.secured import KEYS
from tests.support.recording import Contributes, Recorder
from tests.support.server import serving, wait_until

HEADERS = {"Authorization": "Bearer x"}


class Credential:
    """A credential whose state a test changes."""

    scheme = "credential"
    challenge = "Bearer"
    openapi = {"type": "http", "scheme": "bearer"}

    def __init__(self, lives_seconds: float | None = None) -> None:
        self.lives_seconds = lives_seconds
        self.verdict: bool | Exception | None = True
        self.asked = 0

    def authenticate(self, context: Any) -> Principal | None:
        if b"authorization" not in context.headers:
            return None
        expires_at = None if self.lives_seconds is None else time.time() + self.lives_seconds
        return Principal(id="somebody", kind="test", expires_at=expires_at)

    async def is_still_valid(self, principal: Principal) -> bool | None:
        self.asked += 1
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


def application(credential: Credential, **options: Any) -> tuple[FastAPI, Recorder, list[str]]:
    """Sockets that echo, that only send and that only wait, and the names of those whose endpoint has ended."""
    app, recorder, ended = FastAPI(), Recorder(), []
    options = {"sockets_checked_seconds": 0.05} | options
    install(app, recorder, Contributes("credentials", provides=[credential]), Authentication(**options))

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        finally:
            ended.append("echo")

    @app.websocket("/sends")
    async def sends(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text("tick")
                await asyncio.sleep(0.01)
        finally:
            ended.append("sends")

    @app.websocket("/impatient")
    async def impatient(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await socket.send_text(await socket.receive_text())

    @app.websocket("/open")
    @public
    async def anybody(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text(await socket.receive_text())

    return app, recorder, ended


def closed_by(socket: Any) -> int:
    """Read until the server closes; the code."""
    with pytest.raises(ConnectionClosed) as closed:
        list(iter(lambda: socket.recv(timeout=5), None))
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize("path", ["/echo", "/sends", "/impatient"])
def test_a_socket_ends_when_its_credential_expires(path):
    """Whatever the endpoint is doing: the client sees 1008, the endpoint ends, the outcome is a refusal."""
    app, recorder, ended = application(Credential(lives_seconds=0.3), sockets_checked_seconds=3600)
    with serving(app) as served:
        started = time.monotonic()
        with connect(f"ws://127.0.0.1:{served.port}{path}", additional_headers=HEADERS) as socket:
            assert closed_by(socket) == 1008
        assert time.monotonic() - started >= 0.25
        wait_until(lambda: recorder.finished)
        assert recorder.one() == (path, 101, "refused")
        assert ended == ([] if path == "/impatient" else [path[1:]])


def test_a_socket_ends_when_its_credential_is_revoked():
    """It works until then."""
    credential = Credential()
    app, _, _ = application(credential)
    with (
        serving(app) as served,
        connect(f"ws://127.0.0.1:{served.port}/echo", additional_headers=HEADERS) as socket,
    ):
        wait_until(lambda: credential.asked > 2)
        socket.send("here?")
        assert socket.recv(timeout=5) == "here?"
        credential.verdict = False
        assert closed_by(socket) == 1008


@pytest.mark.parametrize("verdict", [None, Problem(503), RuntimeError("a bug")])
def test_not_to_be_known_is_no_reason_to_close(verdict):
    """Somebody else's credential, a store that is away, or a fault of ours: the socket stays, and is asked about again."""
    credential = Credential()
    credential.verdict = verdict
    app, _, _ = application(credential)
    with (
        serving(app) as served,
        connect(f"ws://127.0.0.1:{served.port}/echo", additional_headers=HEADERS) as socket,
    ):
        wait_until(lambda: credential.asked > 3)
        socket.send("here?")
        assert socket.recv(timeout=5) == "here?"


def test_no_message_is_lost_to_an_impatient_endpoint():
    """One that gives up waiting, and waits again, gets everything in order."""
    app, _, _ = application(Credential())
    with (
        serving(app) as served,
        connect(f"ws://127.0.0.1:{served.port}/impatient", additional_headers=HEADERS) as socket,
    ):
        for number in range(20):
            time.sleep(0.005 * (number % 7))  # around the endpoint's own patience
            socket.send(str(number))
            assert socket.recv(timeout=5) == str(number)


def test_sockets_of_strangers_are_left_alone():
    """Nobody was identified, so nothing is asked."""
    credential = Credential()
    app, _, _ = application(credential)
    with serving(app) as served, connect(f"ws://127.0.0.1:{served.port}/open") as socket:
        for _ in range(5):
            socket.send("here?")
            assert socket.recv(timeout=5) == "here?"
            time.sleep(0.05)
        assert credential.asked == 0


def test_nothing_runs_on_when_the_client_leaves():
    """Twenty sockets opened and closed leave no task asking."""
    credential = Credential()
    app, recorder, _ = application(credential)
    with serving(app) as served:
        for _ in range(20):
            with connect(f"ws://127.0.0.1:{served.port}/echo", additional_headers=HEADERS) as socket:
                socket.send("x")
                socket.recv(timeout=5)
        wait_until(lambda: len(recorder.finished) == 20)
        asked = credential.asked
        time.sleep(0.2)  # four times the interval
        assert credential.asked == asked


def test_whoever_cancels_an_endpoint_is_answered_with_its_own_cancellation():
    """Starlette's test client leaves a socket by cancelling its endpoint, and knows its own cancellation by what it says."""
    app, _, _ = application(Credential())
    client = TestClient(app)
    for _ in range(30):
        with client.websocket_connect(
            "/echo", headers=dict(HEADERS)
        ) as socket:  # it writes into what it is given
            socket.send_text("x")
            assert socket.receive_text() == "x"


@pytest.mark.parametrize("verdicts", [(True, False), (False, True), (None, False), (Problem(503), False)])
def test_one_that_says_no_is_enough(verdicts):
    """A session may have ended whose key is good, the other way round, or while nobody can say anything of the key."""
    first, second = Credential(), Credential()
    second.scheme = "second"
    app = FastAPI()
    others = Contributes("credentials", provides=[first, second])
    install(app, others, Authentication(sockets_checked_seconds=0.05))

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    with (
        serving(app) as served,
        connect(f"ws://127.0.0.1:{served.port}/echo", additional_headers=HEADERS) as socket,
    ):
        wait_until(lambda: second.asked > 2)
        first.verdict, second.verdict = verdicts
        assert closed_by(socket) == 1008


def test_a_static_key_that_is_configured_no_more_is_no_credential():
    """Its principal may live on in a session; one with fewer scopes than it had is another one."""

    def keys(**changes: Any) -> StaticKeys:
        return StaticKeys({"ci": {**KEYS["ci"], **changes}})

    async def story() -> list[bool | None]:
        known = next(iter(keys()._known.values()))
        return [
            await keys().is_still_valid(known),
            await StaticKeys({"cron": KEYS["cron"]}).is_still_valid(known),
            await keys(scopes=["usage:read"]).is_still_valid(known),
            await keys(tenant="other").is_still_valid(known),
            await keys(sha256=KEYS["cron"]["sha256"]).is_still_valid(known),
            await keys(expires_at="2020-01-01T00:00:00Z").is_still_valid(known),
            await keys().is_still_valid(Principal(id="ci", kind="api_key")),
        ]

    assert asyncio.run(story()) == [True, False, False, False, False, False, None]
