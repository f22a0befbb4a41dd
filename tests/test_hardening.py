"""`harden`: the standard set, replaced and extended, and everything on at once on a real server."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from prodkit import CurrentPrincipal, InstallationError, Problem, Settings, SettingsError, harden, kit_of
from prodkit.authentication import Authentication, StaticKeys, public, require_scopes
from prodkit.core.context import RequestContext
from prodkit.core.features import Layer
from prodkit.cors import CORS
from prodkit.logs import Logs
from prodkit.rate_limiting import RateLimiting, rate_limit
from tests.support.recording import Recorder, guarding
from tests.support.server import headers_of, serving, status_of, wait_until

ORIGIN = "https://app.example.com"


def test_with_nothing_set():
    """The four lines of the README harden: ids, limits, headers, probes and problems are on, the rest is off."""
    app = FastAPI()
    kit = harden(app)
    assert kit_of(app) is kit
    with TestClient(app) as client:
        response = client.get("/nothing")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["ratelimit-policy"] == '"address";q=1200;w=60'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers
        for probe in ("/livez", "/readyz", "/startupz"):
            assert client.get(probe).status_code == 200
        assert client.get("/metrics").status_code == 404
    assert not kit.parts["authentication"].guards


def test_what_is_absent_is_said_once(capsys):
    """One warning at start-up names what is off because it has no value."""
    app = FastAPI()
    harden(app, Logs(format="json"))
    with TestClient(app):
        pass
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "not configured" in line]
    assert len(lines) == 1
    assert lines[0]["level"] == "warning"
    for name in ("authentication", "cors", "error_reporting"):
        assert name in lines[0]["event"]


class TheirCORS(CORSMiddleware):
    """A subclass, as people make them to add a header."""


def test_middleware_that_does_not_work_beside_ours_is_warned_of(capsys):
    """Each is named once at start-up with the cure, whether added before or after; others are nobody's business."""
    app = FastAPI()
    app.add_middleware(TheirCORS, allow_origins=[ORIGIN])
    harden(app, CORS(origins=[ORIGIN]), Logs(format="json"))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])
    app.add_middleware(ProxyHeadersMiddleware)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(lambda app: app)
    with TestClient(app) as client:
        assert client.get("/nothing").status_code == 404
    lines = [line for line in capsys.readouterr().out.splitlines() if "was added to a hardened" in line]
    warnings = [json.loads(line)["event"] for line in lines]
    assert len(warnings) == 3
    for name, cure in (
        ("CORSMiddleware", "PRODKIT_CORS__ORIGINS"),
        ("TrustedHostMiddleware", "PRODKIT_HOSTS__ALLOWED"),
        ("ProxyHeadersMiddleware", "PRODKIT_PROXIES__TRUSTED_PROXIES"),
    ):
        assert sum(line.startswith(f"{name} ") and cure in line for line in warnings) == 1


def test_settings_are_settings():
    """A mapping in their place is refused with what to write, and without what is in it."""
    with pytest.raises(InstallationError, match=r"type dict: write settings=Settings\(\.\.\.\)") as raised:
        harden(FastAPI(), settings={"operations": {"token": "hunter2"}})
    assert "hunter2" not in str(raised.value)


def test_given_features_replace_and_extend():
    """A feature given explicitly takes the place of the standard one; one with a new name is added last."""
    ran: list[str] = []
    app = FastAPI()
    kit = harden(
        app,
        guarding(Layer.ADMISSION, lambda _: ran.append("mine"), "mine"),
        RateLimiting("2/minute", address=None),
    )
    assert list(kit.features)[-2:] == ["mine", "absent"]
    client = TestClient(app)
    assert [client.get("/").status_code for _ in range(3)] == [404, 404, 429]
    assert client.get("/").headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert ran == ["mine", "mine"]


def test_two_given_features_of_one_name():
    """Two limits in one call are refused."""
    with pytest.raises(InstallationError, match="two features named 'rate_limiting'"):
        harden(FastAPI(), RateLimiting("1/minute"), RateLimiting("2/minute"))


def test_settings_reach_features(monkeypatch):
    """The environment decides, and settings given as arguments win over it."""
    monkeypatch.setenv("PRODKIT_RATE_LIMITING__ADDRESS", "7/minute")
    monkeypatch.setenv("PRODKIT_PROBLEMS__TYPE_BASE", "https://docs.example.org/problems/")
    app = FastAPI()
    harden(app)
    response = TestClient(app).get("/nothing")
    assert response.headers["ratelimit-policy"] == '"address";q=7;w=60'
    assert response.json()["type"] == "https://docs.example.org/problems/not-found"
    app = FastAPI()
    harden(app, settings=Settings(rate_limiting={"address": "8/minute"}))
    assert TestClient(app).get("/nothing").headers["ratelimit-policy"] == '"address";q=8;w=60'


