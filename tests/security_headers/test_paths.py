"""Presets by path: pages here, data there."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from prodkit.security_headers import SecurityHeaders
from tests.security_headers.pages import CSP, client_of, is_web, policy_of

MIXED = {"web_paths": ["/", "/static/*", "/v1/help/*"], "api_paths": ["/v1/*", "/static/data.json"]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", True),
        ("/static/app.js", True),
        ("/static/a/b.css", True),
        ("/static", False),
        ("/staticky", False),
        ("/static/data.json", False),
        ("/static/data.json/x", True),
        ("/v1/agents", False),
        ("/v1/help/me", True),
        ("/other", False),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/behind"])
def test_the_longest_that_fits_counts(path: str, expected: bool, root_path: str):
    """An exact path before what is below one, and the deeper before the higher; unknown addresses too."""
    client = TestClient(client_of(FastAPI(), **MIXED).app, root_path=root_path)
    assert is_web(client.get(path)) is expected
    assert is_web(client.get(root_path + path)) is expected


@pytest.mark.parametrize("preset", ["web", "api"])
def test_the_rest_has_the_preset(preset: Any):
    """Whichever it is: pages among data, or data among pages."""
    client = client_of(FastAPI(), preset=preset, web_paths=["/page"], api_paths=["/v1/*"])
    assert is_web(client.get("/page"))
    assert not is_web(client.get("/v1/x"))
    assert is_web(client.get("/rest")) is (preset == "web")


def test_everything_below_the_root():
    """`/*` is the whole application."""
    client = client_of(FastAPI(), web_paths=["/*"], api_paths=["/v1/*"])
    assert is_web(client.get("/"))
    assert is_web(client.get("/any/where"))
    assert not is_web(client.get("/v1/x"))


def test_documentation_below_a_web_path_still_works():
    """Its own policy is more exact than a preset for all that is around it."""
    client = client_of(FastAPI(), web_paths=["/*"])
    assert any(source.startswith("'sha256-") for source in policy_of(client.get("/docs"))["script-src"])


def test_overrides_hold_for_every_preset():
    """An operator's word is not lost on the way from one preset to another."""
    client = client_of(FastAPI(), web_paths=["/"], overrides={"X-Frame-Options": None, "X-Own": "1"})
    for path in ("/", "/other"):
        headers = client.get(path).headers
        assert "x-frame-options" not in headers
        assert headers["x-own"] == "1"


def test_strict_isolates():
    """Nothing of other origins without their consent; in pages no text becomes code. Off by default."""
    client = client_of(FastAPI(), strict=True, web_paths=["/"])
    page, data = client.get("/"), client.get("/x")
    assert page.headers["cross-origin-embedder-policy"] == data.headers["cross-origin-embedder-policy"]
    assert page.headers["cross-origin-embedder-policy"] == "require-corp"
    assert policy_of(page)["require-trusted-types-for"] == ["'script'"]
    assert "require-trusted-types-for" not in policy_of(data)
    assert "cross-origin-embedder-policy" not in client_of(FastAPI()).get("/").headers


def test_strict_spares_documentation_that_loads_from_elsewhere():
    """The host of its scripts need not have said that it may be embedded."""
    client = client_of(FastAPI(), strict=True)
    assert "cross-origin-embedder-policy" not in client.get("/docs").headers
    assert client.get("/docs/oauth2-redirect").headers["cross-origin-embedder-policy"] == "require-corp"
    assert "require-trusted-types-for" not in policy_of(client.get("/docs"))


def test_other_applications():
    """What is no FastAPI application has presets by path as well."""
    from prodkit.core.pipeline import Pipeline

    app = Starlette()
    app.add_middleware(Pipeline, features=[SecurityHeaders(web_paths=["/page"])])
    client = TestClient(app)
    assert is_web(client.get("/page"))
    assert client.get("/docs").headers[CSP].startswith("default-src 'none'; frame-ancestors")
