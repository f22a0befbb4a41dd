"""The ledger in Redis: its contract on real servers, and what is particular to it."""

from __future__ import annotations

import contextlib
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import (
    LedgerConflictError,
    LedgerStore,
)
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.testing import LedgerStoreContract
from prodkit.testing.ledger_envelopes import LedgerEnvelopesContract
from prodkit.testing.ledger_history import LedgerHistoryContract
from prodkit.testing.ledger_units import LedgerUnitsContract
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    ENTRIES,
    VERBS,
    asked,
    emptied,
    every_verb,
    prepare,
)
from tests.support.valkey import shared_cluster, shared_redis, shared_valkey

pytestmark = pytest.mark.process


class TestValkey(LedgerStoreContract):
    """The contract of `LedgerStore`."""

    examples = 15

    def make_store(self, clock: FakeClock) -> LedgerStore:
        return emptied(shared_valkey(), clock)


@pytest.mark.no_cover  # the same lines as on Valkey
class TestRedis(LedgerStoreContract):
    """The contract of `LedgerStore`."""

    examples = 5

    def make_store(self, clock: FakeClock) -> LedgerStore:
        return emptied(shared_redis(), clock)


@pytest.mark.no_cover  # the same lines as on Valkey
class TestCluster(LedgerEnvelopesContract, LedgerHistoryContract, LedgerUnitsContract):
    """Most verbs of the contract of `LedgerStore`: what is asked together is on one server."""

    def make_store(self, clock: FakeClock) -> LedgerStore:
        cluster = shared_cluster()
        cluster.flush()
        return RedisLedger(cluster.url, clock=clock, timeout_seconds=5.0)


# ------------------------------------------------------------------------------------------- one moment, one round trip


async def test_each_verb_is_one_round_trip(server, clock):
    """Whatever it reads and writes: the server counts the scripts. (Here a report is one page, and `rebuild` is several.)"""
    for name in VERBS:
        ledger = emptied(server, clock)
        await prepare(ledger)
        with server.client() as client:
            with contextlib.suppress(LedgerConflictError):
                await every_verb(ledger)[name]()  # the server learns the script
            client.config_resetstat()
            with contextlib.suppress(LedgerConflictError):
                await every_verb(ledger)[name]()
            stats = client.info("commandstats")
        assert "cmdstat_eval" not in stats
        assert stats["cmdstat_evalsha"]["calls"] == (1 if name != "rebuild" else 4), name
        await ledger.aclose()


async def test_history_is_only_added_to(server, ledger, clock):
    """No verb changes an entry that is there, or takes one away."""
    await prepare(ledger)
    clock.advance(1000.0)
    with server.client() as client:
        lines = client.xrange(ENTRIES)
        for verb in every_verb(ledger).values():
            with contextlib.suppress(LedgerConflictError):
                await verb()
            now = client.xrange(ENTRIES)
            assert now[: len(lines)] == lines
            lines = now
    assert len(lines) == 5


async def test_the_clock_is_the_servers(server):
    """Without a clock of its own, leases and entries are of the server's time, to the microsecond."""
    ledger = emptied(server)
    before = time.time()
    hold = await ledger.reserve(asked("h", 1, dispatched=True))
    await ledger.settle("h", 1)
    after = time.time()
    (entry,) = await ledger.entries()
    settled = await ledger.find("h")
    assert before - 1 < hold.expires_at - 60.0 < after + 1
    assert before - 1 < entry.at < after + 1
    assert settled.expires_at == entry.at
    assert (await ledger.reap()).presumed == ()
    await ledger.aclose()
