"""The feature around the policy: what is exempt, what is only counted, and where it stands among the others."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from prodkit import Settings, install
from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Layer, MetricSource
from prodkit.cors import CORS
from prodkit.fetch_metadata import FetchMetadata, FetchMetadataSettings, Isolation
from prodkit.health import Health
from tests.fetch_metadata.browsers import (
    APP,
    COOKIE,
    EVIL,
    FORM,
    IMAGE,
    LINK,
    application,
    client_of,
    refused,
    sent,
)
from tests.support.asgi import http_scope
from tests.support.hardening import hardened
from tests.support.recording import guarding

# -------------------------------------------------------------------------------------------------- exempt, report, off


def test_exempt_paths():
    """Sign-in and payment providers post back where that is said, and nowhere else."""
    client = client_of(exempt_paths=["/login/callback", "/teams/{team}/logo"])
    for path in ("/login/callback", "/login/callback/x", "/teams/7/logo", "/login%2Fcallback"):
        assert not refused(client, FORM | COOKIE, "POST", path)
    for path in ("/login", "/login/callbacks", "/teams/7", "/x/login/callback", "/login/callback/%2e%2e/x"):
        assert refused(client, FORM | COOKIE, "POST", path)
    assert refused(TestClient(client.app, root_path="/login"), FORM, "POST", "/login/callback")


def test_no_spelling_is_exempt_by_accident():
    """What the router or a file system may take for a path that is not exempt is none, and the other way round."""
    client = client_of(exempt_paths=["/a/{name}"])
    for path in ("/a//b", "/a/%2fb", "/a/%0a", "/a/b//c", "/a/b%0a"):
        is_exempt = path in {"/a/b//c", "/a/b%0a"}
        assert refused(client, FORM | COOKIE, "POST", path) is not is_exempt
    client = client_of(exempt_paths=["/a/b"])
    for path in ("/a//b", "/a/b%0a", "//a/b"):
        assert refused(client, FORM | COOKIE, "POST", f"http://testserver{path}")


def counts(feature: FetchMetadata) -> dict[tuple[str, str], float]:
    (source,) = feature.provides
    assert isinstance(source, MetricSource)
    samples = list(source.samples())
    assert {sample.name for sample in samples} == {"prodkit_fetch_metadata_decisions_total"}
    assert len(samples) == 20
    return {(s.labels["policy"], s.labels["outcome"]): s.value for s in samples if s.value}


def test_report_refuses_nothing_and_counts():
    """Before it is enforced one sees what would be refused."""
    feature = FetchMetadata(mode="report", exempt_paths=["/exempt"])
    client, _ = hardened(application(), CORS(origins=[APP]), feature)
    for headers, method, path in (
        (FORM, "POST", "/x"),
        (IMAGE, "GET", "/x"),
        (LINK, "GET", "/x"),
        (sent(mode="navigate", dest="embed"), "GET", "/x"),
        (sent(Origin=APP), "POST", "/x"),
        (FORM, "POST", "/exempt"),
        ({"Origin": EVIL, **COOKIE}, "POST", "/x"),
        (sent("same-origin"), "POST", "/x"),
        ({}, "POST", "/x"),
    ):
        assert not refused(client, headers, method, path)
    with client.websocket_connect("/ws", headers=sent("cross-site", "websocket", Origin=APP)):
        pass
    assert counts(feature) == {
        ("request", "degraded"): 1,
        ("request", "allowed"): 1,
        ("request", "bypassed"): 1,
        ("embedding", "degraded"): 1,
        ("navigation", "allowed"): 1,
        ("navigation", "degraded"): 1,
        ("origin", "degraded"): 1,
        ("websocket", "allowed"): 1,
    }


def test_refusals_are_counted():
    """Metrics show what was refused, by kind."""
    feature = FetchMetadata()
    client, _ = hardened(application(), feature)
    assert refused(client, FORM, "POST")
    assert counts(feature) == {("request", "denied"): 1}


def test_off_until_it_is_told():
    """By settings it is off and contributes nothing; given in code it enforces."""
    assert not FetchMetadataSettings().is_on
    off = FetchMetadata.from_settings(FetchMetadataSettings())
    assert assemble([off]).parts["fetch_metadata"].guards == ()
    assert off.provides == ()
    assert not refused(hardened(application(), off)[0], FORM, "POST")
    assert FetchMetadata().settings.mode == "enforce"


@pytest.mark.parametrize("mode", ["report", "enforce"])
def test_order_says_what_it_does(mode: Any):
    """`prodkit config` tells a report from a refusal; it stands in EDGE, before limits are charged."""
    kit = assemble([FetchMetadata(mode=mode)])
    (line,) = kit.parts["fetch_metadata"].order.values()
    assert line.startswith("refuses" if mode == "enforce" else "counts")
    ((layer, _),) = kit.parts["fetch_metadata"].guards
    assert layer is Layer.EDGE


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Each setting has its variable."""
    monkeypatch.setenv("PRODKIT_FETCH_METADATA__MODE", "report")
    monkeypatch.setenv("PRODKIT_FETCH_METADATA__ALLOW_SAME_SITE", "true")
    monkeypatch.setenv("PRODKIT_FETCH_METADATA__EXEMPT_PATHS", '["/callback"]')
    section = Settings(_env_file=None).fetch_metadata
    assert section == FetchMetadataSettings(mode="report", allow_same_site=True, exempt_paths=("/callback",))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"mode": "on"}, "mode"),
        ({"exempt_paths": ["/a", "/b/"]}, "entry 2 ends with a slash"),
        ({"exempt_paths": ["callback"]}, "entry 1 does not begin"),
        ({"exempt_paths": ["/"]}, "entry 1 ends with a slash"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], fault: str):
    """A prefix that would never hold, or would hold for everything, does not start."""
    with pytest.raises(SettingsError, match=fault):
        FetchMetadata(**options)


# -------------------------------------------------------------------------------------------------- beside the others


def test_probes_are_not_judged():
    """What an orchestrator asks, or a status page embeds, is answered before."""
    assert client_of(Health()).get("/livez", headers=IMAGE).status_code == 200


def test_refused_before_limits():
    """The one whose browser was used pays nothing for it."""
    reached: list[str] = []

    def limit(context: RequestContext) -> None:
        reached.append(context.scope["path"])

    client = client_of(guarding(Layer.ADDRESS, limit))
    assert refused(client, FORM, "POST")
    assert reached == []


def test_mounted_inside():
    """A stricter application inside of an open one refuses for itself."""
    inner = application()
    install(inner, FetchMetadata())
    app = application()
    app.router.routes.clear()
    app.mount("/inner", inner)
    client, _ = hardened(app)
    assert refused(client, FORM, "POST", "/inner/x")


def test_ordinary_requests_cost_two_tests():
    """Without the headers of a browser the guard asks for two names and returns."""
    isolation = Isolation(FetchMetadataSettings(mode="enforce"))

    class Watched(dict[bytes, bytes]):
        asked: list[object] = []

        def __contains__(self, name: object) -> bool:
            self.asked.append(name)
            return super().__contains__(name)

    context = RequestContext(assemble([]), http_scope("/"), 0.0)
    context.headers = Watched(context.headers)
    isolation.guard(context)
    assert Watched.asked == [b"sec-fetch-site", b"origin"]
