"""Credentials that somebody meant to be asked for are asked for, or the application does not start."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import Settings, harden
from prodkit.api_keys import APIKeys
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.installation import install
from prodkit.jwt import JWT
from prodkit.web_sessions import WebSessions

PEPPERS = {"1": "pepper of the tests 0123456789 abcdefghij"}
SECRETS = {"1": "cookies of the tests 0123456789 abcdefghi"}


@pytest.mark.parametrize(
    "feature",
    [
        lambda: APIKeys(peppers=PEPPERS),
        lambda: JWT(issuer="https://id.example", audience="api"),
        lambda: WebSessions(secrets=SECRETS),
    ],
)
def test_what_nobody_asks_is_not_installed(feature):
    """Without `Authentication` an authenticator protects nothing and looks as if it did."""
    with pytest.raises(InstallationError, match=r"Add Authentication\(\)"):
        install(FastAPI(), feature())


@pytest.mark.parametrize(
    ("section", "values", "switch"),
    [
        ("api_keys", {"prefix": "shop"}, "PRODKIT_API_KEYS__PEPPERS"),
        ("jwt", {"leeway_seconds": 10}, "PRODKIT_JWT__ISSUER"),
        ("web_sessions", {"same_site": "lax"}, "PRODKIT_WEB_SESSIONS__SECRETS"),
    ],
)
def test_settings_of_what_is_off_are_refused(section, values, switch):
    """Whoever sets how keys shall be and forgets the pepper would have an open service."""
    with pytest.raises(SettingsError, match=switch):
        Settings(_env_file=None, **{section: values})


def test_open_cookies_are_refused_in_production_wherever_they_are_set():
    """By settings and in code; a developer's own machine may have them."""
    sessions: dict[str, Any] = {"secrets": SECRETS, "secure": False}
    with pytest.raises(SettingsError, match="WEB_SESSIONS__SECURE"):
        Settings(_env_file=None, web_sessions=sessions)
    with pytest.raises(SettingsError, match="WEB_SESSIONS__SECURE"):
        harden(FastAPI(), WebSessions(**sessions), settings=Settings(_env_file=None))
    development = Settings(_env_file=None, environment="development", api_keys={"peppers": PEPPERS})
    assert "web_sessions" in harden(FastAPI(), WebSessions(**sessions), settings=development).features


def test_each_way_alone_shuts_the_door():
    """By its one value, and without another word about authentication."""
    for section in (
        {"api_keys": {"peppers": PEPPERS}},
        {"jwt": {"issuer": "https://id.example", "audience": ["api"]}},
    ):
        app = FastAPI()
        app.get("/")(lambda: None)
        harden(app, settings=Settings(_env_file=None, **section))
        assert TestClient(app).get("/").status_code == 401, section
