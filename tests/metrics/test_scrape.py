"""metrics: the page that Prometheus reads tells the truth, to operators only, and cannot be made to grow."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from prodkit.core.clock import FakeClock
from prodkit.core.events import RequestFinished
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Kit, Sample
from prodkit.installation import install
from prodkit.metrics import Cells, Metrics
from prodkit.operations import Operations
from tests.support.recording import Contributes

TOKEN = "an-operations-token-of-length"
OPERATOR = {"authorization": f"Bearer {TOKEN}"}
REQUESTS = "http_server_requests_total"
DURATION = "http_server_request_duration_seconds"


def measured(app: FastAPI, *features: Any, **options: Any) -> tuple[TestClient, Kit, FakeClock]:
    clock = FakeClock()
    kit = install(app, Operations(token=TOKEN), Metrics(**options), *features, clock=clock)
    return TestClient(app, raise_server_exceptions=False), kit, clock


def scraped(
    client: TestClient, path: str = "/metrics"
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample on the page, by name and labels."""
    answer = client.get(path, headers=OPERATOR)
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(answer.text)
        for sample in family.samples
    }


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def example() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: str) -> str:
        return item_id

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        async def pieces() -> Any:
            yield b"one"
            raise RuntimeError

        return StreamingResponse(pieces())

    return app


def finished(method: str, route: str, status: int = 200, seconds: float = 0.01) -> RequestFinished:
    context: Any = None
    return RequestFinished(context, "http", method, route, status, "ok", seconds, seconds)


# ------------------------------------------------------------------------------------------------ what is counted


def test_requests_are_counted_by_route_status_and_outcome() -> None:
    """Templates and never paths; refusals, failures, unknown paths and broken streams each as what they were."""
    client, _, _ = measured(example())
    for path in ("/items/1", "/items/2", "/boom", "/nowhere/1", "/nowhere/2", "/broken"):
        client.get(path)
    found = {key[1]: value for key, value in scraped(client).items() if key[0] == REQUESTS}
    assert found == {
        labels(method="GET", route="/items/{item_id}", status="200", outcome="ok"): 2,
        labels(method="GET", route="/boom", status="500", outcome="error"): 1,
        labels(method="GET", route="(unmatched)", status="404", outcome="refused"): 2,
        labels(method="GET", route="/broken", status="200", outcome="aborted"): 1,
    }


def test_duration_is_a_histogram() -> None:
    """Buckets are cumulative and inclusive, sum and count agree; the time to the first byte is apart."""
    app = FastAPI()
    client, _, clock = measured(app, buckets_seconds=[0.125, 1.0])

    @app.get("/wait")
    async def wait() -> StreamingResponse:
        clock.advance(0.125)

        async def pieces() -> Any:
            yield b"one"
            clock.advance(2)
            yield b"two"

        return StreamingResponse(pieces())

    client.get("/wait")
    page = scraped(client)
    of_route = {"method": "GET", "route": "/wait"}
    buckets = [
        page[f"{DURATION}_bucket", labels(**of_route, status="200", le=le)] for le in ("0.125", "1.0", "+Inf")
    ]
    assert buckets == [0, 0, 1]
    assert page[f"{DURATION}_sum", labels(**of_route, status="200")] == pytest.approx(2.125)
    assert page[f"{DURATION}_count", labels(**of_route, status="200")] == 1
    first = "http_server_first_byte_seconds"
    assert page[f"{first}_bucket", labels(**of_route, le="0.125")] == 1
    assert page[f"{first}_sum", labels(**of_route)] == pytest.approx(0.125)


def test_bucket_holds_its_own_bound() -> None:
    """`le` means less or equal, for the duration and for the first byte."""
    cells = Cells((1.0, 2.0), 10)
    cells.observe(finished("GET", "/", seconds=1.0))
    assert list(cells.http().values()) == [[1.0, 1.0, 1, 0, 0, 1, 0, 0]]


