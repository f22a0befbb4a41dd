"""The feature: off until it is asked for, settings that cannot be meant are refused, and what it did is counted."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient

from prodkit import Settings, harden
from prodkit.compression import Compression, CompressionSettings
from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.core.features import MetricSource
from prodkit.installation import install
from tests.compression.world import TEXT, answering, encoding_of
from tests.support.logs import lines_of, logged
from tests.support.recording import Contributes, Recorder


def test_off_until_an_encoding_is_named(monkeypatch: pytest.MonkeyPatch):
    """A hardened application has no middleware of ours, and its start says that it is off; one variable turns it on."""
    app = answering()
    kit = harden(app)
    assert "compression" not in kit.features
    assert encoding_of(TestClient(app).get("/", headers={"Accept-Encoding": "gzip"})) == ""
    assert Compression().parts(kit).middleware == ()
    assert Compression().provides == ()
    monkeypatch.setenv("PRODKIT_COMPRESSION__ENCODINGS", '["gzip"]')
    app = answering()
    kit = harden(app)
    assert encoding_of(TestClient(app).get("/", headers={"Accept-Encoding": "gzip"})) == "gzip"


def test_it_stands_around_what_replays_answers():
    """A later feature's middleware, and the application's own, see plain bytes."""
    seen: list[Any] = []

    class Keeping:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def keep(message: Any) -> None:
                seen.append(message.get("body", b""))
                await send(message)

            await self.app(scope, receive, keep)

    app = answering()
    app.add_middleware(Keeping)
    harden(
        app,
        Contributes("idempotency", middleware=[Keeping]),
        settings=Settings(compression={"encodings": ["gzip"]}),
    )
    answer = TestClient(app).get("/", headers={"Accept-Encoding": "gzip"})
    assert (encoding_of(answer), answer.content) == ("gzip", TEXT)
    assert seen.count(TEXT) == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"encodings": ["deflate"]}, "encodings"),
        ({"encodings": ["gzip", "gzip"]}, "named twice"),
        ({"encodings": ["gzip"], "effort": "max"}, "effort"),
        ({"encodings": ["gzip"], "min_body_bytes": -1}, "min_body_bytes"),
        ({"encodings": ["gzip"], "content_types": []}, "content_types"),
        ({"encodings": ["gzip"], "content_types": ["text/html", "json"]}, "entry 2 is not a type"),
        ({"encodings": ["gzip"], "content_types": ["*/*"]}, "entry 1 is not a type"),
        ({"encodings": ["gzip"], "content_types": ["Text/Html"]}, "entry 1 is not a type"),
        ({"encodings": ["gzip"], "content_types": ["text/html; charset=utf-8"]}, "entry 1 is not a type"),
        ({"encodings": ["gzip"], "content_types": ["text/x*"]}, "star beside letters"),
        ({"encodings": ["gzip"], "content_types": ["text/event-stream"]}, "set event_streams"),
        ({"encodings": ["gzip"], "content_types": ["multipart/mixed"]}, "consists of parts"),
        ({"encodings": ["gzip"], "with_credentials": "sometimes"}, "with_credentials"),
        ({"encodings": ["gzip"], "ambient_headers": ["X Y"]}, "not the name of a header"),
        ({"encodings": ["br"], "padding_bytes": 10}, "only gzip can carry"),
        ({"encodings": ["gzip"], "padding_bytes": 5000}, "padding_bytes"),
        ({"encodings": ["gzip"], "flush_seconds": -1}, "flush_seconds"),
        ({"encodings": ["gzip"], "max_active": 0}, "max_active"),
        ({"event_streams": True}, "event_streams is set and no encoding is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_cannot_be_meant(options: dict[str, Any], fault: str):
    """Refused where the feature is made."""
    with pytest.raises(SettingsError, match=fault):
        Compression(**options)


def test_a_setting_without_an_encoding_names_its_section(monkeypatch: pytest.MonkeyPatch):
    """An operator who sets how, and forgets what, is told."""
    monkeypatch.setenv("PRODKIT_COMPRESSION__MAX_ACTIVE", "5")
    with pytest.raises(SettingsError, match=r"PRODKIT_COMPRESSION.*max_active is set and no encoding is"):
        Settings()


@pytest.mark.parametrize(("encoding", "module"), [("br", "brotli"), ("zstd", "backports.zstd")])
def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, encoding: Any, module: str):
    """Where the feature is made, with what to install; gzip needs none."""
    name = module if sys.version_info < (3, 14) or encoding == "br" else "compression.zstd"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[compression\]"):
        Compression(encodings=[encoding])
    Compression(encodings=["gzip"])


def test_settings_and_arguments_are_the_same():
    """What an operator sets is what a developer passes."""
    section = CompressionSettings(encodings=("gzip",), max_active=3, padding_bytes=7)
    assert Compression.from_settings(section).settings == section


def test_every_decision_is_counted():
    """Which rule decided, with what outcome, and how many bytes became how many."""
    app = answering()

    @app.get("/small")
    async def small() -> str:
        return "x"

    feature = Compression(encodings=["gzip"])
    (source,) = feature.provides
    assert isinstance(source, MetricSource)
    install(app, feature)
    client = TestClient(app, headers={"Accept-Encoding": "gzip"})
    answer = client.get("/")
    client.head("/")
    client.get("/", headers={"Cookie": "a=b"})
    client.get("/", headers={"Accept-Encoding": "identity"})
    client.get("/small")
    client.get("/nowhere")
    samples = list(source.samples())
    counts = {
        (s.labels["policy"], s.labels["outcome"]): s.value
        for s in samples
        if s.name.endswith("decisions_total")
    }
    assert counts == {
        ("gzip", "allowed"): 2,
        ("credentials", "denied"): 1,
        ("accept_encoding", "bypassed"): 1,
        ("size", "bypassed"): 1,
        ("status", "bypassed"): 1,
    }
    sizes = {
        (s.labels["encoding"], s.labels["side"]): s.value for s in samples if s.name.endswith("bytes_total")
    }
    assert sizes == {("gzip", "before"): len(TEXT), ("gzip", "after"): int(answer.headers["content-length"])}
    (active,) = [s.value for s in samples if s.name == "prodkit_compression_active"]
    assert active == 0


def test_log_and_events_tell_the_bytes_that_were_sent():
    """The access line and observers count what went out, not what the handler made."""
    recorder = Recorder()
    client, logs = logged(answering(), recorder, Compression(encodings=["gzip"]))
    answer = client.get("/", headers={"Accept-Encoding": "gzip"})
    (line,) = [
        line for line in lines_of(logs) if line.get("http.response.status_code") or "bytes" in str(line)
    ]
    assert recorder.last.context.bytes_sent == int(answer.headers["content-length"]) < len(TEXT)
    assert line["bytes_sent"] == recorder.last.context.bytes_sent
