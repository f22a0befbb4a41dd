"""health: probes that tell an orchestrator the truth, and checks that cannot hurt the application."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.context import RequestContext
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.features import Layer, Parts
from prodkit.core.problems import Problem
from prodkit.health import Health, HealthCheck, HealthResult
from prodkit.installation import install
from prodkit.operations import Operations
from tests.support.asgi import http_scope

TOKEN = "an-operations-token-of-length"
OPERATOR = {"authorization": f"Bearer {TOKEN}"}


def hardened(*checks: HealthCheck, **options: Any) -> tuple[FastAPI, Health, Any]:
    app = FastAPI()
    health = Health(*checks, **options)
    kit = install(app, Operations(token=TOKEN), health)
    return app, health, kit


def fine() -> None:
    return None


def broken() -> None:
    message = "postgresql://user:hunter2@db.internal/orders refused"
    raise ConnectionError(message)


# ------------------------------------------------------------------------------------------------- the probes


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
@pytest.mark.parametrize("with_lifespan", [True, False])
def test_healthy_application_passes(path: str, *, with_lifespan: bool) -> None:
    """All three probes say pass, with GET and HEAD, whether or not a lifespan runs."""
    app, _, _ = hardened(HealthCheck(name="database", check=fine))
    client = TestClient(app)
    if with_lifespan:
        with client:
            answer = client.get(path)
    else:
        answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "pass"})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/health+json"
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_other_methods_are_refused() -> None:
    """A probe answers 405 to what could not be a probe."""
    app, _, _ = hardened()
    answer = TestClient(app).post("/readyz")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["title"] == "Method Not Allowed"


async def test_probes_work_below_a_root_path() -> None:
    """An orchestrator asks the process itself; uvicorn puts its root path before whatever path was asked for."""
    app, _, _ = hardened()
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(http_scope("/api/livez", root_path="/api"), receive, send)
    assert statuses == [200]


def test_similar_paths_are_the_applications() -> None:
    """Only exactly these paths are answered; everything else, sockets included, is left alone."""
    app, _, _ = hardened()

    @app.get("/livez/more")
    async def more() -> str:
        return "mine"

    client = TestClient(app)
    assert client.get("/livez/more").json() == "mine"
    assert client.get("/livez/").status_code == 404


def test_unhealthy_critical_check_is_not_ready_but_alive() -> None:
    """Traffic goes elsewhere and nobody restarts a process that a restart would not cure; startup is over, too."""
    app, _, _ = hardened(HealthCheck(name="database", check=broken))
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/readyz").json() == {"status": "fail"}
        assert client.get("/livez").status_code == 200
        assert client.get("/startupz").status_code == 200


@pytest.mark.parametrize(
    "check",
    [
        HealthCheck(name="cache", check=broken, critical=False),
        HealthCheck(name="replica", check=lambda: HealthResult("degraded", "lagging")),
    ],
    ids=["not critical", "degraded"],
)
def test_less_than_unhealthy_stays_ready(check: HealthCheck) -> None:
    """An unhealthy check that is not critical, or a degraded one, is a warning and no 503."""
    app, _, _ = hardened(check, HealthCheck(name="database", check=fine))
    answer = TestClient(app).get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "warn"})


def test_draining_process_is_not_ready() -> None:
    """Who is about to stop gets no new work, and is still alive."""
    app, _, kit = hardened()
    kit.is_draining = True
    client = TestClient(app)
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200


def test_dead_process_asks_for_a_restart() -> None:
    """`declare_dead` is for what only a restart cures; it cannot be taken back."""
    app, health, _ = hardened()
    client = TestClient(app)
    assert client.get("/livez").status_code == 200
    health.declare_dead("the driver deadlocked")
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").status_code == 200


def test_late_event_loop_asks_for_a_restart() -> None:
    """Liveness fails while the loop is later than allowed, and no longer."""
    app, health, _ = hardened(max_loop_lag_seconds=2)
    client = TestClient(app)
    assert health._watchdog is not None
    health._watchdog.lag_seconds = 2.5
    assert client.get("/livez").status_code == 503
    health._watchdog.lag_seconds = 1.5
    assert client.get("/livez").status_code == 200


def test_probes_stand_before_every_refusal() -> None:
    """A host that is not allowed or a missing credential must not make an orchestrator kill the process."""

    def deny(context: RequestContext) -> None:
        raise Problem(401)

    class Deny:
        name = "deny"
        provides = ()

        def parts(self, kit: Any) -> Parts:
            return Parts(guards=[(Layer.EDGE, deny)])

    app = FastAPI()
    install(app, Deny(), Health())
    client = TestClient(app)
    assert client.get("/livez").status_code == 200
    assert client.get("/anything").status_code == 401


# ----------------------------------------------------------------------------------------------- what is told


def test_details_need_permission() -> None:
    """The public sees one word; `?verbose` shows checks to operators only, and never a driver's message."""
    app, _, _ = hardened(
        HealthCheck(name="database", check=broken),
        HealthCheck(name="cache", check=lambda: HealthResult("degraded", "slow")),
    )
    client = TestClient(app)
    assert client.get("/readyz?verbose").json() == {"status": "fail"}
    assert client.get("/readyz", headers=OPERATOR).json() == {"status": "fail"}
    answer = client.get("/readyz?verbose=1", headers=OPERATOR)
    checks = answer.json()["checks"]
    assert answer.status_code == 503
    assert checks["database"]["status"] == "unhealthy"
    assert checks["database"]["detail"] == "ConnectionError"
    assert checks["cache"]["detail"] == "slow"
    assert "hunter2" not in answer.text
    assert "db.internal" not in answer.text


