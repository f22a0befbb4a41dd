"""Answers that are paid for once by several processes: one buys, the others wait, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from prodkit.core.identity import Principal
from prodkit.metering import AnswerCache, Question
from prodkit.stores.cache import Claim
from prodkit.stores.memory_cache import MemoryCacheStore
from prodkit.stores.redis_cache import RedisCacheStore
from prodkit.stores.sqlite_cache import SqliteCacheStore
from prodkit.stores.urls import open_store
from tests.stores.processes import finish, script
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

ANN = Principal(id="ann", kind="api_key", tenant="acme")
QUESTION = Question(provider="parallel", sku="search", parameters={"q": "what"})

PROGRAM = """
    from prodkit.core.identity import Principal
    from prodkit.core.clock import SYSTEM_CLOCK
    from prodkit.metering import AnswerCache, Meter, Question
    from prodkit.stores.urls import open_store
    place, name, seconds, lease = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    async def main():
        stores = open_store(place)
        meter = Meter()
        meter.bind(stores.ledger, SYSTEM_CLOCK)
        cache = AnswerCache(
            stores.cache, namespace="search/1", ttl_seconds=600.0, meter=meter, lease_seconds=lease, wait_seconds=20.0
        )
        bought = []
        async def buy(receipt):
            bought.append(name)
            print("buying", flush=True)
            call = await receipt.call(5000)
            await asyncio.sleep(seconds)
            await call.settle(5000)
            return {"of": name}
        async def ask(number):
            async with await meter.open(f"run_{name}_{number}", amount_nano=5000, attributes={"tenant": "acme"}) as run:
                question = Question(provider="parallel", sku="search", parameters={"q": "what"})
                who = Principal(id="ann", kind="api_key", tenant="acme")
                return await cache.get_or_call(question, buy, principal=who, envelope=run)
        await stores.check()
        print("ready", flush=True)
        sys.stdin.readline()
        answers = await asyncio.gather(*(ask(number) for number in range(10)))
        await meter.aclose()
        await stores.aclose()
        print("end", len(bought), sum(a.saved_nano for a in answers), *sorted({a.value["of"] for a in answers}), flush=True)
    asyncio.run(main())