def test_socket_lifetime_is_apart() -> None:
    """A WebSocket that lives for an hour does not make the service look slow."""
    app = FastAPI()
    client, _, clock = measured(app)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        clock.advance(3600)
        await socket.close()

    with client.websocket_connect("/ws"):
        pass
    page = scraped(client)
    assert page["websocket_connection_duration_seconds_sum", labels(route="/ws")] == pytest.approx(3600)
    assert page["websocket_connection_duration_seconds_bucket", labels(route="/ws", le="3600.0")] == 1
    assert page[f"{DURATION}_sum", labels(method="GET", route="/ws", status="101")] == pytest.approx(0)
    assert page[REQUESTS, labels(method="GET", route="/ws", status="101", outcome="ok")] == 1


def test_made_up_methods_are_one_series() -> None:
    """A caller cannot make series, or memory, out of methods."""
    client, _, _ = measured(example())
    for number in range(50):
        client.request(f"FOO{number}", "/items/1")
    found = {key[1]: value for key, value in scraped(client).items() if key[0] == REQUESTS}
    assert found == {labels(method="_OTHER", route="/items/{item_id}", status="405", outcome="refused"): 50}


def test_series_are_bounded() -> None:
    """Beyond the budget requests are still counted, under one route, and the excess is a number of its own."""
    cells = Cells((1.0,), 10)
    for number in range(1000):
        cells.observe(finished("GET", f"/{number}"))
    counts = {key[1]: sum(cell[2:4]) for key, cell in cells.http().items()}
    assert len(counts) == 11
    assert counts["(overflow)"] == 990
    assert [sample.value for sample in cells.samples()] == [990]


def test_requests_under_way_are_a_gauge() -> None:
    """The scrape itself is under way while it is answered."""
    client, _, _ = measured(example())
    assert scraped(client)["http_server_active_requests", ()] == 1


def test_failures_of_ours_and_counts_of_features_are_shown() -> None:
    """What features count for themselves, and what failed where no caller could see it."""

    class Source:
        def samples(self) -> list[Sample]:
            return [
                Sample(
                    "prodkit_x_decisions_total",
                    {"policy": "p", "outcome": "denied"},
                    3,
                    "counter",
                    "Decisions.",
                ),
                Sample("prodkit_x_level", {}, 0.5, "gauge", "Level."),
            ]

    class Broken:
        def samples(self) -> list[Sample]:
            raise RuntimeError

    client, kit, clock = measured(example(), Contributes("x", provides=[Source(), Broken()]))
    kit.failed("observer", ValueError())
    page = scraped(client)
    assert page["prodkit_x_decisions_total", labels(policy="p", outcome="denied")] == 3
    assert page["prodkit_x_level", ()] == 0.5
    assert page["prodkit_internal_failures_total", labels(part="observer")] == 1
    clock.advance(2)
    assert scraped(client)["prodkit_internal_failures_total", labels(part="metric source")] == 2


# ----------------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}])
def test_page_is_for_operators_only(headers: dict[str, str]) -> None:
    """Everybody else is told that there is nothing, whatever the method."""
    client, _, _ = measured(example())
    for method in ("GET", "POST"):
        answer = client.request(method, "/metrics", headers=headers)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.post("/metrics", headers=OPERATOR).status_code == 405
    assert client.head("/metrics", headers=OPERATOR).content == b""


def test_without_operations_nobody_may_read() -> None:
    """Metrics installed alone are counted and shown to nobody."""
    app = example()
    install(app, Metrics())
    assert TestClient(app).get("/metrics").status_code == 404


def test_path_can_be_moved_or_left_out() -> None:
    """The address is a setting, and the application's own /metrics is reached when ours is elsewhere."""
    for path in ("/internal/prometheus", ""):
        app = example()
        app.get("/metrics")(lambda: "mine")
        client, _, _ = measured(app, path=path)
        assert client.get("/metrics").json() == "mine"
        assert client.get("/internal/prometheus", headers=OPERATOR).status_code == (200 if path else 404)


