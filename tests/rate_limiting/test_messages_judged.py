"""Messages of WebSockets while they are judged: waiting, the store away, readers that are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.features import Kit, Layer
from prodkit.core.identity import Principal
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.rate_limiting.messages import (
    EXCEEDED,
    UNAVAILABLE,
    Messages,
    message_limit,
)
from tests.rate_limiting.slow import Slow, counts
from tests.support.asgi import websocket_scope
from tests.support.recording import Contributes, guarding


class Judged:
    """Messages judged without an application: a limiter, a context, and a clock that sleeping advances."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        self.clock = FakeClock()
        self.slept: list[float] = []
        self.store = Slow(self.clock)
        limiting = RateLimiting(address=None, policies=[policy])
        self.limiter = limiting.limiter
        self.limiter.bind(self.store, self.clock, addresses_resolved=False)
        self.kit = Kit(self.clock, "https://example.org/")
        scope = websocket_scope("/")
        self.context = RequestContext(self.kit, scope, self.clock.monotonic())
        self.messages = Messages([policy], sleep=self.sleep, **options)
        self.messages.watch(self.context, self.limiter)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    async def judge(self, text: str = "hello") -> Any:
        answer: Any = self.context.rare.judges[0](self.context, {"type": "websocket.receive", "text": text})
        return await answer if hasattr(answer, "__await__") else answer


def test_waiting_is_as_long_as_it_takes() -> None:
    """At 20 a second the third of two waits 50 ms, not the whole second that a header would say."""

    async def wait() -> None:
        judged = Judged(Policy("chat", "20/second", burst=2, layer="message"), on_exceed="wait")
        assert [await judged.judge() for _ in range(3)] == [None] * 3
        assert sum(judged.slept) == pytest.approx(0.05, abs=1e-4)

    asyncio.run(wait())


def test_waiting_for_a_larger_cost() -> None:
    """What is missing comes at the policy's own pace, and few questions are asked on the way."""

    async def wait() -> None:
        policy = Policy("chat", "10/second", burst=10, cost=8, layer="message")
        judged = Judged(policy, on_exceed="wait")
        assert [await judged.judge() for _ in range(2)] == [None] * 2
        assert sum(judged.slept) == pytest.approx(0.6, abs=0.11)
        assert len(judged.slept) <= 3

    asyncio.run(wait())


def test_waiting_is_bounded() -> None:
    """After the longest wait the socket is closed; and at once for what can never fit."""

    async def wait() -> None:
        judged = Judged(Policy("chat", "1/hour", layer="message"), on_exceed="wait", longest_wait_seconds=5.0)
        assert await judged.judge() is None
        assert await judged.judge() == EXCEEDED
        assert sum(judged.slept) == pytest.approx(5.0)
        policy = Policy("size", "5/hour", cost=lambda _: 6, layer="message")
        judged = Judged(policy, on_exceed="wait")
        assert await judged.judge() == EXCEEDED
        assert not judged.slept

    asyncio.run(wait())


@pytest.mark.parametrize(
    ("on_store_error", "told"), [("open", None), ("local", None), ("closed", UNAVAILABLE)]
)
def test_the_store_is_away(on_store_error: Any, told: Any) -> None:
    """The policy says: messages pass, are counted in this process, or the socket is closed with 1013."""

    async def judge() -> None:
        policy = Policy("chat", "1/hour", layer="message", on_store_error=on_store_error)
        judged = Judged(policy)
        judged.store.is_down = True
        assert await judged.judge() == told
        assert await judged.judge() == (EXCEEDED if on_store_error == "local" else told)

    asyncio.run(judge())


class Wire:
    """The two channels of a socket as a server has them."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": text})

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def test_a_reader_that_is_cancelled_loses_no_message() -> None:
    """While the store is asked about it, the application's `receive` may be cancelled: the next one gets the message, once."""

    async def cancel() -> None:
        clock = FakeClock()
        store = Slow(clock)
        app = FastAPI()
        got: list[str] = []
        reading = asyncio.Event()

        @app.websocket("/read", dependencies=[message_limit("5/minute", name="chat")])
        async def read(socket: WebSocket) -> None:
            await socket.accept()
            store.gate, store.arrived = asyncio.Event(), asyncio.Event()
            first = asyncio.ensure_future(socket.receive_text())
            await store.arrived.wait()
            first.cancel()
            await asyncio.wait([first])
            store.gate.set()
            got.append(await socket.receive_text())
            got.append(await socket.receive_text())
            reading.set()
            await socket.close()

        limiting = RateLimiting(address=None)
        install(app, Correlation(), Contributes("stores", provides=[store]), limiting, clock=clock)
        wire = Wire()
        wire.incoming.put_nowait({"type": "websocket.connect"})
        wire.say("one")
        wire.say("two")
        await app(websocket_scope("/read"), wire.incoming.get, wire.send)
        assert reading.is_set()
        assert got == ["one", "two"]
        assert counts(limiting, "chat") == (2, 0)

    asyncio.run(cancel())


def test_a_socket_that_ends_while_a_message_is_judged_leaves_nothing_behind() -> None:
    """The question to the store is cancelled with the socket."""

    async def end() -> None:
        clock = FakeClock()
        store = Slow(clock)
        app = FastAPI()

        @app.websocket("/read", dependencies=[message_limit("5/minute", name="chat")])
        async def read(socket: WebSocket) -> None:
            await socket.accept()
            store.gate, store.arrived = asyncio.Event(), asyncio.Event()
            first = asyncio.ensure_future(socket.receive_text())
            await store.arrived.wait()
            first.cancel()
            await asyncio.wait([first])
            await socket.close()

        install(
            app,
            Correlation(),
            Contributes("stores", provides=[store]),
            RateLimiting(address=None),
            clock=clock,
        )
        wire = Wire()
        wire.incoming.put_nowait({"type": "websocket.connect"})
        wire.say("one")
        await app(websocket_scope("/read"), wire.incoming.get, wire.send)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(end())


def test_a_credential_that_ends_while_a_message_is_judged_ends_the_socket() -> None:
    """However long the store takes, the application is told that the client is gone, and nothing is left behind."""

    class Revoked:
        sockets_checked_seconds = 0.01

        async def still_holds(self, context: RequestContext) -> bool:
            return False

    async def revoke() -> None:
        clock = FakeClock()
        store = Slow(clock)
        app = FastAPI()
        got: list[Any] = []

        @app.websocket("/read", dependencies=[message_limit("5/minute", name="chat")])
        async def read(socket: WebSocket) -> None:
            await socket.accept()
            store.gate = asyncio.Event()
            got.append(await socket.receive())

        def identify(context: Any) -> None:
            context.principal = Principal(id="ada", kind="test")

        install(
            app,
            Correlation(),
            Contributes("stores", provides=[store, Revoked()]),
            guarding(Layer.IDENTITY, identify),
            RateLimiting(address=None),
            clock=clock,
        )
        wire = Wire()
        wire.incoming.put_nowait({"type": "websocket.connect"})
        wire.say("one")
        await app(websocket_scope("/read"), wire.incoming.get, wire.send)
        assert [message["type"] for message in got] == ["websocket.disconnect"]
        assert wire.sent[-1]["reason"] == "credential ended"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(revoke())
