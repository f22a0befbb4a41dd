"""error_reporting: the exception and safe facts reach whoever collects them, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.routing import Mount

from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.core.features import Kit, Layer
from prodkit.core.identity import Principal
from prodkit.correlation import Correlation
from prodkit.error_reporting import (
    ErrorFacts,
    ErrorReporter,
    ErrorReporting,
    ErrorReportingSettings,
    SentryReporter,
)
from prodkit.installation import install
from tests.support.envelopes import Envelopes, receiving
from tests.support.recording import guarding


class Collector:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[tuple[BaseException, ErrorFacts]] = []
        self.closed = 0

    def report(self, error: BaseException, facts: ErrorFacts) -> None:
        self.reports.append((error, facts))

    def close(self) -> None:
        self.closed += 1


def identify(context: RequestContext) -> None:
    context.principal = Principal(id="ann", kind="api_key")


def reporting(
    app: FastAPI, reporter: ErrorReporter, **options: Any
) -> tuple[TestClient, ErrorReporting, FakeClock, Kit]:
    clock = FakeClock()
    feature = ErrorReporting(reporter, **options)
    identity = guarding(Layer.IDENTITY, identify)
    kit = install(app, Correlation(inbound="always"), identity, feature, clock=clock)
    return TestClient(app, raise_server_exceptions=False), feature, clock, kit


def example() -> FastAPI:
    app = FastAPI()
    router = APIRouter()

    @router.post("/orders/{order}")
    async def boom(order: str) -> None:
        hidden = "local-hunter2"
        message = f"no connection to postgresql://user:hunter2@db/orders ({len(hidden)})"
        raise RuntimeError(message)

    @app.post("/background")
    async def background(tasks: BackgroundTasks) -> None:
        def fail() -> None:
            raise LookupError

        tasks.add_task(fail)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        raise OverflowError

    app.include_router(router, prefix="/v1")
    app.router.routes.append(Mount("/t/{tenant}", app=router))
    return app


def test_failure_is_reported_with_safe_facts() -> None:
    """The exception itself, the id the client was given, and the route as a template."""
    collector = Collector()
    client, feature, _, _ = reporting(example(), collector)
    answer = client.post(
        "/v1/orders/7?token=abc",
        headers={"X-Request-ID": "given-id-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
    )
    ((error, facts),) = collector.reports
    assert answer.status_code == 500
    assert type(error) is RuntimeError
    assert facts == ErrorFacts(
        phase="request",
        correlation_id="given-id-1",
        trace_id="a" * 32,
        method="POST",
        route="/v1/orders/{order}",
        principal_id="ann",
    )
    assert feature._counts.by_outcome["reported"] == 1


def test_every_kind_of_failure_is_reported() -> None:
    """Below a mount, in a WebSocket and in a background task; a refusal is none."""
    collector = Collector()
    client, _, _, _ = reporting(example(), collector)
    client.post("/t/acme/orders/7")
    with pytest.raises(OverflowError), client.websocket_connect("/ws") as socket:
        socket.receive_text()
    client.post("/background")
    client.get("/nowhere")
    found = [(type(error), facts.phase, facts.method, facts.route) for error, facts in collector.reports]
    assert found == [
        (RuntimeError, "request", "POST", "/t/{tenant}/orders/{order}"),
        (OverflowError, "request", "GET", "/ws"),
        (LookupError, "background", "POST", "/background"),
    ]


def test_failing_guard_is_reported_as_unrouted() -> None:
    """What fails before the router has no template, and a made-up method is not repeated."""

    def broken(context: RequestContext) -> None:
        raise ZeroDivisionError

    app = FastAPI()
    collector = Collector()
    install(app, guarding(Layer.EDGE, broken), ErrorReporting(collector))
    TestClient(app, raise_server_exceptions=False).request("FOO", "/")
    ((_, facts),) = collector.reports
    assert (facts.route, facts.method, facts.principal_id) == ("(unrouted)", "_OTHER", "anonymous")


def test_flood_is_bounded() -> None:
    """Beyond the rate reports are dropped and counted; time brings them back."""
    collector = Collector()
    client, feature, clock, _ = reporting(example(), collector, max_per_minute=5)
    for _ in range(20):
        client.post("/v1/orders/7")
    assert len(collector.reports) == 5
    clock.advance(24)
    for _ in range(20):
        client.post("/v1/orders/7")
    assert len(collector.reports) == 7
    samples = {sample.labels["outcome"]: sample.value for sample in feature._counts.samples()}
    assert samples == {"reported": 7, "dropped": 33, "failed": 0}


def test_broken_reporter_hurts_nobody() -> None:
    """The client gets its 500, the application stops in time, and our own failures are counted."""

    class Broken(Collector):
        def report(self, error: BaseException, facts: ErrorFacts) -> None:
            raise ConnectionError

        def close(self) -> None:
            raise ConnectionError

    client, feature, _, kit = reporting(example(), Broken())
    with client:
        assert client.post("/v1/orders/7").status_code == 500
    assert feature._counts.by_outcome["failed"] == 1
    assert kit.failures == {"error reporter": 2}


def test_reporter_is_closed_off_the_loop() -> None:
    """What is queued is sent when the application stops, once, without blocking the loop."""
    threads: list[int] = []

    class Closing(Collector):
        def close(self) -> None:
            threads.append(threading.get_ident())

    app = FastAPI()
    loops: list[int] = []

    @app.get("/")
    async def home() -> None:
        loops.append(threading.get_ident())

    client, _, _, _ = reporting(app, Closing())
    with client:
        client.get("/")
    assert len(threads) == 1
    assert threads != loops


def test_hanging_reporter_does_not_hold_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reporter that never finishes is left behind."""
    monkeypatch.setattr("prodkit.error_reporting._CLOSE_SECONDS", 0.02)
    release = threading.Event()

    class Hanging(Collector):
        def close(self) -> None:
            release.wait(30)

    client, _, _, kit = reporting(example(), Hanging())
    try:
        with client:
            pass
        assert kit.failures == {"error reporter": 1}
    finally:
        release.set()


