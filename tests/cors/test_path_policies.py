"""Other rules for parts of an application: the longest prefix holds, and no way of writing a path escapes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from prodkit import Settings, install
from prodkit.core.exceptions import SettingsError
from prodkit.cors import CORS, PathCORSSettings
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened
from tests.support.server import serving, status_of

if TYPE_CHECKING:
    from pathlib import Path

APP, ADMIN, ANY = "https://app.example", "https://admin.example", "https://any.example"
PATHS: dict[str, Any] = {
    "/public": {"origins": ["*"], "methods": ["GET"], "headers": [], "max_age_seconds": 5},
    "/admin": {"origins": [ADMIN], "allow_credentials": True, "expose_headers": ["X-Admin"]},
    "/admin/closed": {},
    "/teams/{team}/feed": {"origin_regex": r"^https://[a-z]+\.feeds\.example\.com$"},
}


def application() -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/admin")

    @router.get("/users")
    async def users() -> str:
        return "users"

    app.include_router(router)

    @app.get("/{path:path}")
    async def anything(path: str) -> str:
        return path

    @app.websocket("/{path:path}")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def client_of(**options: Any) -> TestClient:
    return hardened(
        application(), CORS(**({"origins": [APP], "expose_headers": ["X-General"], "paths": PATHS} | options))
    )[0]


def allowed(client: TestClient, path: str, origin: str, **headers: str) -> str | None:
    """For whom the answer is, and that it does not depend on more than it says."""
    answer = client.get(path, headers={"Origin": origin, **headers})
    assert answer.headers.get_list("vary") == ["Origin"]
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("/", APP),
        ("/publicity", APP),
        ("/Public", APP),
        ("/x/public", APP),
        ("/public", "*"),
        ("/public/", "*"),
        ("/public/a/b", "*"),
        ("/admin", ADMIN),
        ("/admin/users", ADMIN),
        ("/admin/closedness", ADMIN),
        ("/admin/closed", None),
        ("/admin/closed/x", None),
        ("/teams/7/feed", "https://blue.feeds.example.com"),
        ("/teams/7/feeds", APP),
        ("/teams/7", APP),
    ],
)
def test_longest_prefix_decides(path: str, reader: str | None):
    """Each part of the application is for its own readers only."""
    client = client_of()
    for origin in (APP, ADMIN, "https://blue.feeds.example.com", ANY):
        expected = reader if reader in {origin, "*"} else None
        assert allowed(client, path, origin) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/admin%2Fusers",
        "/%61dmin/users",
        "/%61%64%6D%69%6E",
        "/admin/%2e%2E/admin/users",
        "/public/%2e%2e/admin/users",
        "/public/..%2Fadmin/users",
        "/public%2F..%2Fadmin",
        "/public/%2e/x",
        "/admin;/x/%2e%2e",
        "/admin/users/%2e%2e",
    ],
)
def test_no_spelling_opens_another_policy(path: str):
    """What the router takes for /admin is /admin, and a path that somebody could read in two ways is for nobody else."""
    client = client_of()
    assert allowed(client, path, ANY) is None
    assert allowed(client, path, APP) is None
    preflight = client.options(path, headers={"Origin": APP, "Access-Control-Request-Method": "GET"})
    assert preflight.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/static//private/x.txt",
        "/static/%2fprivate/x.txt",
        "/static/%2F/private//x.txt",
        "/static/private%2f/x.txt",
        "//static/private/x.txt",
    ],
)
def test_slashes_that_a_file_system_takes_for_one(path: str, tmp_path: Path):
    """`StaticFiles` finds the file all the same, and so does the stricter rule: for nobody but whom both rules mean."""
    (tmp_path / "static" / "private").mkdir(parents=True)
    (tmp_path / "static" / "private" / "x.txt").write_text("secret")
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=tmp_path / "static"))
    app.mount("/", StaticFiles(directory=tmp_path))
    rules = {"/static": {"origins": [APP], "allow_credentials": True}, "/static/private": {}}
    client, _ = hardened(app, CORS(origins=[APP], paths=rules))
    client = TestClient(client.app, base_url="http://testserver")
    answer = client.get(f"http://testserver{path}", headers={"Origin": APP})
    assert answer.text == "secret"
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-credentials" not in answer.headers
    assert allowed(client, "/static//open.txt", APP) == APP


@pytest.mark.parametrize("path", ["/admin/users%0a", "/admin%2Fusers%0A"])
def test_line_break_that_the_router_leaves_out(path: str):
    """Its expressions end with `$`, which takes one at the end: the same route, and no looser rule."""
    rules = {"/admin": {"origins": [APP], "allow_credentials": True}, "/admin/users": {}}
    client = client_of(paths=rules)
    answer = client.get(path, headers={"Origin": APP})
    assert answer.json() == "users"
    assert "access-control-allow-origin" not in answer.headers
    assert (
        client.options(path, headers={"Origin": APP, "Access-Control-Request-Method": "GET"}).status_code
        == 403
    )


def test_encoded_slash_is_routed_and_judged_alike():
    """The router splits at it, so the policy does too."""
    client = client_of()
    answer = client.get("/admin%2Fusers", headers={"Origin": ADMIN})
    assert answer.json() == "users"
    assert answer.headers["access-control-allow-origin"] == ADMIN


def test_real_server_agrees():
    """uvicorn decodes a path before we see it: an encoded one has no other policy there either."""
    app = application()
    install(app, CORS(origins=[APP], paths=PATHS))
    with serving(app) as server:
        for path in ("/%61dmin/users", "/public/%2e%2e/admin/users", "/public/../admin/users"):
            answer = server.get(path, f"Origin: {ANY}")
            assert status_of(answer) == 200
            assert b"access-control-allow-origin" not in answer.lower()


def test_prefix_of_a_proxy_does_not_count():
    """Paths are the application's own, whether the server passes the prefix on or not."""
    client = TestClient(client_of().app, root_path="/api")
    assert allowed(client, "/admin/users", ADMIN) == ADMIN
    assert allowed(client, "/api/admin/users", ADMIN) == ADMIN
    assert allowed(client, "/api/public", ANY) == "*"
    assert allowed(client, "/apiadmin/users", ADMIN) is None
    assert allowed(client, "/apiadmin/users", APP) == APP


