"""The file under the SQLite stores: whose it is, who may read it, and what is in it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from hashlib import sha256

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import KeyRecord, Rate, sqlite_connection, sqlite_schema
from prodkit.stores.ledger import Reservation
from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.stores.sqlite_schema import APPLICATION_ID, UPGRADES
from prodkit.testing import hit
from tests.stores.processes import finish, script

HOURLY = Rate(100, 3600.0)
RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)

posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and file modes of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


@posix
async def test_nobody_else_may_read_it(path):
    """Mode 0600 for the file and its companions, whatever the umask."""
    before = os.umask(0)
    try:
        store = SqliteKeyStore(path, timeout_seconds=5.0)
        await store.put(RECORD)
    finally:
        os.umask(before)
    modes = {entry.name: oct(entry.stat().st_mode & 0o777) for entry in path.parent.iterdir()}
    assert modes == {"app.db": "0o600", "app.db-wal": "0o600", "app.db-shm": "0o600"}
    await store.aclose()


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
async def test_a_database_of_somebody_else_is_not_touched(path, statement):
    """It is refused with the cure, and afterwards it is the same, byte by byte."""
    theirs = sqlite3.connect(path, isolation_level=None)
    theirs.execute(statement)
    theirs.close()
    before = path.read_bytes()
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    for _ in range(2):
        with pytest.raises(StoreIncompatibleError, match=r"another program.*PRODKIT_STORE"):
            await hit(store, ("k", HOURLY, 1))
    with pytest.raises(StoreIncompatibleError):
        await store.check()
    await store.aclose()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["app.db"]


async def test_a_newer_file_is_refused(path):
    """An old release never writes into what a newer one has made."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await store.check()
    await store.aclose()
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute(f"PRAGMA user_version = {len(UPGRADES) + 1}")
    newer.close()
    with pytest.raises(StoreIncompatibleError, match="newer release"):
        await store.check()
    await store.aclose()


def contents(path):
    """What a file says of itself, and every table, index and trigger in it."""
    connection = sqlite3.connect(path)
    pragmas = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("user_version", "application_id", "journal_mode", "integrity_check")
    ]
    objects = sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
    connection.close()
    return pragmas, objects


@pytest.mark.parametrize("version", range(len(UPGRADES) + 1))
async def test_every_released_file_is_brought_up_to_date(path, version):
    """A file of any release so far, and an empty one, becomes what the newest release makes; what was in it is still there."""
    old = sqlite3.connect(path, isolation_level=None)
    for statements in UPGRADES[:version]:
        for statement in statements:
            old.execute(statement)
    if version:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {version}")
        old.execute(
            "INSERT INTO api_keys (id, digest, pepper_id, owner, scopes, created_at, networks) "
            "VALUES ('k', x'64', 'p', 'o', '[]', 0.0, '[]')"
        )
    old.close()
    limits, keys, ledger = (
        SqliteRateLimitStore(path, timeout_seconds=5.0),
        SqliteKeyStore(path, timeout_seconds=5.0),
        SqliteLedger(path, timeout_seconds=5.0),
    )
    assert (await hit(limits, ("k", HOURLY, 1)))[0].allowed
    assert await keys.find("k") == (RECORD if version else None)
    await ledger.reserve(Reservation(id="h", amount_nano=1, lease_seconds=60.0))
    for store in (limits, keys, ledger):
        await store.aclose()
    new = SqliteLedger(path.with_name("new.db"), timeout_seconds=5.0)
    await new.check()
    await new.aclose()
    assert contents(path) == contents(path.with_name("new.db"))
    assert contents(path)[0] == [len(UPGRADES), APPLICATION_ID, "wal", "ok"]


def test_a_step_that_was_released_is_never_edited():
    """Files out there were made by it, and would not get what is added to it: append another step instead."""
    digests = [
        sha256("\0".join(" ".join(sql.split()) for sql in step).encode()).hexdigest()[:16]
        for step in UPGRADES
    ]
    assert digests == [
        "7b4d0058f5476345",
        "28942087bebc6fa1",
        "59f301ae5482a3fa",
        "10094048a46d8581",
        "0f19eeec8bb5f446",
        "3d7e37acb173698f",
        "3cb22c3ef3afb89c",
        "2faa62c669ed3d75",
    ]


def test_an_upgrade_is_made_whole_or_not_at_all(path, monkeypatch):
    """A step that fails leaves the file as it was, and it is tried again the next time."""
    connection = sqlite3.connect(path, isolation_level=None)
    monkeypatch.setattr(sqlite_schema, "UPGRADES", (("CREATE TABLE one (x)",), ("NOT SQL",)))
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        sqlite_schema.upgrade(connection, "app.db")
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    monkeypatch.setattr(sqlite_schema, "UPGRADES", (("CREATE TABLE one (x)",), ("CREATE TABLE two (x)",)))
    sqlite_schema.upgrade(connection, "app.db")
    assert sqlite_schema.is_current(connection, "app.db")
    connection.close()


def test_a_file_made_by_another_process_meanwhile_is_not_a_strangers(path):
    """What is read first and what is read last is of one moment, though another process commits in between."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")  # as it is left before the schema is made

    class Interrupted(sqlite3.Connection):
        def execute(self, sql, *rest):
            if "sqlite_master" in sql and not sqlite_schema.is_current(other, "app.db"):
                sqlite_schema.upgrade(other, "app.db")
            return super().execute(sql, *rest)

    connection = sqlite3.connect(path, isolation_level=None, factory=Interrupted)
    assert not sqlite_schema.is_current(connection, "app.db")
    assert sqlite_schema.is_current(other, "app.db")
    assert sqlite_schema.is_current(connection, "app.db")
    assert not connection.in_transaction
    connection.close()
    other.close()


def test_a_file_that_cannot_be_read_leaves_no_transaction(path):
    """The connection can be used again after the error."""
    path.write_bytes(b"no database" * 100)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        sqlite_schema.is_current(connection, "app.db")
    assert not connection.in_transaction
    connection.close()


def test_a_file_system_that_cannot_do_wal_is_named():
    """SQLite stays in another mode without an error; we do not go on in it."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(StoreUnavailableError, match="local disk"):
        sqlite_connection._switch_to_wal(connection, "app.db")
    connection.close()


def test_processes_may_make_the_file_at_the_same_moment(path):
    """Workers that start together on a fresh disk all come up."""
    source = """
        store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        print("ready", flush=True)
        sys.stdin.readline()
        asyncio.run(store.check())
        asyncio.run(store.aclose())
    """
    processes = [script(source, path) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        finish(process)


async def test_a_busy_loop_is_no_broken_store(path):
    """An answer that was there in time counts, though the loop comes round to it late."""
    store = SqliteKeyStore(path, timeout_seconds=5.0)
    await store.put(RECORD)
    hasty = SqliteKeyStore(path, timeout_seconds=0.05)
    finding = asyncio.create_task(hasty.find("k"))
    await asyncio.sleep(0)
    begun = time.monotonic()
    while time.monotonic() - begun < 0.3:  # somebody's callback, which lets no other run
        sha256(b"much work" * 10_000)
    assert await finding == RECORD
    await store.aclose()
