"""The same limits over every store: what a caller observes does not depend on where the counts are."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy, limits_of
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.stores.redis_limits import RedisRateLimitStore
from prodkit.stores.sqlite import SqliteRateLimitStore
from tests.rate_limiting.bench import Bench
from tests.support.valkey import running_valkey
from tests.support.valkey_fixtures import valkey, valkey_cluster  # noqa: F401 - fixtures


def failed(context: Any) -> bool:
    return context.status == 401


POLICIES = [
    Policy("each", "20/hour"),
    Policy("tenant", "12/day", by="tenant", algorithm="calendar", time_zone="Asia/Tokyo"),
    Policy("all", "15 per 10 minutes", by="global", algorithm="moving-window"),
    Policy("guess", "3/minute", algorithm="sliding-window", count_if=failed),
    Policy("hard", "9/minute", algorithm="fixed-window", count_denied=True, plans={"pro": "11/minute"}),
    Policy("trial", "2/minute", enforce=False),
    Policy("places", concurrent=2, by="tenant"),
    Policy("tokens", "100/hour", layer="handler"),
]

# Who calls, how it ends, and how many seconds pass afterwards.
STORY = [
    *[("acme/ann", 200, 1.0)] * 4,
    *[("acme/ann", 401, 1.0)] * 5,
    *[("acme/bob", 200, 0.5)] * 9,
    ("", 200, 30.0),
    *[("other/ann", 200, 2.0)] * 6,
    ("acme/ann", 200, 600.0),
    *[("acme/ann", 200, 0.0)] * 12,
    *[("", 401, 4.0)] * 6,
    ("acme/bob", 200, 86_400.0),
    *[("acme/bob", 200, 0.25)] * 14,
]


def store_of(kind: str, request: Any, folder: Any, clock: FakeClock) -> Any:
    if kind == "memory":
        return MemoryRateLimitStore(clock=clock)
    if kind == "sqlite":
        return SqliteRateLimitStore(folder / "limits.db", clock=clock, timeout_seconds=10)
    url = request.getfixturevalue("valkey" if kind == "redis" else "valkey_cluster")
    return RedisRateLimitStore(url, clock=clock, timeout_seconds=10)


def without_times(header: bytes) -> bytes:
    return re.sub(rb";t=[0-9]+", b"", header)


async def told(bench: Bench) -> list[Any]:
    """What the callers of the story are told."""
    seen = []
    for who, end, seconds in STORY:
        status = end
        context = bench.context(who, plan="pro" if who.startswith("other") else None)
        violated = None
        try:
            await bench.admit(context)
            reserving = limits_of(context).reserve("tokens", 30)
            async with reserving as reservation:
                reservation.settle(7)
        except Problem as problem:
            violated, status = problem.extensions["violated-policies"], problem.status_code
        await bench.end(context, status)
        policies = context.response_headers[b"ratelimit-policy"]
        seen.append((who, status, violated, policies, context.response_headers[b"ratelimit"]))
        bench.clock.advance(seconds)
    return [*seen, bench.counts("guess"), bench.counts("trial"), bench.counts("places")]


@pytest.mark.process
@pytest.mark.parametrize("kind", ["sqlite", "redis", "cluster"])
async def test_every_store_tells_callers_the_same(kind, request, tmp_path):
    """Statuses, refusing policies and headers of a day of requests are those of the store in memory."""
    stories = []
    for name in ("memory", kind):
        clock = FakeClock()
        store = store_of(name, request, tmp_path, clock)
        try:
            stories.append(await told(Bench(*POLICIES, store=store, clock=clock)))
        finally:
            await store.aclose()
    if kind == "cluster":
        # When everything is there again is told as it was before what another machine refused was given back.
        stories = [
            [(*entry[:4], without_times(entry[4])) for entry in story if type(entry) is tuple]
            for story in stories
        ]
    for expected, found in zip(*stories, strict=True):
        assert found == expected
    assert {entry[1] for entry in stories[0] if isinstance(entry, tuple)} == {200, 401, 429}


@pytest.mark.process
@pytest.mark.parametrize("kind", ["sqlite", "redis", "cluster"])
async def test_places_and_their_queue(kind, request, tmp_path):
    """Ten at once through two places, in one partition or apart from their rate: all get in, two and two."""
    clock = FakeClock()
    store = store_of(kind, request, tmp_path, clock)
    places = Policy("places", concurrent=2, queue=8, queue_seconds=30, by="global")
    bench = Bench(places, Policy("rate", "10/hour"), store=store, clock=clock)
    inside, most, pair = 0, 0, asyncio.Barrier(2)

    async def work() -> None:
        nonlocal inside, most
        context = bench.context("ann")
        await bench.admit(context)
        inside += 1
        most = max(most, inside)
        await pair.wait()
        inside -= 1
        await bench.end(context)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(work() for _ in range(10)))
        assert most == 2
        assert bench.counts("rate") == {"allowed": 10}
        assert await bench.ask("ann") == 429
        assert len(bench.limiter.permits) == 0
    finally:
        await bench.limiter.aclose()
        await store.aclose()


@pytest.mark.process
async def test_places_come_back_when_the_server_was_stopped_while_they_were_given_back():
    """Whoever ends meanwhile is not held up; its place is free again when the lease is over, and no earlier."""
    places = Policy("places", concurrent=1, by="global", lease_seconds=1, on_store_error="closed")
    with running_valkey() as server:
        store = RedisRateLimitStore(server.url, timeout_seconds=0.2)
        bench = Bench(places, store=store)
        try:
            context = bench.context("ann")
            await bench.admit(context)
            server.pause()
            async with asyncio.timeout(2):
                await bench.end(context)
                assert await bench.ask("bob") == 503
            server.resume()
            assert bench.counts("places") == {"allowed": 1, "degraded": 1, "unsettled": 2}
            statuses = []
            async with asyncio.timeout(15):
                while 200 not in statuses:
                    statuses.append(await bench.ask("bob"))
                    await asyncio.sleep(0.05)
            assert set(statuses) <= {200, 429, 503}
            assert await bench.ask("cid") == 200
        finally:
            await bench.limiter.aclose()
            await store.aclose()
