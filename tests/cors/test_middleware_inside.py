"""What the application itself says about other origins, by a middleware or a route, adds nothing to our list."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.testclient import TestClient

from prodkit.cors import CORS, RouteCORS, cross_origin
from prodkit.installation import install
from tests.support.hardening import hardened

APP, ADMIN, EVIL = "https://app.example", "https://admin.example", "https://evil.example"
EVERYBODY: dict[str, Any] = {
    "allow_origins": ["*"],
    "allow_credentials": True,
    "expose_headers": ["X-Secret"],
}


@pytest.fixture(autouse=True)
def _as_if_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouteCORS, "is_used", False)


def application(**theirs: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def home() -> str:
        return "hello"

    @app.get("/own")
    async def own(response: Response) -> None:
        response.headers["Access-Control-Allow-Origin"] = ADMIN

    @app.get("/declared", dependencies=[cross_origin(origins=[ADMIN])])
    async def declared() -> None: ...

    if theirs:
        app.add_middleware(CORSMiddleware, **theirs)
    return app


def client_of(app: FastAPI, **options: Any) -> TestClient:
    return hardened(app, CORS(**({"origins": [APP]} | options)))[0]


def permission(client: TestClient, path: str, origin: str | None) -> tuple[str | None, str | None]:
    """Who may read, and whether as the signed-in user; each stands on one line at most."""
    answer = client.get(path, headers={} if origin is None else {"Origin": origin, "Cookie": "sid=1"})
    lines = [
        answer.headers.get_list(f"access-control-allow-{what}", split_commas=False)
        for what in ("origin", "credentials")
    ]
    assert all(len(found) <= 1 for found in lines)
    who, how = (found[0] if found else None for found in lines)
    return who, how


@pytest.mark.parametrize("path", ["/", "/nowhere"])
@pytest.mark.parametrize("origin", [EVIL, "null", None])
def test_wider_list_inside_has_no_effect(path: str, origin: str | None):
    """Starlette's middleware alone would let everybody in as the user; ours has one list, and that holds."""
    if origin is not None:
        theirs = TestClient(application(**EVERYBODY))
        assert permission(theirs, path, origin) == (origin, "true")
    client = client_of(application(**EVERYBODY))
    assert permission(client, path, origin) == (None, None)
    assert permission(client, path, APP) == (APP, None)
    assert permission(client_of(application(**EVERYBODY), allow_credentials=True), path, APP) == (APP, "true")


def test_everybody_without_credentials_stays_so():
    """Under `*` theirs may repeat an origin, which is no more than everybody, and adds no credentials."""
    client = client_of(application(**EVERYBODY), origins=["*"])
    assert permission(client, "/", EVIL) == (EVIL, None)
    assert permission(client, "/", None)[1] is None
    by_path = client_of(application(**EVERYBODY), origins=["*"], paths={"/own": {}})
    assert permission(by_path, "/", EVIL) == ("*", None)
    assert permission(by_path, "/own", EVIL) == (None, None)


def test_header_of_a_route_has_no_effect():
    """Who shall read one route is said by `cross_origin`, which preflights and sockets know of, or by its path."""
    client = client_of(application())
    assert permission(client, "/own", ADMIN) == (None, None)
    assert permission(client, "/own", APP) == (APP, None)
    assert permission(client, "/declared", ADMIN) == (ADMIN, None)
    assert permission(client, "/declared", APP) == (None, None)
    client = client_of(application(), paths={"/own": {"origins": [ADMIN]}})
    assert permission(client, "/own", ADMIN) == (ADMIN, None)


def test_narrower_header_of_a_route_under_everybody():
    """One who is named in place of everybody stays named."""
    assert permission(client_of(application(), origins=["*"]), "/own", EVIL) == (ADMIN, None)


def test_without_cors_of_ours_theirs_is_left_alone():
    """Where nobody told us who may, the application's own middleware is all there is."""
    client, _ = hardened(application(**EVERYBODY))
    assert permission(client, "/", EVIL) == (EVIL, "true")


@pytest.mark.parametrize("origins", [[ADMIN], ["*"]], ids=str)
def test_hardened_application_inside_still_decides(origins: list[str]):
    """What it says is ours; what its own middleware says is not."""
    inner = application(**EVERYBODY)
    install(inner, CORS(origins=origins))
    app = FastAPI()
    app.mount("/inner", inner)
    client = client_of(app)
    who = "*" if origins == ["*"] else ADMIN
    assert permission(client, "/inner/", ADMIN) == (who, None)
    assert permission(client, "/inner/", EVIL) == (who if who == "*" else None, None)
    assert permission(client, "/inner/", APP) == (who if who == "*" else None, None)


def test_other_application_inside_does_not_decide():
    """One that is not hardened is a part of ours, as its routes are; the path of its mount says who may."""
    app = FastAPI()
    app.mount("/inner", application(**EVERYBODY))
    assert permission(client_of(app), "/inner/", EVIL) == (None, None)
    client = client_of(app := FastAPI(), paths={"/inner": {"origins": ["*"]}})
    app.mount("/inner", application(**EVERYBODY))
    assert permission(client, "/inner/", EVIL) == ("*", None)