def test_wrong_settings_refuse_before_anything_is_changed(monkeypatch):
    """A wrong setting raises where the application is built, and leaves it unhardened."""
    monkeypatch.setenv("PRODKIT_RATE_LIMITING__ADRESS", "7/minute")
    monkeypatch.setenv("PRODKIT_REQUEST_LIMITS__MAX_BODY_BYTES", "lots")
    app = FastAPI()
    with pytest.raises(SettingsError) as raised:
        harden(app)
    assert {fault.name for fault in raised.value.faults} == {
        "PRODKIT_RATE_LIMITING__ADRESS",
        "PRODKIT_REQUEST_LIMITS__MAX_BODY_BYTES",
    }
    with pytest.raises(LookupError):
        kit_of(app)


def test_variables_of_a_given_feature_are_its_own(monkeypatch):
    """A third-party feature may read variables under its name."""
    monkeypatch.setenv("PRODKIT_MINE__COLOUR", "red")
    harden(FastAPI(), guarding(Layer.EDGE, lambda _: None, "mine"))
    with pytest.raises(SettingsError, match="PRODKIT_MINE__COLOUR"):
        harden(FastAPI())


KEY = StaticKeys.generate()


@pytest.fixture
def everything(tmp_path, patient_store) -> tuple[FastAPI, Recorder]:
    app, recorder = FastAPI(max_body_size=100), Recorder()

    @app.get("/items/{item}")
    async def read(item: int, principal: CurrentPrincipal) -> str:
        return principal.id

    @app.post("/items")
    async def create(body: dict[str, int]) -> int:
        return len(body)

    @app.get("/limited", dependencies=[rate_limit("1/hour", name="once")])
    async def limited() -> None: ...

    @app.get("/admin", dependencies=[Depends(lambda: None), require_scopes("admin")])
    async def admin() -> None: ...

    @app.get("/boom")
    @public
    async def boom() -> None:
        raise RuntimeError("x")

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hi")
        await socket.close()

    harden(
        app,
        CORS(origins=[ORIGIN], allow_credentials=True),
        Authentication(mode="keys", static_keys={"alice": {"sha256": KEY.sha256, "scopes": ["read"]}}),
        RateLimiting("100/minute", address="200/minute"),
        recorder,
        settings=Settings(store=f"sqlite:///{tmp_path / 'store.db'}", logs={"access": False}),
    )
    return app, recorder


CASES: list[tuple[str, bytes, list[str], bool, int]] = [
    ("200", b"GET /items/1", [], True, 200),
    ("401", b"GET /items/1", [], False, 401),
    ("403", b"GET /admin", [], True, 403),
    ("404", b"GET /nothing", [], True, 404),
    ("405", b"DELETE /items", [], True, 405),
    ("413 declared", b"POST /items", ["Content-Length: 101", "Content-Type: application/json"], True, 413),
    ("422", b"GET /items/x", [], True, 422),
    ("500", b"GET /boom", [], False, 500),
    ("preflight", b"OPTIONS /items", ["Access-Control-Request-Method: POST"], False, 204),
    ("TRACE", b"TRACE /items", [], True, 405),
]


def has_finished(recorder: Recorder, requests: int) -> bool:
    return len(recorder.finished) == requests


def test_every_answer_carries_everything(everything):
    """Each kind of answer has the id, the security headers and the CORS headers, and is one event."""
    app, recorder = everything
    with serving(app) as served:
        for number, (name, line, headers, authorized, status) in enumerate(CASES, start=1):
            lines = [
                line.decode() + " HTTP/1.1",
                "Host: x",
                "Connection: close",
                f"Origin: {ORIGIN}",
                *headers,
            ]
            if authorized:
                lines.append(f"Authorization: Bearer {KEY.key}")
            response = served.exchange("\r\n".join([*lines, "", ""]).encode())
            found = headers_of(response)
            assert (name, status_of(response)) == (name, status)
            assert len(found["x-request-id"]) == 32, name
            assert found["x-content-type-options"] == "nosniff", name
            assert found["access-control-allow-origin"] == ORIGIN, name
            assert "origin" in found["vary"].lower(), name
            if status >= 400:
                document = json.loads(response.partition(b"\r\n\r\n")[2])
                assert document["correlation_id"] == found["x-request-id"], name
            wait_until(functools.partial(has_finished, recorder, number))
    assert [event.outcome for event in recorder.finished].count("ok") == 2


