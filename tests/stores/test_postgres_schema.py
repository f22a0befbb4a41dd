"""The schema in PostgreSQL: made once, upgraded, refused when it is not ours."""

from __future__ import annotations

import asyncio

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import postgres_schema
from prodkit.stores.ledger import Hold
from prodkit.stores.postgres_ledger import PostgresLedger
from tests.stores.postgres_stores import asked, beside, exposed, ledger_at, schema_of
from tests.support.postgres import shared_postgres


@pytest.fixture
def server():
    return shared_postgres()


@pytest.fixture
def url(server):
    return server.url()


async def test_many_who_begin_at_once_make_one_schema(server, url):
    """Twelve stores find nothing, and all of them work in the tables that one of them made."""
    stores = [PostgresLedger(f"{url}&max_connections={n + 2}", timeout_seconds=20.0) for n in range(12)]
    try:
        await asyncio.gather(*(store.reserve(asked(f"h{n}", 1)) for n, store in enumerate(stores)))
        assert await exposed(stores[0]) == [(0, 12)]
    finally:
        for store in stores:
            await store.aclose()


async def test_an_older_schema_is_upgraded_and_keeps_what_stands_there(server, url, monkeypatch):
    """A step that a new release brings is done by whoever comes first, all of it or nothing; the release before cannot start there then."""
    async with ledger_at(url) as ledger:
        await ledger.reserve(asked("h", 5))
        old = postgres_schema.UPGRADES
        broken = (
            *old,
            (
                "ALTER TABLE {s}.ledger_limits ADD COLUMN note text",
                "ALTER TABLE {s}.nothing ADD COLUMN x text",
            ),
        )
        for upgrades, works in ((broken, False), ((*old, broken[-1][:1]), True)):
            monkeypatch.setattr(postgres_schema, "UPGRADES", upgrades)
            async with ledger_at(f"{url}&max_connections={len(upgrades) + works + 2}") as newer:
                if works:
                    assert await exposed(newer) == [(0, 5)]
                    await newer.check()
                else:
                    with pytest.raises(StoreUnavailableError, match="42P01"):
                        await newer.check()
            async with beside(server, url) as session:
                columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = $1 AND column_name = 'note'"
                assert await session.fetchval(columns, schema_of(url)) == int(works)
        monkeypatch.setattr(postgres_schema, "UPGRADES", old)
        async with ledger_at(f"{url}&max_connections=9") as late:
            with pytest.raises(StoreIncompatibleError, match="newer release"):
                await late.check()


async def test_tables_of_another_program_are_left_alone(server, url):
    """Where a name of ours is taken by a table that is not ours, nothing is made, and the message says what to do."""
    async with beside(server, url) as session:
        await session.execute(f"CREATE SCHEMA {schema_of(url)}; CREATE TABLE ledger_holds (theirs text)")
        async with ledger_at(url) as ledger:
            with pytest.raises(StoreIncompatibleError, match=r"\?schema="):
                await ledger.reserve(asked("h", 1))
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = $1"
        assert [name for (name,) in await session.fetch(tables, schema_of(url))] == ["ledger_holds"]


async def test_a_user_that_may_only_use_the_tables_is_enough(server, url):
    """Who may not make a schema is told so; once an owner has made it, the rights on its tables are all that is needed."""
    schema = schema_of(url)
    server.ask(f"CREATE ROLE {schema}_user LOGIN")
    users = url.replace("app@", f"{schema}_user@")
    async with ledger_at(users) as ledger:
        with pytest.raises(StoreUnavailableError, match="rights"):
            await ledger.reserve(asked("h", 1))
    async with ledger_at(url) as owner:
        await owner.check()
    server.ask(
        f"GRANT USAGE ON SCHEMA {schema} TO {schema}_user; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_user; "
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {schema}_user"
    )
    async with ledger_at(users) as ledger:
        await ledger.check()
        assert isinstance(await ledger.reserve(asked("h", 3, dispatched=True)), Hold)
        await ledger.settle("h", 2)
        assert len(await ledger.entries()) == 1
        assert await ledger.rebuild() == 0


async def test_what_was_computed_wrong_is_found_and_set_right(server, url):
    """Accounts that somebody changed by hand are computed again from entries and open holds."""
    async with ledger_at(url) as ledger, beside(server, url) as session:
        await ledger.reserve(asked("h", 5, dispatched=True))
        await ledger.settle("h", 4)
        await ledger.reserve(asked("i", 3))
        await session.execute("UPDATE ledger_accounts SET held_nano = 99")
        await session.execute("INSERT INTO ledger_accounts VALUES ('stray', 0, 7, 0)")
        assert await ledger.rebuild() == 2
        assert await exposed(ledger) == [(4, 3)]
        assert await ledger.rebuild() == 0
