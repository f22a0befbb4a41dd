"""The pipeline as a client, an observer and the garbage collector see it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware

from prodkit.core.asgi import Answer
from prodkit.core.context import CURRENT, CurrentContext, RequestContext, current_context
from prodkit.core.events import BackgroundFailed, CallbackFailed, RequestFailed
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Layer
from prodkit.core.pipeline import Pipeline
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.recording import Contributes, Recorder, guarding

STATIC = Contributes("static", response_headers={"X-Content-Type-Options": "nosniff"})


def hardened(app: FastAPI, *features: Any) -> tuple[TestClient, Recorder]:
    recorder = Recorder()
    install(app, Correlation(inbound="always"), STATIC, recorder, *features)
    return TestClient(app, raise_server_exceptions=False), recorder


def assert_problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "correlation_id"} <= set(body)
    assert body["status"] == status
    assert body["correlation_id"] == response.headers["x-request-id"]
    return body


class TestAnswers:
    def test_answer_of_a_handler_carries_id_and_static_headers(self):
        """A plain answer has our headers once, and yields one event with its route."""
        app = FastAPI()

        @app.get("/items/{item}")
        async def read(item: int) -> int:
            return item

        client, recorder = hardened(app)
        response = client.get("/items/7", headers={"X-Request-ID": "given-id-1"})
        assert response.json() == 7
        assert response.headers.get_list("x-request-id") == ["given-id-1"]
        assert recorder.one() == ("/items/{item}", 200, "ok")
        assert recorder.last.context.bytes_sent == 1

    @pytest.mark.parametrize(
        ("method", "path", "status", "route"),
        [
            ("GET", "/nothing", 404, "(unmatched)"),
            ("POST", "/items/1", 405, "/items/{item}"),
            ("GET", "/items/x", 422, "/items/{item}"),
            ("GET", "/teapot", 418, "/teapot"),
            ("GET", "/problem", 409, "/problem"),
        ],
    )
    def test_errors_are_problems_with_one_event(self, method, path, status, route):
        """What routing, validation and handlers refuse is a problem document, and one event."""
        app = FastAPI()

        @app.get("/items/{item}")
        async def read(item: int) -> int:
            return item

        @app.get("/teapot")
        async def teapot():
            raise HTTPException(418, headers={"X-Pot": "short"})

        @app.get("/problem")
        async def problem():
            raise Problem(409, "Taken.", holder="somebody")

        client, recorder = hardened(app)
        response = client.request(method, path)
        body = assert_problem(response, status)
        assert recorder.one() == (route, status, "refused")
        if status == 405:
            assert response.headers["allow"] == "GET"
        if status == 418:
            assert response.headers["x-pot"] == "short"
        if status == 409:
            assert (body["detail"], body["holder"]) == ("Taken.", "somebody")

    def test_unexpected_exception_is_opaque_and_raised_again(self):
        """A 500 tells nothing, and the exception still reaches the server."""
        app = FastAPI()

        @app.get("/boom")
        async def boom():
            raise RuntimeError("password=hunter2")

        client, recorder = hardened(app)
        body = assert_problem(client.get("/boom"), 500)
        assert "hunter2" not in str(body)
        assert recorder.one() == ("/boom", 500, "error")
        failed = [event for event in recorder.events if isinstance(event, RequestFailed)]
        assert len(failed) == 1
        with pytest.raises(RuntimeError, match="hunter2"):
            TestClient(app).get("/boom")

    @pytest.mark.parametrize(
        "error", [ExceptionGroup("g", [ValueError("a"), KeyError("b")]), ValueError({1, 2})]
    )
    def test_groups_and_strange_values_are_opaque_too(self, error):
        """An exception group, or one holding what JSON cannot say, is an ordinary 500 and is raised as it was."""
        app = FastAPI()

        @app.get("/boom")
        async def boom():
            raise error

        client, recorder = hardened(app)
        assert_problem(client.get("/boom"), 500)
        assert recorder.one() == ("/boom", 500, "error")
        with pytest.raises(type(error)) as raised:
            TestClient(app).get("/boom")
        assert raised.value is error

    def test_users_own_handlers_stay(self):
        """Handlers of the application are used for its own exceptions, for HTTPException and for anything else."""
        app = FastAPI()

        class OutOfPaper(Exception):
            pass

        @app.exception_handler(OutOfPaper)
        async def out_of_paper(request: Request, error: OutOfPaper):
            return JSONResponse({"mine": "paper"}, 507)

        @app.exception_handler(Exception)
        def anything(request: Request, error: Exception):
            return JSONResponse({"mine": type(error).__name__}, 500)

        @app.get("/paper")
        async def paper():
            raise OutOfPaper

        @app.get("/boom")
        async def boom():
            raise KeyError("x")

        client, recorder = hardened(app)
        assert client.get("/paper").json() == {"mine": "paper"}
        response = client.get("/boom")
        assert response.json() == {"mine": "KeyError"}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert [event.outcome for event in recorder.finished] == ["error", "error"]
        with pytest.raises(KeyError):
            TestClient(app).get("/boom")

    def test_a_broken_handler_of_the_user_does_not_cost_the_answer(self):
        """When the user's last-resort handler raises, the client gets the opaque 500."""
        app = FastAPI()

        @app.exception_handler(500)
        async def broken(request: Request, error: Exception):
            raise LookupError("second")

        @app.get("/boom")
        async def boom():
            raise KeyError("first")

        client, _ = hardened(app)
        assert_problem(client.get("/boom"), 500)

    def test_registering_a_handler_for_http_exceptions_replaces_ours(self):
        """A handler registered after us wins as well, because only FastAPI's defaults were replaced."""
        app = FastAPI()
        client, _ = hardened(app)

        @app.exception_handler(404)
        async def missing(request: Request, error: Exception):
            return JSONResponse({"mine": True}, 404)

        assert client.get("/nothing").json() == {"mine": True}

    def test_a_route_wins_over_our_header(self):
        """What a route sets itself is neither overwritten nor doubled."""
        app = FastAPI()

        @app.get("/")
        async def own():
            return JSONResponse(1, headers={"X-Content-Type-Options": "custom", "Vary": "Accept"})

        def vary(context: RequestContext) -> None:
            context.vary_on(b"origin")
            context.vary_on(b"accept")

        client, _ = hardened(app, guarding(Layer.BROWSER, vary))
        response = client.get("/")
        assert response.headers.get_list("x-content-type-options") == ["custom"]
        assert response.headers.get_list("vary") == ["Accept, origin"]

    def test_a_shared_message_collects_nothing(self):
        """A raw application that sends one module-level message each time does not gather our headers in it."""
        start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

        async def raw(scope, receive, send):
            await send(start)
            await send({"type": "http.response.body"})

        app = FastAPI()
        app.mount("/raw", raw)
        client, recorder = hardened(app)
        ids = {client.get("/raw/x").headers["x-request-id"] for _ in range(3)}
        assert len(ids) == 3
        assert start["headers"] == [(b"a", b"b")]
        assert recorder.last.route == "/raw/{path}"


