"""Limits in a Redis Cluster: the contract, what is decided together, and a machine that stands still."""

from __future__ import annotations

import asyncio
import time

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import Rate
from prodkit.stores.redis_limits import RedisRateLimitStore
from prodkit.testing import RateLimitStoreContract, hit
from tests.support.valkey import shared_cluster

HOUR = Rate(3, 3600.0)


class TestCluster(RateLimitStoreContract):
    examples = 3

    def make_store(self, clock):
        cluster = shared_cluster()
        cluster.flush()
        return RedisRateLimitStore(cluster.url, clock=clock, timeout_seconds=5.0)


async def test_a_cluster_decides_within_a_partition():
    """Asks of one partition are decided together; of several they are refused, since they could not be."""
    cluster = shared_cluster()
    cluster.flush()
    store = RedisRateLimitStore(cluster.url, timeout_seconds=5.0)
    assert store.is_partitioned
    together = await hit(store, ("{a}ip", HOUR, 1), ("{a}user", HOUR, 3))
    assert [decision.remaining for decision in together] == [2, 0]
    with pytest.raises(ValueError, match="partition"):
        await hit(store, ("{a}ip", HOUR, 1), ("{b}user", HOUR, 1))
    await store.settle([(f"{{{name}}}ip", HOUR, 1, together[0].at_ns) for name in "abcdef"])
    for name, left in (("a", 1), ("b", 2), ("f", 2)):
        assert (await store.peek(f"{{{name}}}ip", HOUR)).remaining == left
    await store.aclose()


async def test_a_cluster_is_exact_in_a_crowd():
    """Callers on every machine at once: each limit is admitted exactly."""
    cluster = shared_cluster()
    cluster.flush()
    store = RedisRateLimitStore(cluster.url, timeout_seconds=5.0)
    answers = await asyncio.gather(*(hit(store, (f"{{caller{n % 40}}}", HOUR, 1)) for n in range(400)))
    admitted = [n % 40 for n, answer in enumerate(answers) if answer[0].allowed]
    assert sorted(admitted) == sorted(list(range(40)) * 3)
    await store.aclose()


async def test_a_slow_machine_of_a_cluster_holds_up_nobody_else():
    """One stands still: who has a key there is told in time, and everybody else is answered as ever."""
    cluster = shared_cluster()
    cluster.flush()
    store = RedisRateLimitStore(cluster.url, timeout_seconds=1.0)
    keys = [f"{{caller{n}}}" for n in range(30)]
    await asyncio.gather(*(hit(store, (key, HOUR, 1)) for key in keys))
    slow = cluster.node_at(0)
    slow.pause()
    try:
        start = time.monotonic()
        tasks = [asyncio.create_task(hit(store, (key, HOUR, 1))) for key in keys]
        done, waiting = await asyncio.wait(tasks, timeout=0.6)
        assert done
        assert waiting
        assert all(task.result()[0].allowed for task in done)
        late = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailableError) for answer in late)
        assert time.monotonic() - start < 2.5
    finally:
        slow.resume()
    await store.aclose()