def test_what_is_mounted_lies_below_its_mount():
    """A sub-application has the policy of the path it is mounted at, or of one within."""
    app = FastAPI()
    app.mount("/admin", application())
    client, _ = hardened(app, CORS(origins=[APP], paths=PATHS))
    assert allowed(client, "/admin/anything", ADMIN) == ADMIN
    assert allowed(client, "/admin/closed", ADMIN) is None


def test_hardened_application_inside_decides_for_itself():
    """What an application says of its own answers holds, also against the one it is mounted in."""
    inner = application()
    install(inner, CORS(origins=[ADMIN]))
    open_inside = application()
    install(open_inside, CORS(origins=["*"]))
    app = FastAPI()
    app.mount("/inner", inner)
    app.mount("/open", open_inside)
    client, _ = hardened(app, CORS(origins=[APP], allow_credentials=True))
    for origin, reader in ((APP, None), (ADMIN, ADMIN), (ANY, None)):
        answer = client.get("/inner/x", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == reader
        assert "access-control-allow-credentials" not in answer.headers
    answer = client.get("/open/x", headers={"Origin": APP})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_mounted_in_an_open_application():
    """Everybody outside is not everybody inside."""
    inner = application()
    install(inner, CORS(origins=[ADMIN]))
    app = FastAPI()
    app.mount("/inner", inner)
    client, _ = hardened(app, CORS(origins=["*"]))
    assert "access-control-allow-origin" not in client.get("/inner/x", headers={"Origin": ANY}).headers
    assert client.get("/x").headers.get("access-control-allow-origin") == "*"
    unasked = client.get("/inner/x")
    assert [name for name in unasked.headers if name.startswith("access-control-")] == []
    assert unasked.headers["vary"].lower() == "origin"
    assert client.get("/inner/x", headers={"Origin": ADMIN}).headers["access-control-allow-origin"] == ADMIN


def test_open_inside_of_an_open_application():
    """Both tell everybody: nothing is taken back, whether a page asks or not."""
    inner = application()
    install(inner, CORS(origins=["*"], expose_headers=["X-Inner"]))
    app = FastAPI()
    app.mount("/inner", inner)
    client, _ = hardened(app, CORS(origins=["*"]))
    for headers in ({}, {"Origin": ANY}):
        answer = client.get("/inner/x", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "X-Inner" in answer.headers["access-control-expose-headers"]


def test_what_an_entry_says():
    """Methods, headers, age and exposed headers are the entry's own where it says them, else those of all."""
    client = client_of()
    asking = {"Access-Control-Request-Method": "GET"}
    public = client.options("/public", headers={"Origin": ANY, **asking})
    assert public.headers["access-control-allow-origin"] == "*"
    assert public.headers["access-control-allow-methods"] == "GET"
    assert public.headers["access-control-allow-headers"] == ""
    assert public.headers["access-control-max-age"] == "5"
    admin = client.options("/admin", headers={"Origin": ADMIN, **asking})
    assert admin.headers["access-control-allow-credentials"] == "true"
    assert "DELETE" in admin.headers["access-control-allow-methods"]
    assert admin.headers["access-control-max-age"] == "600"
    exposed = client.get("/admin", headers={"Origin": ADMIN}).headers["access-control-expose-headers"]
    assert "X-Admin" in exposed
    assert "X-General" not in exposed
    assert "X-General" in client.get("/public").headers.get("access-control-expose-headers", "X-General")
    assert (
        "X-General" in client.get("/public", headers={"Origin": ANY}).headers["access-control-expose-headers"]
    )


def test_who_may_is_never_taken_over():
    """An entry that names nobody is for nobody, also where everybody else may."""
    client = client_of(origins=["*"], paths={"/admin": {"methods": ["GET"]}})
    assert allowed(client, "/", ANY) == "*"
    assert allowed(client, "/admin", ANY) is None
    client = client_of(allow_credentials=True, paths={"/open": {"origins": ["*"]}})
    assert "access-control-allow-credentials" not in client.get("/open", headers={"Origin": APP}).headers
    assert "access-control-allow-credentials" in client.get("/", headers={"Origin": APP}).headers


def test_answer_without_an_origin_is_for_nobody():
    """A cache that keeps it must not hand it to a page: what is public somewhere is not sent everywhere."""
    client = client_of(origins=["*"])
    for path in ("/", "/public", "/admin"):
        answer = client.get(path)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


def test_sockets_have_the_policy_of_their_path():
    """A page that may not open one here may open one there, and a missing Origin is as each path has it."""
    client = client_of(paths={**PATHS, "/browsers": {"origins": [APP], "require_websocket_origin": True}})
    with client.websocket_connect("/public/x", headers={"Origin": ANY}):
        pass
    with client.websocket_connect("/admin/x"):
        pass
    for path, headers in (
        ("/admin/x", {"Origin": APP}),
        ("/admin/closed", {"Origin": ADMIN}),
        ("/browsers", {}),
    ):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(path, headers=headers),
        ):
            pass
        assert_problem(denied.value, 403)


def test_paths_alone_switch_it_on():
    """Without general origins only what is named is open."""
    client = client_of(origins=[], paths={"/public": {"origins": ["*"]}})
    assert allowed(client, "/public", ANY) == "*"
    assert allowed(client, "/", ANY) is None


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        ({"public": {}}, "entry 1 does not begin with a slash"),
        ({"/a": {}, "/b/": {}}, "entry 2 ends with a slash"),
        ({"/a/*": {}}, "is not a path"),
        ({"/a": {"origins": ["*"], "allow_credentials": True}}, "every page on the internet"),
        ({"/a": {"origins": ["*"], "allow_private_network": True}}, "look around in this network"),
        ({"/a": {"origins": ["null"]}}, "is null"),
        ({"/a": {"origin_regex": "^https://.*$"}}, "matches any character"),
        ({"/a": {"methods": ["*"]}}, "not the name of a method"),
        ({"/a": {"max_age_seconds": -1}}, "max_age_seconds"),
        ({"/a": {"origin": [APP]}}, r"Did you mean origins\?"),
        ({"/a": {"zzzz": [APP]}}, "Remove it, or correct the name"),
        ({"/a": {"origins": APP}}, r'a list. Write a list of origins, like \["a", "b"\]'),
        ({"/a": [APP]}, "Write a dict"),
    ],
)
def test_unsafe_entries_are_refused(paths: dict[str, Any], fault: str):
    """What is refused for all is refused for each."""
    with pytest.raises(SettingsError, match=fault):
        CORS(paths=paths)


