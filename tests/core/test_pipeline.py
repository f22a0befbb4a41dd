"""The pipeline as a client and an observer see it: answers, guards, stand-alone use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from prodkit.core.asgi import Answer
from prodkit.core.context import RequestContext
from prodkit.core.events import RequestFailed
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Layer
from prodkit.core.pipeline import Pipeline
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem
from prodkit.correlation import Correlation
from prodkit.installation import install
from tests.support.hardening import assert_problem, hardened
from tests.support.recording import Contributes, Recorder, guarding


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


def test_static_vary_is_joined_to_the_routes():
    """A `Vary` that stands among static headers is joined with the route's own, so that no cache mixes answers."""
    app = FastAPI()

    @app.get("/")
    async def own():
        return JSONResponse(1, headers={"Vary": "Accept"})

    client, _ = hardened(app, Contributes("varies", response_headers={"Vary": "Origin"}))
    assert client.get("/").headers.get_list("vary") == ["Accept, origin"]
    assert client.get("/nothing").headers.get_list("vary") == ["Origin"]