def test_scrapes_are_counted_under_their_route() -> None:
    """The page is a request like any other."""
    client, _, clock = measured(example())
    scraped(client)
    clock.advance(2)
    assert scraped(client)[REQUESTS, labels(method="GET", route="/metrics", status="200", outcome="ok")] == 1


def test_openmetrics_is_spoken_to_who_asks() -> None:
    """Both formats parse by the strictest parser at hand."""
    client, _, _ = measured(example())
    client.get("/items/1")
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"
    answer = client.get("/metrics", headers=OPERATOR | {"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = [family.name for family in parse_openmetrics(answer.text)]
    assert "http_server_requests" in names
    assert len(names) == len(set(names))
    plain = client.get("/metrics", headers=OPERATOR)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store"


def test_hostile_label_values_are_escaped() -> None:
    """A quote, a backslash and a line end in a route template do not break the page."""
    app = FastAPI()
    app.get('/a"b\\c')(lambda: None)
    client, _, _ = measured(app)
    client.get('/a"b\\c')
    assert ("route", '/a"b\\c') in [
        pair for name, pairs in scraped(client) if name == REQUESTS for pair in pairs
    ]


def test_metrics_of_the_application_are_there_too() -> None:
    """What is counted with prometheus_client, and the process; one of our names is shown once, as ours."""
    counter = Counter("orders", "Orders.")
    double = Counter("http_server_requests", "Somebody else's.")
    try:
        counter.inc(7)
        double.inc(99)
        client, _, _ = measured(example())
        client.get("/items/1")
        page = scraped(client)
        assert page["orders_total", ()] == 7
        assert (REQUESTS, ()) not in page
        text = client.get("/metrics", headers=OPERATOR).text
        assert text.count("# TYPE http_server_requests_total") == 1
        assert text.count("# TYPE process_cpu_seconds_total") == 1
    finally:
        REGISTRY.unregister(counter)
        REGISTRY.unregister(double)


def test_multiprocess_mode_of_prometheus_client_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own directory the application's metrics come from there; a wrong one hides nothing else."""
    program = "from prometheus_client import Counter; Counter('orders_of_workers', 'Orders.').inc(7)"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=30)
    client, kit, clock = measured(example())
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert scraped(client)["orders_of_workers_total", ()] == 7
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "absent"))
    clock.advance(2)
    assert ("http_server_active_requests", ()) in scraped(client)
    assert kit.failures == {"PROMETHEUS_MULTIPROC_DIR": 1}


def test_two_applications_do_not_mix() -> None:
    """Each application of a process shows its own requests."""
    one, _, _ = measured(example())
    other, _, _ = measured(example())
    one.get("/items/1")
    key = (REQUESTS, labels(method="GET", route="/items/{item_id}", status="200", outcome="ok"))
    assert scraped(one)[key] == 1
    assert key not in scraped(other)


def test_scrapes_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is made off the event loop, once for all who ask at a time, and kept for a second."""
    threads: list[int] = []
    collect = CollectorRegistry.collect

    def watched(self: CollectorRegistry) -> Any:
        if self is REGISTRY:
            threads.append(threading.get_ident())
        return collect(self)

    monkeypatch.setattr(CollectorRegistry, "collect", watched)
    app = example()
    _, kit, clock = measured(app)

    async def storm() -> int:
        from prodkit.metrics.scrape import Scrape

        scrape = Scrape(kit, Cells((1.0,), 10), None, 10)
        await asyncio.gather(*(scrape.answer(b"") for _ in range(20)))
        await scrape.answer(b"")
        clock.advance(1.1)
        await scrape.answer(b"")
        return threading.get_ident()

    loop_thread = asyncio.run(storm())
    assert len(threads) == 2
    assert loop_thread not in threads


@pytest.mark.parametrize(
    "options",
    [
        {"path": "metrics"},
        {"buckets_seconds": [1, 1]},
        {"buckets_seconds": [float("inf")]},
        {"max_series": 1},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """Impossible options are refused at construction."""
    with pytest.raises(SettingsError):
        Metrics(**options)