def test_set_by_the_environment(monkeypatch: pytest.MonkeyPatch):
    """One variable holds them all as JSON."""
    monkeypatch.setenv("PRODKIT_CORS__PATHS", json.dumps(PATHS))
    settings = Settings(_env_file=None)
    assert settings.cors.paths["/admin"].allow_credentials
    app = application()
    install(app, CORS.from_settings(settings.cors))
    answer = TestClient(app).get("/public", headers={"Origin": ANY})
    assert answer.headers["access-control-allow-origin"] == "*"
    monkeypatch.setenv("PRODKIT_CORS__PATHS", '{"/a/": {}}')
    with pytest.raises(SettingsError, match=r"PRODKIT_CORS__PATHS: entry 1 ends with a slash"):
        Settings(_env_file=None)


def test_order_names_the_paths():
    """`prodkit config` shows that there is more than one rule."""
    kit = install(FastAPI(), CORS(paths={"/public": PathCORSSettings(origins=("*",))}))
    (line,) = kit.parts["cors"].order.values()
    assert line == "CORS for nobody; other rules at /public"


def test_every_request_pays_for_its_own_origin_only():
    """Without an Origin no path is looked up: the guard returns at once, whatever is configured."""
    kit = install(FastAPI(), CORS(origins=[APP], paths=PATHS))
    ((_, guard),) = kit.parts["cors"].guards

    class Watched(dict[bytes, bytes]):
        asked: list[bytes] = []

        def __contains__(self, name: object) -> bool:
            assert isinstance(name, bytes)
            self.asked.append(name)
            return super().__contains__(name)

    from prodkit.core.context import RequestContext

    context = RequestContext(kit, http_scope("/admin"), 0.0)
    context.headers = Watched(context.headers)
    assert guard(context) is None
    assert Watched.asked == [b"origin"]
