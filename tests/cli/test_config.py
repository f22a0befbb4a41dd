"""`prodkit config`: values with their origin, nothing secret, and the order of what is installed."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import pytest

from prodkit.cli import main
from prodkit.core.environment import variables_of
from prodkit.cors import RouteCORS
from prodkit.settings import Settings

CANARY = "canary-5f1c9e0b7a"

APP = """
from fastapi import FastAPI
from prodkit.budgets import Budgets
from prodkit.core.features import Layer, Parts
from prodkit.cors import cross_origin
from prodkit.hardening import harden
from prodkit.installation import install
from prodkit.rate_limiting import RateLimiting
from prodkit.settings import Settings
from prodkit.webhooks import WebhookEndpoint, Webhooks

print("noise")

class Tenants:
    name = "tenants"
    provides = ()
    def parts(self, kit):
        return Parts(guards=[(Layer.IDENTITY, lambda context: None)], order={Layer.IDENTITY: "finds the tenant"})

class Theirs:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send): await self.app(scope, receive, send)

async def root(): return FastAPI()
def plain(): return FastAPI()
def standard(): app = FastAPI(); harden(app); return app
def tenants():
    app = FastAPI()
    harden(app, Tenants())
    app.add_middleware(Theirs)
    return app
def limited(): app = FastAPI(); harden(app, RateLimiting("7/minute")); return app
def argued(): app = FastAPI(); harden(app, settings=Settings(store="sqlite:///shop.db")); return app
def spending():
    app = FastAPI()
    hook = WebhookEndpoint(url="https://hooks.example/", secrets=["whsec_" + "A" * 44])
    harden(app, Budgets("5.00/day"), Webhooks([hook]))
    return app
