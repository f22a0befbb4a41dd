"""Route templates: the full path for every way FastAPI and Starlette have of routing, never what a caller sent."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.features import Layer
from prodkit.core.problems import Problem
from prodkit.core.routes import RouteTable
from prodkit.installation import install
from tests.support.asgi import http_scope, websocket_scope
from tests.support.recording import Recorder, guarding


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


class ClassBased(HTTPEndpoint):
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("class")


def items() -> APIRouter:
    router = APIRouter()

    @router.get("/items/{item}")
    async def item(item: str) -> str:
        return item

    @router.websocket("/socket/{name}")
    async def socket(socket: WebSocket, name: str) -> None:
        await socket.accept()
        await socket.close()

    router.routes.append(Route("/plain/{x}", plain))
    return router


def opaque_app(scope: Any, receive: Any, send: Any) -> Any:
    return PlainTextResponse("opaque")(scope, receive, send)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> tuple[TestClient, Recorder, FastAPI]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "index.html").write_text("<p>site</p>")
    (directory / "style.css").write_text("p{}")

    app = FastAPI()
    shared = items()
    nested = APIRouter()
    nested.include_router(shared, prefix="/nested")
    app.include_router(shared, prefix="/api")
    app.include_router(shared, prefix="/api2")
    app.include_router(nested, prefix="/deep")
    parametrised = APIRouter(prefix="/org/{org}")
    parametrised.include_router(shared)
    app.include_router(parametrised)

    @app.get("/direct/{x}")
    async def direct(x: str) -> str:
        return x

    app.add_route("/starlette/{x}", plain)
    app.add_route("/again/{x}", plain)
    app.add_route("/class/{x}", ClassBased)  # type: ignore[arg-type]  # Starlette takes classes, its types do not

    sub = FastAPI()
    sub.include_router(items(), prefix="/v1")

    @sub.get("/own/{x}")
    async def own(x: str) -> str:
        return x

    app.mount("/sub", sub)
    app.mount("/t/{tenant}", sub)
    app.mount("/opaque", opaque_app)
    app.mount("/files", StaticFiles(directory=directory))
    inner = Starlette(
        routes=[Mount("/ver/{v}", routes=[Route("/q/{z}", plain), WebSocketRoute("/w", socket_app)])]
    )
    app.mount("/mnt/{d}", inner)
    with_mount = APIRouter()
    with_mount.routes.append(Mount("/inside", routes=[Route("/r/{z}", plain)]))
    app.include_router(with_mount, prefix="/included")
    app.router.routes.append(Host("{name}.hosted.test", Router([Route("/h/{x}", ClassBased)])))
    fallback = APIRouter()
    fallback.frontend("/pages", directory=directory)
    app.include_router(fallback, prefix="/ui")
    recorder = Recorder()
    install(app, recorder)
    return TestClient(app), recorder, app


async def socket_app(socket: Any) -> None:
    await socket.accept()
    await socket.close()


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/direct/1", "/direct/{x}"),
        ("/api/items/1", "/api/items/{item}"),
        ("/api2/items/1", "/api2/items/{item}"),
        ("/deep/nested/items/1", "/deep/nested/items/{item}"),
        ("/org/acme/items/1", "/org/{org}/items/{item}"),
        ("/api/plain/1", "/api/plain/{x}"),
        ("/api2/plain/1", "/api2/plain/{x}"),
        ("/starlette/1", "/starlette/{x}"),
        ("/again/1", "/again/{x}"),
        ("/class/1", "/class/{x}"),
        ("/sub/v1/items/1", "/sub/v1/items/{item}"),
        ("/sub/own/1", "/sub/own/{x}"),
        ("/t/acme/v1/items/1", "/t/{tenant}/v1/items/{item}"),
        ("/t/evil-2/own/1", "/t/{tenant}/own/{x}"),
        ("/t/acme/v1/plain/1", "/t/{tenant}/v1/plain/{x}"),
        ("/opaque/any/thing", "/opaque/{path}"),
        ("/files/style.css", "/files/{path}"),
        ("/mnt/a/ver/b/q/c", "/mnt/{d}/ver/{v}/q/{z}"),
        ("/included/inside/r/1", "/included/inside/r/{z}"),
        ("/ui/pages/style.css", "/ui/pages/{path}"),
        ("/docs", "/docs"),
        ("/openapi.json", "/openapi.json"),
        ("/nothing/at/all", "(unmatched)"),
        ("/sub/nothing", "/sub/{path}"),
    ],
)
def test_template_of_a_request(served, path, template):
    """Each kind of route has its full, bounded template."""
    client, recorder, _ = served
    client.get(path)
    assert recorder.last.route == template


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/socket/ann", "/api/socket/{name}"),
        ("/deep/nested/socket/ann", "/deep/nested/socket/{name}"),
        ("/t/acme/v1/socket/ann", "/t/{tenant}/v1/socket/{name}"),
        ("/mnt/a/ver/b/w", "/mnt/{d}/ver/{v}/w"),
    ],
)
def test_template_of_a_socket(served, path, template):
    """WebSocket routes likewise."""
    client, recorder, _ = served
    with client.websocket_connect(path):
        pass
    assert recorder.last.route == template


def test_method_that_does_not_fit_keeps_the_template(served):
    """A 405 belongs to the route whose path matched."""
    client, recorder, _ = served
    assert client.post("/api/items/1").status_code == 405
    assert recorder.last.route == "/api/items/{item}"


def test_host_routes(served):
    """A route chosen by host name has its path as template."""
    client, recorder, _ = served
    response = client.get("/h/1", headers={"Host": "a.hosted.test"})
    assert response.text == "class"
    assert recorder.last.route == "/h/{x}"


def test_frontend_at_the_root(tmp_path):
    """A frontend at `/` is one template, for files that exist and for those that do not."""
    (tmp_path / "index.html").write_text("<p>x</p>")
    app, recorder = FastAPI(), Recorder()
    app.frontend("/", directory=tmp_path)
    install(app, recorder)
    client = TestClient(app)
    client.get("/index.html")
    client.get("/missing.js")
    assert [event.route for event in recorder.finished] == ["/{path}", "/{path}"]


def test_root_path_of_the_server_is_not_part_of_it():
    """What a proxy strips or the server adds in front of the application is not in the template."""
    app, recorder, sub = FastAPI(), Recorder(), FastAPI()
    app.include_router(items(), prefix="/api")
    sub.include_router(items())
    app.mount("/t/{tenant}", sub)
    install(app, recorder)
    client = TestClient(app, root_path="/behind/proxy")
    client.get("/behind/proxy/api/items/1")
    client.get("/behind/proxy/t/acme/items/1")
    assert [event.route for event in recorder.finished] == ["/api/items/{item}", "/t/{tenant}/items/{item}"]


def test_route_added_after_the_start_is_found():
    """A mount added while the application serves is known after the table's rebuild interval."""
    clock = FakeClock()
    app, recorder, sub = FastAPI(), Recorder(), FastAPI()
    install(app, recorder, clock=clock)
    client = TestClient(app)
    app.mount("/first", opaque_app)
    client.get("/first/x")
    sub.include_router(items())
    app.mount("/late/{x}", sub)
    clock.advance(6)
    client.get("/late/1/items/2")
    assert [event.route for event in recorder.finished] == ["/first/{path}", "/late/{x}/items/{item}"]


