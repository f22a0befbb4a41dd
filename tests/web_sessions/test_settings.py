"""What an operator may set, and what is refused before anything is started."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from prodkit.core.exceptions import SettingsError
from prodkit.web_sessions import WebSessions, WebSessionsSettings
from tests.web_sessions.world import OTHER_SECRET, SECRET, World


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"secrets": {}}, "there is no secret"),
        ({"secrets": None}, "there is no secret"),
        ({"secrets": {"a": ""}}, "shorter than 32 bytes"),
        ({"secrets": {"a": SECRET[:31]}}, "shorter than 32 bytes"),
        ({"secrets": {"a": "change-me" * 1}}, "shorter than 32 bytes"),
        ({"secrets": {"a": "secret" * 10}}, "repeats few characters"),
        ({"secrets": {"a": SECRET, "b": SECRET}}, "two names have the same secret"),
        ({"secrets": {"a.b": SECRET}}, "the name of a secret"),
        ({"secrets": {"": SECRET}}, "the name of a secret"),
        ({"secrets": {"a" * 33: SECRET}}, "the name of a secret"),
        ({"cookie_name": "a b"}, "cookie_name"),
        ({"cookie_name": "a;b"}, "cookie_name"),
        ({"cookie_name": "session\n"}, "cookie_name"),
        ({"lifetime_seconds": 299}, "lifetime_seconds"),
        ({"lifetime_seconds": float("nan")}, "lifetime_seconds"),
        ({"idle_seconds": 299}, "idle_seconds"),
        ({"idle_seconds": 7200, "lifetime_seconds": 3600}, "longer than lifetime_seconds"),
        ({"max_sessions": 0}, "max_sessions"),
        ({"same_site": "none"}, "same_site"),
        ({"path": "session"}, "path"),
        ({"path": "/session/"}, "path"),
        ({"path": "/{id}"}, "path"),
    ],
)
def test_what_could_not_be_safe_is_refused(options, told):
    """When the feature is made, by name, and never with a secret."""
    with pytest.raises(SettingsError, match=told) as refused:
        WebSessions(**({"secrets": {"a": SECRET}} | options))
    assert "canary" not in str(refused.value)


def test_secrets_are_shown_nowhere():
    """Neither the settings nor the parts show one when they are printed."""
    world = World(secrets={"a": SecretStr(SECRET), "b": OTHER_SECRET})
    feature = world.sessions
    shown = [feature, feature.settings, feature.authenticator, feature._seals, feature._cookie, vars(feature)]
    text = " ".join(f"{thing!r} {thing}" for thing in shown)
    assert "canary" not in text
    assert "another-98" not in text


def test_it_is_off_until_there_is_a_secret():
    """The environment variable is the switch."""
    assert not WebSessionsSettings().is_on
    section = WebSessionsSettings(secrets={"a": SecretStr(SECRET)}, idle_seconds=600)
    assert section.is_on
    assert WebSessions.from_settings(section).settings == section
