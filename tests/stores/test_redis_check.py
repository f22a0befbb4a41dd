"""What a link finds out about its servers, alone and in a cluster."""

from __future__ import annotations

import asyncio

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.redis_connection import Credentials, connect
from prodkit.stores.redis_inspection import judge
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_topology import slot_of
from tests.stores.redis_scripts import COUNT, lua
from tests.support.valkey import running_valkey, shared_cluster
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

SECRET = "hunter2"


@pytest.fixture
async def link(valkey):
    made = RedisLink(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


@pytest.mark.process
async def test_a_wrong_password_is_told_with_a_cure_and_without_the_password():
    """At the check, and at every call."""
    with running_valkey(password=SECRET) as server:
        for url in (f"redis://:wrong{SECRET}@127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}"):
            link = RedisLink(url, timeout_seconds=5.0)
            with pytest.raises(StoreUnavailableError, match="URL") as refused:
                await link.check()
            assert SECRET not in str(refused.value)
            await link.aclose()
        link = RedisLink(server.url, timeout_seconds=5.0)
        await link.check()
        await link.aclose()


@pytest.mark.process
async def test_a_user_who_may_not_write_is_told_so():
    """Reading alone is no store."""
    with running_valkey() as server:
        server.ask("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+get", "+client")
        link = RedisLink(f"redis://reader:{SECRET}@127.0.0.1:{server.port}", timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match="allow the user") as refused:
            await link.check()
        assert SECRET not in str(refused.value)
        await link.aclose()


@pytest.mark.process
async def test_a_user_who_may_not_see_info_is_good_enough():
    """As at some managed servers."""
    with running_valkey() as server:
        server.ask("ACL", "SETUSER", "app", "on", ">p", "~pk:*", "+eval", "+evalsha", "+set", "+del")
        link = RedisLink(f"redis://app:p@127.0.0.1:{server.port}", timeout_seconds=5.0)
        found = await link.check(durable=True)
        assert found.status == "healthy"
        assert "does not tell" in found.detail
        await link.aclose()


@pytest.mark.process
async def test_a_server_that_evicts_is_no_place_for_keys():
    """For limits it will do, with a warning."""
    with running_valkey(
        {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru", "appendonly": "yes"}
    ) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreIncompatibleError, match="noeviction"):
            await link.check(durable=True)
        assert (await link.check()).status == "degraded"
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert (await link.check(durable=True)).status == "healthy"
        await link.aclose()


async def test_a_server_without_a_log_forgets_at_a_restart(link):
    """Keys are there, but not for sure tomorrow."""
    found = await link.check(durable=True)
    assert found.status == "degraded"
    assert "appendonly" in found.detail
    assert (await link.check()).status == "healthy"


@pytest.mark.parametrize(
    ("version", "good"), [("6.0.16", False), ("6.2.0", True), ("7.2.4", True), ("10.0.0", True)]
)
def test_servers_that_are_too_old_are_refused(version, good):
    """By number, not by letter."""
    if good:
        assert judge("s", {"redis_version": version}, durable=False).status == "healthy"
    else:
        with pytest.raises(StoreIncompatibleError, match=r"6\.2"):
            judge("s", {"redis_version": version}, durable=False)


@pytest.mark.process
async def test_a_full_server_may_pass():
    """It says OOM inside of the script; more memory helps."""
    with running_valkey({"maxmemory": "1"}) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await link.run(lua("return redis.call('SET', KEYS[1], 'x')"), ["k"])
        await link.aclose()


@pytest.mark.process
async def test_who_was_a_master_is_asked_whether_it_still_is():
    """A Sentinel may not know yet."""
    with running_valkey() as server:
        address = ("127.0.0.1", server.port)
        await (await connect(address, Credentials(), master=True)).close()
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError, match="is a replica"):
            await connect(address, Credentials(), master=True)
        await asyncio.sleep(0)


@pytest.mark.process
async def test_a_replica_is_not_written():
    """Nobody's mistake, and it may pass."""
    with running_valkey({"replicaof": "127.0.0.1 1"}) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match=r"READONLY|MASTERDOWN"):
            await link.check()
        await link.aclose()


# ------------------------------------------------------------------------------------------------------- cluster


@pytest.mark.process
async def test_a_cluster_is_asked_where_the_key_is(valkey_cluster):
    """Without a redirection once the members are known."""
    cluster = shared_cluster()
    link = RedisLink(valkey_cluster, timeout_seconds=5.0)
    assert link.is_cluster
    keys = [f"{{{n}}}" for n in range(30)]
    assert [await link.run(COUNT, [key], [1]) for key in keys] == [1] * 30
    for key in keys:
        assert link.node_of(key) == f"127.0.0.1:{cluster.node_at(slot_of(key)).port}"
    assert len({link.node_of(key) for key in keys}) == 3
    assert await link.run_many([(COUNT, [key], [1]) for key in keys]) == [2] * 30
    assert (await link.check()).status == "healthy"
    await link.aclose()
