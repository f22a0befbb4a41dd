"""How requests end: outcomes, callbacks, bodies that are too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware

from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.events import BackgroundFailed, CallbackFailed, RequestFailed
from prodkit.core.features import Layer
from prodkit.installation import install
from tests.support.hardening import assert_problem, hardened
from tests.support.recording import Recorder, guarding


class TestEndings:
    def test_background_task_counts_for_neither_duration_nor_outcome(self):
        """Duration ends with the last byte; a background task that fails is an event of its own."""
        app = FastAPI()

        @app.get("/")
        async def root(tasks: BackgroundTasks) -> str:
            async def later() -> None:
                await asyncio.sleep(0.2)
                raise RuntimeError("late")

            tasks.add_task(later)
            return "done"

        client, recorder = hardened(app)
        assert client.get("/").json() == "done"
        assert recorder.one() == ("/", 200, "ok")
        assert recorder.last.duration_seconds < 0.15
        assert [str(event.error) for event in recorder.events if isinstance(event, BackgroundFailed)] == [
            "late"
        ]

    def test_callbacks_run_once_in_reverse_and_cannot_harm(self):
        """`on_end` callbacks run last first, after the answer, and a failing one is only counted."""
        ran: list[str] = []
        app = FastAPI()

        @app.get("/")
        async def root(context: CurrentContext) -> None:
            async def first() -> None:
                ran.append("first")

            def broken() -> None:
                raise RuntimeError("callback")

            context.on_end(first)
            context.on_end(broken)
            context.on_end(lambda: ran.append("last"))

        client, recorder = hardened(app)
        assert client.get("/").status_code == 200
        assert ran == ["last", "first"]
        assert len([event for event in recorder.events if isinstance(event, CallbackFailed)]) == 1
        assert recorder.one() == ("/", 200, "ok")

    def test_callbacks_are_bounded(self, monkeypatch):
        """A callback that hangs is given up after its bound, and the others still run."""
        monkeypatch.setattr("prodkit.core.pipeline.ending.CALLBACK_SECONDS", 0.05)
        ran: list[str] = []
        app = FastAPI()

        @app.get("/")
        async def root(context: CurrentContext) -> None:
            context.on_end(lambda: ran.append("other"))
            context.on_end(lambda: asyncio.sleep(60))

        client, recorder = hardened(app)
        assert client.get("/").status_code == 200
        assert ran == ["other"]
        assert any(isinstance(event, CallbackFailed) for event in recorder.events)

    async def test_cancellation_still_ends_the_request(self):
        """A request that the server cancels yields its event and its callbacks."""
        ran: list[str] = []
        app = FastAPI()

        @app.get("/")
        async def root(context: CurrentContext) -> None:
            context.on_end(lambda: ran.append("released"))
            await asyncio.sleep(60)

        recorder = Recorder()
        kit = install(app, recorder)
        from tests.support.asgi import http_scope

        async def receive():
            await asyncio.sleep(60)

        async def send(message):
            pass

        task = asyncio.create_task(app(http_scope("/"), receive, send))
        while kit.in_flight == 0 or recorder.finished:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ran == ["released"]
        assert recorder.one() == ("/", None, "error")
        assert kit.in_flight == 0

    def test_stream_that_breaks_after_its_start_is_aborted(self):
        """An exception in the middle of a body is not sent as a second answer; the event says aborted, with 200."""
        app = FastAPI()

        @app.get("/")
        async def root():
            async def body() -> AsyncIterator[bytes]:
                yield b"begin"
                raise RuntimeError("broke")

            return StreamingResponse(body())

        _, recorder = hardened(app)
        with pytest.raises(Exception, match="broke"):
            TestClient(app).get("/")
        assert recorder.one() == ("/", 200, "aborted")
        assert len([event for event in recorder.events if isinstance(event, RequestFailed)]) == 1


class TestBodies:
    @staticmethod
    def limited(app: FastAPI, *features: Any) -> tuple[TestClient, Recorder]:
        def limit(context: RequestContext) -> None:
            context.max_body_bytes = 10

        return hardened(app, guarding(Layer.EDGE, limit), *features)

    @staticmethod
    def chunks():
        yield b"12345678"
        yield b"12345678"

    @pytest.mark.parametrize("between", [False, True])
    def test_counted_body_over_the_limit_is_413(self, between):
        """A body that turns out too long is a 413 problem, also with a task group between us and the reader."""
        app = FastAPI()

        @app.post("/")
        async def root(request: Request, body: Annotated[dict[str, Any] | None, ...] = None):
            return len(await request.body())

        class Between(BaseHTTPMiddleware):
            async def dispatch(self, request, call_next):
                return await call_next(request)

        if between:
            app.add_middleware(Between)
        client, recorder = self.limited(app)
        response = client.post("/", content=self.chunks(), headers={"content-type": "application/json"})
        body = assert_problem(response, 413)
        assert body["max_body_bytes"] == 10
        assert recorder.one() == ("/", 413, "refused")

    def test_middleware_that_reads_the_body_is_limited_too(self):
        """A body read by the user's own middleware, before any route is known, is limited as well."""
        app = FastAPI()

        class Reads(BaseHTTPMiddleware):
            async def dispatch(self, request, call_next):
                await request.body()
                return await call_next(request)

        app.add_middleware(Reads)
        client, recorder = self.limited(app)
        assert_problem(client.post("/", content=self.chunks()), 413)
        assert recorder.last.outcome == "refused"

    def test_limiter_of_a_route_answers_with_a_problem(self):
        """Starlette's own limiter, set on a route, answers with our problem and is never counted as an error."""
        app = FastAPI()

        @app.post("/", max_body_size=5)
        async def root(request: Request):
            return len(await request.body())

        client, recorder = hardened(app)
        assert_problem(client.post("/", content=b"0123456789"), 413)
        assert_problem(client.post("/", content=self.chunks()), 413)
        assert [(event.status, event.outcome) for event in recorder.finished] == [(413, "refused")] * 2
        assert not [event for event in recorder.events if isinstance(event, RequestFailed)]
