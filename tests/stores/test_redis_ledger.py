"""The ledger in Redis: its contract on real servers, and what is particular to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.money import MOST_NANO
from prodkit.stores import accounting
from prodkit.stores.ledger import (
    ATTRIBUTES,
    BudgetAsk,
    Hold,
    LedgerConflictError,
    LedgerStore,
    Refusal,
    Reservation,
    UsageQuery,
)
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.testing import LedgerStoreContract
from prodkit.testing.ledger_envelopes import LedgerEnvelopesContract
from prodkit.testing.ledger_history import LedgerHistoryContract
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    ENTRIES,
    EVER,
    HELD,
    SETTLED,
    VERBS,
    T,
    asked,
    emptied,
    every_verb,
    everything,
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
class TestCluster(LedgerEnvelopesContract, LedgerHistoryContract):
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
    assert len(lines) == 4


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


# ------------------------------------------------------------------------------------------- as memory keeps it

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [
        "/",
        "\x00",
        "\n",
        '"\\',
        "\x7f",
        "\U0001f511" * 128,
        "é",
        "1:a:",
        "{b}",
        " ",
        "held 0",
        "x" * 128,
        "\u2028",
    ]
)
NANO = st.integers(0, MOST_NANO)
ASKS = st.lists(
    st.builds(
        BudgetAsk,
        budget=TEXTS,
        window_start=st.integers(0, 10**30),
        window_end=st.none() | st.just(10**31),
        limit_nano=st.none() | NANO,
    ),
    max_size=6,
    unique_by=lambda ask: (ask.budget, ask.window_start),
).map(tuple)
NAMED = st.dictionaries(st.sampled_from(ATTRIBUTES), TEXTS | st.just(""), max_size=13)


@settings(max_examples=40, database=None, deadline=None)
@given(
    names=st.lists(TEXTS, min_size=3, max_size=3, unique=True),
    asks=ASKS,
    amounts=st.tuples(NANO, NANO, NANO),
    attributes=st.tuples(NAMED, NAMED, NAMED),
    units=st.dictionaries(TEXTS, NANO, max_size=3),
    start=st.floats(1e9, 4e9),
    lease=st.floats(1e-3, 1e6),
    seconds=st.floats(0, 1e6),
)
def test_what_memory_keeps_redis_keeps(names, asks, amounts, attributes, units, start, lease, seconds):
    """Any text, any amount up to the most, any time: each answer is the same to the last digit."""
    first, second, third = names

    async def scenario(ledger, clock):
        answers = []

        async def note(verb):
            try:
                answers.append(await verb)
            except LedgerConflictError as error:
                answers.append(str(error))

        run = Reservation(
            id=first,
            amount_nano=amounts[0],
            lease_seconds=lease,
            asks=asks,
            attributes=attributes[0],
            envelope=True,
        )
        await note(ledger.reserve(run))
        call = Reservation(
            id=second,
            amount_nano=min(amounts[:2]),
            lease_seconds=lease,
            attributes=attributes[1],
            dispatched=True,
        )
        await note(ledger.draw(first, call))
        clock.advance(seconds)
        await note(ledger.extend([first, "\ud800"], lease))
        await note(ledger.presume(second))
        await note(ledger.settle(second, amounts[2], units=units, attributes=attributes[2]))
        await note(ledger.adjust(third, -amounts[1], reason=first, asks=asks, attributes=attributes[1]))
        await note(ledger.adjust(third, amounts[1], reason=first, asks=asks, attributes=attributes[1]))
        await note(ledger.open_holds())
        clock.advance(seconds)
        await note(ledger.reap())
        for verb in (ledger.find, ledger.dispatch, ledger.release, ledger.presume):
            for name in (*names, "\ud800"):
                await note(verb(name))
        await note(ledger.accounts([*asks, BudgetAsk("\ud800", 0, None, None)]))
        await note(ledger.entries())
        await note(ledger.entries(where=attributes[2]))
        for group_by in ((), ("day", "tenant"), ("model",)):
            await note(ledger.usage(replace(EVER, group_by=group_by)))
        assert await ledger.rebuild() == 0
        await ledger.aclose()
        return [list(answer) if isinstance(answer, tuple) else answer for answer in answers]

    def played(make):
        clock = FakeClock()
        clock.set_wall(start)
        return asyncio.run(scenario(make(clock), clock))

    assert played(lambda clock: emptied(shared_valkey(), clock)) == played(
        lambda clock: MemoryLedger(clock=clock)
    )


async def test_forty_budgets_at_once(ledger):
    """All are held; the last of them can refuse, and then none is."""
    asks = [BudgetAsk(f"{number}" + "b" * 100, number, None, 100) for number in range(40)]
    assert isinstance(await ledger.reserve(asked("h", 100, *asks, dispatched=True)), Hold)
    assert isinstance(await ledger.reserve(asked("i", 1, *asks)), Refusal)
    await ledger.settle("h", 60)
    asks[-1] = replace(asks[-1], limit_nano=99)
    refusal = await ledger.reserve(asked("i", 40, *asks))
    assert refusal.budget == asks[-1].budget
    assert {(one.settled_nano, one.held_nano) for one in await ledger.accounts(asks)} == {(60, 0)}


@settings(max_examples=60, database=None, deadline=None)
@given(
    limit=st.integers(MOST_NANO - 3, MOST_NANO) | NANO,
    parts=st.lists(st.integers(MOST_NANO - 3, MOST_NANO) | NANO, max_size=6),
    over=st.integers(-3, 3),
)
@example(limit=MOST_NANO, parts=[MOST_NANO, MOST_NANO, MOST_NANO, MOST_NANO - 1], over=0)
@example(limit=MOST_NANO, parts=[MOST_NANO - 3], over=1)
def test_no_sum_is_rounded(limit, parts, over):
    """Also where a double would: an account far above any limit, and one that is full to the last unit."""

    async def scenario():
        ledger = emptied(shared_valkey())
        for number, nano in enumerate(parts):
            if number % 2:
                await ledger.reserve(asked(f"h{number}", nano, replace(T, limit_nano=None)))
            else:
                await ledger.adjust(f"m{number}", nano, reason="r", asks=[T])
        settled, held = sum(parts[::2]), sum(parts[1::2])
        amount = min(max(limit - settled - held + over, 0), MOST_NANO)
        ask = replace(T, limit_nano=limit)
        expected = accounting.admit(ask, amount, limit_nano=None, settled_nano=settled, held_nano=held)
        answer = await ledger.reserve(asked("h", amount, ask))
        assert (answer == expected) if expected else isinstance(answer, Hold)
        (account,) = await ledger.accounts([T])
        assert (account.settled_nano, account.held_nano) == (settled, held + (0 if expected else amount))
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(scenario())


async def test_an_account_that_can_hold_no_more_takes_no_more(server, ledger):
    """At 64 bits: what does not fit is refused and changes nothing, rather than start again below zero."""
    await prepare(ledger)
    free = replace(T, limit_nano=None)
    for key in (SETTLED, HELD):
        server.ask("HSET", key, "0:tenant", 9 * 10**18)
        before = everything(server)
        with pytest.raises(LedgerConflictError, match="tenant"):
            await (
                ledger.adjust("m", 1000, reason="r", asks=[T])
                if key == SETTLED
                else ledger.reserve(asked("x", 1000, free))
            )
        assert everything(server) == before


# ------------------------------------------------------------------------------------------- large ledgers


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
