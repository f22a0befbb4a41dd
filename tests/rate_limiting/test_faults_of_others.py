"""What went wrong in other limiters, one test for each fault that was found there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.testclient import TestClient

from prodkit.core.clock import FakeClock
from prodkit.core.features import Layer
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.proxies import Proxies
from prodkit.rate_limiting import Policy, RateLimiting, rate_limit
from prodkit.stores.memory import MemoryRateLimitStore
from tests.rate_limiting.bench import Bench, Remote
from tests.rate_limiting.limited import ADDRESS, App
from tests.support.recording import Contributes, guarding


def test_1_nothing_passes_because_no_route_was_found():
    """Unmatched paths, wrong methods, mounted applications and included routers draw from the caller's bucket."""
    app, mounted, router = FastAPI(), FastAPI(), APIRouter()

    @mounted.get("/x")
    @router.get("/included")
    async def x() -> int:
        return 1

    app.mount("/mounted", mounted)
    app.include_router(router, prefix="/v1")
    small = App(RateLimiting("5/minute", address=None), app=app)
    client = small.client()
    paths = ("/nothing", "/mounted/nothing", "/mounted/x", "/v1/included")
    assert [client.get(path).status_code for path in paths] == [404, 404, 200, 200]
    assert client.post("/").status_code == 405
    assert [client.get(path).status_code for path in (*paths, "/")] == [429] * 5


def test_2_one_route_is_one_bucket_whatever_the_path():
    """/item/1 to /item/n are one limit, and functions of one name on different routes are two."""
    app, routers = FastAPI(), [APIRouter(), APIRouter()]

    @app.get("/item/{number}", dependencies=[rate_limit("2/minute")])
    async def read(number: int) -> int:
        return number

    def declare(router: APIRouter, rule: Any) -> None:
        @router.get("/same", dependencies=[rule])
        async def read() -> int:
            return 1

    for router, rule in zip(
        routers, [rate_limit("1/minute", name="one"), rate_limit("1/minute", name="two")], strict=True
    ):
        declare(router, rule)
    app.include_router(routers[0], prefix="/a")
    app.include_router(routers[1], prefix="/b")
    small = App(RateLimiting(address=None), app=app)
    assert [small.statuses(1, f"/item/{number}")[0] for number in range(3)] == [200, 200, 429]
    assert [small.statuses(1, f"/{prefix}/same")[0] for prefix in ("a", "b", "a")] == [200, 200, 429]


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ((), ["198.51.100.1", "198.51.100.2"], [200, 429]),
        (("203.0.113.7/32",), ["198.51.100.1, 192.0.2.9", "198.51.100.2, 192.0.2.9"], [200, 429]),
        (("203.0.113.7/32",), ["192.0.2.9", "192.0.2.10"], [200, 200]),
    ],
)
def test_3_forwarded_addresses_count_only_from_trusted_peers(trusted, forwarded, expected):
    """A header of the client's own makes no new bucket: without trust it is ignored, with it the last hop counts."""
    app = FastAPI()
    install(app, Proxies(trusted_proxies=trusted), RateLimiting(address="1/minute"), clock=FakeClock())
    client = TestClient(app, client=ADDRESS)
    seen = [client.get("/docs", headers={"X-Forwarded-For": text}).status_code for text in forwarded]
    assert seen == expected


def test_4_callers_without_an_address_share_a_bucket_of_their_own():
    """They use up theirs, and neither pass unlimited nor shut out 127.0.0.1, `0.0.0.0` or a caller named `unknown`."""
    app = App(RateLimiting("1/minute", address="1/minute"))
    assert [app.statuses(1, address=name)[0] for name in ("unix", "", "garbage")] == [200, 429, 429]
    assert [app.statuses(1, address=name)[0] for name in ("127.0.0.1", "0.0.0.0")] == [200, 200]


async def test_5_a_slow_store_holds_up_only_who_waits_for_it():
    """While one question is under way, other callers are decided: nothing blocks the loop."""
    bench = Bench(Policy("p", "5/minute"))
    hit_many, answered = bench.store.hit_many, asyncio.Event()

    def slow(asks: Any) -> Any:
        async def answer() -> Any:
            await answered.wait()
            return await hit_many(asks)

        return answer()

    bench.store.hit_many = slow
    waiting = asyncio.ensure_future(bench.ask("ann"))
    await asyncio.sleep(0)
    bench.store.hit_many = hit_many
    (limit,) = bench.limiter.limits
    limit.use(bench.store)
    assert await bench.ask("bob") == 200
    assert not waiting.done()
    answered.set()
    assert await waiting == 200


def test_6_streams_arrive_whole():
    """One start, every chunk once, the headers of the limit once."""
    app = FastAPI()

    @app.get("/stream", dependencies=[rate_limit(Policy("places", concurrent=1))])
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"x" * 10] * 3))

    small = App(
        RateLimiting("100/minute", policies=[Policy("c", "9/minute", count_if=lambda c: False)]), app=app
    )
    for _ in range(2):
        response = small.client().get("/stream")
        assert response.content == b"x" * 30
        assert len(response.headers.get_list("ratelimit")) == 1


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window", "moving-window", "fixed-window", "calendar"])
async def test_7_what_is_denied_costs_nothing(algorithm):
    """A cost of 11 of 10 takes nothing; refusals do not prolong the wait, unless that is asked for, and then they end too."""
    cost = {"value": 11}
    policy = Policy("p", "10/hour", algorithm=algorithm, cost=lambda context: cost["value"])
    bench = Bench(policy)
    assert [await bench.ask("ann") for _ in range(5)] == [429] * 5
    cost["value"] = 10
    assert await bench.ask("ann") == 200
    guard = Bench(Policy("p", "1/hour", algorithm=algorithm, count_denied=True))
    assert [await guard.ask("ann") for _ in range(3)] == [200, 429, 429]
    guard.clock.advance(7200)
    assert await guard.ask("ann") == 200


