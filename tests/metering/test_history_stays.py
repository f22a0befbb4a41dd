"""What was charged stays what it was: the parts of a run add up to it, prices that change change nothing behind them."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import date

import pytest

from prodkit.core.clock import FakeClock
from prodkit.metering import Meter
from prodkit.metering.pricing import Price, PriceBook
from prodkit.stores.ledger import ATTRIBUTES, UsageQuery
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_ledger import SqliteLedger

EVER = UsageQuery(since=0.0, until=1e11)


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request, tmp_path):
    clock = FakeClock()
    if request.param == "memory":
        return MemoryLedger(clock=clock)
    return SqliteLedger(tmp_path / "app.db", clock=clock, timeout_seconds=30.0)


def book(price_usd):
    price = Price("parallel", "search", "request", price_usd)
    return PriceBook([price], version=price_usd, captured=date(2026, 11, 27), source="a test")


def metered(ledger, prices=None):
    meter = Meter(prices=prices)
    meter.bind(ledger, FakeClock())
    return meter


async def test_the_calls_of_a_run_add_up_to_what_it_cost(ledger):
    """I10: by its envelope, by its entries, and in a report grouped in any way; presumed and corrected ones as well."""
    meter = metered(ledger)
    spent = {}
    for run in ("r1", "r2"):
        attributes = {"tenant": "acme", "run": run}
        async with await meter.open(run, amount_nano=10_000, attributes=attributes) as envelope:
            calls = [await envelope.call(1000, attributes={"agent": agent}) for agent in ("a", "b", "b", "c")]
            await asyncio.gather(*(call.settle(100 * number) for number, call in enumerate(calls[:3])))
            await calls[2].presume()
        if run == "r1":
            await calls[3].settle(1)
        spent[run] = envelope.charged_nano
    assert spent == {"r1": 301, "r2": 1300}
    by_run = await ledger.usage(replace(EVER, group_by=("run",)))
    assert {row.group["run"]: row.amount_nano for row in by_run} == spent
    for run, nano in spent.items():
        entries = await ledger.entries(where={"run": run})
        assert sum(entry.amount_nano for entry in entries) == nano
        for name in (*ATTRIBUTES, "day"):
            rows = await ledger.usage(replace(EVER, group_by=(name,), where={"run": run}))
            assert sum(row.amount_nano for row in rows) == nano, name
    await meter.aclose()
    await ledger.aclose()


async def test_another_price_book_changes_nothing_that_was_charged(ledger):
    """I11: entries, accounts and reports of before are the same; what is bought from now on costs the new price."""
    prices = book("0.001")
    for name in ("before", "after"):
        meter = metered(ledger, prices)
        async with await meter.open(name, amount_nano=10**10, attributes={"run": name}) as envelope:
            cost = meter.prices.cost("parallel", "search", 3)
            await (await envelope.call(cost)).settle(cost, units={"search": 3})
        await meter.aclose()
        if name == "before":
            first = await ledger.entries()
            prices = prices.merged(book("0.7"))
    entries = await ledger.entries()
    assert entries[:1] == first
    assert [entry.amount_nano for entry in entries] == [3_000_000, 2_100_000_000]
    await ledger.aclose()


async def test_nobody_rewrites_an_entry_in_the_file(tmp_path):
    """The file itself refuses it, whoever writes into it and with whatever tool."""
    path = tmp_path / "app.db"
    ledger = SqliteLedger(path, timeout_seconds=30.0)
    await ledger.adjust("m", 5, reason="r")
    await ledger.aclose()
    other = sqlite3.connect(path)
    for statement in ("UPDATE ledger_entries SET amount_nano = 1", "DELETE FROM ledger_entries"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            other.execute(statement)
    other.close()
