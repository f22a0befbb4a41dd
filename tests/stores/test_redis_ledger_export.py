"""A ledger in Redis that was restored from an old copy: it refuses until it knows again what was spent, and then knows it once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import redis as plain

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.stores.ledger import Refusal, Reservation
from prodkit.stores.ledger_export import LedgerBehindError, Watermark, export_entries, restore_entries
from prodkit.stores.ledger_sinks import JsonLinesSink, SqliteSink
from prodkit.stores.redis_ledger import RedisLedger
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    ENTRIES,
    EVER,
    HELD,
    TOKENS,
    WATCHED,
    T,
    asked,
    emptied,
    every_verb,
    everything,
    prepare,
)
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.process

# What neither admits nor charges.
FREE = {
    *(
        "dispatch",
        "extend",
        "take_alerts",
        "finish_alert",
        "alerts",
        "set_limit",
        "accounts",
        "usage",
        "entries",
    ),
    *("find", "open_holds", "rebuild"),
}


@pytest.fixture(params=[JsonLinesSink, SqliteSink])
def sink(request, tmp_path):
    return request.param(tmp_path / "export")


def guarded(server, clock, sink):
    """What a process has that begins now."""
    return RedisLedger(
        server.url, clock=clock, timeout_seconds=5.0, watermark=Watermark(sink, refresh_seconds=0.0)
    )


def start_with(server, copy):
    """What an operator does with an old dump."""
    server.ask("FLUSHALL")
    with plain.Redis.from_url(server.url) as client:
        for key, value in copy.items():
            client.restore(key, 0, value)


async def spend(ledger):
    """What happens after the copy: every kind of entry, to holds that are in the copy and to others."""
    await ledger.settle("d", 9)
    await ledger.release("h")
    drawn = Reservation(id="call", amount_nano=4, lease_seconds=60.0, dispatched=True, units={"tokens": 2})
    await ledger.draw("run", drawn)
    await ledger.settle("call", 4, units={"tokens": 2})
    for name in ("late", "later"):
        await ledger.reserve(asked(name, 20, T, TOKENS, dispatched=True, units={"tokens": 30}))
        await ledger.presume(name)
    await ledger.settle("later", 15, units={"tokens": 10}, attributes={"tenant": "acme"})
    await ledger.reserve(asked("plain", 20, dispatched=True))
    await ledger.settle("plain", 19, estimated=True)
    await ledger.adjust("m", -3, reason="credit", asks=[T])
    await ledger.adjust("n", 1, reason="units", asks=[TOKENS], units={"tokens": -1})
    await ledger.cached("c", 70, units={"tokens": 5}, attributes={"tenant": "acme"})


async def copied(server, ledger, sink, clock):
    """An old copy, and a ledger that was exported after that."""
    await prepare(ledger)
    copy = everything(server)
    await spend(ledger)
    clock.advance(10.0)
    await export_entries(ledger, sink, clock=clock)
    return copy


async def test_a_ledger_that_forgot_admits_and_charges_nothing(server, ledger, clock, sink):
    """Every verb that would: until somebody restores, with an error that says so; also for a process that begins then."""
    copy = await copied(server, ledger, sink, clock)
    knows = guarded(server, clock, sink)
    assert (await knows.reserve(asked("before", 0))).state == "held"
    await knows.check()
    start_with(server, copy)
    for one in (knows, guarded(server, clock, sink)):
        before = everything(server)
        for name in every_verb(one).keys() - FREE:
            with pytest.raises(LedgerBehindError, match="restore_entries"):
                await every_verb(one)[name]()
        assert everything(server) == before
        with pytest.raises(LedgerBehindError):
            await one.check()
    await restore_entries(ledger, sink)
    for one in (knows, guarded(server, clock, sink)):
        await one.check()
        assert (await one.reserve(asked("after", 0))).state == "held"
    await knows.aclose()


async def test_what_is_missing_is_written_back(server, ledger, clock, sink):
    """Entries, accounts, holds and reports are as they were; and again does nothing."""
    copy = await copied(server, ledger, sink, clock)
    names = ("d", "late", "later", "plain", "done")
    expected = (
        await ledger.entries(),
        await ledger.usage(replace(EVER, group_by=("tenant",))),
        [account.settled_nano for account in await ledger.accounts([T, WATCHED, TOKENS])],
        [(hold.state, hold.charged_nano) for hold in [await ledger.find(name) for name in names]],
        [(alert.budget, alert.percent, alert.settled_nano) for alert in await ledger.alerts()],
    )
    start_with(server, copy)
    assert await restore_entries(ledger, sink) == 9
    for _ in range(2):
        assert expected == (
            await ledger.entries(),
            await ledger.usage(replace(EVER, group_by=("tenant",))),
            [account.settled_nano for account in await ledger.accounts([T, WATCHED, TOKENS])],
            [(hold.state, hold.charged_nano) for hold in [await ledger.find(name) for name in names]],
            [(alert.budget, alert.percent, alert.settled_nano) for alert in await ledger.alerts()],
        )
        assert await ledger.rebuild() == 0
        assert await restore_entries(ledger, sink) == 0
    # Who did not hear the answer may ask again.
    assert (await ledger.settle("later", 15)).charged_nano == 15
    assert (await ledger.settle("late", 12, units={"tokens": 1})).charged_nano == 12
    assert (await ledger.entries(after=11))[0].units == {"tokens": -29}
    assert (await ledger.adjust("m", -3, reason="credit", asks=[T])).sequence == 9
    assert (await ledger.cached("c", 70)).sequence == 11
    # What nobody exported: a hold that was given back holds again, and the envelope what it had passed on, until they end.
    assert {hold.id for hold in await ledger.open_holds()} == {"h", "run"}
    clock.advance(1000.0)
    await ledger.reap()
    assert [account.held_nano for account in await ledger.accounts([T, WATCHED, TOKENS])] == [0, 0, 0]
    assert await ledger.rebuild() == 0
    assert await export_entries(ledger, sink, clock=clock, lag_seconds=0.0) == 1


async def test_several_that_restore_write_each_entry_once(server, ledger, clock, sink):
    """Nobody leads here either."""
    copy = await copied(server, ledger, sink, clock)
    right = await ledger.accounts([T, TOKENS])
    entries = await ledger.entries()
    start_with(server, copy)
    assert sum(await asyncio.gather(*(restore_entries(ledger, sink) for _ in range(5)))) == 9
    assert await ledger.entries() == entries
    assert [one.settled_nano for one in await ledger.accounts([T, TOKENS])] == [
        one.settled_nano for one in right
    ]
    assert await ledger.rebuild() == 0


async def test_an_empty_server_is_filled_from_the_export(server, ledger, clock, sink):
    """Without any copy: all that was ever charged is there again, and the limit holds."""
    await copied(server, ledger, sink, clock)
    (right,) = await ledger.accounts([T])
    start_with(server, {})
    late = guarded(server, clock, sink)
    with pytest.raises(LedgerBehindError):
        await late.reserve(asked("x", 1))
    assert await restore_entries(ledger, sink) == 11
    (account,) = await ledger.accounts([T])
    assert (account.settled_nano, account.held_nano) == (right.settled_nano, 0)
    assert await ledger.rebuild() == 0
    rest = 1000 - right.settled_nano
    assert isinstance(await late.reserve(asked("x", rest + 1)), Refusal)
    assert (await late.reserve(asked("y", rest))).state == "held"


async def test_others_in_the_place_of_what_was_lost(server, ledger, clock, sink):
    """A process without a watermark has charged on after an old copy: that is seen, and nobody guesses which story is true."""
    copy = await copied(server, ledger, sink, clock)
    start_with(server, copy)
    for number in range(20):
        await ledger.adjust(f"other{number}", 1, reason="r", asks=[T])
    clock.advance(10.0)
    before = everything(server)
    with pytest.raises(LedgerBehindError):
        await guarded(server, clock, sink).reserve(asked("x", 1))
    with pytest.raises(StoreIncompatibleError, match="is not the one that was exported"):
        await export_entries(ledger, sink, clock=clock)
    with pytest.raises(StoreIncompatibleError, match="is not the one that was exported"):
        await restore_entries(ledger, sink)
    line = (await sink.read(limit=1))[0]
    with pytest.raises(StoreIncompatibleError, match="cannot follow"):
        await ledger.restore(replace(line, entry=replace(line.entry, sequence=1000)))
    with pytest.raises(StoreIncompatibleError, match="is not the one that was exported"):
        await ledger.restore(replace(line, entry=replace(line.entry, amount_nano=8)))
    assert everything(server) == before


@pytest.mark.parametrize(
    ("name", "amount_nano", "seconds"), [("m", 1, 0.0), ("n", 1, 0.0), ("m", 2, 0.0), ("m", 1, 0.001)]
)
async def test_an_entry_is_known_by_all_of_it(server, ledger, clock, sink, name, amount_nano, seconds):
    """The same sequence is not enough: another id, amount or moment is another entry."""
    await ledger.adjust("m", 1, reason="r")
    await export_entries(ledger, sink, clock=clock, lag_seconds=0.0)
    start_with(server, {})
    clock.advance(seconds)
    await ledger.adjust(name, amount_nano, reason="r")
    attempt = guarded(server, clock, sink).reserve(asked("h", 1))
    if (name, amount_nano, seconds) == ("m", 1, 0.0):
        assert (await attempt).state == "held"
    else:
        with pytest.raises(LedgerBehindError):
            await attempt


async def test_a_watermark_costs_no_round_trip(server, clock, sink):
    """It travels with the verb."""
    await copied(server, ledger := emptied(server, clock), sink, clock)
    one = guarded(server, clock, sink)
    await one.reserve(asked("x", 1))
    with server.client() as client:
        client.config_resetstat()
        await one.reserve(asked("y", 1))
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    await ledger.aclose()


async def test_a_full_memory_restores_nothing_by_half(clock, sink):
    """A server that takes no more refuses each entry before it has changed anything; afterwards it goes on."""
    with running_valkey() as server:
        ledger = emptied(server, clock)
        copy = await copied(server, ledger, sink, clock)
        entries = await ledger.entries()
        start_with(server, copy)
        before = everything(server)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Exception, match="memory"):
            await restore_entries(ledger, sink)
        assert everything(server) == before
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await restore_entries(ledger, sink) == 9
        assert await ledger.entries() == entries
        await ledger.aclose()


async def test_an_exported_entry_that_cannot_be_counted(server, ledger, clock, sink):
    """An account that is full, or wrong, is said and nothing is changed: rebuild first."""
    copy = await copied(server, ledger, sink, clock)
    start_with(server, copy)
    server.ask("HSET", HELD, "0:tenant", "1")
    before = everything(server)
    with pytest.raises(Exception, match="less than nothing"):
        await restore_entries(ledger, sink)
    assert everything(server) == before
    assert await ledger.rebuild() == 1
    assert await restore_entries(ledger, sink) == 9
    assert await ledger.rebuild() == 0


async def test_what_was_lost_before_it_was_exported_refuses_nothing(server, ledger, clock, sink):
    """The last second of a log: the copy was not there yet, so the ledger goes on without it, and the copy follows."""
    await prepare(ledger)
    clock.advance(10.0)
    assert await export_entries(ledger, sink, clock=clock) == 2
    copy = everything(server)
    await ledger.settle("d", 9)
    assert await export_entries(ledger, sink, clock=clock) == 0
    start_with(server, copy)
    one = guarded(server, clock, sink)
    await one.check()
    await one.presume("d")
    clock.advance(10.0)
    assert await export_entries(ledger, sink, clock=clock) == 1
    with server.client() as client:
        assert client.xlen(ENTRIES) == 3
