"""A route with headers of its own: on its answers, on its errors, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient
from starlette.routing import Mount
from starlette.testclient import WebSocketDenialResponse

from prodkit.authentication import Authentication, StaticKeys
from prodkit.core.exceptions import SettingsError
from prodkit.core.pipeline import Pipeline
from prodkit.installation import install, kit_of
from prodkit.rate_limiting import RateLimiting, rate_limit
from prodkit.request_limits import RequestLimits
from prodkit.security_headers import SecurityHeaders, security_headers
from tests.security_headers.pages import CSP, client_of, is_web

OWN = "default-src 'self'; frame-ancestors 'none'"


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/page", dependencies=[security_headers("web")])
    async def page(count: int = 0) -> HTMLResponse:
        return HTMLResponse(f"<p>{count}")

    @app.post("/page", dependencies=[security_headers(csp=OWN)])
    async def post(body: dict[str, Any]) -> None:
        raise RuntimeError

    @app.get("/data")
    async def data() -> str:
        return "data"

    return app


def test_route_has_other_headers_than_the_rest():
    """The page has the preset of pages and everything else that of data, in any order of asking."""
    client = client_of(application())
    for _ in range(2):
        assert is_web(client.get("/page"))
        assert client.get("/page").headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert not is_web(client.get("/data"))
        assert client.get("/data").headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("method", "path", "send", "status", "policy"),
    [
        ("HEAD", "/page", {}, 405, "web"),
        ("GET", "/page?count=x", {}, 422, "web"),
        ("POST", "/page", {"json": {}}, 500, OWN),
        ("POST", "/page", {"content": b"{"}, 422, OWN),
        ("POST", "/page", {"content": b"x" * 200}, 413, OWN),
        ("DELETE", "/page", {}, 405, "web"),
    ],
    ids=["head", "parameter", "crash", "body", "too large", "method"],
)
def test_errors_of_a_route_have_its_headers(method: str, path: str, send: Any, status: int, policy: str):
    """Also those that are made before it is reached."""
    app = application()
    answer = client_of(app, RequestLimits(max_body_bytes=100)).request(method, path, **send)
    assert answer.status_code == status
    assert answer.headers[CSP] == policy if policy == OWN else is_web(answer)


def test_refusals_of_guards_have_them():
    """401 before routing, and 429 by a rule of the route."""
    app = FastAPI()

    @app.get("/secret/{name}", dependencies=[security_headers("web"), rate_limit("1/hour")])
    async def secret(name: str) -> str:
        return name

    key = StaticKeys.generate()
    client = client_of(app, RateLimiting(), Authentication(StaticKeys({"one": {"sha256": key.sha256}})))
    refused = client.get("/secret/a")
    assert refused.status_code == 401
    assert is_web(refused)
    with_key = {"Authorization": f"Bearer {key.key}"}
    statuses = [client.get("/secret/a", headers=with_key) for _ in range(2)]
    assert [one.status_code for one in statuses] == [200, 429]
    assert all(is_web(one) for one in statuses)
    assert not is_web(client.get("/other"))


def test_headers_of_the_response_still_win():
    """And lead to no second line: two policies would both be enforced."""
    app = FastAPI()

    @app.get(
        "/",
        dependencies=[security_headers("web", csp=OWN, headers={"X-Own": "rule", "X-Frame-Options": "DENY"})],
    )
    async def page(response: Response) -> str:
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        response.headers["X-Own"] = "route"
        return "x"

    headers = client_of(app).get("/").headers
    assert headers.get_list(CSP) == ["default-src 'none'"]
    assert headers.get_list("x-own") == ["route"]
    assert headers.get_list("x-frame-options") == ["DENY"]


def test_single_headers_change_and_go():
    """Without a preset the path's own headers stay; None leaves one out."""
    app = FastAPI()
    own = security_headers(
        report_only="default-src 'none'", headers={"X-Frame-Options": None, "Referrer-Policy": "same-origin"}
    )

    @app.get("/framed", dependencies=[own])
    async def framed() -> str:
        return "x"

    answer = client_of(app, web_paths=["/framed"]).get("/framed")
    assert is_web(answer)
    assert "x-frame-options" not in answer.headers
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers[f"{CSP}-report-only"] == "default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_nobody_sends_can_be_left_out():
    """And its absence is not written into the response."""
    app = FastAPI()

    @app.get("/", dependencies=[security_headers(headers={"X-Nobody-Sends": None})])
    async def page() -> str:
        return "x"

    assert "x-nobody-sends" not in client_of(app).get("/").headers


