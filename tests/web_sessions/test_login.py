"""Logging in and out: what a page sees, and what a stolen or old cookie is worth."""

from __future__ import annotations

import multiprocessing
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication
from prodkit.core.exceptions import InstallationError
from prodkit.installation import install
from prodkit.web_sessions import WebSessions
from tests.support.recording import Contributes
from tests.web_sessions.world import ORIGIN, SECRET, World

ANN = {"Authorization": "Bearer ann"}


class TestLogIn:
    def test_a_credential_becomes_a_cookie(self):
        """The answer tells who one is and the token; the session itself is in a cookie that no script and no other host reads."""
        world = World()
        response = world.client.post("/session", headers=ANN)
        assert response.status_code == 201
        body = response.json()
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", body.pop("csrf_token"))
        assert body == {
            "principal": "ann",
            "kind": "api_key",
            "tenant": "acme",
            "scopes": ["read", "write"],
            "expires_at": "2025-06-16T03:06:40Z",
        }
        assert response.headers["cache-control"] == "no-store"
        assert "location" not in response.headers
        cookie, *attributes = response.headers["set-cookie"].split("; ")
        assert re.fullmatch(r"__Host-prodkit_session=a\.[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}", cookie)
        assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict", "Secure"]
        for secret in cookie.partition("=")[2].split(".")[1:]:
            assert secret not in response.text

    def test_for_development_it_can_be_sent_over_http(self):
        """Then without the prefix that browsers tie to HTTPS; `lax` and another name are a choice."""
        world = World(secure=False, same_site="lax", cookie_name="sid")
        response = world.client.post("/session", headers=ANN)
        name, *attributes = response.headers["set-cookie"].split("; ")
        assert name.startswith("sid=a.")
        assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]

    def test_the_session_is_the_same_caller(self):
        """Kind, tenant, plan, scopes and claims stay, so that what one owns by key one owns by cookie."""
        world = World()
        by_key = world.client.get("/me", headers=ANN).json()
        by_cookie = world.log_in().send("GET", "/me").json()
        reference = by_cookie["claims"].pop("session")
        assert re.fullmatch(r"[0-9a-f]{32}", reference)
        assert by_key["claims"].pop("session") == "its own"
        assert by_cookie.pop("expires_at") == world.clock.wall() + 43_200
        assert by_key.pop("expires_at") is None
        assert by_cookie == by_key

    def test_the_claim_says_nothing_of_the_cookie(self):
        """What stands in logs and in the store is a digest of what the cookie holds."""
        world = World()
        browser = world.log_in()
        reference = browser.send("GET", "/me").json()["claims"]["session"]
        assert reference not in browser.cookie
        (record,) = world.store._records.values()
        for part in browser.value.split(".")[1:]:
            assert part not in f"{record} {record.principal}"
        assert browser.token not in f"{record} {record.principal}"

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody"}, ORIGIN])
    def test_nobody_logs_in_without_a_credential(self, headers):
        """401, and no cookie."""
        response = World().client.post("/session", headers=headers)
        assert response.status_code == 401
        assert "set-cookie" not in response.headers

    def test_every_login_makes_a_new_session(self):
        """A cookie that somebody planted before is not taken over: fixation has nothing to hold on to."""
        world = World()
        planted = world.log_in("bob")
        planted.send("DELETE", "/session")
        response = world.client.post("/session", headers=ANN | {"Cookie": planted.cookie})
        assert response.status_code == 201
        fresh = response.headers["set-cookie"].partition(";")[0]
        assert fresh != planted.cookie
        assert not planted.is_in()
        assert len({world.log_in().cookie for _ in range(5)}) == 5

    def test_a_session_opens_no_other(self):
        """By cookie alone nobody logs in again, so that no session outlives its own end; with a key beside it, it is two callers."""
        world = World()
        browser = world.log_in()
        response = browser.send("POST", "/session")
        assert response.status_code == 409
        assert "set-cookie" not in response.headers
        assert browser.send("POST", "/session", Authorization="Bearer ann").status_code == 400
        assert world.client.post("/session", headers=ANN | {"Cookie": browser.cookie}).status_code == 400

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", **ORIGIN},
            {"Referer": "http://testserver.evil.example/"},
        ],
    )
    def test_a_page_of_others_logs_nobody_in(self, headers):
        """Also with a credential of its own: one would work for somebody else without knowing."""
        response = World().client.post("/session", headers=ANN | headers)
        assert response.status_code == 403
        assert response.json()["type"].endswith("/csrf-failed")
        assert "set-cookie" not in response.headers

    def test_it_ends_with_the_credential(self):
        """A key that expires in ten minutes opens a session of ten minutes; one that has expired opens none."""
        world = World()
        world.badges.change("ann", expires_at=world.clock.wall() + 600)
        browser = world.log_in()
        assert browser.send("GET", "/me").json()["expires_at"] == world.clock.wall() + 600
        world.clock.advance(599)
        assert browser.is_in()
        world.clock.advance(1)
        assert not browser.is_in()
        assert world.client.post("/session", headers=ANN).status_code == 401

    @pytest.mark.parametrize(
        "claims", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 20_000}, {1: {2: {3}}}]
    )
    def test_a_principal_that_could_not_come_back_as_it_is_opens_none(self, claims):
        """A claim that is left out may have been the one that forbids something."""
        world = World()
        world.badges.change("ann", claims=claims)
        response = world.client.post("/session", headers=ANN)
        assert response.status_code == 400
        assert "set-cookie" not in response.headers

    def test_the_oldest_gives_way(self):
        """A key that opens sessions without end has only so many, and ends nobody else's."""
        world = World(max_sessions=2)
        other = world.log_in("bob")
        browsers = []
        for _ in range(4):
            world.clock.advance(10)
            browsers.append(world.log_in())
        assert [browser.is_in() for browser in browsers] == [False, False, True, True]
        assert other.is_in()

    def test_without_another_authenticator_it_is_not_installed(self):
        """Nobody could ever log in: that is told when the application is built."""
        with pytest.raises(InstallationError, match="nothing identifies a caller"):
            install(FastAPI(), Authentication(), WebSessions({"a": SECRET}))


