"""Kept answers in a file and in Redis do as the ones in memory do, whatever is asked of them in whichever order."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.stores.memory_cache import MemoryCacheStore
from prodkit.stores.redis_cache import RedisCacheStore
from prodkit.stores.sqlite_cache import SqliteCacheStore
from tests.stores.test_redis_cache import pass_time
from tests.support.valkey import shared_valkey

# Few of each, so that they meet. No sum of steps is a lease or a time to live: at the very moment, clocks may differ.
KEYS = st.sampled_from(["answer-1", "answer-2"])
OWNERS = st.sampled_from(["owner-ann", "owner-bob", "owner-eve"])
LEASES = st.sampled_from([10.0, 25.0])
VERBS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), KEYS, OWNERS, LEASES),
        st.tuples(st.just("claim"), KEYS, OWNERS, LEASES),
        st.tuples(st.just("extend"), KEYS, OWNERS, LEASES),
        st.tuples(st.just("fill"), KEYS, OWNERS, st.sampled_from([b"", b"x", b"y" * 40, b"z" * 101]), LEASES),
        st.tuples(st.just("abandon"), KEYS, OWNERS),
        st.tuples(st.just("forget"), KEYS),
        st.tuples(st.just("wait"), st.sampled_from([3.0, 7.5])),
    ),
    min_size=5,
    max_size=30,
)


async def answer(store, verb):
    """What *store* says, without the seconds, which are real ones in Redis."""
    name, *arguments = verb
    if name in {"claim", "extend"}:
        key, owner, seconds = arguments
        said = await getattr(store, name)(key, owner, lease_seconds=seconds)
        return (said.state, said.value) if name == "claim" else said
    if name == "fill":
        key, owner, value, seconds = arguments
        return await store.fill(key, owner, value, ttl_seconds=seconds)
    return await getattr(store, name)(*arguments)


@settings(max_examples=100, database=None, deadline=None)
@given(VERBS)
def test_they_do_as_memory_does(verbs):
    """The same answer of all three to each verb."""

    async def scenario(folder):
        clock, server = FakeClock(), shared_valkey()
        server.ask("FLUSHALL")
        bound = {"max_value_bytes": 100}
        stores = (
            MemoryCacheStore(clock=clock, **bound),
            SqliteCacheStore(folder / "app.db", clock=clock, timeout_seconds=5.0, **bound),
            RedisCacheStore(server.url, timeout_seconds=5.0, **bound),
        )
        for verb in verbs:
            if verb[0] == "wait":
                clock.advance(verb[1])
                pass_time(server, verb[1])
                continue
            said = [await answer(store, verb) for store in stores]
            assert said[0] == said[1] == said[2], (verb, said)
        for store in stores:
            await store.aclose()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))
