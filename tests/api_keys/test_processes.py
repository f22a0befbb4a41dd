"""Keys in a real file: shared by server processes, and taken away."""

from __future__ import annotations

import json
import time

import pytest

from prodkit.api_keys import APIKeys
from prodkit.stores.sqlite import SqliteKeyStore
from tests.api_keys.keyed import PEPPERS, Keyed, bearer, forged
from tests.cli.processes import eventually, served

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


@pytest.mark.process
async def test_a_revocation_reaches_every_worker(tmp_path):
    """Of two workers that both have the key in memory, none accepts it a second after it was revoked in a third process."""
    store = SqliteKeyStore(tmp_path / "keys.db", timeout_seconds=5.0)
    registry = APIKeys(peppers=PEPPERS).registry
    registry.bind(store)
    issued, other = await registry.issue("shop"), await registry.issue("till")
    settings = {
        "PRODKIT_STORE": "sqlite:///keys.db",
        "PRODKIT_API_KEYS__PEPPERS": json.dumps(PEPPERS),
        "PRODKIT_AUTHENTICATION__FAILURES_PER_MINUTE": "0",
        "PRODKIT_RATE_LIMITING__DEFAULT": "100000/second",
        "PRODKIT_RATE_LIMITING__ADDRESS": "100000/second",
    }
    with served(tmp_path, "--workers", "2", code=SHOP, **settings) as server:
        pids = set()

        def both_know_it():
            status, body, _ = server.get("/me", bearer(issued.secret))
            if status == 503:
                return False  # a busy machine: the file did not answer within a tenth of a second
            assert status == 200, body
            pids.add(body)
            return len(pids) == 2

        eventually(both_know_it)
        assert server.get("/me", bearer(forged(registry.key_format)))[0] == 401
        assert await registry.revoke(issued.record.id)
        revoked = time.monotonic()
        late = []
        while (begun := time.monotonic()) < revoked + 2.5:
            status, _, _ = server.get("/me", bearer(issued.secret))
            if begun > revoked + 1.02:
                late.append(status)
        assert set(late) == {401}
        assert len(late) > 20  # so that both workers were asked
        assert server.get("/me", bearer(other.secret))[0] == 200
    await store.aclose()


async def test_a_file_that_is_taken_away(tmp_path):
    """Keys in use go on for half a minute, then nobody is let in and nobody is called a stranger; it comes back as it was."""
    path = tmp_path / "keys.db"
    store = SqliteKeyStore(path, timeout_seconds=5.0)
    keyed = Keyed(store)
    used, unused = (await keyed.keys.issue("shop")).secret, (await keyed.keys.issue("shop")).secret
    assert await keyed.status(used) == 200
    await keyed.settle()
    path.rename(tmp_path / "away.db")
    for _ in range(29):
        keyed.clock.advance(1)
        assert [await keyed.status(used), await keyed.status(unused)] == [200, 503]
    keyed.clock.advance(1)
    assert await keyed.status(used) == 503
    (tmp_path / "away.db").rename(path)
    keyed.clock.advance(1)
    assert [await keyed.status(used), await keyed.status(unused)] == [200, 200]
    await keyed.settle()
    await store.aclose()


async def test_two_features_of_one_process_share_a_file(tmp_path):
    """A change by the one is seen by the other, though SQLite tells a connection nothing about its own commits."""
    stores = [SqliteKeyStore(tmp_path / "keys.db", timeout_seconds=5.0) for _ in range(2)]
    one = Keyed(stores[0])
    two = Keyed(stores[1], one.clock)
    issued = await one.keys.issue("shop")
    assert await two.status(issued.secret) == 200
    one.clock.advance(1)
    assert await two.status(issued.secret) == 200
    await one.keys.revoke(issued.record.id)
    one.clock.advance(1)
    assert await two.status(issued.secret) == 401
    for keyed in (one, two):
        await keyed.settle()
        await keyed.store.aclose()