def test_routing_happens_once():
    """Finding the template matches no route a second time."""
    matched: list[str] = []

    class Counting(Route):
        def matches(self, scope):
            matched.append(scope["path"])
            return super().matches(scope)

    app, recorder = FastAPI(), Recorder()
    app.router.routes.append(Counting("/counted/{x}", plain))
    install(app, recorder)
    TestClient(app).get("/counted/1")
    assert recorder.last.route == "/counted/{x}"
    assert matched == ["/counted/1"]


class Rule:
    """A rule that refuses when told to, and remembers how often it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.responses = {"451": {"description": self.name}}

    def enforce(self, context: RequestContext) -> None:
        self.asked += 1
        if b"x-refuse" in context.headers:
            raise Problem(451, self.name)

    async def __call__(self, request: Request) -> None:
        await request.state.context.enforce(self)


def test_rules_run_once_and_before_the_body():
    """A rule declared on route or router refuses before the body is read, and is asked once a request."""
    router_rule, route_rule = Rule("router"), Rule("route")
    router = APIRouter(dependencies=[Depends(router_rule)])
    read: list[bytes] = []

    @router.post("/items", dependencies=[Depends(route_rule)])
    async def create(body: dict[str, int]) -> int:
        return len(body)

    @router.get("/items")
    async def listing() -> str:
        return "none"

    app, recorder = FastAPI(), Recorder()
    app.include_router(router, prefix="/api")
    install(app, recorder)
    client = TestClient(app)

    def body():
        read.append(b"asked")
        yield b'{"a": 1}'

    json = {"content-type": "application/json"}
    assert client.post("/api/items", content=body(), headers=json).json() == 1
    assert (router_rule.asked, route_rule.asked) == (1, 1)
    assert client.get("/api/items").json() == "none"
    assert (router_rule.asked, route_rule.asked) == (2, 1)
    response = client.post("/api/items", content=b"not json", headers=json | {"X-Refuse": "1"})
    assert (response.status_code, response.json()["detail"]) == (451, "router")
    responses = app.openapi()["paths"]["/api/items"]["post"]["responses"]
    assert responses["451"] == {"description": "router"}
    assert "HTTPValidationError" not in str(app.openapi())


class TestFind:
    @staticmethod
    def table() -> tuple[RouteTable, dict[str, Any]]:
        app, sub = FastAPI(), FastAPI()
        endpoints: dict[str, Any] = {}

        def made(name: str) -> Any:
            async def endpoint() -> str:
                return name

            endpoints[name] = endpoint
            return endpoint

        app.get("/a/fixed")(made("fixed"))
        app.get("/a/{any}")(made("any"))
        app.post("/a/posted")(made("posted"))
        sub.get("/b")(made("sub"))
        app.mount("/sub", sub)
        app.mount("/opaque", opaque_app)
        endpoints["opaque"] = opaque_app

        @app.websocket("/ws")
        async def socket(socket: WebSocket) -> None: ...

        endpoints["ws"] = socket
        return RouteTable(lambda: app.router.routes, FakeClock().monotonic), endpoints

    @pytest.mark.parametrize(
        ("scope", "name"),
        [
            (http_scope("/a/fixed"), "fixed"),
            (http_scope("/a/else"), "any"),
            (http_scope("/a/posted"), "any"),  # GET: the parametrised route is the first full match
            (http_scope("/a/posted", "POST"), "posted"),
            (http_scope("/a/fixed", "PUT"), "fixed"),  # the router's partial match, which answers 405
            (http_scope("/sub/b"), "sub"),
            (http_scope("/opaque/x"), "opaque"),
            (websocket_scope("/ws"), "ws"),
            (http_scope("/sub/none"), None),
            (http_scope("/none"), None),
            (websocket_scope("/a/fixed"), None),
        ],
    )
    def test_finds_what_the_router_would_choose(self, scope, name):
        """`find` is the router's own first match over the live tree."""
        table, endpoints = self.table()
        before = dict(scope)
        assert table.find(scope) is (endpoints[name] if name else None)
        assert scope == before


def test_refused_before_routing_has_no_template():
    """What a guard refuses was never routed."""
    app, recorder = FastAPI(), Recorder()

    @app.get("/x")
    async def x() -> None: ...

    def refuse(_: RequestContext) -> None:
        raise Problem(403)

    install(app, recorder, guarding(Layer.EDGE, refuse))
    TestClient(app).get("/x")
    assert recorder.one() == ("(unrouted)", 403, "refused")
