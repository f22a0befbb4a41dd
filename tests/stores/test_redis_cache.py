"""Kept answers in Redis: what is particular to it, beyond the contract."""

from __future__ import annotations

import asyncio
import time

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.cache import CacheStore
from prodkit.stores.redis_cache import RedisCacheStore
from prodkit.testing.cache_contract import CacheStoreContract
from tests.stores.redis_stores import complaint, silent_server
from tests.stores.test_cache import is_kept, kept, put, race
from tests.support.valkey import shared_cluster, shared_redis, shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

NAME = "pk:cache:1:{cache}"
LEASE = 10.0


def pass_time(one, seconds):
    """Let every name on *one* expire *seconds* earlier: to the store it is as if the time had passed."""
    with one.client() as server:
        for name in server.keys("*"):
            left = server.pttl(name)
            if left > 0:
                server.pexpire(name, int(left - seconds * 1000))


class TestValkey(CacheStoreContract):
    def make_store(self, clock):
        return emptied(shared_valkey())

    def advance(self, clock, seconds):
        pass_time(shared_valkey(), seconds)


@pytest.mark.no_cover  # the same lines as on Valkey
class TestRedis(CacheStoreContract):
    def make_store(self, clock):
        return emptied(shared_redis())

    def advance(self, clock, seconds):
        pass_time(shared_redis(), seconds)


@pytest.mark.no_cover  # the same lines as on Valkey
class TestCluster(CacheStoreContract):
    def make_store(self, clock):
        cluster = shared_cluster()
        cluster.flush()
        return RedisCacheStore(cluster.url, timeout_seconds=5.0)

    def advance(self, clock, seconds):
        for node in shared_cluster().nodes:
            pass_time(node, seconds)


def emptied(one):
    """A store on *one*, of which nothing is known any more."""
    one.ask("FLUSHALL")
    return RedisCacheStore(one.url, timeout_seconds=5.0)