# ------------------------------------------------------------------------------------------------------ sentry


@pytest.fixture
def sentry() -> Iterator[tuple[str, Envelopes]]:
    """A DSN, and what arrives there."""
    with receiving() as received:
        yield received


def test_sentry_is_sent_the_event(sentry: tuple[str, Envelopes]) -> None:
    """A real envelope arrives before the application has stopped: exception, route and ids, and no secret at all."""
    dsn, envelopes = sentry
    envelopes.delay_seconds = 0.2
    app = example()
    install(app, Correlation(inbound="always"), ErrorReporting(sentry_dsn=dsn))
    client = TestClient(app, raise_server_exceptions=False)
    with client:
        client.post(
            "/v1/orders/7?token=query-hunter2",
            headers={"X-Request-ID": "given-id-1", "Authorization": "Bearer header-hunter2"},
            content=b"body-hunter2",
        )
    (event,) = envelopes.events
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["mechanism"]["handled"]) == ("RuntimeError", False)
    assert exception["value"].startswith("no connection to postgresql://user:[redacted]@db")
    assert exception["stacktrace"]["frames"][-1]["function"] == "boom"
    assert "vars" not in exception["stacktrace"]["frames"][-1]
    assert event["transaction"] == "POST /v1/orders/{order}"
    assert event["tags"]["correlation_id"] == "given-id-1"
    assert event["user"] == {"id": "anonymous"}
    assert "request" not in event
    assert not event.get("breadcrumbs", {}).get("values")
    sent = b"".join(envelopes.raw)
    for secret in (b"query-hunter2", b"header-hunter2", b"body-hunter2", b"user:hunter2"):
        assert secret not in sent


def test_sentry_of_the_application_is_left_alone(sentry: tuple[str, Envelopes]) -> None:
    """No global client is set and no framework is patched by ours."""
    import sentry_sdk
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    before = (Starlette.__call__, Middleware.__init__)
    reporter = SentryReporter(sentry[0])
    try:
        assert (Starlette.__call__, Middleware.__init__) == before
        assert not sentry_sdk.get_client().is_active()
    finally:
        reporter.close()


def test_unreachable_sentry_does_not_hold_the_exit() -> None:
    """Nobody answers at the DSN: the 500 is served and the application stops in bounded time."""
    app = example()
    install(app, ErrorReporting(sentry_dsn="http://key@127.0.0.1:9/1"))
    client = TestClient(app, raise_server_exceptions=False)
    with client:
        assert client.post("/v1/orders/7").status_code == 500


# ---------------------------------------------------------------------------------------------------- settings


def test_it_is_off_until_told_where_to() -> None:
    """No DSN, or an empty one, means off; both a reporter and a DSN would be a guess."""
    assert not ErrorReportingSettings().is_on
    assert not ErrorReportingSettings.of("x", sentry_dsn="  ").is_on
    assert ErrorReportingSettings.of("x", sentry_dsn="https://key@o1.example/1").is_on
    with pytest.raises(SettingsError, match="neither"):
        ErrorReporting()
    with pytest.raises(SettingsError, match="both"):
        ErrorReporting(Collector(), sentry_dsn="https://key@o1.example/1")


@pytest.mark.parametrize(
    "dsn",
    [
        "key@host/1",
        "https://host/1",
        "https://secret-key@host/no-number",
        "https://secret-key@:99999/1",
        "https://secret-key@host",
        "ftp://secret-key@host/1",
    ],
)
def test_wrong_dsn_is_refused_without_being_shown(dsn: str) -> None:
    """What is no DSN stops the start, and its key is not repeated."""
    with pytest.raises(SettingsError) as caught:
        ErrorReporting(sentry_dsn=dsn)
    assert "secret-key" not in str(caught.value)


def test_missing_extra_names_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK the constructor says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[sentry\]"):
        ErrorReporting(sentry_dsn="https://key@o1.example/1")
