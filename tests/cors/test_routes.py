"""A route's own rules hold for it, its preflights and its sockets, and for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit import harden, install
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.pipeline import Pipeline
from prodkit.core.problems import Problem
from prodkit.cors import CORS, RouteCORS, cross_origin
from tests.support.hardening import assert_problem, hardened

if TYPE_CHECKING:
    from collections.abc import Callable

APP, ADMIN, ANY = "https://app.example", "https://admin.example", "https://any.example"


@pytest.fixture(autouse=True)
def _as_if_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests need not match routes of theirs twice."""
    monkeypatch.setattr(RouteCORS, "is_used", False)


def add_routes(app: FastAPI) -> None:
    router = APIRouter(prefix="/area", dependencies=[cross_origin(origins=[ADMIN], allow_credentials=True)])

    @router.get("/admin")
    async def admin() -> str:
        return "admin"

    @router.get("/public", dependencies=[cross_origin(origins=["*"], methods=["GET"])])
    async def public() -> str:
        return "public"

    app.include_router(router)

    @app.get("/thing")
    async def thing() -> str:
        return "thing"

    @app.delete("/thing", dependencies=[cross_origin()])
    async def no_thing() -> str:
        return "deleted"

    @app.get("/refuses", dependencies=[cross_origin(origins=[ADMIN])])
    async def refuses() -> None:
        raise Problem(429)

    @app.websocket("/browsers", dependencies=[cross_origin(require_websocket_origin=True)])
    async def browsers(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    @app.websocket("/ws", dependencies=[cross_origin(origins=[ADMIN])])
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()


def client_of(app: FastAPI | None = None, **options: Any) -> TestClient:
    if app is None:
        app = FastAPI()
        add_routes(app)
    return hardened(app, CORS(**({"origins": [APP]} | options)))[0]


def reader(client: TestClient, path: str, origin: str) -> str | None:
    answer = client.get(path, headers={"Origin": origin})
    assert answer.headers["vary"].lower() == "origin"
    return answer.headers.get("access-control-allow-origin")


def preflight(client: TestClient, path: str, origin: str, method: str = "GET") -> Any:
    return client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": method})


def test_route_decides_before_its_path():
    """The route's own rules hold, then its router's, then those of the path, then those of all."""
    client = client_of(paths={"/area": {"origins": [APP]}})
    for path, expected in (("/area/admin", ADMIN), ("/area/public", "*"), ("/area/x", APP), ("/thing", APP)):
        for origin in (APP, ADMIN, ANY):
            assert reader(client, path, origin) == (expected if expected in {origin, "*"} else None)
    answer = client.get("/area/admin", headers={"Origin": ADMIN})
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert (
        "access-control-allow-credentials"
        not in client.get("/area/public", headers={"Origin": ADMIN}).headers
    )


def test_preflight_is_about_the_route_of_its_method():
    """One address may be open to GET and closed to DELETE."""
    client = client_of()
    assert preflight(client, "/thing", APP).status_code == 204
    assert preflight(client, "/thing", APP, "DELETE").status_code == 403
    assert preflight(client, "/area/public", ANY).headers["access-control-allow-methods"] == "GET"
    assert preflight(client, "/area/admin", APP).status_code == 403
    assert preflight(client, "/area/admin", ADMIN, "NONSENSE").status_code == 204


def test_refusals_have_the_rules_of_the_route():
    """Also what is refused at the route is readable for its readers only."""
    client = client_of()
    assert_problem(client.get("/refuses", headers={"Origin": ADMIN}), 429)
    assert reader(client, "/refuses", ADMIN) == ADMIN
    assert reader(client, "/refuses", APP) is None


def test_sockets_of_the_route():
    """A WebSocket route may have other pages, too."""
    client = client_of()
    with client.websocket_connect("/ws", headers={"Origin": ADMIN}):
        pass
    with (
        client.websocket_connect("/ws"),
        client.websocket_connect("/browsers", headers={"Origin": "http://testserver"}),
    ):
        pass
    for path, headers in (("/ws", {"Origin": APP}), ("/browsers", {"Origin": APP}), ("/browsers", {})):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(path, headers=headers),
        ):
            pass
        assert_problem(denied.value, 403)


