"""API keys in a file: what is particular to it, beyond the contract."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from itertools import pairwise

import pytest

from prodkit.stores import KeyRecord, sqlite_keys
from prodkit.stores.sqlite import SqliteKeyStore

RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)


@pytest.fixture
async def store(tmp_path):
    made = SqliteKeyStore(tmp_path / "app.db", timeout_seconds=5.0)
    yield made
    await made.aclose()


def elsewhere(tmp_path):
    """A connection of another program, in autocommit mode."""
    return sqlite3.connect(tmp_path / "app.db", isolation_level=None)


async def test_changes_of_other_programs_are_told(store, tmp_path):
    """Also one that an operator makes by hand: triggers note it, whoever writes."""
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    other = elsewhere(tmp_path)
    other.execute("UPDATE api_keys SET revoked_at = 7.0 WHERE id = 'k'")
    cursor, told = await store.changes_since(cursor)
    assert list(told) == ["k"]
    other.execute("UPDATE api_keys SET last_used_at = 8.0 WHERE id = 'k'")
    assert await store.changes_since(cursor) == (cursor, [])
    other.execute("DELETE FROM api_keys WHERE id = 'k'")
    cursor, told = await store.changes_since(cursor)
    assert list(told) == ["k"]
    assert await store.changes_since(cursor) == (cursor, ())
    other.close()


async def test_nothing_is_read_where_nothing_was_committed(store, monkeypatch):
    """The look of every second is one PRAGMA; a commit of anybody, this process included, makes it a look into the table."""
    looks = []
    real = sqlite_keys._changes

    def noting(connection, cursor):
        looks.append(cursor)
        return real(connection, cursor)

    monkeypatch.setattr(sqlite_keys, "_changes", noting)
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    for _ in range(5):
        assert await store.changes_since(cursor) == (cursor, ())
    assert looks == [None]
    await store.touch("k", 1.0)
    assert await store.changes_since(cursor) == (cursor, [])
    assert looks == [None, cursor]


async def test_what_is_kept_of_changes_is_bounded(store, tmp_path, monkeypatch):
    """Each write takes away more than it adds, a few at a time; who missed what is gone is told so."""
    monkeypatch.setattr(sqlite_keys, "_KEPT_CHANGES", 50)
    await store.put(RECORD)
    start, _ = await store.changes_since(None)
    other = elsewhere(tmp_path)
    other.executemany("INSERT INTO api_key_changes (id) VALUES (?)", [(f"{n}",) for n in range(500)])
    sizes = []
    for n in range(30):
        await store.revoke("k", float(n))
        sizes.append(other.execute("SELECT count(*) FROM api_key_changes").fetchone()[0])
    assert sizes[-1] == 50
    assert max(before - after for before, after in pairwise(sizes)) == 19
    cursor, told = await store.changes_since(start)
    assert told is None
    assert cursor == start + 530
    recent, told = await store.changes_since(cursor - 30)
    assert (recent, list(told)) == (cursor, ["k"] * 30)
    other.close()


async def test_more_than_can_be_told_is_not_told(store, tmp_path):
    """A thousand ids are forgotten one by one, more of them all at once."""
    await store.put(RECORD)
    start, _ = await store.changes_since(None)
    other = elsewhere(tmp_path)
    other.executemany("INSERT INTO api_key_changes (id) VALUES (?)", [(f"{n}",) for n in range(1001)])
    assert (await store.changes_since(start))[1] is None
    assert len((await store.changes_since(start + 1))[1]) == 1000
    other.close()


async def test_a_cursor_outlives_a_restart(tmp_path):
    """The connection is another one, the changes are the same."""
    store = SqliteKeyStore(tmp_path / "app.db", timeout_seconds=5.0)
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    assert await store.changes_since(cursor) == (cursor, ())
    await store.aclose()
    await store.revoke("k", 1.0)
    assert (await store.changes_since(cursor))[1] == ["k"]
    await store.aclose()


async def test_a_tenants_keys_are_found_by_an_index(store, tmp_path):
    """A list of one tenant does not walk over everybody's keys."""
    await store.put(RECORD)
    other = elsewhere(tmp_path)
    plan = other.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM api_keys WHERE tenant = 'x' AND id > '' ORDER BY id LIMIT 9"
    ).fetchall()
    assert "api_keys_by_tenant" in str(plan)
    other.close()


async def test_nobody_who_reads_waits_for_a_writer(tmp_path):
    """A backup holds the lock, and a revocation waits for it: keys are found, listed and looked at meanwhile, in time."""
    store = SqliteKeyStore(tmp_path / "app.db", timeout_seconds=2.0, durable_timeout_seconds=30.0)
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    backup = elsewhere(tmp_path)
    backup.execute("BEGIN IMMEDIATE")
    revoking = asyncio.create_task(store.revoke("k", 1.0))
    for _ in range(20):
        assert await store.find("k") == RECORD
        assert await store.list() == [RECORD]
        assert await store.changes_since(cursor) == (cursor, ())
    assert not revoking.done()
    backup.execute("ROLLBACK")
    backup.close()
    assert await revoking
    assert (await store.find("k")).revoked_at == 1.0
    assert (await store.changes_since(cursor))[1] == ["k"]
    await store.aclose()


async def test_what_was_written_is_read(store):
    """By the very next question, though it is another connection that is asked."""
    for number in range(200):
        await store.put(replace(RECORD, name=str(number)))
        assert (await store.find("k")).name == str(number)


async def test_a_new_file_is_opened_by_both_at_once(tmp_path):
    """Whoever comes first makes it, and neither takes the other's locks away."""
    for number in range(20):
        made = SqliteKeyStore(tmp_path / f"{number}.db", timeout_seconds=5.0)
        await asyncio.gather(made.find("k"), made.put(RECORD), made.changes_since(None), made.touch("k", 1.0))
        assert await made.find("k") is not None
        await made.aclose()