"""


def start(place: str, name: str, *, seconds: float, lease: float = 10.0) -> Any:
    process = script(PROGRAM, place, name, seconds, lease)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: Any) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def end_of(process: Any) -> tuple[int, int, list[str]]:
    """How often it bought, what it saved, and whose answers it was given."""
    words = finish(process)
    count, saved, *names = words[words.index("end") + 1 :]
    return int(count), int(saved), names


async def entries(place: str) -> list[Any]:
    stores = open_store(place)
    found = await stores.ledger.entries(limit=1000)
    await stores.aclose()
    return list(found)


def test_three_processes_buy_once(tmp_path):
    """Thirty callers, one call; the ledger has one settled entry and 29 of what was saved."""
    place = f"sqlite:///{tmp_path}/app.db?timeout_seconds=5"
    processes = [start(place, name, seconds=0.3) for name in ("a", "b", "c")]
    for process in processes:
        go(process)
    ends = [end_of(process) for process in processes]
    assert sum(count for count, _, _ in ends) == 1
    assert sum(saved for _, saved, _ in ends) == 29 * 5000
    assert len({tuple(names) for _, _, names in ends}) == 1
    found = asyncio.run(entries(place))
    assert [entry.amount_nano for entry in found if entry.kind == "settled"] == [5000]
    saved = [entry.saved_nano for entry in found if entry.kind == "cached"]
    assert (len(saved), sum(saved)) == (29, 29 * 5000)


def test_a_leader_that_is_killed_is_replaced(tmp_path):
    """kill -9 in the middle of the call: when its lease is over another process buys, and its callers have the answer."""
    place = f"sqlite:///{tmp_path}/app.db?timeout_seconds=5"
    dead, living = (
        start(place, "dead", seconds=60.0, lease=1.5),
        start(place, "living", seconds=0.01, lease=1.5),
    )
    go(dead)
    assert dead.stdout.readline() == "buying\n"
    go(living)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    begun = time.monotonic()
    assert end_of(living) == (1, 9 * 5000, ["living"])
    assert time.monotonic() - begun < 15


@pytest.fixture(params=["memory", "sqlite", "redis"])
def two_stores(request, tmp_path):
    """The same answers as two processes see them."""
    if request.param == "memory":
        one = MemoryCacheStore()
        return one, one
    if request.param == "sqlite":
        return tuple(SqliteCacheStore(tmp_path / "app.db", timeout_seconds=5.0) for _ in range(2))
    url = request.getfixturevalue("valkey")
    return tuple(RedisCacheStore(url, timeout_seconds=5.0) for _ in range(2))


class Caller:
    """One process, as far as its cache is concerned."""

    def __init__(self, store: Any, **options: Any) -> None:
        self.cache = AnswerCache(store, namespace="search/1", ttl_seconds=600.0, **options)
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.calls = 0
        self.failures: list[Exception] = []

    async def buy(self, receipt: Any) -> Any:
        self.calls += 1
        self.began.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        receipt.paid(7)
        return self.calls

    async def ask(self) -> Any:
        return await self.cache.get_or_call(QUESTION, self.buy, principal=ANN)


async def test_a_leader_elsewhere_that_fails_is_replaced_at_once(two_stores):
    """Not only when its lease ends: it gives up, and one of those who wait calls, with no error of the other's."""
    one, other = (Caller(store, lease_seconds=60.0) for store in two_stores)
    one.failures = [RuntimeError("of one")]
    asking = asyncio.create_task(one.ask())
    await one.began.wait()
    waiting = [asyncio.create_task(other.ask()) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert other.calls == 0
    other.gate.set()
    one.gate.set()
    with pytest.raises(RuntimeError, match="of one"):
        await asking
    answers = await asyncio.gather(*waiting)
    assert sorted(answer.outcome for answer in answers) == ["joined", "joined", "miss"]
    assert (one.calls, other.calls) == (1, 1)
    assert (await one.ask()).outcome == "hit"
    for store in two_stores:
        await store.aclose()


async def test_a_call_that_takes_longer_than_its_lease_keeps_it(two_stores):
    """It is renewed as long as the process lives; who waits elsewhere goes on waiting, and buys nothing."""
    one, other = (Caller(store, lease_seconds=0.3) for store in two_stores)
    other.gate.set()
    asking = asyncio.create_task(one.ask())
    await one.began.wait()
    waiting = asyncio.create_task(other.ask())
    await asyncio.sleep(1.0)
    assert other.calls == 0
    one.gate.set()
    assert [(await asking).outcome, (await waiting).outcome] == ["miss", "joined"]
    for store in two_stores:
        await store.aclose()


async def test_what_was_forgotten_meanwhile_is_not_kept_however_long_the_call_takes(two_stores):
    """Renewing its lease does not make it new: what the answer is about has changed since the call began."""
    one, other = (Caller(store, lease_seconds=0.3) for store in two_stores)
    asking = asyncio.create_task(one.ask())
    await one.began.wait()
    await other.cache.forget(QUESTION, principal=ANN)
    await asyncio.sleep(0.5)
    one.gate.set()
    other.gate.set()
    assert (await asking).outcome == "miss"
    assert (await other.ask()).outcome == "miss"
    for store in two_stores:
        await store.aclose()


async def test_who_waits_for_another_process_waits_no_longer_than_the_bound(two_stores):
    """Then it buys for itself, and does not put its answer in the place of the other's."""
    one, other = Caller(two_stores[0]), Caller(two_stores[1], wait_seconds=0.1)
    other.gate.set()
    asking = asyncio.create_task(one.ask())
    await one.began.wait()
    begun = time.monotonic()
    assert (await other.ask()).outcome == "overdue"
    assert 0.09 < time.monotonic() - begun < 3.0
    one.calls = 70
    one.gate.set()
    assert (await asking).outcome == "miss"
    assert (await other.ask()).value == 70
    for store in two_stores:
        await store.aclose()


class NeverFree(MemoryCacheStore):
    """Somebody else leads for ever, whose lease has just ended each time one looks."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = 0

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Claim:
        self.claims += 1
        return Claim("taken", 0.0)


async def test_the_store_is_not_hammered_by_who_waits():
    """They ask at most fifty times a second, also where the lease seems to be over each time."""
    store = NeverFree()
    caller = Caller(store, wait_seconds=0.5)
    caller.gate.set()
    assert (await caller.ask()).outcome == "overdue"
    assert store.claims < 35