def test_routes_of_a_mounted_application():
    """Their declarations are seen from outside, as far as the way to them is."""
    inner = FastAPI()
    add_routes(inner)
    app = FastAPI()
    app.mount("/inner", inner)
    client = client_of(app)
    assert reader(client, "/inner/thing", APP) == APP
    assert preflight(client, "/inner/thing", APP, "DELETE").status_code == 403
    assert reader(client, "/inner/area/admin", ADMIN) == ADMIN


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_closed_route_of_an_open_application(is_late: bool):
    """What everybody may read elsewhere is not said here, whenever the route was added, and whoever asked first."""
    app = FastAPI()
    if not is_late:
        add_routes(app)
    client = client_of(app, origins=["*"])
    if is_late:
        add_routes(app)
    for path in ("/area/admin", "/refuses"):
        for headers in ({}, {"Origin": ANY}):
            answer = client.get(path, headers=headers)
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-expose-headers" not in answer.headers
            assert answer.headers["vary"].lower() == "origin"
        assert reader(client, path, ADMIN) == ADMIN
    assert client.get("/thing", headers={"Origin": ANY}).headers["access-control-allow-origin"] == "*"


def test_declaration_without_cors_is_an_error():
    """It would mean nothing, and look as if it did."""
    app = FastAPI()
    add_routes(app)
    client = TestClient(hardened(app)[0].app)
    with pytest.raises(InstallationError, match="CORS is off"):
        client.get("/area/admin")
    assert client.get("/thing").json() == "thing"


@pytest.mark.parametrize("harden_it", [install, harden])
def test_declaration_without_cors_does_not_start(harden_it: Callable[[FastAPI], Any]):
    """The start says so, with the route, before anybody asks; what is added later is found when it is asked for."""
    app = FastAPI()
    harden_it(app)
    add_routes(app)
    with (
        pytest.raises(
            InstallationError, match=r"^GET /area/admin: cross_origin\(\) .* CORS is off"
        ) as raised,
        TestClient(app),
    ):
        pass
    assert "PRODKIT_CORS__ORIGINS" in str(raised.value)


def test_declaration_starts_with_cors():
    """Also where it is the only one that names an origin; and in an application that is mounted in one with CORS."""
    app, inner = FastAPI(), FastAPI()
    install(app, CORS(paths={"/nowhere": {}}))
    add_routes(app)
    install(inner)
    add_routes(inner)
    app.mount("/inner", inner)
    with TestClient(app) as client:
        assert reader(client, "/area/admin", ADMIN) == ADMIN
        assert reader(client, "/inner/area/admin", ADMIN) == ADMIN


def test_route_added_while_it_runs():
    """A late one without CORS is still refused, to everybody."""
    app = FastAPI()
    install(app)
    with TestClient(app) as client:
        add_routes(app)
        with pytest.raises(InstallationError, match="CORS is off"):
            client.get("/area/admin")


def test_without_routes_there_is_nothing_to_look_up():
    """A stand-alone pipeline does not know the routes, and keeps to the rules of paths."""
    RouteCORS.is_used = True
    app = FastAPI()
    add_routes(app)
    app.add_middleware(Pipeline, features=[CORS(origins=[APP])])
    client = TestClient(app)
    assert client.get("/thing", headers={"Origin": APP}).headers["access-control-allow-origin"] == APP
    assert "access-control-allow-origin" not in client.get("/area/admin", headers={"Origin": ADMIN}).headers


def test_unsafe_declarations_are_refused():
    """They fail where they are written, by the rules of all others."""
    with pytest.raises(SettingsError, match=r"cross_origin\(allow_credentials=...\)"):
        cross_origin(origins=["*"], allow_credentials=True)
    with pytest.raises(SettingsError, match="is null"):
        cross_origin(origins=["null"])
    assert not RouteCORS.is_used


def test_declaration_is_no_parameter():
    """It neither changes the OpenAPI document nor asks a caller for anything."""
    app = FastAPI()
    add_routes(app)
    operation = app.openapi()["paths"]["/area/public"]["get"]
    assert "parameters" not in operation
    assert set(operation["responses"]) == {"200"}