async def test_8_changing_the_algorithm_on_live_keys_is_no_error():
    """Each kind of rule has a state of its own under one name, and no names of policies and callers run into each other."""
    clock = FakeClock()
    store = Remote(clock)
    for algorithm in ("gcra", "moving-window", "fixed-window", "sliding-window", "calendar", "gcra"):
        bench: Any = Bench(Policy("p", "3/hour", algorithm=algorithm), store=store, clock=clock)
        assert await bench.ask("ann") == 200
    assert await Bench(Policy("p", concurrent=1), store=store, clock=clock).ask("ann") == 200
    bench = Bench(Policy("a", "1/hour"), Policy("a.b", "1/hour"), store=store, clock=clock)
    for who in ("b/c", "c", "b.c/d", "b/c.d"):
        assert await bench.ask(who) == 200


async def test_9_whose_clock_is_wrong_changes_nothing():
    """Two hosts whose clocks are ten minutes apart decide by that of the store."""
    clock = FakeClock()
    store = Remote(clock)
    policy = Policy("p", "4/hour", algorithm="moving-window")
    right, wrong = (Bench(policy, store=store, clock=FakeClock(wall)) for wall in (1.75e9, 1.75e9 - 600))
    assert [await bench.ask("ann") for bench in (right, wrong) * 3] == [200] * 4 + [429] * 2


async def test_10_no_burst_of_twice_the_limit_at_a_boundary():
    """By default, whatever the moment, what fits within a tenth of a second is one burst."""
    bench = Bench(Policy("p", "100/minute"))
    bench.clock.advance(60 - bench.clock.wall() % 60 - 0.05)
    before = [await bench.ask("ann") for _ in range(150)].count(200)
    bench.clock.advance(0.1)
    after = [await bench.ask("ann") for _ in range(150)].count(200)
    assert (before, after) == (100, 0)


def test_11_memory_is_bounded_and_many_workers_are_warned_of(monkeypatch, caplog):
    """Invented callers do not make the store grow, and counting for each worker alone is said at start-up."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    with caplog.at_level(logging.WARNING):
        store = MemoryRateLimitStore(max_keys=100, clock=FakeClock())
        app = App(RateLimiting("5/minute", address=None), Contributes("stores", provides=[store]))
    assert "set PRODKIT_STORE" in caplog.text
    client = app.client()
    for number in range(150):
        client.get("/", headers={"X-Caller": f"caller-{number}"})
    assert len(store) <= 100


def test_12_headers_are_whole_numbers_said_once_and_true():
    """No doubled lines, no Retry-After on what was admitted, no fraction, and not the whole window where less will do."""
    app = App(RateLimiting("60/minute", address=None, legacy_headers=True))
    responses = [app.client().get("/") for _ in range(61)]
    for response in responses:
        assert response.headers["x-ratelimit-limit"] == "60"
        assert response.headers["x-ratelimit-reset"].isdigit()
        assert ("retry-after" in response.headers) == (response.status_code == 429)
        assert len(response.headers.get_list("ratelimit")) == 1
    assert responses[60].headers["retry-after"] == "1"


def test_13_wrong_credentials_are_limited_by_address_and_right_ones_by_caller():
    """A flood of 401s ends at the address's limit, before anything is verified; callers behind one address have their own."""
    asked = []

    def identify(context: Any) -> None:
        asked.append(1)
        if context.headers.get(b"authorization") != b"right":
            raise Problem(401)

    app = FastAPI()
    install(
        app,
        guarding(Layer.IDENTITY, identify),
        RateLimiting("1/minute", address="3/minute"),
        clock=FakeClock(),
    )
    client = TestClient(app, client=ADDRESS, raise_server_exceptions=False)
    assert [client.get("/docs").status_code for _ in range(5)] == [401, 401, 401, 429, 429]
    assert len(asked) == 3
    shared = App(RateLimiting("1/minute", address="3/minute"))
    assert [shared.statuses(1, caller=caller)[0] for caller in ("ann", "bob", "ann", "cid")] == [
        200,
        200,
        429,
        429,
    ]


def test_14_the_applications_own_handlers_stay_as_they_are():
    """A refusal is a problem whatever the application does with errors, and its own errors look as it says."""
    app = FastAPI()

    @app.exception_handler(HTTPException)
    async def own(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"own": error.status_code}, status_code=error.status_code)

    @app.get("/teapot", dependencies=[rate_limit("1/minute")])
    async def teapot() -> None:
        raise HTTPException(418)

    client = App(RateLimiting(address=None), app=app).client()
    assert client.get("/teapot").json() == {"own": 418}
    refused = client.get("/teapot")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"].endswith("quota-exceeded")
