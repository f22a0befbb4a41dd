"""What a client sees of load shedding, and that what a request held is given back however it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Layer
from prodkit.core.problems import TEMPORARY_REDUCED_CAPACITY, Problem, problem_answer
from prodkit.hardening import harden
from prodkit.installation import install
from prodkit.load_shedding import LoadShedding
from prodkit.load_shedding.refusing import DETAILS, Refusals
from prodkit.rate_limiting import RateLimiting
from prodkit.settings import Settings
from tests.load_shedding.driving import House
from tests.support.asgi import http_scope
from tests.support.recording import Contributes

# ---------------------------------------------------------------------------------------------------------- a refusal


async def test_what_is_too_much_is_refused():
    """503 as a problem, with Retry-After, correlation id, CORS headers and the outcome `shed`; the others are served."""
    house = House(max_in_flight=2, queue_length=0)
    served = [house.get("/work"), house.get("/work")]
    await house.turn()
    refused = house.get("/work", [(b"origin", b"https://a.example")])
    assert await refused.end() == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert 5 <= int(refused.headers["retry-after"]) <= 10
    body = refused.json()
    assert body["type"].endswith("#temporary-reduced-capacity")
    assert body["correlation_id"] == refused.headers["x-request-id"]
    house.door.set()
    assert [await call.end() for call in served] == [200, 200]
    assert house.outcomes() == ["shed", "ok", "ok"]
    assert house.decisions() == {("in_flight", "allowed"): 2, ("in_flight", "denied"): 1}
    assert house.nothing_is_left()


def test_refusal_is_the_problem_it_stands_for():
    """Rendered ahead, it is byte for byte what raising the problem would send."""
    kit = install(FastAPI(), LoadShedding(max_in_flight=1))
    context = RequestContext(kit, http_scope("/"), 0.0)
    context.correlation_id = "0123456789"

    async def refuse() -> Any:
        return Refusals(kit, 1, lambda: "", chance=lambda: 0.0).answer(context, "in_flight")

    answer = asyncio.run(refuse())
    same = problem_answer(Problem(TEMPORARY_REDUCED_CAPACITY, DETAILS, headers={"Retry-After": "1"}), context)
    assert (answer.status, answer.body) == (same.status, same.body)
    assert sorted(answer.headers) == sorted(same.headers)


async def test_retry_after_is_spread():
    """Clients that were refused together are not told to come back together, and never sooner than was set."""
    house = House(max_in_flight=1, queue_length=0, retry_after_seconds=10)
    first = house.get("/work")
    await house.turn()
    seconds = set()
    for _ in range(60):
        refused = house.get("/work")
        await refused.end()
        seconds.add(int(refused.headers["retry-after"]))
    assert min(seconds) >= 10
    assert max(seconds) <= 20
    assert len(seconds) > 3
    house.door.set()
    await first.end()


async def test_probes_and_metrics_are_never_refused():
    """They are answered before anything is limited: an orchestrator must not restart what is merely busy."""
    house = House(max_in_flight=1, queue_length=0)
    first = house.get("/work")
    await house.turn()
    assert await house.get("/work").end() == 503
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert await house.get(path).end() == 200, path
    preflight = house.get(
        "/work",
        [(b"origin", b"https://a.example"), (b"access-control-request-method", b"GET")],
        method="OPTIONS",
    )
    assert await preflight.end() in (200, 204)
    house.door.set()
    await first.end()


async def test_refusal_touches_no_store_and_verifies_nothing():
    """It comes before the limits by address and before credentials: neither is asked of what is refused."""
    asked: list[object] = []
    spy = Contributes("spy", guards=[(Layer.ADDRESS, asked.append)])
    house = House(max_in_flight=1, queue_length=0, more=[spy, RateLimiting(address="1000/minute")])
    first = house.get("/work")
    await house.turn()
    asked.clear()
    before = house.identified
    assert await house.get("/work").end() == 503
    assert asked == []
    assert house.identified == before
    house.door.set()
    await first.end()


async def test_states_are_told_once(caplog: pytest.LogCaptureFixture):
    """One line when refusing begins and one when it is over, however many were refused."""
    caplog.set_level(logging.WARNING, "prodkit.load_shedding")
    house = House(max_in_flight=1, queue_length=0)
    first = house.get("/work")
    await house.turn()
    for _ in range(50):
        await house.get("/work").end()
    refusals = house.shedding._shedder.refusals
    loop = asyncio.get_running_loop()
    refusals._check(loop)  # something was refused since
    refusals._check(loop)  # nothing was
    lines = [record.getMessage() for record in caplog.records if record.name == "prodkit.load_shedding"]
    assert len(lines) == 2
    assert lines[0].startswith("shedding load (in_flight): 1 at work of 1, 0 waiting")
    assert "50 requests were refused in 0." in lines[1]  # not until it was noticed that it is over
    assert await house.get("/work").end() == 503  # and it begins anew
    assert len([record for record in caplog.records if record.name == "prodkit.load_shedding"]) == 3
    house.door.set()
    await first.end()


async def test_gauges():
    """How full it is can be read while it is."""
    house = House(max_in_flight=1, queue_length=1, max_loop_lag_seconds=5, max_waiting_threads=3)
    calls = [house.get("/work"), house.get("/work")]
    await house.turn()
    read = {sample.name: sample.value for sample in house.shedding.samples() if not sample.labels}
    assert read["prodkit_load_shedding_in_flight"] == 1
    assert read["prodkit_load_shedding_limit"] == 1
    assert read["prodkit_load_shedding_waiting"] == 1
    assert read["prodkit_load_shedding_streams"] == 0
    assert read["prodkit_load_shedding_waiting_threads"] == 0
    assert read["prodkit_load_shedding_loop_lag_seconds"] < 5
    house.door.set()
    assert [await call.end() for call in calls] == [200, 200]
    assert house.decisions()["in_flight", "degraded"] == 1


# ------------------------------------------------------------------------------------------ given back exactly once


async def test_place_is_given_back_on_every_way_out():
    """An answer, 304, 404, 500, a client that left, a cancelled task: after each, everything is free again."""
    house = House(max_in_flight=3, queue_length=3)
    for path in ("/unchanged", "/nowhere", "/boom"):
        await house.get(path).end()
        assert house.nothing_is_left(), path
    cancelled = house.get("/work")
    left = house.get("/work")
    await house.turn()
    assert house.places.used == 2
    cancelled.task.cancel()
    left.leave()
    await cancelled.end()
    assert house.places.used == 1
    house.door.set()
    await left.end()
    assert house.nothing_is_left()


async def test_cancelled_while_it_waits():
    """A waiter that is cancelled leaves the queue; one that was given a place in that moment gives it back."""
    house = House(max_in_flight=1, queue_length=2)
    first, second, third = house.get("/work"), house.get("/work"), house.get("/work")
    await house.turn()
    assert house.places.waiting == 2
    second.task.cancel()
    await second.end()
    assert house.places.waiting == 1
    context = next(iter(house.places.held))
    house.places.release(
        context
    )  # what the end of the first does: the third has its place now, and has not run yet
    third.task.cancel()
    await third.end()
    house.door.set()
    await first.end()
    assert house.nothing_is_left()


async def test_client_leaves_while_it_waits():
    """It is given no place any more, and is not counted as refused: its outcome is `disconnected`."""
    house = House(max_in_flight=1, queue_length=2)
    first, gone = house.get("/work"), house.get("/work")
    await house.turn()
    gone.leave()
    await gone.end()
    assert house.places.waiting == 0
    assert house.outcomes() == ["disconnected"]
    assert ("in_flight", "denied") not in house.decisions()
    house.door.set()
    await first.end()
    assert house.begun == ["/work"]
    assert house.nothing_is_left()


async def test_body_survives_the_wait():
    """What the client sent while it waited reaches the handler."""
    house = House(max_in_flight=1, queue_length=1)
    first = house.get("/work")
    await house.turn()
    waiting = house.post("/echo", b"some text")
    await house.turn()
    assert house.places.waiting == 1
    house.door.set()
    assert await waiting.end() == 200
    assert waiting.json() == "some text"
    await first.end()
    assert house.nothing_is_left()


async def test_refused_by_a_later_guard():
    """What is refused between its place and its handler gives the place back."""

    def refuses(context: RequestContext) -> None:
        raise Problem(429, "enough")

    house = House(
        max_in_flight=1, queue_length=0, more=[Contributes("later", guards=[(Layer.ADMISSION, refuses)])]
    )
    assert await house.get("/work").end() == 429
    assert house.nothing_is_left()


async def test_slow_identification_is_bounded():
    """Requests whose caller is still being looked up have no place yet, and are bounded all the same."""
    answered = asyncio.Event()

    async def slowly(context: RequestContext) -> None:
        await answered.wait()

    house = House(
        max_in_flight=2, queue_length=0, more=[Contributes("slow", guards=[(Layer.IDENTITY, slowly)])]
    )
    calls = [house.get("/work") for _ in range(3)]
    await house.turn()
    assert [call.status for call in calls] == [None, None, 503]
    answered.set()
    house.door.set()
    assert [await call.end() for call in calls] == [200, 200, 503]
    assert house.nothing_is_left()


# ------------------------------------------------------------------------------------------------------- installation


async def test_inside_another_application():
    """Mounted, with limits of its own, it gives back what it took although only the outer one is told of the end."""
    inner = House(max_in_flight=1, queue_length=0)
    outer = House(max_in_flight=5)
    outer.app.mount("/inner", inner.app)
    first = outer.get("/inner/work")
    await outer.turn()
    assert (inner.places.used, outer.places.used) == (1, 1)
    refused = outer.get("/inner/work")
    assert await refused.end() == 503
    assert outer.recorder.last.outcome == "shed"
    inner.door.set()
    assert await first.end() == 200
    assert inner.nothing_is_left()
    assert outer.nothing_is_left()


def test_off_adds_nothing():
    """Without a limit there is no guard, no observer and no metric."""
    feature = LoadShedding()
    kit = install(FastAPI(), feature)
    parts = kit.parts["load_shedding"]
    assert not parts.guards
    assert not parts.observers
    assert not list(feature.samples())
    assert not feature.provides


def test_by_settings(monkeypatch: pytest.MonkeyPatch):
    """An operator turns it on with one variable, and `prodkit config` says what is limited."""
    monkeypatch.setenv("PRODKIT_LOAD_SHEDDING__MAX_IN_FLIGHT", "7")
    monkeypatch.setenv("PRODKIT_LOAD_SHEDDING__MAX_LOOP_LAG_SECONDS", "0.25")
    monkeypatch.setenv("PRODKIT_LOAD_SHEDDING__MAX_WAITING_THREADS", "3")
    app = FastAPI()
    kit = harden(app, settings=Settings(_env_file=None))
    order = kit.parts["load_shedding"].order
    assert "7 requests at work, 0.25 s of loop lag, 3 waiting for a thread" in order[Layer.EDGE]
    assert TestClient(app).get("/nowhere").status_code == 404
    assert "load_shedding" not in harden(FastAPI(), settings=_plain(monkeypatch)).features


def _plain(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("MAX_IN_FLIGHT", "MAX_LOOP_LAG_SECONDS", "MAX_WAITING_THREADS"):
        monkeypatch.delenv(f"PRODKIT_LOAD_SHEDDING__{name}")
    return Settings(_env_file=None)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_in_flight": 0}, "greater than or equal to 1"),
        ({"max_loop_lag_seconds": 0.0001}, "greater than or equal to 0.005"),
        ({"adaptive": True}, "adaptive needs an upper bound"),
        ({"adaptive": True, "max_in_flight": 5}, "min_in_flight is above max_in_flight"),
        ({"queue_length": 5}, "queue_length would mean nothing"),
        ({"max_in_flight": 5, "queue_seconds": 0}, "greater than 0"),
    ],
)
def test_impossible_settings(options: dict[str, Any], fault: str):
    """What cannot work, or limits nothing, does not start."""
    with pytest.raises(SettingsError, match=fault):
        LoadShedding(**options)
