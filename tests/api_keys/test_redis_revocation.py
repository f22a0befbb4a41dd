"""Keys in Redis: what one process revokes, the others refuse a second later; and a server that is not there."""

from __future__ import annotations

import json
import time

import pytest

from prodkit.api_keys import APIKeys
from prodkit.stores.redis_keys import RedisKeyStore
from tests.api_keys.keyed import PEPPERS, Keyed, bearer
from tests.cli.processes import eventually, served
from tests.stores.redis_stores import answering
from tests.support.valkey import running_valkey, shared_redis, shared_valkey

SHOP = """
import os
from fastapi import FastAPI
from prodkit.hardening import harden

app = FastAPI()
harden(app)

@app.get("/me")
async def me() -> int:
    return os.getpid()
"""


def empty_store(server, **bounds):
    server.ask("FLUSHALL")
    return RedisKeyStore(server.url, **{"timeout_seconds": 5.0} | bounds)


@pytest.mark.parametrize("shared", [shared_valkey, shared_redis])
async def test_what_one_process_changes_the_others_know_a_second_later(shared):
    """Revoked, replaced, and read again: two caches over one server, each with a link of its own."""
    one = Keyed(empty_store(shared()))
    two = Keyed(RedisKeyStore(shared().url, timeout_seconds=4.9), one.clock)
    issued, other = await one.keys.issue("shop"), await one.keys.issue("till")
    assert [await two.status(key.secret) for key in (issued, other)] == [200, 200]
    one.clock.advance(1)
    assert await two.status(issued.secret) == 200
    await one.keys.revoke(issued.record.id)
    assert await one.status(issued.secret) == 401
    one.clock.advance(1)
    assert [await two.status(key.secret) for key in (issued, other)] == [401, 200]
    replaced = await one.keys.rotate(other.record.id)
    one.clock.advance(1)
    assert [await two.status(key.secret) for key in (other, replaced)] == [200, 200]
    assert (await two.keys.get(other.record.id)).replaced_by == replaced.record.id
    for keyed in (one, two):
        await keyed.settle()
        await keyed.store.aclose()


async def test_keys_of_a_server_that_lost_them_are_unknown_a_second_later():
    """Emptied, and written to by others meanwhile: what was remembered is forgotten all the same."""
    one = Keyed(empty_store(shared_valkey()))
    issued = await one.keys.issue("shop")
    assert await one.status(issued.secret) == 200
    await one.settle()
    shared_valkey().ask("FLUSHALL")
    for _ in range(3):
        await one.keys.issue("till")
    one.clock.advance(1)
    assert await one.status(issued.secret) == 401
    await one.settle()
    await one.store.aclose()


async def test_looking_costs_the_server_one_command_a_second():
    """However many keys are in use: counted by the server."""
    one = Keyed(empty_store(shared_valkey()))
    keys = [await one.keys.issue("shop") for _ in range(20)]
    for key in keys:
        assert await one.status(key.secret) == 200
    await one.settle()
    shared_valkey().ask("CONFIG", "RESETSTAT")
    for _ in range(5):
        one.clock.advance(1)
        for key in keys:
            assert await one.status(key.secret) == 200
    assert shared_valkey().commands().get("evalsha") == 5
    await one.settle()
    await one.store.aclose()


async def test_a_server_that_is_gone():
    """Keys in use go on for half a minute, then nobody is let in and nobody is called a stranger; it comes back as it was."""
    with running_valkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        keyed = Keyed(empty_store(server, timeout_seconds=1.0))
        used, unused = [(await keyed.keys.issue("shop")).secret for _ in range(2)]
        assert await keyed.status(used) == 200
        await keyed.settle()
        server.kill()
        for _ in range(29):
            keyed.clock.advance(1)
            assert [await keyed.status(used), await keyed.status(unused)] == [200, 503]
        keyed.clock.advance(1)
        assert await keyed.status(used) == 503
        server.start()
        await answering(keyed.store)
        keyed.clock.advance(1)
        assert [await keyed.status(used), await keyed.status(unused)] == [200, 200]
        await keyed.settle()
        await keyed.store.aclose()


@pytest.mark.process
async def test_a_revocation_reaches_every_worker(tmp_path):
    """Of two workers that both have the key in memory, none accepts it a second after it was revoked in a third process."""
    store = empty_store(shared_valkey())
    registry = APIKeys(peppers=PEPPERS).registry
    registry.bind(store)
    issued, other = await registry.issue("shop"), await registry.issue("till")
    settings = {
        "PRODKIT_STORE": shared_valkey().url,
        "PRODKIT_API_KEYS__PEPPERS": json.dumps(PEPPERS),
        "PRODKIT_AUTHENTICATION__FAILURES_PER_MINUTE": "0",
        "PRODKIT_RATE_LIMITING__DEFAULT": "100000/second",
        "PRODKIT_RATE_LIMITING__ADDRESS": "100000/second",
    }
    with served(tmp_path, "--workers", "2", code=SHOP, **settings) as server:
        pids = set()

        def both_know_it():
            status, body, _ = server.get("/me", bearer(issued.secret))
            assert status in {200, 503}, body  # a busy machine may keep an answer longer than its bound
            pids.update([body] if status == 200 else [])
            return len(pids) == 2

        eventually(both_know_it)
        assert await registry.revoke(issued.record.id)
        revoked = time.monotonic()
        late = []
        while (begun := time.monotonic()) < revoked + 2.5:
            status, _, _ = server.get("/me", bearer(issued.secret))
            if begun > revoked + 1.1:
                late.append(status)
        assert set(late) <= {401, 503}
        assert late.count(401) > 20  # so that both workers were asked
        eventually(lambda: server.get("/me", bearer(other.secret))[0] == 200)
    await store.aclose()
