"""Clients that stop to read: what a server waits for then is silence, and ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from prodkit import harden
from prodkit.timeouts import Timeouts, timeout
from tests.support.asgi import http_scope, websocket_scope
from tests.timeouts.apps import Ends

IDLE = 0.3


class Unread:
    """An application behind a server that waits for ever when it is given a message that *blocks*."""

    def __init__(self, **blocks: Any) -> None:
        self.blocks = blocks
        self.told: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.ends = Ends()
        self.app = app = FastAPI()
        told = self.told

        @app.get("/stream")
        async def stream(tasks: BackgroundTasks) -> StreamingResponse:
            async def produce() -> AsyncIterator[bytes]:
                yield b"all of it"

            async def later() -> None:
                await asyncio.sleep(IDLE * 4)
                told.append("background done")

            tasks.add_task(later)
            return StreamingResponse(produce(), background=tasks)

        @app.get("/whole")
        async def whole() -> str:
            return "all of it"

        @app.get("/late", dependencies=[timeout(0.1)])
        async def late() -> None:
            await asyncio.sleep(30)

        @app.websocket("/pushes")
        async def pushes(socket: WebSocket) -> None:
            await socket.accept()
            try:
                while True:
                    await socket.send_text("x")
            finally:
                told.append("socket ended")

        @app.websocket("/closes")
        async def closes(socket: WebSocket) -> None:
            await socket.accept()
            await socket.close()

        timeouts = Timeouts(idle_seconds=IDLE, websocket_idle_seconds=IDLE, cleanup_seconds=0.3)
        harden(app, timeouts, self.ends)

    async def serve(self, scope: dict[str, Any]) -> list[dict[str, Any]]:
        """What the server took; not before the application is done with *scope*, for which it has 5 s."""
        first = {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request"}
        waiting = [first]

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.sleep(60)
            return waiting.pop()

        async def send(message: dict[str, Any]) -> None:
            if any(message.get(name) == value for name, value in self.blocks.items()):
                await asyncio.sleep(60)
            self.sent.append(message)

        async with asyncio.timeout(5):
            await self.app(scope, receive, send)
        return self.sent


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_the_end_of_a_stream_is_waited_for_as_long_as_for_its_pieces(version):
    """A server takes the last message when its buffer has room, which a client that does not read never gives it."""
    unread = Unread(more_body=False)
    scope = http_scope("/stream", asgi={"version": "3.0", "spec_version": version})
    assert [message.get("body") for message in await unread.serve(scope)] == [None, b"all of it"]
    assert unread.ends.outcomes == [("/stream", 200, "timeout")]


async def test_background_tasks_behind_a_stream_are_left_alone():
    """They are behind its end, however long they take."""
    unread = Unread()
    await unread.serve(http_scope("/stream"))
    assert unread.told == ["background done"]
    assert unread.ends.outcomes == [("/stream", 200, "ok")]


async def test_a_body_in_one_piece_is_waited_for_as_long():
    """Where the server hands it on before it takes the next message."""
    unread = Unread(body=b'"all of it"')
    await unread.serve(http_scope("/whole"))
    assert unread.ends.outcomes == [("/whole", 200, "timeout")]


async def test_our_own_answer_is_not_waited_for_for_ever():
    """A 504 that nobody reads is given up after the time for cleaning up."""
    unread = Unread(type="http.response.start")
    started = time.monotonic()
    assert await unread.serve(http_scope("/late")) == []
    assert time.monotonic() - started < 3
    assert unread.ends.outcomes == [("/late", 504, "timeout")]


async def test_a_socket_that_waits_for_its_reader_is_ended():
    """Also where the close waits behind what was not read."""
    unread = Unread(type="websocket.send")
    unread.blocks = {"text": "x", "type": "websocket.close"}
    await unread.serve(websocket_scope("/pushes"))
    assert unread.told == ["socket ended"]
    assert unread.ends.outcomes == [("/pushes", 101, "timeout")]


async def test_a_close_that_waits_is_ended():
    """The application's own, too."""
    unread = Unread(type="websocket.close")
    await unread.serve(websocket_scope("/closes"))
    assert unread.ends.outcomes == [("/closes", 101, "timeout")]