class TestGuards:
    def test_order_is_by_layer_then_installation(self):
        """Guards run in the order of layers whatever the order of installation."""
        ran: list[str] = []

        def named(name: str) -> Any:
            return lambda _: ran.append(name)

        app = FastAPI()
        client, _ = hardened(
            app,
            guarding(Layer.ADMISSION, named("admission"), "a"),
            guarding(Layer.EDGE, named("edge 1"), "b"),
            guarding(Layer.OBSERVE, named("observe"), "c"),
            guarding(Layer.EDGE, named("edge 2"), "d"),
        )
        client.get("/")
        assert ran == ["observe", "edge 1", "edge 2", "admission"]

    def test_refusal_stops_what_follows_and_keeps_headers(self):
        """A guard that raises a problem keeps everything behind it from running, and is answered with our headers."""
        reached: list[str] = []
        app = FastAPI()

        def refuse(context: RequestContext) -> None:
            context.set_response_header("X-Why", "because")
            raise Problem(403, "No.")

        client, recorder = hardened(
            app,
            guarding(Layer.EDGE, refuse, "a"),
            guarding(Layer.IDENTITY, lambda _: reached.append("b"), "b"),
        )
        response = client.get("/")
        assert_problem(response, 403)
        assert response.headers["x-why"] == "because"
        assert reached == []
        assert recorder.one() == ("(unrouted)", 403, "refused")

    def test_a_guard_may_answer_or_wait(self):
        """A guard may return a response, also from a coroutine; None from a coroutine goes on."""
        app = FastAPI()

        @app.get("/")
        async def root() -> str:
            return "handler"

        async def waits(context: RequestContext) -> Answer | None:
            await asyncio.sleep(0)
            return Answer(204) if b"x-stop" in context.headers else None

        client, recorder = hardened(app, guarding(Layer.EDGE, waits))
        assert client.get("/").json() == "handler"
        assert client.get("/", headers={"X-Stop": "1"}).status_code == 204
        assert [event.status for event in recorder.finished] == [200, 204]

    def test_a_failing_guard_is_an_opaque_500(self):
        """A bug in a guard is answered like any unexpected exception."""
        app = FastAPI()
        client, recorder = hardened(app, guarding(Layer.EDGE, lambda _: 1 / 0))
        assert_problem(client.get("/"), 500)
        assert recorder.last.outcome == "error"

    def test_shedding_is_its_own_outcome(self):
        """A refusal for reduced capacity is told apart from errors of the handler."""
        app = FastAPI()

        def shed(_: RequestContext) -> None:
            raise Problem(TEMPORARY_REDUCED_CAPACITY, headers={"Retry-After": "3"})

        client, recorder = hardened(app, guarding(Layer.EDGE, shed))
        response = client.get("/")
        assert response.status_code == 503
        assert response.json()["type"].startswith("https://iana.org/")
        assert recorder.last.outcome == "shed"

    def test_failing_observer_harms_nobody(self, caplog):
        """An observer that raises is counted and logged; the request and the next observer do not notice."""
        app = FastAPI()

        def broken(_: object) -> None:
            raise RuntimeError("observer")

        from prodkit.core.events import RequestFinished

        broken_feature = Contributes("broken", observers=[(RequestFinished, broken)])
        recorder = Recorder()
        kit = install(app, broken_feature, recorder)
        client = TestClient(app)
        for _ in range(3):
            assert client.get("/nothing").status_code == 404
        assert len(recorder.finished) == 3
        assert kit.failures == {"observer": 3}
        assert caplog.text.count("prodkit observer failed") == 2  # the 1st and the 2nd; the 3rd stays quiet


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

        client, recorder = hardened(app)
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


class TestStandAlone:
    def test_pipeline_as_plain_middleware(self):
        """A pipeline added as middleware runs guards and observers, and tells one event for two of them."""
        app = FastAPI()
        recorder = Recorder()

        @app.get("/")
        async def root() -> str:
            return "ok"

        app.add_middleware(Pipeline, features=[Contributes("inner", response_headers={"X-Inner": "1"})])
        app.add_middleware(Pipeline, features=[Correlation(), recorder])
        response = TestClient(app).get("/")
        assert response.headers["x-inner"] == "1"
        assert "x-request-id" in response.headers
        assert recorder.one() == ("(unrouted)", 200, "ok")  # it cannot know: see the docs of Pipeline

    def test_pipeline_refuses_what_it_cannot_do(self):
        """A feature with routes or a lifespan needs `install`, and is told so."""

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            yield

        with pytest.raises(InstallationError, match=r"use install\(app"):
            Pipeline(FastAPI(), features=[Contributes("x", lifespan=lifespan)])
