"""The ledger in PostgreSQL: what its contract does not say."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace

import asyncpg  # type: ignore[import-untyped]
import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.ledger import BudgetAsk, Hold, LedgerConflictError, Reservation, UsageQuery
from prodkit.stores.postgres_ledger import PostgresLedger
from prodkit.stores.postgres_schema import GATE
from tests.stores.postgres_stores import T, asked, beside, exposed, ledger_at
from tests.support.postgres import shared_postgres


@pytest.fixture
def server():
    return shared_postgres()


@pytest.fixture
def url(server):
    return server.url()


async def test_entries_are_only_added(server, url):
    """Whoever changes, deletes or empties them is refused by the server, whatever program it is."""
    async with ledger_at(url) as ledger, beside(server, url) as session:
        await ledger.reserve(asked("h", 5, dispatched=True))
        await ledger.settle("h", 4)
        before = await ledger.entries()
        for statement in (
            "UPDATE ledger_entries SET amount_nano = 0",
            "DELETE FROM ledger_entries",
            "TRUNCATE ledger_entries",
        ):
            with pytest.raises(asyncpg.RaiseError, match="only added"):
                await session.execute(statement)
        assert await ledger.entries() == before


@contextlib.asynccontextmanager
async def several(url, count):
    """So many ledgers with connections of their own, as of so many processes."""
    stores = [PostgresLedger(f"{url}&max_connections={n + 2}", timeout_seconds=20.0) for n in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            await store.aclose()


async def test_ledgers_of_one_schema_are_one(url):
    """Six stores, as of six processes, spend one budget to the last unit and no further; another schema is another ledger."""
    async with several(url, 6) as stores, ledger_at(shared_postgres().url()) as other:
        for turn in range(10):
            window = BudgetAsk("day", turn, None, 3)
            answers = await asyncio.gather(
                *(stores[n % 6].reserve(asked(f"{turn}.{n}", 1, window)) for n in range(12))
            )
            assert sum(isinstance(answer, Hold) for answer in answers) == 3
            assert await exposed(stores[0], window) == await exposed(stores[1], window) == [(0, 3)]
            assert await exposed(other, window) == [(0, 0)]


async def test_an_envelope_is_drawn_from_once(url):
    """What six stores draw from one run at the same time is never more than it has, and a call they all settle costs once."""
    async with several(url, 6) as stores:
        for turn in range(10):
            run = f"run{turn}"
            await stores[0].reserve(asked(run, 9, envelope=True))
            call = Reservation(id="", amount_nano=3, lease_seconds=60.0, dispatched=True)
            answers = await asyncio.gather(
                *(stores[n % 6].draw(run, replace(call, id=f"{run}.{n}")) for n in range(12))
            )
            drawn = [answer.id for answer in answers if isinstance(answer, Hold)]
            assert len(drawn) == 3
            await asyncio.gather(*(store.settle(name, 2) for store in stores for name in drawn))
            await stores[0].release(run)
        assert await exposed(stores[0]) == [(60, 0)]
        assert await stores[0].rebuild() == 0


async def test_concurrent_holds_of_one_new_id_are_one(url):
    """Six stores that reserve the same ids for accounts that do not exist yet agree on each hold, and hold it once."""
    async with several(url, 6) as stores:
        for name in "abcde":
            window = BudgetAsk(f"day-{name}", 86_400, 172_800, None)
            answers = await asyncio.gather(*(store.reserve(asked(name, 7, window, T)) for store in stores))
            assert len({(answer.id, answer.expires_at) for answer in answers}) == 1
            entries = await asyncio.gather(*(store.adjust(name, 3, reason="r", asks=[T]) for store in stores))
            assert len({entry.sequence for entry in entries}) == 1
            assert await exposed(stores[0], window) == [(0, 7)]
        assert await exposed(stores[0]) == [(15, 35)]
        assert await stores[0].rebuild() == 0


async def test_budgets_asked_in_any_order_do_not_wait_for_one_another(server, url):
    """Stores that hold the same accounts in opposite orders, new ones among them, never meet in a deadlock."""
    asks = [BudgetAsk(f"b{n}", 0, None, None) for n in range(8)]
    async with several(url, 4) as stores:
        await stores[0].check()
        (before,) = server.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")

        async def spend(number):
            store = stores[number % 4]
            for turn in range(5):
                name = f"{number}.{turn}"
                mine = asks[turn:] + asks[:turn]
                await store.reserve(
                    asked(name, 1, *(mine if number % 2 else reversed(mine)), dispatched=True)
                )
                await store.settle(name, 1)

        await asyncio.gather(*(spend(number) for number in range(24)))
        assert await exposed(stores[0], *asks) == [(120, 0)] * 8
        (after,) = server.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
        assert before == after


async def test_one_that_asks_for_the_impossible_does_not_hurt_the_others(url):
    """A text with a NUL is refused before it is sent; an amount that no column takes fails alone, whoever travels with it."""
    async with ledger_at(url) as ledger:
        with pytest.raises(ValueError, match="NUL"):
            await ledger.reserve(asked("a\0b", 1))
        with pytest.raises(ValueError, match="NUL"):
            await ledger.reserve(asked("h", 1, attributes={"tenant": "\0"}))
        assert await ledger.find("a\0b") is None
        with pytest.raises(LedgerConflictError):
            await ledger.settle("a\0b", 1)
        with pytest.raises(LedgerConflictError):
            await ledger.settle("\ud800", 1)
        far = BudgetAsk("far", 2**63 - 1, None, None)
        beyond = BudgetAsk("beyond", 2**63, None, None)
        answers = await asyncio.gather(
            *(ledger.reserve(asked(f"h{n}", 1, (T, far, beyond)[n % 3])) for n in range(9)),
            return_exceptions=True,
        )
        assert [isinstance(answer, Hold) for answer in answers] == [True, True, False] * 3
        assert await exposed(ledger, T, far) == [(0, 3), (0, 3)]


async def test_whoever_reads_on_misses_no_entry(url, monkeypatch):
    """An entry that has its number and is not committed yet is waited for; one that never will be is not missed."""
    execute = asyncpg.Connection.execute
    commit = asyncio.Event()
    ends: list[str] = []

    async def late(self, query, *arguments, **options):
        if query == "COMMIT" and ends:
            query = ends.pop()
            await commit.wait()
        return await execute(self, query, *arguments, **options)

    async with several(url, 2) as (slow, quick):
        await quick.adjust("first", 1, reason="r", asks=[BudgetAsk("other", 0, None, None)])
        await slow.check()
        monkeypatch.setattr(asyncpg.Connection, "execute", late)
        for end in ("COMMIT", "ROLLBACK"):
            commit.clear()
            ends.append(end)
            writing = asyncio.create_task(slow.adjust(f"slow {end}", 1, reason="r"))
            while ends:
                await asyncio.sleep(0.01)
            await quick.adjust(f"quick {end}", 1, reason="r")
            reading = asyncio.create_task(quick.entries())
            done, _ = await asyncio.wait([reading], timeout=0.2)
            assert not done, "it did not wait for what has a lower number"
            commit.set()
            await writing
            names = [entry.hold for entry in await reading]
            assert (f"slow {end}" in names) is (end == "COMMIT"), names
            assert names[-1] == f"quick {end}"


async def test_several_who_tell_alerts_are_given_different_ones(url):
    """Of twenty alerts that are due, four takers at once are given each once."""
    async with ledger_at(url) as ledger:
        asks = [BudgetAsk(f"b{n}", 0, None, 10, alert_percents=(50,)) for n in range(20)]
        for n, ask in enumerate(asks):
            await ledger.adjust(f"m{n}", 6, reason="r", asks=[ask])
            await ledger.adjust(f"n{n}", 1, reason="r", asks=[ask])
        taken = await asyncio.gather(*(ledger.take_alerts(lease_seconds=60.0, limit=10) for _ in range(4)))
        sequences = [alert.sequence for alerts in taken for alert in alerts]
        assert sorted(sequences) == [alert.sequence for alert in await ledger.alerts()]
        assert len(sequences) == 20


async def test_time_is_the_servers_unless_told(url):
    """Without a clock of one's own a lease ends by the clock of the server, the same for every machine."""
    async with ledger_at(url) as ledger:
        hold = await ledger.reserve(asked("h", 1))
        (now,) = shared_postgres().ask("SELECT extract(epoch FROM clock_timestamp())")[0]
        assert 0 <= float(now) + 60.0 - hold.expires_at < 10.0
    clock = FakeClock()
    async with ledger_at(url, clock=clock) as ledger:
        assert (await ledger.reserve(asked("i", 1))).expires_at == clock.wall() + 60.0


