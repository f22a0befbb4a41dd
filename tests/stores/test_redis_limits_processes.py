"""Limits in Redis with real processes around them: several workers, wrong clocks, a million callers, a server that stands still."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.stores.redis_limits import RedisRateLimitStore
from prodkit.testing import hit
from tests.stores.processes import finish, script
from tests.support.valkey import eventually, running_sentinel, running_valkey, shared_valkey

CALLERS = int(os.environ.get("PRODKIT_TEST_CALLERS", "100000"))

pytestmark = pytest.mark.process

IMPORTS = """
from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, SlidingWindow
from prodkit.stores.redis_limits import RedisRateLimitStore
RULES = [Rate(100, 86400.0), FixedWindow(100, 86400.0), SlidingWindow(100, 86400.0), MovingWindow(100, 86400.0)]
RULES += [CalendarWindow(100, "year")]
"""

WORKER = """
async def main():
    store = RedisRateLimitStore(sys.argv[1], timeout_seconds=10.0)
    admitted = [0] * len(RULES)
    print("ready", flush=True)
    sys.stdin.readline()

    async def caller(number):
        for _ in range(5):
            for index, rule in enumerate(RULES):
                (decision,) = await hit(store, ("{k}", rule, 1))
                admitted[index] += decision.allowed
        mine = Permit(30, f"{os.getpid()}-{number}", lease_seconds=600.0)
        (decision,) = await hit(store, ("{k}", mine, 1))
        return decision.allowed

    places = sum(await asyncio.gather(*(caller(number) for number in range(20))))
    print(*admitted, places)
    await store.aclose()

asyncio.run(main())
"""


@pytest.fixture
def url():
    """An empty server that all share."""
    shared_valkey().ask("FLUSHALL")
    return shared_valkey().url


def test_three_processes_admit_what_one_would(url):
    """Exactly the limit of each kind in all: 300 asks for 100, 60 for 30 places."""
    workers = [script(WORKER, url, imports=IMPORTS) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    counts = [[int(number) for number in finish(worker, 120)] for worker in workers]
    assert [sum(column) for column in zip(*counts, strict=True)] == [100] * 5 + [30]


def test_hosts_whose_clocks_are_minutes_apart_decide_the_same(url):
    """Whoever asks, it is the server's time: as if all had the right clock, also by the calendar."""
    source = """
    skew = float(sys.argv[2])
    right = time.time
    time.time = lambda: right() + skew
    from prodkit.core.clock import SystemClock
    SystemClock.wall = staticmethod(time.time)

    async def main():
        store = RedisRateLimitStore(sys.argv[1], timeout_seconds=10.0)
        admitted = [0] * len(RULES)
        for _ in range(40):
            for index, rule in enumerate(RULES):
                (decision,) = await hit(store, ("{k}", rule, 1))
                admitted[index] += decision.allowed
        print(*admitted, round(decision.at_ns / 1e9 - right()))
        await store.aclose()

    asyncio.run(main())
    """
    workers = [script(source, url, skew, imports=IMPORTS) for skew in (-1200, 0, 1200)]
    *admitted, offsets = zip(*(map(int, finish(worker, 120)) for worker in workers), strict=True)
    assert [sum(column) for column in admitted] == [100] * 5
    assert all(abs(offset) <= 2 for offset in offsets)


def test_a_worker_that_is_killed_gives_its_place_back(url):
    """Its lease ends, and nobody else's."""
    source = """
    async def main():
        store = RedisRateLimitStore(sys.argv[1], timeout_seconds=10.0)
        (decision,) = await hit(store, ("k", Permit(1, "killed", lease_seconds=1.0), 1))
        print(decision.allowed, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
    """
    worker = script(source, url, imports=IMPORTS)
    assert worker.communicate(timeout=120)[0] == "True\n"

    async def main():
        store = RedisRateLimitStore(url, timeout_seconds=10.0)
        end = time.monotonic() + 20
        while not (await hit(store, ("k", Permit(1, "next"), 1)))[0].allowed:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        await store.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rule", "callers", "most_bytes"),
    [
        (Rate(60, 3600.0), CALLERS, 150),
        (FixedWindow(60, 86_400.0), 20_000, 190),
        (SlidingWindow(60, 86_400.0), 20_000, 190),
        (MovingWindow(60, 3600.0), 20_000, 250),
    ],
    ids=["rate", "fixed", "sliding", "moving"],
)
def test_a_flood_of_callers_costs_little_and_every_key_expires(rule, callers, most_bytes):
    """So many bytes of the server for each caller, and no key without an end.

    A hundred thousand of the commonest kind, or as many as PRODKIT_TEST_CALLERS says: a million take ten times as long.
    """

    async def main(url):
        store = RedisRateLimitStore(url, timeout_seconds=60.0)
        for start in range(0, callers, 500):
            await hit(store, *((f"pk:rl:2:{{{n:020}}}:ip", rule, 1) for n in range(start, start + 500)))
        await store.aclose()

    with running_valkey() as server, server.client() as client:
        empty = client.info("memory")["used_memory"]
        asyncio.run(main(server.url))
        used = client.info("memory")["used_memory"] - empty
        kept = client.info("keyspace")["db0"]
        assert used / kept["keys"] < most_bytes
        assert kept["keys"] == kept["expires"] > callers * 0.95  # the first may have expired meanwhile


