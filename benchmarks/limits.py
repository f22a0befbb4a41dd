"""`python -m benchmarks.limits`: what one decision of a limit costs, in microseconds of processor time of the worker.

Ours are asked as the limiter asks them, one bucket a decision, by several callers at the same time. Beside them stand the
clients that one would use directly: each sends a small script for the same algorithm, once a decision, over as many
connections as it likes. The server is a Valkey of our own on another processor. Batches of all rows are interleaved, and the
median batch of each is told, so that a slow moment of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import coredis
from glide import GlideClient, GlideClientConfiguration, NodeAddress, Script
from redis import asyncio as redis

from benchmarks import redis_server
from prodkit.stores import Rate
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.stores.redis_limits import RedisRateLimitStore
from prodkit.stores.sqlite import SqliteRateLimitStore

CALLERS = (1, 8, 32, 128)
KEYS = 1000
RATE = Rate(6_000_000, 3600.0)

# What somebody writes who needs one bucket: the moment it is full, moved on by one interval where that fits.
BUCKET = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + ARGV[1]
if full - now > tonumber(ARGV[2]) then return {0, full - now} end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return {1, full - now}
"""
INTERVAL_US = str(RATE.interval_ns // 1000)
CAPACITY_US = str(RATE.capacity_ns // 1000)

Decide = Callable[[str], Awaitable[object]]


def ours(store) -> Decide:
    """One decision of *store*."""

    async def decide(key: str) -> None:
        answer = store.hit_many(((key, RATE, 1),))
        decisions = answer if isinstance(answer, tuple) else await answer
        assert decisions[0].allowed

    return decide


async def rows_of(url: str, folder: Path) -> dict[str, tuple[Decide, Callable[[], Awaitable[object]]]]:
    """Name to how one decision is made, and how to clean up."""
    host, port = url.removeprefix("redis://").split(":")
    memory, sqlite, shared = (
        MemoryRateLimitStore(),
        SqliteRateLimitStore(folder / "limits.db", timeout_seconds=5.0),
        RedisRateLimitStore(url, timeout_seconds=5.0),
    )
    sha = hashlib.sha1(BUCKET.encode(), usedforsecurity=False).hexdigest()
    by_redis = redis.Redis.from_url(url, max_connections=256)
    await by_redis.script_load(BUCKET)
    by_coredis = coredis.Redis(host=host, port=int(port), max_connections=256)
    await by_coredis.__aenter__()
    await by_coredis.script_load(BUCKET)
    by_glide = await GlideClient.create(GlideClientConfiguration([NodeAddress(host, int(port))]))
    script = Script(BUCKET)

    async def with_redis(key: str) -> None:
        assert (await by_redis.evalsha(sha, 1, key, INTERVAL_US, CAPACITY_US))[0] == 1

    async def with_coredis(key: str) -> None:
        assert (await by_coredis.evalsha(sha, keys=[key], args=[INTERVAL_US, CAPACITY_US]))[0] == 1

    async def with_glide(key: str) -> None:
        assert (await by_glide.invoke_script(script, keys=[key], args=[INTERVAL_US, CAPACITY_US]))[0] == 1

    return {
        "ours, memory": (ours(memory), memory.aclose),
        "ours, SQLite": (ours(sqlite), sqlite.aclose),
        "ours, Redis": (ours(shared), shared.aclose),
        "redis-py": (with_redis, by_redis.aclose),
        "coredis": (with_coredis, lambda: by_coredis.__aexit__(None, None, None)),
        "valkey-glide": (with_glide, by_glide.close),
    }


async def batch(decide: Decide, callers: int, count: int) -> tuple[float, float]:
    """Microseconds of processor time and of wall time of one decision, of *count* made by *callers* at once."""

    async def call(number: int) -> None:
        for turn in range(count // callers):
            await decide(f"{{{(number * 7919 + turn) % KEYS}}}:bench")

    started = time.process_time_ns(), time.perf_counter_ns()
    await asyncio.gather(*(call(number) for number in range(callers)))
    made = count // callers * callers
    spent = time.process_time_ns() - started[0], time.perf_counter_ns() - started[1]
    return spent[0] / made / 1000, spent[1] / made / 1000


async def measure(rounds: int, count: int, url: str) -> dict[str, dict[int, tuple[float, float]]]:
    """Row to number of callers to microseconds, the medians of *rounds* batches."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="limits-") as folder:
        rows = await rows_of(url, Path(folder))
        try:
            for number in range(rounds + 1):
                for callers in CALLERS:
                    for name, (decide, _) in rows.items():
                        spent = await batch(decide, callers, count)
                        if number:  # the first one connects and fills caches
                            found.setdefault(name, {}).setdefault(callers, []).append(spent)
        finally:
            for _, close in rows.values():
                await close()
    return {
        name: {
            callers: (statistics.median(one[0] for one in spent), statistics.median(one[1] for one in spent))
            for callers, spent in at.items()
        }
        for name, at in found.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--decisions", type=int, default=4000, help="in one batch")
    arguments = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    url = redis_server.start(str(processors[-1]) if len(processors) > 1 else "-")
    os.sched_setaffinity(0, {processors[0]})
    found = asyncio.run(measure(arguments.rounds, arguments.decisions, url))
    print(f"| µs, processor (wall) | {' | '.join(f'{callers} at once' for callers in CALLERS)} |")
    print(f"| --- | {' | '.join('--:' for _ in CALLERS)} |")
    for name, at in found.items():
        cells = (f"{at[callers][0]:.1f} ({at[callers][1]:.1f})" for callers in CALLERS)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