def alone(): app = FastAPI(); install(app, Tenants()); return app
def idle():
    app = standard()
    app.add_api_route("/widget", root, dependencies=[cross_origin(origins=["https://app.example"])])
    return app
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with an application in it and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "config_shop.py").write_text(APP, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("config_shop", None)


def report(capsys, *words: str) -> dict[str, Any]:
    assert main(["config", "--json", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def settings(document) -> dict[str, tuple[object, str]]:
    return {one["name"]: (one["value"], one["origin"]) for one in document["settings"]}


def test_every_setting_is_shown_once(capsys):
    """What can be set can be seen, and first of all where settings are looked for."""
    found = report(capsys)
    names = [one["name"] for one in found["settings"]]
    assert names[2] == "PRODKIT_SECRETS_DIR"
    del names[2]
    assert names == [variable.name for variable in variables_of(Settings)]
    assert {origin for _, origin in settings(found).values()} == {"default"}


def test_origin_is_the_place_that_won(folder, monkeypatch, capsys):
    """Environment before .env before secrets file, and a JSON section for the fields it holds."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "PRODKIT_STORE").write_text("sqlite:///from-secret.db\n", encoding="utf-8")
    (secrets / "prodkit_metrics__path").write_text("/from-secret\n", encoding="utf-8")
    (folder / ".env").write_text(
        'PRODKIT_SECRETS_DIR=secrets\nPRODKIT_METRICS__PATH=/from-file\nPRODKIT_CORS={"MAX_AGE_SECONDS": 60}\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("PRODKIT_ENVIRONMENT", "development")
    monkeypatch.setenv("prodkit_logs__level", "DEBUG")
    found = settings(report(capsys))
    assert found["PRODKIT_ENVIRONMENT"] == ("development", "environment PRODKIT_ENVIRONMENT")
    assert found["PRODKIT_LOGS__LEVEL"] == ("DEBUG", "environment PRODKIT_LOGS__LEVEL")
    assert found["PRODKIT_METRICS__PATH"] == ("/from-file", ".env PRODKIT_METRICS__PATH")
    assert found["PRODKIT_STORE"] == ("sqlite:///from-secret.db", "secrets file PRODKIT_STORE")
    assert found["PRODKIT_CORS__MAX_AGE_SECONDS"] == (60, ".env PRODKIT_CORS")
    assert found["PRODKIT_CORS__ORIGINS"] == ([], "default")
    assert found["PRODKIT_SECRETS_DIR"] == ("secrets", ".env PRODKIT_SECRETS_DIR")


def test_static_keys_are_shown_as_they_are_written(monkeypatch, capsys):
    """Callers with what they may do, as JSON and not as Python prints it, and without their digests."""
    key = {"sha256": "ab" * 32, "scopes": ["b", "a"], "expires_at": "2030-01-01T00:00:00Z"}
    keys = {"alice": {"sha256": "cd" * 32}, "bob": key}
    monkeypatch.setenv("PRODKIT_AUTHENTICATION__MODE", "keys")
    monkeypatch.setenv("PRODKIT_AUTHENTICATION__STATIC_KEYS", json.dumps(keys))
    value, _ = settings(report(capsys))["PRODKIT_AUTHENTICATION__STATIC_KEYS"]
    assert value == {
        "alice": {"scopes": []},
        "bob": {"scopes": ["a", "b"], "expires_at": "2030-01-01 00:00:00+00:00"},
    }


def test_a_coroutine_function_is_no_factory(capsys):
    """It is refused with the cure, and no coroutine is left behind that nobody awaits."""
    assert main(["config", "--app", "config_shop:root"]) == 1
    assert "config_shop:root is a coroutine function" in capsys.readouterr().err
    gc.collect()  # a forgotten coroutine would warn here, and warnings are errors


def test_origin_of_what_the_application_decides(monkeypatch, capsys):
    """A feature or settings given in code win, and a variable that has no effect for that reason is named."""
    monkeypatch.setenv("PRODKIT_RATE_LIMITING__DEFAULT", "100/minute")
    found = report(capsys, "--app", "config_shop:limited")
    assert settings(found)["PRODKIT_RATE_LIMITING__DEFAULT"] == ("7/minute", "application code")
    assert any(
        "PRODKIT_RATE_LIMITING__DEFAULT is set and has no effect" in text for text in found["warnings"]
    )
    monkeypatch.delenv("PRODKIT_RATE_LIMITING__DEFAULT")
    found = report(capsys, "--app", "config_shop:argued")
    assert settings(found)["PRODKIT_STORE"] == ("sqlite:///shop.db", "application code")
    assert "yes, by all workers" in found["process"]["store is shared"]


@pytest.mark.parametrize(
    "words", [[], ["--json"], ["--app", "config_shop:standard"], ["--app", "config_shop:standard", "--json"]]
)
def test_no_secret_is_shown(words, folder, monkeypatch, capsys):
    """Whether there is one is shown; what it is never is, wherever it came from."""
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", f"{CANARY}-token")
    if "--app" not in words:  # the application would start Sentry's SDK in this process
        monkeypatch.setenv("PRODKIT_ERROR_REPORTING__SENTRY_DSN", f"https://{CANARY}@127.0.0.1:9/1")
    monkeypatch.setenv("PRODKIT_AUTHENTICATION__MODE", "keys")
    (folder / ".env").write_text(
        f'PRODKIT_AUTHENTICATION__STATIC_KEYS={{"alice": {{"sha256": "{"ab" * 32}"}}}}\n', encoding="utf-8"
    )
    assert main(["config", *words]) == 0
    out, err = capsys.readouterr()
    assert CANARY not in out + err
    assert "abababab" not in out + err
    assert "[redacted]" in out


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:{}@host:6379/0",
        "redis+sentinel://:x@a:1,b:2/main?sentinel_password={}",
        "redis+cluster://:{}@a:1,b:2",
        "redis://:at@{}@host",
    ],
)
def test_passwords_of_stores_are_masked(url, monkeypatch, capsys):
    """In the URL of every store that a feature may have, as text and as JSON."""
    for name in ("STORE", "RATE_LIMITING__STORE", "API_KEYS__STORE", "METERING__STORE"):
        monkeypatch.setenv(f"PRODKIT_{name}", url.format(CANARY))
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", '{"1": "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}')
    for words in ([], ["--json"]):
        assert main(["config", *words]) == 0
        out, err = capsys.readouterr()
        assert "[redacted]" in out
        assert CANARY not in out + err


@pytest.mark.parametrize("words", [[], ["--app", "config_shop:standard"]])
def test_wrong_settings_are_listed_together(words, monkeypatch, capsys):
    """Exit code 1, nothing on standard output, each fault with its name and its cure."""
    monkeypatch.setenv("PRODKIT_STORE", f"redis://user:{CANARY}@host/none")
    monkeypatch.setenv("PRODKIT_CORS__ORIGINS", "not-json")
    monkeypatch.setenv("PRODKIT_LOGGS__LEVEL", "INFO")
    assert main(["config", *words]) == 1
    out, err = capsys.readouterr()
    assert CANARY not in out + err
    assert out == ""
    assert err.startswith("noise\n3 settings are wrong" if words else "3 settings are wrong")
    assert (
        "PRODKIT_LOGGS__LEVEL: there is no such setting (in the environment). Did you mean PRODKIT_LOGS__LEVEL?"
        in err
    )
    assert ("--app" in err) is not words


def test_rule_that_means_nothing_is_found(capsys, monkeypatch):
    """What keeps the application from starting is said here, too."""
    monkeypatch.setattr(RouteCORS, "is_used", False)
    assert main(["config", "--app", "config_shop:idle"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "GET /widget: cross_origin() stands on a route, and CORS is off" in err


def test_wrong_settings_as_json(monkeypatch, capsys):
    """A program gets the same faults as fields."""
    monkeypatch.setenv("PRODKIT_ENVIRONMENT", "staging")
    assert main(["config", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (fault,) = document["errors"]
    assert fault["name"] == "PRODKIT_ENVIRONMENT"
    assert "'production' or 'development'" in fault["message"]
    assert fault["cure"]


def test_order_is_the_order_of_the_pipeline(capsys):
    """Layers outermost first, each guard with what it does; then the application's own, then the router."""
    found = report(capsys, "--app", "config_shop:tenants")
    order = [(line["place"], line["feature"]) for line in found["order"]]
    places = list(dict.fromkeys(place for place, _ in order))
    wanted = [
        "SERVER",
        "OUTERMOST",
        "OBSERVE",
        "PROBES",
        "BROWSER",
        "PROBLEMS",
        "EDGE",
        "ADDRESS",
        "IDENTITY",
        "YOURS",
        "ROUTER",
    ]
    assert places == wanted
    assert {"place": "IDENTITY", "feature": "tenants", "text": "finds the tenant"} in found["order"]
    assert order.index(("OBSERVE", "proxies")) < order.index(("OBSERVE", "correlation"))
    assert {"place": "YOURS", "feature": "", "text": "Theirs"} in found["order"]
    assert {"feature": "logs", "event": "RequestFinished"} in found["observers"]
    assert found["response_headers"]["x-content-type-options"] == "nosniff"
    assert found["process"]["store"] == "memory://"


def test_absent_features_are_warned_of(capsys):
    """What one may believe to be on and is not, is named; what is always on is not."""
    (absent,) = [w for w in report(capsys, "--app", "config_shop:standard")["warnings"] if "hence off" in w]
    assert "authentication" in absent
    assert "cors" in absent
    assert "logs" not in absent
    assert "problems" not in absent


def test_features_that_no_request_passes_are_not_said_to_be_off(capsys):
    """Budgets and webhooks are asked by others; given, they are on, though no layer is theirs."""
    (absent,) = [w for w in report(capsys, "--app", "config_shop:spending")["warnings"] if "hence off" in w]
    assert "budgets" not in absent
    assert "webhooks" not in absent
    (absent,) = [w for w in report(capsys, "--app", "config_shop:standard")["warnings"] if "hence off" in w]
    assert "budgets" in absent
    assert "webhooks" in absent


def test_application_that_is_not_hardened_is_said_to_be(capsys):
    """Its settings are shown, and that they have no effect."""
    found = report(capsys, "--app", "config_shop:plain")
    assert found["warnings"] == ["config_shop:plain is not hardened: call harden(app) where it is built"]
    assert "order" not in found


def test_installed_without_settings(capsys):
    """`install` alone has an order, too."""
    found = report(capsys, "--app", "config_shop:alone")
    assert {"place": "IDENTITY", "feature": "tenants", "text": "finds the tenant"} in found["order"]


def test_text_for_people(capsys):
    """One line a setting, with its origin only where it is not the default; warnings on standard error."""
    assert main(["config", "--app", "config_shop:standard"]) == 0
    out, err = capsys.readouterr()
    assert "order, outermost first" in out
    assert "static response headers" in out
    assert "(default)" not in out
    assert "warning: not configured, hence off:" in err
    assert "\x1b" not in out + err