def test_callers_who_stay_away_are_forgotten(url):
    """A bucket that is full again is no key any more."""
    rule = Rate(10, 1.0)

    async def main():
        store = RedisRateLimitStore(url, timeout_seconds=10.0)
        await hit(store, *((f"k{n}", rule, 5) for n in range(1000)))
        await store.aclose()

    asyncio.run(main())
    eventually(lambda: shared_valkey().ask("DBSIZE") == 0)


async def test_a_server_that_stands_still_holds_nobody_up():
    """Everybody is told in time, those in the queue too; when it goes on, so do we, and nothing is left over."""
    rule = FixedWindow(100_000, 86_400.0)
    with running_valkey() as server:
        store = RedisRateLimitStore(server.url, timeout_seconds=0.3)
        await hit(store, ("k", rule, 1))
        server.pause()
        try:
            waits = []

            async def timed():
                start = time.monotonic()
                with pytest.raises(StoreUnavailableError):
                    await hit(store, ("k", rule, 1))
                waits.append(time.monotonic() - start)

            await asyncio.gather(*(timed() for _ in range(300)))
            assert max(waits) < 1.0
        finally:
            server.resume()
        end = time.monotonic() + 20
        while True:
            try:
                (decision,) = await hit(store, ("k", rule, 1))
                break
            except StoreUnavailableError:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
        assert 100_000 - 310 <= decision.remaining < 100_000
        await store.aclose()


async def test_a_connection_that_breaks_is_opened_again(url):
    """Whoever was on the way is told or answered; the next ask works."""
    rule = MovingWindow(1000, 86_400.0)
    store = RedisRateLimitStore(url, timeout_seconds=5.0)
    with shared_valkey().client() as client:
        for _ in range(5):
            await hit(store, ("k", rule, 1))
            client.client_kill_filter(_type="normal", skipme=True)
            answers = await asyncio.gather(
                *(hit(store, ("k", rule, 1)) for _ in range(20)), return_exceptions=True
            )
            assert all(isinstance(answer, tuple | StoreUnavailableError) for answer in answers)
    await store.aclose()


async def test_closing_answers_who_waits():
    """An error at once for all of them, not a wait for a server that stands still; the next use opens again."""
    with running_valkey() as server:
        store = RedisRateLimitStore(server.url, timeout_seconds=30.0)
        await hit(store, ("k", Rate(1000, 60.0), 1))
        server.pause()
        tasks = [asyncio.create_task(hit(store, ("k", Rate(1000, 60.0), 1))) for _ in range(10)]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await store.aclose()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - start < 5
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
        server.resume()
        assert (await hit(store, ("k", Rate(1000, 60.0), 1)))[0].allowed
        await store.aclose()


def test_a_failover_is_survived():
    """Behind a Sentinel, whose master is killed: each call ends within its bound, and the new master counts on."""

    async def main():
        with running_sentinel() as group:
            store = RedisRateLimitStore(group.url, timeout_seconds=0.5)
            rate, longest, end = Rate(1000, 3600.0), 0.0, time.monotonic() + 30
            admitted = failed = 0
            group_killed = False
            while not (failed and admitted):
                assert time.monotonic() < end, (admitted, failed)
                began = time.monotonic()
                try:
                    decision = (await hit(store, ("k", rate, 1)))[0]
                    admitted += decision.allowed and group_killed
                except StoreUnavailableError:
                    failed += group_killed
                    await asyncio.sleep(0.02)
                else:
                    if not group_killed:
                        group.master.kill()
                        group_killed = True
                longest = max(longest, time.monotonic() - began)
            assert longest < 1.5
            # The replica knew of the first hit, or had not received it yet.
            assert 1000 - decision.remaining in {1, 2}
            assert group.replica.commands()["evalsha"] >= 1
            await store.aclose()

    asyncio.run(main())


async def test_a_server_that_hangs_is_left_alone_for_a_moment():
    """After five calls that had no answer in time the next ones cost no time, until a probe is due; then it is found again."""
    rate = Rate(1000, 60.0)
    with running_valkey() as server:
        store = RedisRateLimitStore(server.url, timeout_seconds=0.1)
        await hit(store, ("k", rate, 1))
        server.pause()
        for _ in range(5):
            with pytest.raises(StoreUnavailableError, match="in time"):
                await hit(store, ("k", rate, 1))
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(StoreUnavailableError, match="left alone"):
                await hit(store, ("k", rate, 1))
        assert time.monotonic() - started < 0.1
        server.resume()
        await asyncio.sleep(1.1)
        assert (await hit(store, ("k", rate, 1)))[0].allowed
        await store.aclose()
