"""An application whose requests end when they are told to, and calls that are looked at while they are under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, WebSocket
from starlette.responses import Response, StreamingResponse

from prodkit.authentication import Authentication, StaticKeys, public
from prodkit.core.features import Layer
from prodkit.correlation import Correlation
from prodkit.cors import CORS
from prodkit.health import Health
from prodkit.installation import install
from prodkit.load_shedding import LoadShedding, priority
from prodkit.metrics import Metrics
from prodkit.operations import Operations
from tests.support.asgi import http_scope, websocket_scope
from tests.support.recording import Contributes, Recorder

KEY = StaticKeys.generate()
WITH_KEY = [(b"x-api-key", KEY.key.encode())]
WITH_JUNK = [(b"x-api-key", b"nobody-has-this-key")]


class Call:
    """One request or handshake under way."""

    def __init__(self, app: Any, scope: dict[str, Any], body: bytes | None = b"") -> None:
        self.messages: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        if scope["type"] == "http" and body is not None:
            self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        elif scope["type"] == "websocket":
            self.inbox.put_nowait({"type": "websocket.connect"})
        self._kind = scope["type"]
        self.task = asyncio.ensure_future(app(scope, self.inbox.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def sent(self, body: bytes, *, more: bool = False) -> None:
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.inbox.put_nowait({"type": f"{self._kind}.disconnect", "code": 1001})

    @property
    def status(self) -> int | None:
        """What was answered so far; 101 for a socket that was accepted."""
        for message in self.messages:
            if message["type"].endswith("response.start"):
                return message["status"]
            if message["type"] == "websocket.accept":
                return 101
        return None

    @property
    def headers(self) -> dict[str, str]:
        start = next(m for m in self.messages if m["type"].endswith("response.start"))
        return {name.decode(): value.decode() for name, value in start["headers"]}

    def json(self) -> Any:
        return json.loads(b"".join(m.get("body", b"") for m in self.messages if m["type"].endswith("body")))

    async def end(self) -> int | None:
        await asyncio.gather(self.task, return_exceptions=True)
        return self.status


class House:
    """A hardened application, and the door that keeps its requests at work until it is opened.

    Attributes:
        begun: how often a handler began, by path.
    """

    def __init__(
        self, *, with_keys: bool = False, more: Any = (), outer: bool = False, **options: Any
    ) -> None:
        self.begun: list[str] = []
        self.identified = 0
        self.door = asyncio.Event()
        self.recorder = Recorder()
        self.shedding = LoadShedding(**options)
        self.app = self._application()
        features: list[Any] = [
            Correlation(),
            Operations(networks=["127.0.0.1/32"]),
            Metrics(),
            Health(),
            self.recorder,
        ]
        features += [CORS(origins=["https://a.example"]), self.shedding]
        if with_keys:
            features.append(Authentication(StaticKeys({"known": {"sha256": KEY.sha256}})))
        features += [Contributes("counts", guards=[(Layer.IDENTITY, self._count)]), *more]
        self.kit = install(self.app, *features)

    def _count(self, context: Any) -> None:
        self.identified += 1

    async def _work(self, request: Request) -> str:
        self.begun.append(request.url.path)
        await self.door.wait()
        return "done"

    def _application(self) -> FastAPI:
        app = FastAPI()
        work = public(self._work)

        @app.get("/work")
        @app.post("/work")
        @public
        async def at_work(request: Request) -> str:
            return await work(request)

        @app.post("/work-with-body")
        @public
        async def with_body(request: Request) -> str:
            await request.body()
            return await work(request)

        @app.get("/critical", dependencies=[priority("critical")])
        @public
        async def critical(request: Request) -> str:
            return await work(request)

        @app.get("/background/{name}", dependencies=[priority("background")])
        @public
        async def background(request: Request) -> str:
            return await work(request)

        @app.get("/stream")
        @public
        async def stream() -> StreamingResponse:
            async def pieces() -> AsyncIterator[bytes]:
                yield b"first"
                await self.door.wait()
                yield b"last"

            return StreamingResponse(pieces())

        @app.get("/tail")
        @public
        async def tail(tasks: BackgroundTasks) -> str:
            tasks.add_task(self.door.wait)
            return "done"

        @app.post("/echo")
        @public
        async def echo(request: Request) -> str:
            return (await request.body()).decode()

        @app.get("/boom")
        @public
        async def boom() -> None:
            raise RuntimeError("boom")

        @app.get("/unchanged")
        @public
        async def unchanged() -> Response:
            return Response(status_code=304)

        @app.websocket("/ws")
        @public
        async def socket(websocket: WebSocket) -> None:
            await websocket.accept()
            async for _ in websocket.iter_text():
                pass

        router = APIRouter(prefix="/reports", dependencies=[priority("background")])

        @router.get("/all")
        @public
        async def reports(request: Request) -> str:
            return await work(request)

        @router.get("/urgent", dependencies=[priority("critical")])
        @public
        async def urgent(request: Request) -> str:
            return await work(request)

        app.include_router(router)
        return app

    def get(self, path: str, headers: Any = (), **more: Any) -> Call:
        return Call(self.app, http_scope(path, headers=headers, **more))

    def post(self, path: str, body: bytes | None) -> Call:
        """A call with *body*; with None it does not come until it is `sent`."""
        return Call(self.app, http_scope(path, "POST"), body)

    def socket(self, headers: Any = (), **more: Any) -> Call:
        return Call(self.app, websocket_scope("/ws", headers=headers, **more))

    async def turn(self, seconds: float = 0.0) -> None:
        """Let everything run that can."""
        for _ in range(20):
            await asyncio.sleep(seconds / 20)

    @property
    def places(self) -> Any:
        return self.shedding._shedder._places

    def nothing_is_left(self) -> bool:
        places = self.places
        counts = (
            places.used,
            places.waiting,
            places.begun,
            places.entered,
            places.reading,
            len(places.held),
        )
        return counts == (0,) * 6

    def decisions(self) -> dict[tuple[str, str], float]:
        return {
            (sample.labels["policy"], sample.labels["outcome"]): sample.value
            for sample in self.shedding.samples()
            if sample.name.endswith("decisions_total") and sample.value
        }

    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.recorder.finished]