class TestSeeSession:
    def test_a_page_that_is_loaded_again_learns_its_token(self):
        """The same one, with who it is."""
        world = World()
        browser = world.log_in()
        response = world.client.get("/session", headers=browser.headers())
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert response.json()["csrf_token"] == browser.token
        assert response.json()["principal"] == "ann"

    @pytest.mark.parametrize("headers", [{}, ANN, {"Cookie": "__Host-prodkit_session=stale"}])
    def test_without_a_session_there_is_nothing_and_no_error(self, headers):
        """A page may ask before anybody has logged in."""
        response = World().client.get("/session", headers=headers)
        assert response.status_code == 204
        assert response.content == b""
        assert response.headers["cache-control"] == "no-store"


class TestLogOut:
    def test_the_cookie_is_worth_nothing_afterwards(self):
        """It ends on the server: whoever kept a copy is nobody, at once."""
        world = World()
        browser, other = world.log_in(), world.log_in()
        response = browser.send("DELETE", "/session")
        assert response.status_code == 204
        cleared = response.headers["set-cookie"]
        assert cleared == "__Host-prodkit_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"
        assert response.headers["clear-site-data"] == '"storage"'
        assert response.headers["cache-control"] == "no-store"
        assert not browser.is_in()
        assert browser.send("DELETE", "/session").status_code == 401
        assert world.client.get("/session", headers=browser.headers()).status_code == 204
        assert other.is_in()

    @pytest.mark.parametrize("by", ["cookie", "key"])
    def test_everywhere(self, by):
        """All sessions of the caller end, by whatever it is known now, and nobody else's."""
        world = World()
        browsers, bob = [world.log_in() for _ in range(3)], world.log_in("bob")
        assert all(browser.is_in() for browser in browsers)
        if by == "cookie":
            response = browsers[0].send("DELETE", "/session/all")
            assert "set-cookie" in response.headers
        else:
            response = world.client.delete("/session/all", headers=ANN)
            assert "set-cookie" not in response.headers
        assert response.status_code == 204
        assert not any(browser.is_in() for browser in browsers)
        assert bob.is_in()
        assert world.log_in().is_in()

    def test_without_a_session_there_is_nothing_to_end(self):
        """A key is no session, and nobody is nobody."""
        client = World().client
        assert client.delete("/session", headers=ANN).status_code == 404
        assert client.delete("/session").status_code == 401
        assert client.delete("/session/all").status_code == 401


class TestWithoutAGate:
    def test_nobody_is_anybody(self):
        """Behind a gate that asks no authenticator, a login is 401, a log-out too: never a session of nobody."""
        world = World()
        app = FastAPI()
        feature = WebSessions({"a": SECRET})
        install(app, Contributes("authentication", provides=[world.badges]), feature)
        client = TestClient(app)
        assert client.post("/session", headers=ANN).status_code == 401
        assert client.delete("/session", headers=ANN).status_code == 401
        assert client.delete("/session/all", headers=ANN).status_code == 401


def test_another_path_and_the_document(monkeypatch):
    """The operations stand in OpenAPI with their problems, and the scheme with the cookie's real name."""
    world = World(path="/v1/session")
    document = world.app.openapi()
    assert document["components"]["securitySchemes"]["cookieSession"]["name"] == "__Host-prodkit_session"
    assert set(document["paths"]["/v1/session"]) == {"get", "post", "delete"}
    assert {"403", "409", "503"} <= set(document["paths"]["/v1/session"]["post"]["responses"])
    assert document["paths"]["/v1/session"]["get"]["security"] == []
    assert {"cookieSession": []} in document["paths"]["/me"]["get"]["security"]
    assert world.client.post("/v1/session", headers=ANN).status_code == 201


@pytest.mark.parametrize("by", ["nobody", "environment", "parent"])
def test_memory_is_told_where_several_workers_are_meant(monkeypatch, caplog, by):
    """Sessions of one worker are unknown to the others: the operator hears of it, also under `uvicorn --workers`."""
    if by == "environment":
        monkeypatch.setenv("WEB_CONCURRENCY", "4")
    elif by == "parent":
        monkeypatch.setattr("multiprocessing.parent_process", multiprocessing.current_process)
    World()
    assert ("unknown to the others" in caplog.text) is (by != "nobody")
