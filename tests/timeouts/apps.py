"""Applications whose handlers take their time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from prodkit import harden
from prodkit.core.events import BackgroundFailed, RequestFinished
from prodkit.core.features import Kit, Parts
from prodkit.timeouts import Timeouts, timeout
from tests.support.asgi import http_scope

SHORT = 0.2


async def ask(
    app: Any, path: str, method: str = "GET", receive: Any = None, **scope: Any
) -> list[dict[str, Any]]:
    """What *app* sends; the body is empty unless *receive* says otherwise."""
    sent = []
    asked = 0

    async def nothing() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(http_scope(path, method, **scope), receive or nothing, send)
    return sent


class Ends:
    """A feature that keeps how requests ended."""

    name = "ends"
    provides = ()

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, int | None, str | None]] = []
        self.failed: list[BaseException] = []

    def parts(self, kit: Kit) -> Parts:
        del kit
        return Parts(
            observers=[
                (
                    RequestFinished,
                    lambda event: self.outcomes.append((event.route, event.status, event.outcome)),
                ),
                (BackgroundFailed, lambda event: self.failed.append(event.error)),
            ]
        )


class Slow:
    """One application and what happened in it."""

    def __init__(self, **options: Any) -> None:
        self.told: list[str] = []
        self.most_threads = 0
        self.ends = Ends()
        self.app = FastAPI()
        self._routes()
        self.timeouts = Timeouts(**options)
        self.kit = harden(self.app, self.timeouts, self.ends)

    def _routes(self) -> None:  # noqa: C901
        app, told = self.app, self.told

        @app.get("/quick")
        async def quick() -> int:
            return 1

        @app.get("/waits", dependencies=[timeout(SHORT)])
        async def waits() -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                told.append("cancelled")
                await asyncio.sleep(0.05)
                told.append("cleaned up")
                raise

        @app.get("/thread", dependencies=[timeout(SHORT)])
        def thread() -> int:
            names = [one.name for one in threading.enumerate() if "AnyIO" in one.name]
            self.most_threads = max(self.most_threads, len(names))
            time.sleep(1.0)
            told.append("thread done")
            return 1

        @app.get("/late-raise", dependencies=[timeout(SHORT)])
        def late_raise() -> None:
            time.sleep(0.5)
            raise LookupError("late")

        def slow_dependency():
            time.sleep(0.6)
            told.append("entered")
            try:
                yield 1
            finally:
                told.append("left")

        @app.get("/dependency", dependencies=[timeout(SHORT)])
        async def dependency(value: int = Depends(slow_dependency)) -> int:
            await asyncio.sleep(30)
            told.append("never")
            return value

        @app.get("/by-default")
        async def by_default() -> None:
            await asyncio.sleep(30)

        @app.get("/deaf", dependencies=[timeout(SHORT)])
        async def deaf() -> int:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                told.append("went on")
            return 2

        @app.get("/breaks", dependencies=[timeout(SHORT)])
        async def breaks() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                raise LookupError("while cleaning up")

        @app.post("/reads")
        async def reads(request: Request) -> int:
            return len(await request.body())

        @app.post("/pieces", dependencies=[timeout(body_seconds=0.3)])
        async def pieces(request: Request) -> int:
            return len(await request.body())

        @app.get("/stream")
        async def stream(gap: float, count: int = 4) -> StreamingResponse:
            async def produce() -> AsyncIterator[bytes]:
                try:
                    for number in range(count):
                        yield b"%d\n" % number
                        await asyncio.sleep(gap)
                finally:
                    told.append("stream ended")

            return StreamingResponse(produce(), media_type="text/event-stream")

        @app.get("/background")
        async def background(tasks: BackgroundTasks) -> int:
            async def later() -> None:
                await asyncio.sleep(0.9)
                told.append("background done")

            tasks.add_task(later)
            return 1

        @app.websocket("/hesitates")
        async def hesitates(socket: WebSocket) -> None:
            await asyncio.sleep(30)
            await socket.accept()

        @app.websocket("/impatient")
        async def impatient(socket: WebSocket, _: None = timeout(idle_seconds=0.3)) -> None:
            await socket.accept()
            await socket.receive_text()

        @app.websocket("/echo")
        async def echo(socket: WebSocket) -> None:
            await socket.accept()
            try:
                while True:
                    await socket.send_text(await socket.receive_text())
            except WebSocketDisconnect as gone:
                told.append(f"gone {gone.code}")