def test_routers_and_parameters():
    """A rule of a router holds for its routes below any prefix, whatever their parameters match."""
    router = APIRouter(dependencies=[security_headers("web")])

    @router.get("/{name}")
    async def one(name: str) -> str:
        raise HTTPException(404)

    @router.get("/files/{rest:path}")
    async def rest(rest: str) -> str:
        return rest

    app = FastAPI()
    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b/{tenant}")
    client = client_of(app)
    for path in ("/a/x", "/a/files/x/y", "/b/t/x", "/b/t/files/x/y/z"):
        assert is_web(client.get(path)), path
    for path in ("/a/x/y", "/b/t", "/x"):
        assert not is_web(client.get(path)), path


def test_the_route_that_is_taken_counts():
    """Not another one whose path fits too: the first match is the router's."""
    app = FastAPI()

    @app.get("/items/mine")
    async def mine() -> str:
        return "data"

    @app.get("/items/{name}", dependencies=[security_headers("web")])
    async def named(name: str) -> str:
        return "page"

    client = client_of(app)
    assert not is_web(client.get("/items/mine"))
    assert is_web(client.get("/items/other"))


@pytest.mark.parametrize("is_hardened", [True, False], ids=["hardened", "bare"])
def test_mounted_applications(is_hardened: bool):
    """A rule of a mounted application holds below the mount, for errors too."""
    inner, app = application(), application()
    if is_hardened:
        install(inner, SecurityHeaders(overrides={"X-Frame-Options": "SAMEORIGIN"}))
    app.router.routes.append(Mount("/{tenant}/inner", app=inner))
    client = client_of(app)
    for method, path in (
        ("GET", "/t/inner/page"),
        ("GET", "/t/inner/page?count=x"),
        ("DELETE", "/t/inner/page"),
    ):
        answer = client.request(method, path)
        assert is_web(answer), (method, path)
        assert answer.headers["x-frame-options"] == ("SAMEORIGIN" if is_hardened else "DENY")
    assert not is_web(client.get("/t/inner/data"))
    assert not is_web(client.get("/inner/page"))


def test_root_path():
    """Behind a proxy that leaves its prefix in the path, or takes it off."""
    client = TestClient(client_of(application()).app, root_path="/behind")
    for path in ("/page", "/behind/page"):
        assert is_web(client.get(path)), path
    assert not is_web(client.get("/behind/data"))


def test_websockets():
    """A refused handshake is an answer of the route that was asked for."""
    app = FastAPI()

    @app.websocket("/socket", dependencies=[security_headers(headers={"X-Own": "1"})])
    async def socket(websocket: WebSocket) -> None:
        raise HTTPException(403)

    client = client_of(app)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/socket"):
        pass
    assert refused.value.headers["x-own"] == "1"
    assert refused.value.headers[CSP].startswith("default-src 'none'")


def test_routes_that_are_added_while_the_application_serves():
    """Their rule holds as soon as the route is reached."""
    app = application()
    client = client_of(app)
    client.get("/data")

    @app.get("/late", dependencies=[security_headers("web")])
    async def late() -> str:
        return "late"

    assert is_web(client.get("/late"))


def test_without_the_feature():
    """In an application that has no other security headers, those that were declared are sent."""
    app = application()
    install(app)
    client = TestClient(app)
    assert is_web(client.get("/page"))
    assert CSP not in client.get("/data").headers


def test_stand_alone_pipeline():
    """Without the knowledge of routes, a rule holds from the route on."""
    app = application()
    app.add_middleware(Pipeline, features=[SecurityHeaders()])
    assert is_web(TestClient(app).get("/page"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"preset": "strict"}, "no such preset"),
        ({"csp": "default-src self"}, "without single quotes"),
        ({"report_only": "nonsense"}, "name of directive 1"),
        ({"headers": {"X A": "1"}}, "cannot be sent"),
        ({"headers": {"X-A": "a\nb"}}, "cannot be sent"),
        ({"headers": {"Content-Length": "1"}}, "belongs to the server"),
    ],
)
def test_impossible_headers_are_refused_where_they_are_declared(options: Any, fault: str):
    """As those of the application are, and before it starts."""
    with pytest.raises(SettingsError, match=fault):
        security_headers(**options)


def test_other_requests_are_not_matched_twice(monkeypatch: pytest.MonkeyPatch):
    """Only the paths of routes with headers of their own are looked up before routing."""
    app = application()
    client = client_of(app)
    asked: list[str] = []
    routes = kit_of(app).routes
    find = routes.rules_at

    def recorded(scope: Any) -> Any:
        asked.append(scope["path"])
        return find(scope)

    monkeypatch.setattr(routes, "rules_at", recorded)
    for path in ("/data", "/page", "/nowhere", "/docs"):
        client.get(path)
    assert asked == ["/page"]


def test_rules_are_not_in_the_document():
    """They are nothing that a client has to know of."""
    app = application()
    client_of(app)
    paths = app.openapi()["paths"]
    assert paths["/page"]["get"]["responses"].keys() - {"422"} == paths["/data"]["get"]["responses"].keys()
