"""The feature: what may be set, where it comes from, and that it is off until then."""

from __future__ import annotations

import json
import sys

import pytest
from fastapi import FastAPI

from prodkit import Settings, harden
from prodkit.cli import main
from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.core.features import MetricSource
from prodkit.core.notices import NoticeSink
from prodkit.webhooks import WebhookEndpoint, Webhooks
from prodkit.webhooks.sending import Sender
from tests.support.receiver import OTHER_SECRET, SECRET

URL = "https://hooks.example/canary-path?key=canary-query"


def endpoints(url=URL, *secrets) -> str:
    return json.dumps([{"url": url, "secrets": secrets or [SECRET]}])


def test_off_until_an_endpoint_is_given():
    """Nobody is told anything by default."""
    assert harden(FastAPI()).one(NoticeSink) is None


def test_on_once_an_endpoint_is_given(monkeypatch):
    """From the environment, as a sink and as a source of metrics."""
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints(URL, SECRET, OTHER_SECRET))
    kit = harden(FastAPI())
    sink = kit.one(Sender)
    assert isinstance(sink, NoticeSink)
    assert isinstance(sink, MetricSource)
    (endpoint,) = sink._endpoints
    assert endpoint.url == URL
    assert [secret.get_secret_value() for secret in endpoint.secrets] == [SECRET, OTHER_SECRET]


def test_given_in_code():
    """With what a setting could say."""
    kit = harden(FastAPI(), Webhooks([WebhookEndpoint(url=URL, secrets=[SECRET])]))
    assert kit.one(NoticeSink) is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "https://",
        "https://canary:canary@hooks.example/",
        "https://hooks.example/#canary",
        "https://hooks.example:x/canary",
        "https://hooks.example/canary path",
        "https://hooks.example/canary\nx: y",
        "https://[::1/canary",
    ],
)
def test_what_is_no_url_is_refused(monkeypatch, url):
    """With the variable's name and the position, and nothing of the value."""
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints(url))
    with pytest.raises(SettingsError) as caught:
        Settings()
    (fault,) = caught.value.faults
    assert fault.name.startswith("PRODKIT_WEBHOOKS__ENDPOINTS[0]")
    assert "canary" not in str(caught.value)


def test_what_is_no_secret_is_refused(monkeypatch):
    """As is none at all; what it was is not shown, and how to make one is."""
    for secrets in (["canary-canary-canary-canary-canary"], [], [SECRET] * 5):
        value = json.dumps([{"url": "https://hooks.example/", "secrets": secrets}])
        monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", value)
        with pytest.raises(SettingsError) as caught:
            Settings()
        assert "canary" not in str(caught.value)
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints("https://hooks.example/", "whsec_short"))
    with pytest.raises(SettingsError, match="token_bytes"):
        Settings()


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("http://hooks.example/", True),
        ("http://10.0.0.1/", True),
        ("http://localhost.example/", True),
        ("http://127.0.0.1:8000/", False),
        ("http://[::1]/", False),
        ("http://localhost/", False),
        ("https://hooks.example/", False),
    ],
)
def test_in_production_nothing_goes_in_the_clear(monkeypatch, url, is_open):
    """Set or given in code, plain HTTP to another machine starts nothing; in development it does."""

    def given() -> Webhooks:
        return Webhooks([WebhookEndpoint(url=url, secrets=[SECRET])])

    development = Settings(environment="development")
    assert harden(FastAPI(), given(), settings=development).one(NoticeSink) is not None
    if is_open:
        with pytest.raises(SettingsError, match="plain HTTP"):
            harden(FastAPI(), given())
    else:
        harden(FastAPI(), given())
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints(url))
    if is_open:
        with pytest.raises(SettingsError, match="plain HTTP"):
            Settings()
    else:
        Settings()
    monkeypatch.setenv("PRODKIT_ENVIRONMENT", "development")
    Settings()


def test_a_proxy_alone_means_nothing(monkeypatch):
    """So it is refused, as is one that is none; an empty variable says none."""
    for value in ("http://proxy.example:3128", "socks://canary", "canary"):
        monkeypatch.setenv("PRODKIT_WEBHOOKS__PROXY", value)
        with pytest.raises(SettingsError) as caught:
            Settings()
        assert "canary" not in str(caught.value)
    monkeypatch.setenv("PRODKIT_WEBHOOKS__PROXY", "")
    Settings()
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints())
    monkeypatch.setenv("PRODKIT_WEBHOOKS__PROXY", "http://proxy.example:3128")
    assert Settings().webhooks.proxy is not None


def test_without_endpoints_it_is_no_feature():
    """In code that is a mistake."""
    with pytest.raises(SettingsError, match="no endpoint"):
        Webhooks()


def test_secrets_are_shown_nowhere(monkeypatch, capsys):
    """Neither by `repr` nor by `prodkit config`."""
    monkeypatch.setenv("PRODKIT_WEBHOOKS__ENDPOINTS", endpoints())
    monkeypatch.setenv("PRODKIT_WEBHOOKS__PROXY", "http://ann:canary-password@proxy.example:3128")
    settings = Settings()
    assert main(["config"]) == 0
    assert main(["config", "--json"]) == 0
    shown = capsys.readouterr().out + repr(settings) + str(settings) + repr(settings.webhooks)
    assert "PRODKIT_WEBHOOKS__ENDPOINTS" in shown
    assert "canary" not in shown
    assert SECRET.removeprefix("whsec_") not in shown


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    """Only where it is used: an application without webhooks needs no httpx."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    harden(FastAPI())
    with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[httpx\]"):
        Webhooks([WebhookEndpoint(url=URL, secrets=[SECRET])])
