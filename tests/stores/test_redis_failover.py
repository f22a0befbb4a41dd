"""The link to a Redis of several servers, of which one fails: Sentinels and clusters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_topology import slot_of
from tests.stores.redis_scripts import COUNT, ECHO, lua
from tests.stores.redis_watch import Watch
from tests.support.valkey import running_cluster, running_sentinel

pytestmark = pytest.mark.process


async def test_a_failover_is_followed():
    """The master is killed; writes go to the new one within seconds, and none takes longer than its bound meanwhile."""
    with running_sentinel(password="pw") as group:
        async with Watch(RedisLink(group.url)) as watch:
            await watch.until(good=True)
            group.master.kill()
            began = time.monotonic()
            await watch.until(good=False)
            await watch.until(good=True, seconds=15)
            assert time.monotonic() - began < 10
            assert await watch.link.run(COUNT, ["n"], [1], timeout_seconds=5) == 1
            assert group.replica.ask("GET", "n") == "1"


async def test_a_master_that_was_stopped_is_not_written_to_when_it_is_back():
    """It comes back as somebody who does not know yet that there is another."""
    with running_sentinel() as group:
        async with Watch(RedisLink(group.url)) as watch:
            await watch.until(good=True)
            group.master.pause()
            await watch.until(good=False)
            await watch.until(good=True, seconds=15)
            group.master.resume()
            for number in range(1, 20):
                with contextlib.suppress(StoreUnavailableError):
                    await watch.link.run(COUNT, ["n"], [1])
                await asyncio.sleep(0.02)
                assert group.replica.ask("GET", "n") == str(number)


async def test_no_sentinel_answers():
    """Within the bound, and with words that say it was a Sentinel."""
    link = RedisLink("redis+sentinel://127.0.0.1:1/main")
    with pytest.raises(StoreUnavailableError, match="nobody says where the master is"):
        await link.run(ECHO, ["k"], [1], timeout_seconds=1)
    await link.aclose()


async def test_sentinels_that_do_not_know_the_service():
    """A typing mistake is told as one, and a dead Sentinel beside it does not matter."""
    with running_sentinel() as group:
        link = RedisLink(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{group.sentinel.port}/other")
        with pytest.raises(StoreUnavailableError, match="knows no service 'other'"):
            await link.run(ECHO, ["k"], [1], timeout_seconds=1)
        await link.aclose()
        link = RedisLink(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{group.sentinel.port}/{group.service}")
        assert await link.run(ECHO, ["k"], [1], timeout_seconds=1) == [b"k", b"1"]
        await link.aclose()


# ------------------------------------------------------------------------------------------------------- cluster


def keys_of(cluster):
    """A key on each node."""
    found: dict[Any, str] = {}
    for n in range(200):
        found.setdefault(cluster.node_at(slot_of(f"{{{n}}}")), f"{{{n}}}")
    return [found[node] for node in cluster.nodes]


async def test_one_dead_master_does_not_close_the_others():
    """Not one of their calls fails, while those of the dead one are refused."""
    with running_cluster() as cluster:
        first, second, third = keys_of(cluster)
        async with Watch(RedisLink(cluster.url)) as watch:
            for key in (first, second, third):
                await watch.until(good=True, key=key)
            cluster.nodes[0].kill()
            for _ in range(40):
                assert not await watch.call(first)
                assert await watch.calls(3, second) == 3
                assert await watch.calls(3, third) == 3
                await asyncio.sleep(0.02)
            cluster.nodes[0].start()
            await watch.until(good=True, key=first, seconds=15)


async def test_a_slot_that_moved_is_followed():
    """One redirection, then the new server is asked at once; each call counts once."""
    with running_cluster() as cluster:
        key = keys_of(cluster)[0]
        source, target = cluster.nodes[0], cluster.nodes[1]
        link = RedisLink(cluster.url, timeout_seconds=5.0)
        assert await link.run(COUNT, [key], [1]) == 1
        cluster.move(slot_of(key), source, target)
        assert await link.run(COUNT, [key], [1]) == 2
        assert link.node_of(key) == f"127.0.0.1:{target.port}"
        source.ask("CONFIG", "RESETSTAT")
        assert await link.run(COUNT, [key], [1]) == 3
        assert "evalsha" not in source.commands()
        await link.aclose()


async def test_a_slot_that_is_moving_is_asked_at_both_ends():
    """ASK is for this one call; a server without the script is told it there too."""
    with running_cluster() as cluster:
        key = keys_of(cluster)[0]
        source, target = cluster.nodes[0], cluster.nodes[1]
        link = RedisLink(cluster.url, timeout_seconds=5.0)
        assert await link.run(COUNT, [key], [1]) == 1
        cluster.begin_move(slot_of(key), source, target)
        source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        assert await link.run(COUNT, [key], [1]) == 2
        assert await link.run(COUNT, [key], [1]) == 3
        assert link.node_of(key) == f"127.0.0.1:{source.port}"
        await link.aclose()


async def test_keys_of_two_slots_are_the_callers_mistake():
    """It would never work, so it is no outage."""
    with running_cluster() as cluster:
        link = RedisLink(cluster.url, timeout_seconds=5.0)
        both = lua("return redis.call('MGET', KEYS[1], KEYS[2])")
        with pytest.raises(ResponseError, match="slot"):
            await link.run(both, keys_of(cluster)[:2])
        await link.aclose()