def test_details_are_redacted() -> None:
    """A check that puts a credential into its detail shows it to nobody."""
    detail = "redis://default:hunter2@cache:6379 answers slowly"
    app, _, _ = hardened(HealthCheck(name="cache", check=lambda: HealthResult("degraded", detail)))
    answer = TestClient(app).get("/readyz?verbose", headers=OPERATOR)
    assert "answers slowly" in answer.text
    assert "hunter2" not in answer.text


def test_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A check that stays unhealthy is one line, not one for each probe."""
    app, _, _ = hardened(HealthCheck(name="database", check=broken, interval_seconds=0.0))
    client = TestClient(app)
    for _ in range(3):
        client.get("/readyz")
    lines = [record.getMessage() for record in caplog.records if record.name == "prodkit.health"]
    assert lines == ["health check database is unhealthy: ConnectionError", "not ready"]


def test_status_is_a_metric() -> None:
    """Each check is a gauge: 1 healthy, 0.5 degraded, 0 unhealthy."""
    app, health, _ = hardened(
        HealthCheck(name="a", check=fine),
        HealthCheck(name="b", check=broken),
        HealthCheck(name="c", check=lambda: HealthResult("degraded")),
    )
    TestClient(app).get("/readyz")
    values = {s.labels["check"]: s.value for s in health.samples() if s.name == "prodkit_health_check_status"}
    assert values == {"a": 1.0, "b": 0.0, "c": 0.5}


# ------------------------------------------------------------------------------------------------- the checks


def test_two_checks_of_one_name_are_refused() -> None:
    """At construction, and at start-up when another feature brings the second one."""
    with pytest.raises(InstallationError, match="database"):
        Health(HealthCheck(name="database", check=fine), HealthCheck(name="database", check=fine))

    class Other:
        name = "other"
        provides = ()

        def parts(self, kit: Any) -> Parts:
            return Parts(health_checks=[HealthCheck(name="database", check=fine)])

    app = FastAPI()
    install(app, Health(HealthCheck(name="database", check=fine)), Other())
    with pytest.raises(InstallationError, match="database"), TestClient(app):
        pass


def test_checks_of_other_features_count() -> None:
    """What a feature declares in its parts is run, also when it is installed after health."""

    class Store:
        name = "store"
        provides = ()

        def parts(self, kit: Any) -> Parts:
            return Parts(health_checks=[HealthCheck(name="store", check=broken)])

    app = FastAPI()
    install(app, Health(), Store())
    assert TestClient(app).get("/readyz").status_code == 503


def test_probe_answers_in_time_and_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that takes longer than a probe waits does not make the probe late: unknown is not ready."""
    monkeypatch.setattr("prodkit.health._DEADLINE_SECONDS", 0.02)

    async def slow() -> None:
        await asyncio.sleep(30)

    app, _, _ = hardened(HealthCheck(name="slow", check=slow, timeout_seconds=60))
    client = TestClient(app)
    assert client.get("/readyz").status_code == 503
    assert client.get("/startupz").status_code == 503
    assert client.get("/livez").status_code == 200


async def test_background_runs_end_with_the_application() -> None:
    """The lifespan starts the checks and leaves no task behind, one that hangs included."""

    async def hang() -> None:
        await asyncio.sleep(3600)

    _, health, kit = hardened(
        HealthCheck(name="hangs", check=hang, timeout_seconds=1000), HealthCheck(name="fine", check=fine)
    )
    lifespan = kit.parts["health"].lifespan
    before = asyncio.all_tasks()
    async with lifespan():
        for _ in range(100):
            if health.monitor.states[1].status is not None:
                break
            await asyncio.sleep(0.01)
        assert health.monitor.states[1].status == "healthy"
    assert asyncio.all_tasks() == before


def test_options_are_checked() -> None:
    """Impossible options are refused at construction, all at once."""
    with pytest.raises(SettingsError) as caught:
        Health(fail_after=0, max_loop_lag_seconds=-1)
    assert len(caught.value.faults) == 2
