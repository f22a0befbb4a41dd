"""Large ledgers in Redis: what is read, reaped and told page by page."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from prodkit.stores.ledger import BudgetAsk, UsageQuery
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import EVER, asked

pytestmark = pytest.mark.process


async def test_reports_over_many_pages_are_of_one_moment(server, ledger, clock):
    """Entries of several pages, made while the clock went back and forth; what is charged meanwhile is not in the report."""
    for number in range(650):
        clock.set_wall(1_750_000_000.0 + (number * 37) % 650)
        await ledger.adjust(f"m{number}", number, reason="r", attributes={"tenant": "ab"[number % 2]})
    assert [entry.amount_nano for entry in await ledger.entries(limit=1000)] == list(range(650))
    assert [
        entry.amount_nano for entry in await ledger.entries(after=249, limit=301, where={"tenant": "b"})
    ] == list(range(249, 650, 2))
    query = UsageQuery(since=1_750_000_100.0, until=1_750_000_300.0)
    expected = [number for number in range(650) if 100 <= (number * 37) % 650 < 300]
    report = asyncio.create_task(ledger.usage(query))
    clock.set_wall(1_750_000_200.0)
    pending = [ledger.adjust(f"late{number}", 1, reason="r") for number in range(300)]
    while not report.done():
        if pending:
            await pending.pop()
        await asyncio.sleep(0)
    ((row,), late) = report.result(), len(pending)
    assert 0 <= row.amount_nano - sum(expected) <= 1, "what was charged before the first page, at most"
    assert row.operations - len(expected) == row.amount_nano - sum(expected)
    for attempt in pending:
        await attempt
    (again,) = await ledger.usage(query)
    assert again.operations == len(expected) + 300
    assert late < 300, "nothing was charged meanwhile"


async def test_what_becomes_known_meanwhile_is_not_in_the_report(ledger):
    """An amount that was presumed when a report began is an estimate in it, also if it is settled before its page is read."""
    for number in range(450):
        await ledger.adjust(f"m{number}", 0, reason="r")
    await ledger.reserve(asked("h", 10, dispatched=True))
    await ledger.presume("h")
    report = asyncio.create_task(ledger.usage(EVER))
    await asyncio.sleep(0)
    await ledger.settle("h", 4)  # on the same connection: after the first page
    assert not report.done()
    (row,) = await report
    assert (row.amount_nano, row.estimated_nano) == (10, 10)
    (row,) = await ledger.usage(EVER)
    assert (row.amount_nano, row.estimated_nano) == (4, 0)


async def test_days_without_a_charge_asked_for_are_not_read(server, ledger, clock):
    """A report about the last hour skips a hundred entries at a time."""
    for number in range(500):
        await ledger.adjust(f"m{number}", 1, reason="r")
    clock.advance(86_400.0)
    await ledger.adjust("last", 5, reason="r")
    await ledger.usage(EVER)
    with server.client() as client:
        client.config_resetstat()
        (row,) = await ledger.usage(UsageQuery(since=clock.wall(), until=clock.wall() + 1))
        assert row.amount_nano == 5
        assert client.info("commandstats")["cmdstat_xrange"]["calls"] == 1


async def test_more_holds_than_a_page(ledger, clock):
    """All of 1200 are listed, in order, and reaped."""
    for first in range(0, 1200, 100):
        holds = (ledger.reserve(asked(f"h{number:04}", 0)) for number in range(first, first + 100))
        await asyncio.gather(*holds)
        clock.advance(0.0 if first < 600 else 1.0)
    found = await ledger.open_holds(limit=2000)
    assert [hold.id for hold in found] == [f"h{number:04}" for number in range(1200)]
    assert len(await ledger.open_holds(limit=501)) == 501
    clock.advance(1000.0)
    assert [hold.id for hold in (await ledger.reap(limit=1100)).released] == [
        f"h{number:04}" for number in range(1100)
    ]
    assert len((await ledger.reap(limit=1100)).released) == 100


async def test_alerts_of_more_than_a_page(ledger, clock):
    """Each is given once, the oldest first, and the list of all is complete and in order."""
    asks = [
        BudgetAsk(f"b{number}", 0, None, 10, is_hard=False, alert_percents=(10, 20, 30))
        for number in range(10)
    ]
    for number in range(25):
        windows = [replace(ask, window_start=number) for ask in asks]
        await ledger.adjust(f"m{number}", 9, reason="r", asks=windows)
    assert [alert.sequence for alert in await ledger.alerts(limit=10_000)] == list(range(1, 751))
    assert [alert.sequence for alert in await ledger.alerts(after=300, limit=401)] == list(range(301, 702))
    taken = [
        [alert.sequence for alert in await ledger.take_alerts(lease_seconds=60.0, limit=400)]
        for _ in range(3)
    ]
    assert taken == [list(range(1, 401)), list(range(401, 751)), []]
    clock.advance(60.0)
    again = await ledger.take_alerts(lease_seconds=60.0, limit=2)
    assert [(alert.sequence, alert.attempts) for alert in again] == [(1, 2), (2, 2)]
