"""`install` changes what it says and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from prodkit.core.exceptions import InstallationError
from prodkit.correlation import Correlation
from prodkit.hardening import harden
from prodkit.installation import install, kit_of
from tests.support.recording import Contributes, Recorder


def test_second_installation_is_refused():
    """Installing twice says where to put all features."""
    app = FastAPI()
    kit = install(app, Correlation())
    assert kit_of(app) is kit
    with pytest.raises(InstallationError, match="hardened already: give all features to the one call"):
        install(app, Recorder())


def test_late_installation_is_refused():
    """An application that has served cannot be hardened any more."""
    app = FastAPI()
    TestClient(app).get("/")
    with pytest.raises(InstallationError, match="already served"):
        install(app, Correlation())


def test_two_features_of_one_name_leave_the_application_as_it_was():
    """A refused installation can be corrected and tried again."""
    app = FastAPI()
    with pytest.raises(InstallationError, match="two features named"):
        install(app, Correlation(), Correlation())
    install(app, Correlation())
    assert "x-request-id" in TestClient(app).get("/").headers


def wrapped() -> Starlette:
    return Starlette(routes=[Mount("/", FastAPI())])


@pytest.mark.parametrize(
    ("app", "features", "message"),
    [
        (wrapped(), [], "an object of type Starlette, and a FastAPI object is needed"),
        (FastAPI, [], "the class FastAPI, and a FastAPI object is needed"),
        (FastAPI(), [Correlation], r"Correlation is a class.* write Correlation\(\.\.\.\)"),
        (FastAPI(), ["correlation"], "an object of type str was given as a feature"),
        (FastAPI(), [Correlation(), None], "an object of type NoneType was given as a feature"),
    ],
    ids=["starlette", "application class", "feature class", "feature name", "none"],
)
@pytest.mark.parametrize("call", [install, harden])
def test_slips_in_arguments_are_named(call, app, features, message):
    """What is given in place of an application or a feature is named with what to write instead."""
    with pytest.raises(InstallationError, match=message):
        call(app, *features)


def test_not_hardened():
    """`kit_of` says what to do."""
    with pytest.raises(LookupError, match="call harden"):
        kit_of(FastAPI())


def test_lifespans_wrap_the_users():
    """Ours are entered before the user's and left after it; the user's state reaches requests."""
    order: list[str] = []

    @asynccontextmanager
    async def theirs(app: FastAPI) -> AsyncIterator[dict[str, int]]:
        order.append("theirs in")
        yield {"answer": 42}
        order.append("theirs out")

    @asynccontextmanager
    async def ours() -> AsyncIterator[None]:
        order.append("ours in")
        yield
        order.append("ours out")

    app = FastAPI(lifespan=theirs)

    @app.get("/")
    async def root(request: Request) -> int:
        answer: int = request.state.answer
        return answer

    install(app, Contributes("ours", lifespan=ours), Correlation())
    with TestClient(app) as client:
        assert client.get("/").json() == 42
    assert order == ["ours in", "theirs in", "theirs out", "ours out"]


def test_event_handlers_of_old_still_run():
    """Start-up and shutdown handlers registered on the router run as before."""
    ran: list[str] = []
    app = FastAPI()
    app.router.add_event_handler("startup", lambda: ran.append("up"))
    install(app, Correlation())
    app.router.add_event_handler("shutdown", lambda: ran.append("down"))
    with TestClient(app):
        pass
    assert ran == ["up", "down"]


def test_middleware_added_later_is_inside():
    """A middleware added after us is still inside us, so that what it answers carries our headers."""
    app = FastAPI()
    recorder = Recorder()
    install(app, Correlation(), recorder)

    class Answers:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await JSONResponse({"from": "middleware"}, 418)(scope, receive, send)

    app.add_middleware(Answers)
    response = TestClient(app).get("/x")
    assert response.status_code == 418
    assert "x-request-id" in response.headers
    assert recorder.last.status == 418
    assert [str(middleware.cls) for middleware in app.user_middleware] == [str(Answers)]


def test_routes_and_handlers_of_features():
    """A feature's routes come after the application's own, its handlers where there are none."""

    class Ours(Exception):
        pass

    async def route(request: Request) -> JSONResponse:
        raise Ours

    async def handler(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"handled": True}, 400)

    feature = Contributes("f", routes=[Route("/feature", route)], exception_handlers={Ours: handler})
    app = FastAPI()
    install(app, feature)
    assert TestClient(app).get("/feature").json() == {"handled": True}


def test_middleware_of_features_wraps_the_users():
    """A feature's middleware sees the user's middleware's answer, and runs after the guards."""
    order: list[str] = []

    def layer(name: str):
        def factory(app):
            async def call(scope, receive, send):
                order.append(name)
                await app(scope, receive, send)

            return call

        return factory

    class Theirs:
        def __init__(self, app):
            self.app = layer("theirs")(app)

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(Theirs)
    install(
        app,
        Contributes("a", middleware=[layer("a1"), layer("a2")]),
        Contributes("b", middleware=[layer("b")]),
    )
    with TestClient(app) as client:
        order.clear()
        client.get("/")
    assert order == ["a1", "a2", "b", "theirs"]


def test_openapi_tells_about_problems():
    """The document names problem bodies for 422 and for any other error, once, also when it is asked twice."""
    app = FastAPI()

    @app.post("/items")
    async def create(body: dict[str, int]) -> None: ...

    @app.get("/health")
    async def health() -> None: ...

    install(app, Correlation())
    client = TestClient(app)
    document = client.get("/openapi.json").json()
    assert document == client.get("/openapi.json").json()
    responses = document["paths"]["/items"]["post"]["responses"]
    reference = responses["422"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/ValidationProblem"
    assert "default" in document["paths"]["/health"]["get"]["responses"]
    assert "HTTPValidationError" not in str(document)


def test_a_route_that_documents_its_own_422_keeps_it():
    """What the application says about itself is not overwritten."""
    app = FastAPI()

    @app.post("/items", responses={422: {"description": "Mine."}, "default": {"description": "Mine too."}})
    async def create(body: dict[str, int]) -> None: ...

    install(app, Correlation())
    responses = app.openapi()["paths"]["/items"]["post"]["responses"]
    assert responses["422"]["description"] == "Mine."
    assert responses["default"]["description"] == "Mine too."


def test_debug_mode_answers_a_problem_all_the_same():
    """`FastAPI(debug=True)` does not turn a 500 into a page with source code."""
    app = FastAPI(debug=True)

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("secret-thing")

    install(app, Correlation())
    response = TestClient(app, raise_server_exceptions=False).get("/boom", headers={"accept": "text/html"})
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret-thing" not in response.text