def test_a_limited_route_and_a_chunked_body(everything):
    """429 and a chunked 413 are the same kind of answer."""
    app, recorder = everything
    chunked = (
        b"POST /items HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nAuthorization: Bearer " + KEY.key.encode() + b"\r\n\r\n"
        b"c8\r\n" + b"1" * 200 + b"\r\n0\r\n\r\n"
    )
    with serving(app) as served:
        assert status_of(served.exchange(chunked)) == 413
        assert status_of(served.get("/limited", f"X-API-Key: {KEY.key}")) == 200
        refused = served.get("/limited", f"X-API-Key: {KEY.key}", f"Origin: {ORIGIN}")
        wait_until(lambda: len(recorder.finished) == 3)
    headers = headers_of(refused)
    assert status_of(refused) == 429
    assert int(headers["retry-after"]) > 3000
    assert '"once"' in headers["ratelimit-policy"]
    assert headers["access-control-allow-origin"] == ORIGIN
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["violated-policies"] == ["once"]
    assert [(event.route, event.outcome) for event in recorder.finished] == [
        ("/items", "refused"),
        ("/limited", "ok"),
        ("/limited", "refused"),
    ]


def test_sockets_need_a_key_as_well(everything):
    """A WebSocket without a credential is refused with a problem, one with a key is let in."""
    app, recorder = everything
    with serving(app) as served:
        url = f"ws://127.0.0.1:{served.port}/ws"
        with pytest.raises(InvalidStatus) as refused:
            connect(url)
        assert refused.value.response.status_code == 401
        with connect(url, additional_headers={"Authorization": f"Bearer {KEY.key}"}) as socket:
            assert socket.recv() == "hi"
        wait_until(lambda: len(recorder.finished) == 2)
    assert [event.outcome for event in recorder.finished] == ["refused", "ok"]


def test_limits_are_shared_through_the_file(tmp_path, patient_store):
    """Two applications, as two workers would be, count in one SQLite store."""
    url = f"sqlite:///{tmp_path / 'limits.db'}"

    def worker() -> TestClient:
        app = FastAPI()
        harden(
            app, RateLimiting("3/hour", address=None), settings=Settings(store=url, logs={"access": False})
        )
        return TestClient(app)

    with worker() as first, worker() as second:
        statuses = [client.get("/").status_code for client in (first, second, first, second)]
    assert statuses == [404, 404, 404, 429]


def test_unexpected_failure_of_the_limits_store_does_not_stop_the_service(tmp_path):
    """With the store's file gone bad, requests go on under the local fallback."""
    path = tmp_path / "limits.db"
    app = FastAPI()
    settings: dict[str, Any] = {"store": f"sqlite:///{path}", "logs": {"access": False}}
    kit = harden(app, RateLimiting("3/hour", address=None), settings=Settings(**settings))
    with TestClient(app) as client:
        assert client.get("/").status_code == 404
        for file in tmp_path.iterdir():
            if not file.name.endswith(
                "-shm"
            ):  # is mapped into memory: cutting it kills any program that uses it
                file.write_bytes(b"not a database" * 1000)
        statuses = [client.get("/").status_code for _ in range(5)]
    assert 500 not in statuses
    assert 503 not in statuses
    assert 404 in statuses
    assert kit.features["rate_limiting"] is not None


def test_problem_from_an_own_guard():
    """A guard of one's own refuses like a built-in one."""

    def closed(context: RequestContext) -> None:
        raise Problem(503, "Closed for lunch.", headers={"Retry-After": "3600"})

    app = FastAPI()
    harden(app, guarding(Layer.EDGE, closed, "lunch"))
    response = TestClient(app).get("/")
    assert (response.status_code, response.headers["retry-after"]) == (503, "3600")


def test_public_endpoint_of_a_mounted_hardened_application():
    """What is public in a hardened application stays public where both it and its host ask for keys, and nothing else."""
    keys: dict[str, Any] = {"mode": "keys", "static_keys": {"alice": {"sha256": KEY.sha256}}}
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/open")
    @public
    async def is_open() -> str:
        return "open"

    @inner.get("/closed")
    async def closed() -> str:
        return "closed"

    harden(inner, Authentication(**keys))
    outer.mount("/sub", inner)
    harden(outer, Authentication(**keys))
    client = TestClient(outer)
    assert client.get("/sub/open").json() == "open"
    assert client.get("/sub/closed").status_code == 401
    assert client.get("/sub/closed", headers={"X-API-Key": KEY.key}).json() == "closed"
    assert client.get("/sub/nothing").status_code == 401
