"""One context for one request, wherever it is looked at from, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware

from prodkit.core.context import CURRENT, CurrentContext, RequestContext, current_context
from prodkit.core.events import RequestFailed
from prodkit.core.features import Layer
from prodkit.core.problems import Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.hardening import STATIC, hardened
from tests.support.recording import Contributes, Recorder, guarding


class TestContext:
    def test_one_context_everywhere(self):
        """Handler, sync endpoint, dependency, middleware and background task share one object, gone afterwards."""
        seen: dict[str, Any] = {}
        app = FastAPI()

        async def dependency(context: CurrentContext) -> None:
            seen["dependency"] = context

        def sync_dependency() -> None:
            seen["thread"] = current_context()

        @app.get("/", dependencies=[Depends(dependency), Depends(sync_dependency)])
        def endpoint(request: Request, tasks: BackgroundTasks) -> None:
            seen["endpoint"] = request.state.context
            tasks.add_task(lambda: seen.setdefault("background", current_context()))

        class Between(BaseHTTPMiddleware):
            async def dispatch(self, request, call_next):
                seen["before"] = current_context()
                response = await call_next(request)
                seen["after"] = request.state.context
                return response

        client, recorder = hardened(app)
        app.add_middleware(Between)
        assert client.get("/").status_code == 200
        assert {id(context) for context in seen.values()} == {id(recorder.last.context)}
        assert set(seen) == {"dependency", "thread", "endpoint", "background", "before", "after"}
        assert CURRENT.get() is None
        assert recorder.one() == ("/", 200, "ok")

    def test_the_name_context_may_be_the_applications(self):
        """What a lifespan or a middleware keeps at `request.state.context` stays there, and does not disturb us."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
            yield {"context": "of the lifespan"}

        app = FastAPI(lifespan=lifespan)

        @app.post("/")
        async def endpoint(request: Request, context: CurrentContext, body: dict[str, int]) -> list[Any]:
            return [request.state.context, context.correlation_id]

        class Between(BaseHTTPMiddleware):
            async def dispatch(self, request, call_next):
                if "x-set" in request.headers:
                    request.state.context = "of the middleware"
                return await call_next(request)

        client, recorder = hardened(app)
        app.add_middleware(Between)
        headers = {"X-Request-ID": "given-id-1"}
        with client:
            answer = client.post("/", json={}, headers=headers)
            assert answer.json() == ["of the lifespan", "given-id-1"]
        answer = client.post("/", json={}, headers=headers | {"X-Set": "1"})
        assert answer.json() == ["of the middleware", "given-id-1"]
        assert [event.status for event in recorder.finished] == [200, 200]

    def test_scope_copying_middleware_does_not_hide_the_route(self):
        """A middleware that hands on a copy of the scope leaves the route template and the rules intact."""

        class Copying:
            def __init__(self, app):
                self.app = app

            async def __call__(self, scope, receive, send):
                await self.app(dict(scope), receive, send)

        app = FastAPI()
        app.add_middleware(Copying)

        @app.get("/items/{item}")
        async def read(item: str) -> str:
            return item

        client, recorder = hardened(app)
        app.add_middleware(Copying)
        client.get("/items/1")
        assert recorder.one() == ("/items/{item}", 200, "ok")

    def test_two_applications_do_not_mix(self):
        """Each of two hardened applications in one process tells its own observers only."""
        first, second = FastAPI(), FastAPI()
        client_1, recorder_1 = hardened(first)
        client_2, recorder_2 = hardened(second)
        client_1.get("/a")
        client_2.get("/b")
        client_2.get("/c")
        assert (len(recorder_1.finished), len(recorder_2.finished)) == (1, 2)

    def test_hardened_inside_hardened(self):
        """One context, one event, no doubled header; the inner guard still refuses and the inner 500 is a problem."""
        inner, outer = FastAPI(), FastAPI()

        @inner.get("/ok/{x}")
        async def ok(context: CurrentContext) -> str:
            return context.correlation_id

        @inner.get("/boom")
        async def boom():
            raise RuntimeError("inner")

        def refuse(context: RequestContext) -> None:
            if b"x-refuse" in context.headers:
                raise Problem(451, "Not here.")

        inner_recorder = Recorder()
        install(
            inner,
            Correlation(),
            Contributes("static", response_headers={"X-Content-Type-Options": "inner"}),
            guarding(Layer.EDGE, refuse),
            inner_recorder,
        )
        outer.mount("/sub", inner)
        client, recorder = hardened(outer)
        response = client.get("/sub/ok/1", headers={"X-Request-ID": "outer-id-1"})
        assert response.json() == "outer-id-1"
        assert response.headers.get_list("x-request-id") == ["outer-id-1"]
        assert response.headers.get_list("x-content-type-options") == ["inner"]
        assert client.get("/sub/ok/1", headers={"X-Refuse": "1"}).status_code == 451
        response = client.get("/sub/boom")
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert [(event.route, event.status, event.outcome) for event in recorder.finished] == [
            ("/sub/ok/{x}", 200, "ok"),
            ("/sub/{path}", 451, "refused"),  # refused before the inner application routed it
            ("/sub/boom", 500, "error"),
        ]
        assert inner_recorder.events == []
        assert len([event for event in recorder.events if isinstance(event, RequestFailed)]) == 1

    def test_no_garbage(self):
        """A request leaves nothing that only the garbage collector would find."""
        app = FastAPI()

        @app.get("/items/{item}")
        async def read(item: int) -> int:
            return item

        recorder = Contributes("nothing")
        install(app, Correlation(), STATIC, recorder)
        stack = app.build_middleware_stack()

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        def scope() -> dict[str, Any]:
            return {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/items/1",
                "raw_path": b"/items/1",
                "query_string": b"",
                "root_path": "",
                "headers": [(b"host", b"localhost")],
                "client": ("127.0.0.1", 5000),
                "server": ("127.0.0.1", 80),
                "state": {},
                "app": app,
            }

        async def run(times: int) -> None:
            for _ in range(times):
                await stack(scope(), receive, send)

        async def measure() -> int:
            await run(20)
            gc.collect()
            gc.disable()
            try:
                await run(100)
                return gc.collect()
            finally:
                gc.enable()

        assert asyncio.run(measure()) == 0
