"""API keys in PostgreSQL: the contract, and what processes tell one another."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from prodkit.stores import KeyRecord
from prodkit.stores.postgres_keys import PostgresKeyStore
from prodkit.testing import KeyStoreContract
from tests.stores.postgres_stores import beside
from tests.support.postgres import shared_postgres


class TestPostgresKeyStore(KeyStoreContract):
    """The contract of `KeyStore`."""

    def make_store(self):
        return PostgresKeyStore(shared_postgres().url(), timeout_seconds=5.0)


def record(key_id, **fields):
    return replace(KeyRecord(id=key_id, digest=b"d", pepper_id="p", owner="o", created_at=1.0), **fields)


@pytest.fixture
def url():
    return shared_postgres().url()


@contextlib.asynccontextmanager
async def keys_at(url, **options):
    store = PostgresKeyStore(url, **{"timeout_seconds": 5.0} | options)
    try:
        yield store
    finally:
        await store.aclose()


async def test_a_change_is_seen_by_others_in_the_order_it_was_made(url):
    """Four stores write at once while a fifth reads on: it is told of every key, whatever was committed first."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(keys_at(f"{url}&max_connections={n + 2}")) for n in range(5)
        ]
        reader = stores.pop()
        cursor, _ = await reader.changes_since(None)
        writing = asyncio.gather(*(stores[n % 4].put(record(f"k{n}")) for n in range(60)))
        seen: set[str] = set()
        done = False
        while not done:
            done = writing.done()
            cursor, told = await reader.changes_since(cursor)
            seen.update(told)
        await writing
        assert seen == {f"k{n}" for n in range(60)}


async def test_another_history_is_not_taken_for_the_one_that_was_seen(url):
    """After a backup came back, or a standby took over, a cursor means nothing although its number is there: forget all."""
    async with keys_at(url) as store, beside(shared_postgres(), url) as session:
        for n in range(3):
            await store.put(record(f"k{n}"))
        cursor, _ = await store.changes_since(None)
        assert await store.changes_since(cursor) == (cursor, [])
        await session.execute("UPDATE api_key_changes SET tag = tag + 1 WHERE sequence = 3")
        newest, told = await store.changes_since(cursor)
        assert told is None
        assert newest != cursor
        await session.execute("DELETE FROM api_key_changes")
        assert await store.changes_since(newest) == (0, None)
        for strange in (-1, 1 << 200, 1):
            assert (await store.changes_since(strange))[1] is None


async def test_who_slept_too_long_forgets_all(url):
    """More changes than a page are not told one by one, and old ones are not kept for ever."""
    async with keys_at(url) as store, beside(shared_postgres(), url) as session:
        await store.put(record("k"))
        cursor, _ = await store.changes_since(None)
        await session.execute(
            "INSERT INTO api_key_changes SELECT n, n, 'k' FROM generate_series(2, 1001) AS n"
        )
        _, told = await store.changes_since(cursor)
        assert len(told) == 1000
        await session.execute("INSERT INTO api_key_changes VALUES (1002, 1, 'k')")
        assert (await store.changes_since(cursor))[1] is None
        await session.execute(
            "INSERT INTO api_key_changes SELECT n, n, 'k' FROM generate_series(1003, 11000) AS n"
        )
        for _ in range(5):
            await store.revoke("k", 1.0)
        kept = await session.fetchval("SELECT count(*) FROM api_key_changes")
        assert kept < 11_000


async def test_ids_that_no_column_takes_are_unknown(url):
    """A caller may send anything as a key; the answer is that there is none, and no error."""
    async with keys_at(url) as store:
        for strange in ("a\0b", "\ud800", "'; DROP TABLE api_keys; --", "x" * 10_000, ""):
            assert await store.find(strange) is None
            assert not await store.revoke(strange, 1.0)
            await store.touch(strange, 1.0)
        assert await store.list() == []
