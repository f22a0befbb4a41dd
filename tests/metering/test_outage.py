"""A real ledger that cannot be written for a while: another process holds the lock, or the process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.events import CostCharged
from prodkit.core.problems import Problem
from prodkit.metering import Meter
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.sqlite_ledger import SqliteLedger

ALL = BudgetAsk("all", 0, None, 10_000)


class Resolver:
    """One budget for everything."""

    def asks(self, attributes, at):
        return (ALL,)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


@contextlib.contextmanager
def locked(path):
    """Somebody else writes, and does not come to an end."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def metered(path, **options):
    """A meter on a ledger that waits half a second."""
    ledger = SqliteLedger(path, timeout_seconds=0.5)
    await ledger.check()
    meter = Meter(reap_interval_seconds=0.1, **options)
    meter.bind(ledger, SYSTEM_CLOCK, resolver=Resolver())
    return meter, ledger


async def heard(meter):
    """Wait until the ledger has been told everything."""
    async with asyncio.timeout(10):
        while meter.keeper.unfinished:
            await asyncio.sleep(0.01)


async def test_a_cost_that_could_not_be_written_is_written_once(path):
    """`settle` does not fail for its caller; when the lock is gone the ledger has the cost, once, and nothing is held."""
    meter, ledger = await metered(path)
    async with await meter.open("run", amount_nano=5000, attributes={"agent": "search"}) as envelope:
        calls = [await envelope.call(1000) for _ in range(3)]
        with locked(path):
            await asyncio.gather(*(call.settle(700, units={"sku": 1}) for call in calls))
            assert meter.keeper.unfinished == 3
            assert envelope.charged_nano == 2100
            assert await ledger.entries() == []
        await heard(meter)
    assert [entry.amount_nano for entry in await ledger.entries()] == [700] * 3
    (account,) = await ledger.accounts([ALL])
    assert (account.settled_nano, account.held_nano) == (2100, 0)
    assert await ledger.rebuild() == 0
    await meter.aclose()
    await ledger.aclose()


async def test_a_run_that_ends_during_an_outage_gives_back_what_it_did_not_spend(path):
    """Its calls are presumed or settled, its rest comes back, without anybody waiting for it."""
    meter, ledger = await metered(path)
    envelope = await meter.open("run", amount_nano=5000, attributes={})
    known, unknown = await envelope.call(1000), await envelope.call(500)
    with locked(path):
        await known.settle(1)
        await envelope.aclose()
        assert unknown.state == "presumed"
    await heard(meter)
    (account,) = await ledger.accounts([ALL])
    assert (account.settled_nano, account.held_nano) == (501, 0)
    assert await ledger.open_holds() == []
    await meter.aclose()
    await ledger.aclose()


async def test_nothing_leaves_that_cannot_be_written_first(path):
    """Neither a run begins nor a call leaves while the ledger is locked: 503, and afterwards there is no trace of them."""
    meter, ledger = await metered(path)
    envelope = await meter.open("run", amount_nano=5000, attributes={})
    with locked(path):
        for attempt in (envelope.call(1000), meter.open("late", amount_nano=1, attributes={})):
            with pytest.raises(Problem) as refused:
                await attempt
            assert refused.value.status_code == 503
    await envelope.aclose()
    await heard(meter)
    assert await ledger.open_holds() == []
    (account,) = await ledger.accounts([ALL])
    assert (account.settled_nano, account.held_nano) == (0, 0)
    await meter.aclose()
    await ledger.aclose()


async def test_another_process_charges_what_a_dead_one_had_sent(path):
    """Whoever lives finds it when the lease is over: the call in full, the rest of the run given back."""
    dead, ledger = await metered(path, lease_seconds=0.2)
    envelope = await dead.open("run", amount_nano=5000, attributes={"agent": "search"})
    await envelope.call(1000)
    await dead.aclose()  # nothing extends its leases any more, as after kill -9
    alive = Meter(reap_interval_seconds=0.1)
    events: list[CostCharged] = []
    alive.bind(SqliteLedger(path), SYSTEM_CLOCK, resolver=Resolver(), emit=events.append)
    alive.keeper.start()
    async with asyncio.timeout(10):
        while await ledger.open_holds():
            await asyncio.sleep(0.02)
    (account,) = await ledger.accounts([ALL])
    assert (account.settled_nano, account.held_nano) == (1000, 0)
    assert [(event.kind, event.amount_nano) for event in events] == [("presumed", 1000)]
    await alive.aclose()
    await ledger.aclose()
