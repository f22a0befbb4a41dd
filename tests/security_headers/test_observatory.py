"""What the ten tests of the MDN HTTP Observatory say of us, in our reading of its rules."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient

from examples.research_agents.page import page_router
from prodkit import Settings, harden
from prodkit.authentication import public
from prodkit.cors import CORS
from prodkit.security_headers import PRESETS, SecurityHeaders
from tests.security_headers.observatory import score

EVERYTHING = {"origin": "https://evil.example"}


def site(*features: Any, **options: Any) -> TestClient:
    app = FastAPI()

    @app.get("/data")
    async def data() -> dict[str, str]:
        return {}

    @app.get("/page")
    @public
    async def page() -> HTMLResponse:
        return HTMLResponse('<script src="/app.js"></script>')

    @app.get("/session")
    async def session(response: Response) -> None:
        response.set_cookie("__Host-session", "1", secure=True, httponly=True, samesite="strict")

    app.include_router(page_router())
    harden(
        app, SecurityHeaders(web_paths=["/page", "/", "/page/*"], **options), *features, settings=Settings()
    )
    return TestClient(app, base_url="https://service.example")


def scored(client: TestClient, path: str) -> Any:
    return score(client.get(path), cross_origin=client.get(path, headers=EVERYTHING))


@pytest.mark.parametrize(
    ("path", "least"),
    [("/data", 125), ("/nowhere", 125), ("/page", 125), ("/session", 125), ("/", 125), ("/docs", 100)],
)
def test_what_a_hardened_application_gets(path: str, least: int):
    """Data, errors, pages, cookies and the reference application's page; the documentation writes styles at run time."""
    found = scored(site(), path)
    assert found.total >= least, found.modifiers


def test_each_test_by_itself():
    """The preset for data has every point that a response can have by itself; that for pages too."""
    for path in ("/data", "/page"):
        assert scored(site(), path).modifiers == {
            "content-security-policy": 10,
            "cookies": 0,
            "cross-origin-resource-sharing": 0,
            "redirection": 0,
            "referrer-policy": 5,
            "strict-transport-security": 0,
            "subresource-integrity": 0,
            "x-content-type-options": 0,
            "x-frame-options": 5,
            "cross-origin-resource-policy": 10,
        }, path


def test_cross_origin_permissions_cost_nothing():
    """With origins and credentials allowed, a foreign page still gets no permission."""
    found = scored(site(CORS(origins=["https://app.example"], allow_credentials=True)), "/data")
    assert found.total >= 125, found.modifiers


@pytest.mark.parametrize("name", [*PRESETS["api"], "strict-transport-security"])
def test_the_scorer_misses_what_is_missing(name: str):
    """Without one of the headers it counts, the score is lower: a scorer that never lowers would prove nothing."""
    counted = {
        "content-security-policy",
        "cross-origin-resource-policy",
        "referrer-policy",
        "strict-transport-security",
        "x-content-type-options",
    }
    whole, without = scored(site(), "/data").total, scored(site(overrides={name: None}), "/data").total
    assert (without < whole) is (name in counted)


@pytest.mark.parametrize(
    ("headers", "test", "modifier"),
    [
        ({}, "content-security-policy", -25),
        ({"content-security-policy": "default-src 'self' 'unsafe-inline'"}, "content-security-policy", -20),
        ({"content-security-policy": "default-src https:"}, "content-security-policy", -20),
        ({"content-security-policy": "script-src 'none'"}, "content-security-policy", -20),
        ({"content-security-policy": "default-src 'self' http://a.example"}, "content-security-policy", -20),
        (
            {"content-security-policy": "default-src 'self'; script-src 'unsafe-eval'"},
            "content-security-policy",
            -10,
        ),
        ({"content-security-policy": "default-src 'self'; img-src http:"}, "content-security-policy", -10),
        (
            {"content-security-policy": "default-src 'self'; style-src 'unsafe-inline'"},
            "content-security-policy",
            0,
        ),
        ({"content-security-policy": "default-src 'self'"}, "content-security-policy", 5),
        ({"set-cookie": "session=1; Secure"}, "cookies", -30),
        ({"set-cookie": "a=1; HttpOnly"}, "cookies", -20),
        ({"set-cookie": "a=1; Secure; SameSite=None"}, "cookies", -20),
        ({"set-cookie": "session=1; Secure; HttpOnly; SameSite=Lax"}, "cookies", 5),
        ({"referrer-policy": "unsafe-url"}, "referrer-policy", -5),
        ({"strict-transport-security": "max-age=60"}, "strict-transport-security", -10),
        ({"x-frame-options": "DENY"}, "x-frame-options", 0),
        ({}, "x-frame-options", -20),
        ({"cross-origin-resource-policy": "nonsense"}, "cross-origin-resource-policy", -5),
        (
            {
                "access-control-allow-origin": "https://evil.example",
                "access-control-allow-credentials": "true",
            },
            "cross-origin-resource-sharing",
            -50,
        ),
    ],
)
def test_the_scorer_knows_the_rules(headers: dict[str, str], test: str, modifier: int):
    """Each rule of the documented table that a response can break."""
    request = httpx.Request("GET", "https://a.example", headers=EVERYTHING)
    assert score(httpx.Response(200, headers=headers, request=request)).modifiers[test] == modifier


def test_no_bonus_for_who_lacks_the_basics():
    """Points above a hundred count from ninety on."""
    request = httpx.Request("GET", "https://a.example")
    headers = {"cross-origin-resource-policy": "same-origin", "referrer-policy": "no-referrer"}
    assert score(httpx.Response(200, headers=headers, request=request)).total == 100 - 25 - 20 - 5 - 20