@pytest.fixture
async def store(valkey, server):
    made = RedisCacheStore(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


def every_verb(store):
    """Each verb, not yet called, by its name."""
    return {
        "claim": lambda: store.claim("answer-1", "owner-bob", lease_seconds=LEASE),
        "extend": lambda: store.extend("answer-1", "owner-bob", lease_seconds=LEASE),
        "fill": lambda: store.fill("answer-1", "owner-bob", b"x", ttl_seconds=LEASE),
        "abandon": lambda: store.abandon("answer-1", "owner-bob"),
        "forget": lambda: store.forget("answer-1"),
    }


async def test_each_verb_is_one_script(store, server):
    """Counted by the server: one EVALSHA each, and nothing else from outside."""
    for act in every_verb(store).values():
        await act()
    server.config_resetstat()
    for act in every_verb(store).values():
        await act()
    calls = {name: stats["calls"] for name, stats in server.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == len(every_verb(store))
    assert not {"cmdstat_eval", "cmdstat_multi", "cmdstat_script|load"} & set(calls)


async def test_nothing_stays_on_the_server_for_ever(store, server):
    """Each name expires by itself, also where the application never comes back, and none before what it is about."""
    await put(store, "answer-1", b"x", ttl_seconds=100)
    await put(store, "answer-2", b"x", ttl_seconds=50)
    await store.claim("answer-3", "owner-ann", lease_seconds=LEASE)
    left = {name.removeprefix(f"{NAME}:"): server.ttl(name) for name in server.keys("*")}
    assert set(left) == {"answer:answer-1", "answer:answer-2", "lease:answer-3", "ends", "sizes"}
    assert 0 < left["lease:answer-3"] <= LEASE
    assert 40 < left["answer:answer-2"] <= 50
    assert min(left["ends"], left["sizes"]) >= left["answer:answer-1"] > 90


def counted(server):
    """How many answers are counted, and their sum; they agree with what stands there."""
    sizes = server.hgetall(f"{NAME}:sizes")
    total = int(sizes.pop("", 0))
    assert sum(map(int, sizes.values())) == total
    assert set(sizes) == set(server.zrange(f"{NAME}:ends", 0, -1))
    return len(sizes), total


async def test_a_server_is_bounded(valkey, server):
    """Those that expire first make room, in number and in bytes, and the counts agree at every step."""
    store = RedisCacheStore(valkey, timeout_seconds=5.0, max_entries=5, max_bytes=100)
    for number in range(8):
        await put(store, f"answer-{number}", b"x" * 10, ttl_seconds=100 - number)
        counted(server)
    assert await kept(store, *(f"answer-{number}" for number in range(8))) == [
        f"answer-{number}" for number in (0, 1, 2, 3, 7)
    ]
    await put(store, "answer-large", b"y" * 85)
    assert counted(server) == (2, 95)
    await store.forget("answer-large")
    await store.forget("answer-unknown")
    assert counted(server) == (1, 10)
    assert await kept(store, "answer-0", "answer-large") == ["answer-0"]
    # What the server removed by itself is still counted until the next one comes, and then no more.
    await put(store, "answer-short", b"x" * 10, ttl_seconds=0.05)
    await asyncio.sleep(0.1)
    assert counted(server) == (2, 20)
    await put(store, "answer-next", b"x" * 5)
    assert counted(server) == (2, 15)
    # One that comes again is counted once.
    server.delete(f"{NAME}:answer:answer-next")
    await put(store, "answer-next", b"x" * 7)
    assert counted(server) == (2, 17)
    await store.aclose()


@pytest.mark.parametrize("where", ["redis_server", "valkey_cluster"])
async def test_other_servers_are_bounded_too(request, where):
    """Redis as well as Valkey, and a cluster, where what makes room stands on the same master."""
    store = RedisCacheStore(request.getfixturevalue(where), timeout_seconds=5.0, max_entries=2)
    for number in range(4):
        await put(store, f"answer-{number}", b"x" * 10, ttl_seconds=50 + number)
    assert await kept(store, *(f"answer-{number}" for number in range(4))) == ["answer-2", "answer-3"]
    await store.aclose()


def test_exactly_one_of_all_processes_leads(valkey):
    """In each of twenty rounds, on one server."""
    make = """
    from prodkit.stores.redis_cache import RedisCacheStore
    def make(place):
        return RedisCacheStore(place, timeout_seconds=20.0)
    """
    assert race(make, valkey) == [1] * 20


async def test_a_server_without_memory_changes_nothing(store, server):
    """The leader is told, what was there stays, and nothing is half counted."""
    await put(store, "answer-1", b"x")
    await store.claim("answer-2", "owner-ann", lease_seconds=LEASE)
    before = counted(server)
    server.config_set("maxmemory", server.info("memory")["used_memory"] // 2)
    try:
        with pytest.raises(StoreUnavailableError):
            await store.fill("answer-2", "owner-ann", b"y", ttl_seconds=60)
        assert await is_kept(store, "answer-1")
    finally:
        server.config_set("maxmemory", 0)
    assert counted(server) == before
    assert await store.fill("answer-2", "owner-ann", b"y", ttl_seconds=60)


MEETS = {
    "claim": ("answer:answer-1", "lease:answer-1"),
    "extend": ("lease:answer-1",),
    "fill": ("lease:answer-1", "ends", "sizes"),
    "abandon": ("lease:answer-1",),
    "forget": ("ends", "sizes"),
}


@pytest.mark.parametrize("verb", MEETS)
async def test_a_name_that_another_program_uses_is_said_so(store, server, verb):
    """By each verb that meets it: the error names the key and shows nothing of what stands there."""
    for suffix in MEETS[verb]:
        server.flushall()
        await store.claim("answer-1", "owner-bob", lease_seconds=LEASE)
        server.delete(f"{NAME}:{suffix}")
        server.rpush(f"{NAME}:{suffix}", "their-private-data")
        shown = await complaint(every_verb(store)[verb])
        assert f"{NAME}:{suffix}" in shown, suffix
        assert "their" not in shown
        if suffix in {"ends", "sizes"}:
            assert server.get(f"{NAME}:answer:answer-1") is None
            with pytest.raises(StoreIncompatibleError, match=f"{suffix} in Redis"):
                await store.check()


async def test_it_is_a_store_of_answers(store):
    """Features find it by the protocol."""
    assert isinstance(store, CacheStore)


def test_a_bound_of_nothing_is_refused(valkey):
    """Whoever wants no cache makes none."""
    for bound in ("max_entries", "max_bytes", "max_value_bytes"):
        with pytest.raises(ValueError, match="at least 1"):
            RedisCacheStore(valkey, **{bound: 0})


@pytest.mark.parametrize("verb", sorted(every_verb(None)))
async def test_nobody_waits_for_a_server_that_is_not_there(verb):
    """Each verb says so within its bound."""
    store = RedisCacheStore("redis://127.0.0.1:1/0", timeout_seconds=0.1)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await every_verb(store)[verb]()
    assert time.monotonic() - begun < 2.0
    await store.aclose()


async def test_a_silent_server_is_waited_for_no_longer_than_the_bound():
    """It takes the connection and never answers."""
    async with silent_server() as port:
        for number, verb in enumerate(every_verb(None)):
            # Each a link of its own: a server that failed is left alone for a moment.
            store = RedisCacheStore(f"redis://127.0.0.1:{port}/{number}", timeout_seconds=0.05)
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await every_verb(store)[verb]()
            assert 0.04 < time.monotonic() - begun < 3.0
            await store.aclose()
