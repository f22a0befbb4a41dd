"""Who would take a request: the first match, its own rules, and nothing that only looks like it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from starlette.middleware import Middleware
from starlette.routing import Host, Mount, Route, Router

from prodkit.core.clock import FakeClock
from prodkit.core.routes import RouteTable
from prodkit.request_limits import RequestLimits, body_limit
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened


def table_of(app: FastAPI) -> RouteTable:
    return RouteTable(lambda: app.router.routes, FakeClock().monotonic)


async def endpoint() -> int:
    return 1


def test_one_function_on_two_routes_has_the_rules_of_each():
    """What one route declares is not the other's: a route without a limit of its own keeps the application's."""
    app, router = FastAPI(), APIRouter(prefix="/v1", dependencies=[body_limit(30)])

    async def take(body: dict[str, Any]) -> int:
        return len(str(body))

    app.post("/small", dependencies=[body_limit(20)])(take)
    app.post("/large", dependencies=[body_limit(4000)])(take)
    app.post("/plain")(take)
    router.post("/mine")(take)
    app.include_router(router)
    client, _ = hardened(app, RequestLimits(max_body_bytes=10))
    sizes = {"/small": 20, "/large": 4000, "/plain": 10, "/v1/mine": 30}
    for path, size in sizes.items():
        problem = assert_problem(client.post(path, content=b"x" * 5000), 413)
        assert problem["max_body_bytes"] == size
    assert client.post("/large", json={"a": "x" * 1000}).status_code == 200


def test_only_the_route_that_matches_is_looked_into(monkeypatch):
    """An oversize request costs the rules of one route, read once, however many routes there are."""
    app, read = FastAPI(), []
    for number in range(20):
        app.post(f"/{number}", dependencies=[body_limit(30)])(endpoint)
    table = table_of(app)

    def rules_of(route: Any) -> Any:
        read.append(route)
        return ()

    monkeypatch.setattr("prodkit.core.routes.rules_of", rules_of)
    for _ in range(3):
        table.rules_at(http_scope("/7", "POST"))
    assert [route.path for route in read] == ["/7"]
    assert table.rules_at(http_scope("/nothing", "POST")) == ()


def test_a_parameter_that_cannot_be_read_matches_nothing():
    """An integer of 5000 digits is no match, so the next route is looked at."""
    app = FastAPI()
    app.get("/{number:int}")(endpoint)
    assert table_of(app).find(http_scope("/" + "9" * 5000)) is None
    assert table_of(app).find(http_scope("/9")) is endpoint


def test_an_address_that_cannot_be_read_is_not_found():
    """Where Starlette's router raises ValueError for such a path, the client sees 404, and nobody a failure."""
    app = FastAPI()
    app.get("/n/{number:int}")(endpoint)
    app.router.routes.append(Mount("/inner", routes=[Route("/n/{number:int}", endpoint)]))

    @app.get("/broken")
    async def broken() -> int:
        return int("x")

    client, recorder = hardened(app)
    for path in ("/n/", "/inner/n/"):
        assert_problem(client.get(path + "9" * 5000), 404)
    assert [event.status for event in recorder.events] == [404, 404], "no RequestFailed"
    assert_problem(client.get("/broken"), 500)


def test_middleware_hides_who_would_be_reached():
    """Behind middleware of a mount or of a mounted application, the mount is all that can be told; its limit stays."""
    app, wrapped, plain = FastAPI(), FastAPI(), FastAPI()
    wrapped.add_middleware(GZipMiddleware)
    for inner in (wrapped, plain):
        inner.post("/x", dependencies=[body_limit(7)])(endpoint)
    app.mount("/wrapped", wrapped)
    app.mount("/plain", plain)
    routes = [Route("/x", endpoint, methods=["POST"])]
    app.router.routes.append(Mount("/mount", routes=routes, middleware=[Middleware(GZipMiddleware)]))
    table = table_of(app)
    assert table.find(http_scope("/plain/x", "POST")) is endpoint
    assert table.find(http_scope("/wrapped/x", "POST")) is wrapped
    assert table.find(http_scope("/mount/x", "POST")) is not endpoint
    assert [rule.limit for rule in table.rules_at(http_scope("/wrapped/x", "POST"))] == [7]  # type: ignore[attr-defined]


def test_whatever_may_stand_in_between_hides_who_would_be_reached():
    """A router with middleware, under a path or a host, and a class that does something of its own when it is called."""

    class Own(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)

    class Pretends:
        """Has every attribute of the application inside it."""

        def __init__(self, app: Any) -> None:
            self.app = app

        def __getattr__(self, name: str) -> Any:
            return getattr(self.app, name)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    app, own, plain, quiet = FastAPI(), Own(), FastAPI(), type("Quiet", (FastAPI,), {})()
    for inner in (own, plain, quiet):
        inner.get("/x")(endpoint)
    routes = [Route("/x", endpoint)]
    wrapped = Router(routes, middleware=[Middleware(GZipMiddleware)])
    for path, mounted in {
        "/wrapped": wrapped,
        "/own": own,
        "/pretends": Pretends(plain),
        "/router": Router(routes),
        "/quiet": quiet,
    }.items():
        app.mount(path, mounted)
    app.router.routes.append(Host("other", app=Router([Mount("/deep", app=wrapped)])))
    table = table_of(app)
    found = {
        path: table.find(http_scope(f"/{path}/x"))
        for path in ("router", "quiet", "wrapped", "own", "pretends")
    }
    assert [found[name] for name in ("router", "quiet")] == [endpoint, endpoint]
    assert [found[name] is endpoint for name in ("wrapped", "own", "pretends")] == [False] * 3
    assert table.find(http_scope("/deep/x") | {"headers": [(b"host", b"other")]}) is wrapped


def test_only_routes_of_the_application_itself_are_held():
    """Routers count, mounts do not."""
    app, inner, router = FastAPI(), FastAPI(), APIRouter()

    async def mounted() -> int:
        return 2

    inner.get("/x")(mounted)
    router.get("/y")(endpoint)
    app.include_router(router)
    app.mount("/inner", inner)
    assert table_of(app).holds(endpoint)
    assert not table_of(app).holds(mounted)
