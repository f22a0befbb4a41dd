"""Limits on the messages of WebSockets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from prodkit.core.context import RequestContext
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Layer
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.rate_limiting.messages import (
    Messages,
    MessageSize,
    guard_sockets,
    message_limit,
)
from tests.rate_limiting.limited import App
from tests.rate_limiting.slow import counts
from tests.support.recording import Contributes, guarding
from tests.support.server import serving


def echoing(*dependencies: Any, store: Any = None, **options: Any) -> tuple[App, RateLimiting]:
    """An application whose one socket repeats what it is told."""
    app = FastAPI()

    @app.websocket("/echo", dependencies=list(dependencies))
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await socket.send_text(message.get("text") or f"{len(message['bytes'])} bytes")
        except WebSocketDisconnect:
            return

    @app.get("/plain", dependencies=list(dependencies))
    async def plain() -> int:
        return 1

    limiting = RateLimiting(address=None, **options)
    provided = [] if store is None else [Contributes("stores", provides=[store])]
    return App(*provided, limiting, app=app), limiting


def test_a_message_too_many_closes_the_socket() -> None:
    """With 1008 and the reason; the application sees a client that left, and the event says refused."""
    small, limiting = echoing(message_limit("2/minute", name="chat"))
    with small.client().websocket_connect("/echo") as socket:
        for text in ("one", "two"):
            socket.send_text(text)
            assert socket.receive_text() == text
        socket.send_text("three")
        closed = socket.receive()
    assert (closed["type"], closed["code"], closed["reason"]) == ("websocket.close", 1008, "rate limit")
    assert small.recorder.last.outcome == "refused"
    assert counts(limiting, "chat") == (2, 1)


def test_dropped_messages_do_not_reach_the_application() -> None:
    """And the socket goes on, so that later ones do."""
    small, limiting = echoing(message_limit("2/minute", name="chat", on_exceed="drop"))
    with small.client().websocket_connect("/echo") as socket:
        for text in ("one", "two", "three", "four"):
            socket.send_text(text)
        assert [socket.receive_text() for _ in range(2)] == ["one", "two"]
        small.clock.advance(30)
        socket.send_text("five")
        assert socket.receive_text() == "five"
    assert counts(limiting, "chat") == (3, 2)


def test_what_the_application_sends_is_not_counted() -> None:
    """A socket that only listens has no limit to come to."""
    app = FastAPI()

    @app.websocket("/news", dependencies=[message_limit("1/minute", name="chat")])
    async def news(socket: WebSocket) -> None:
        await socket.accept()
        for number in range(20):
            await socket.send_text(str(number))
        await socket.close()

    small = App(RateLimiting(address=None), app=app)
    with small.client().websocket_connect("/news") as socket:
        assert [socket.receive_text() for _ in range(20)] == [str(number) for number in range(20)]


def test_each_socket_may_have_its_own_bucket() -> None:
    """By default the sockets of one caller share theirs."""
    small, _ = echoing(message_limit("1/minute", name="own", by="socket"))
    for _ in range(2):
        with small.client().websocket_connect("/echo") as socket:
            socket.send_text("one")
            assert socket.receive_text() == "one"
    small, _ = echoing(message_limit("1/minute", name="shared"))
    with small.client().websocket_connect("/echo") as socket:
        socket.send_text("one")
        assert socket.receive_text() == "one"
    with small.client().websocket_connect("/echo") as socket:
        socket.send_text("one")
        assert socket.receive()["code"] == 1008


def test_a_message_may_cost_by_its_size() -> None:
    """Ten bytes are ten units: four pass, then seven do not."""
    small, _ = echoing(message_limit("10/minute", cost=lambda _, size: size))
    with small.client().websocket_connect("/echo") as socket:
        socket.send_bytes(b"four")
        assert socket.receive_text() == "4 bytes"
        socket.send_bytes(b"seven..")
        assert socket.receive()["code"] == 1008


def test_policies_for_every_socket() -> None:
    """A guard has the messages of all routes judged, several policies at once, and leaves HTTP alone."""
    policies = [
        Policy("size", "10/minute", layer="message", cost=lambda context: context.get(MessageSize).units),  # type: ignore[union-attr]
        Policy("messages", "3/minute", layer="message"),
    ]
    limiting = RateLimiting(address=None)
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text(await socket.receive_text())

    def guard(context: RequestContext) -> None:
        answer = guard_sockets(limiting.limiter, messages)(context)
        assert answer is None

    messages = Messages(policies)
    small = App(limiting, guarding(Layer.ADMISSION, guard, "messages"), app=app)
    with small.client().websocket_connect("/echo") as socket:
        for text in ("four", "four"):
            socket.send_text(text)
            assert socket.receive_text() == text
        socket.send_text("four")
        assert socket.receive()["code"] == 1008
    assert counts(limiting, "messages") == (2, 0)
    assert small.statuses(5) == [200] * 5


def test_an_endpoint_that_only_sends_learns_of_the_close() -> None:
    """As from a server whose client is gone: else it would send for ever to nobody."""
    seen: list[str] = []
    app = FastAPI()

    @app.websocket("/both", dependencies=[message_limit("1/minute", name="chat")])
    async def both(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        with pytest.raises(WebSocketDisconnect):
            await socket.receive_text()
        try:
            await socket.send_text("more")
        except (WebSocketDisconnect, RuntimeError) as error:
            seen.append(type(error).__name__)

    small = App(RateLimiting(address=None), app=app)
    with small.client().websocket_connect("/both") as socket:
        socket.send_text("one")
        socket.send_text("two")
        assert socket.receive()["code"] == 1008
    assert seen


def test_on_a_route_of_requests_it_is_a_mistake() -> None:
    """A limit that would silently limit nothing is refused."""
    small, _ = echoing(message_limit("2/minute"))
    with pytest.raises(InstallationError, match="is for WebSockets"):
        TestClient(small.app).get("/plain")


def test_impossible_declarations() -> None:
    """Another mode, or a policy that is decided at another time, is refused at construction."""
    with pytest.raises(ValueError, match="on_exceed must be"):
        message_limit("2/minute", on_exceed="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of the layer admission"):
        message_limit(Policy("chat", "2/minute"))


@pytest.mark.process
def test_on_a_real_server() -> None:
    """A client that is too fast is slowed down, or closed with a code and a reason it can read."""
    app = FastAPI()

    @app.websocket("/slow", dependencies=[message_limit("50/second", burst=2, by="socket", on_exceed="wait")])
    @app.websocket("/strict", dependencies=[message_limit("2/minute", by="socket")])
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    install(app, Correlation(), RateLimiting(address=None))
    with serving(app) as served:
        with connect(f"ws://127.0.0.1:{served.port}/slow") as socket:
            began = time.monotonic()
            for number in range(12):
                socket.send(str(number))
            assert [socket.recv(timeout=5) for _ in range(12)] == [str(number) for number in range(12)]
            assert time.monotonic() - began >= 0.2 - 0.01
        with connect(f"ws://127.0.0.1:{served.port}/strict") as socket:
            for _ in range(3):
                socket.send("hello")
            with pytest.raises(ConnectionClosed) as closed:
                list(socket)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "rate limit")