async def test_a_day_begins_where_it_is_asked_to(url):
    """Entries are put to the day of the offset, to the last fraction of a second."""
    clock = FakeClock()
    async with ledger_at(url, clock=clock) as ledger:
        clock.set_wall(1_750_031_999.9999)
        await ledger.adjust("m", 5, reason="r")
        for offset, day in ((0, "2025-06-15"), (1, "2025-06-16"), (-86_399, "2025-06-15")):
            query = UsageQuery(since=0, until=1e11, group_by=("day",), utc_offset_seconds=offset)
            (row,) = await ledger.usage(query)
            assert row.group == {"day": day}


async def test_connections_are_few_and_reports_leave_some(server, url):
    """A hundred at once share five; reports that hang take three at most, so verbs go on."""
    async with ledger_at(url, timeout_seconds=2.0) as ledger, beside(server, url) as session:
        await asyncio.gather(*(ledger.find(f"h{n}") for n in range(100)))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'prodkit'"
        assert await session.fetchval(count) == 5
        await session.execute(f"SELECT pg_advisory_lock({GATE})")
        reports = [asyncio.create_task(ledger.entries()) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert not any(report.done() for report in reports)
        assert isinstance(await ledger.reserve(asked("h", 1)), Hold)
        assert await ledger.find("h") is not None
        await session.execute(f"SELECT pg_advisory_unlock({GATE})")
        await asyncio.gather(*reports)
        assert await session.fetchval(count) <= 5


async def test_who_is_cancelled_leaves_nothing_behind(server, url):
    """Callers that give up at any moment take no connection with them, and no lock."""
    async with ledger_at(url) as ledger:
        await ledger.reserve(asked("h0", 1))
        for n in range(30):
            task = asyncio.create_task(ledger.reserve(asked(f"c{n}", 1)))
            await asyncio.sleep(0.0003 * n)
            task.cancel()
            await asyncio.wait([task])
        answers = await asyncio.gather(*(ledger.reserve(asked(f"d{n}", 1)) for n in range(10)))
        assert all(isinstance(answer, Hold) for answer in answers)
        (account,) = await ledger.accounts([T])
        holds = await ledger.open_holds()
        assert account.held_nano == len(holds)
        assert await ledger.rebuild() == 0


def test_every_event_loop_has_connections_of_its_own(url):
    """One store, used on loops one after the other, as the clients of tests do; closing is no end."""
    ledger = PostgresLedger(url, timeout_seconds=10.0)

    async def use(name):
        await ledger.reserve(asked(name, 1))
        await ledger.aclose()

    for name in "abc":
        asyncio.run(use(name))

    async def look():
        try:
            return await exposed(ledger)
        finally:
            await ledger.aclose()

    assert asyncio.run(look()) == [(0, 3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
async def test_both_sides_of_a_fork_go_on(url):
    """A child made while connections are open has its own, and the parent's go on."""
    async with ledger_at(url) as ledger:
        await ledger.reserve(asked("before", 1))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.events._set_running_loop(None)
                asyncio.run(_use_and_close(ledger))
                status = 0
            finally:
                os._exit(status)
        _, code = await asyncio.to_thread(os.waitpid, pid, 0)
        assert code == 0
        await ledger.reserve(asked("after", 1))
        assert await exposed(ledger) == [(0, 3)]


async def _use_and_close(ledger):
    await ledger.reserve(asked("child", 1))
    await ledger.aclose()


async def test_a_lock_of_somebody_else_is_waited_for_no_longer_than_allowed(server, url):
    """A session that holds an account for ever makes a verb fail in its time, and what needs other accounts goes on after."""
    async with ledger_at(url, timeout_seconds=0.5) as ledger, beside(server, url) as session:
        await ledger.reserve(asked("h", 1))
        await session.execute("BEGIN; SELECT * FROM ledger_accounts FOR UPDATE")
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(StoreUnavailableError, match="in time"):
            await ledger.reserve(asked("i", 1))
        assert loop.time() - began < 2.0
        assert isinstance(await ledger.reserve(asked("j", 1, BudgetAsk("other", 0, None, 5))), Hold)
        await session.execute("ROLLBACK")
        assert isinstance(await ledger.reserve(asked("i", 1)), Hold)
