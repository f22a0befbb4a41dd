"""The SQLite stores: the contract, and what is particular to a file shared by processes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import (
    KeyRecord,
    KeyStore,
    Rate,
    RateLimitStore,
)
from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
from prodkit.stores.sqlite_file import Kind
from prodkit.testing import KeyStoreContract, RateLimitStoreContract, hit

HOURLY = Rate(100, 3600.0)
RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)


class TestSqliteRateLimitStore(RateLimitStoreContract):
    """The contract of `RateLimitStore`."""

    examples = 15

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path
        self.made = 0

    def make_store(self, clock: FakeClock) -> RateLimitStore:
        self.made += 1
        return SqliteRateLimitStore(self.directory / f"{self.made}.db", clock=clock, timeout_seconds=5.0)


class TestSqliteKeyStore(KeyStoreContract):
    """The contract of `KeyStore`."""

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path

    def make_store(self) -> KeyStore:
        return SqliteKeyStore(self.directory / "keys.db", timeout_seconds=5.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def other_program(path):
    """A connection of somebody else, in autocommit mode."""
    return sqlite3.connect(path, isolation_level=None)


async def test_it_survives_a_restart(path):
    """What was consumed, issued and revoked is still so when the process comes back."""
    clock = FakeClock()
    limits, keys = (
        SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0),
        SqliteKeyStore(path, timeout_seconds=5.0),
    )
    await hit(limits, ("k", HOURLY, 60))
    await keys.put(RECORD)
    await keys.revoke("k", 5.0)
    await limits.aclose()
    await keys.aclose()
    again, keys_again = (
        SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0),
        SqliteKeyStore(path, timeout_seconds=5.0),
    )
    assert (await hit(again, ("k", HOURLY, 0)))[0].remaining == 40
    found = await keys_again.find("k")
    assert found is not None
    assert found.revoked_at == 5.0
    await again.aclose()
    await keys_again.aclose()


async def test_stores_of_one_file_share_one_thread_and_closing_ends_it(path):
    """One thread per file, however many stores, and one for reads of keys; closing one store does not disturb the other."""
    # Stores that another test has left to the collector may have theirs.
    before = set(threading.enumerate())

    def names() -> list[str]:
        return [
            t.name for t in threading.enumerate() if t not in before and t.name.startswith("prodkit-sqlite")
        ]

    limits, keys = SqliteRateLimitStore(path, timeout_seconds=5.0), SqliteKeyStore(path, timeout_seconds=5.0)
    await hit(limits, ("k", HOURLY, 1))
    await keys.put(RECORD)
    assert names() == ["prodkit-sqlite-app.db"]
    assert await SqliteKeyStore(path, timeout_seconds=5.0).find("k") == RECORD
    assert names() == ["prodkit-sqlite-app.db", "prodkit-sqlite-app.db-reads"]
    await limits.aclose()
    assert await keys.find("k") == RECORD
    await keys.aclose()
    assert names() == []
    assert [entry.name for entry in path.parent.iterdir()] == ["app.db"]  # no -wal left behind


async def test_what_is_asked_together_is_one_transaction(path, monkeypatch):
    """Thirty-two callers cost a few transactions, not thirty-two."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    transactions = []
    decide_all = SqliteRateLimitStore._decide_all

    def counted(self, connection, batch):
        transactions.append(len(batch))
        return decide_all(self, connection, batch)

    monkeypatch.setattr(SqliteRateLimitStore, "_decide_all", counted)
    for _ in range(3):
        answers = await asyncio.gather(*(hit(store, (f"k{n}", HOURLY, 1)) for n in range(32)))
        assert all(answer[0].allowed for answer in answers)
    assert sum(transactions) == 96
    assert len(transactions) <= 6
    await store.aclose()


async def test_the_loop_executes_no_sql(path, monkeypatch):
    """Every statement runs in the file's threads."""
    threads = set()
    connect = sqlite3.connect

    def traced(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda statement: threads.add(threading.current_thread().name))
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    limits, keys = SqliteRateLimitStore(path, timeout_seconds=5.0), SqliteKeyStore(path, timeout_seconds=5.0)
    await hit(limits, ("k", HOURLY, 1))
    await limits.peek("k", HOURLY)
    await limits.reset("k")
    await keys.put(RECORD)
    await keys.find("k")
    await keys.list()
    await keys.check()
    await limits.aclose()
    await keys.aclose()
    assert threads == {"prodkit-sqlite-app.db", "prodkit-sqlite-app.db-reads"}


async def test_a_held_lock_delays_nobody_past_the_bound(path):
    """Another program keeps the write lock: an error in time, a live loop, recovery when it lets go."""
    patient = SqliteRateLimitStore(path, timeout_seconds=5.0)
    store = SqliteRateLimitStore(path, timeout_seconds=0.2)
    await hit(patient, ("k", HOURLY, 1))
    other = other_program(path)
    other.execute("BEGIN IMMEDIATE")
    beats = 0

    async def heart():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(heart())
    start = time.monotonic()
    answers = await asyncio.gather(
        *(hit(store, ("k", HOURLY, 1)) for _ in range(20)), store.check(), return_exceptions=True
    )
    waited = time.monotonic() - start
    beating.cancel()
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    assert 0.1 < waited < 1.0
    assert beats >= 3
    other.execute("ROLLBACK")
    other.close()
    (decision,) = await hit(patient, ("k", HOURLY, 1))
    assert decision.remaining == 98  # of the twenty refused ones, none was carried out
    await store.aclose()
    await patient.aclose()


async def test_readers_do_not_wait_for_writers(path):
    """A key is found while another program writes."""
    keys = SqliteKeyStore(path, timeout_seconds=1.0)
    await keys.put(RECORD)
    other = other_program(path)
    other.execute("BEGIN IMMEDIATE")
    assert await keys.find("k") == RECORD
    other.execute("ROLLBACK")
    other.close()
    await keys.aclose()


async def test_keys_wait_for_the_disk_and_limits_do_not(path, monkeypatch):
    """`synchronous` is FULL (2) for what must not be lost, NORMAL (1) for the rest, whatever came before."""
    levels = []
    limits, keys = SqliteRateLimitStore(path, timeout_seconds=5.0), SqliteKeyStore(path, timeout_seconds=5.0)
    decide_all = SqliteRateLimitStore._decide_all

    def noting(self, connection, batch):
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        return decide_all(self, connection, batch)

    monkeypatch.setattr(SqliteRateLimitStore, "_decide_all", noting)
    monkeypatch.setattr(
        "prodkit.stores.sqlite_keys._write",
        lambda connection, record: levels.append(connection.execute("PRAGMA synchronous").fetchone()[0]),
    )
    for _ in range(2):
        await hit(limits, ("k", HOURLY, 1))
        await keys.put(RECORD)
    assert levels == [1, 2, 1, 2]
    await limits.aclose()
    await keys.aclose()


async def test_an_ask_that_sqlite_cannot_take_spoils_no_other(path):
    """A key that is no valid text fails its own caller only, and nothing is charged twice."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await asyncio.gather(
        *(hit(store, ("k", HOURLY, 1)) for _ in range(4))
    )  # from now on they travel together
    answers = await asyncio.gather(
        hit(store, ("a", HOURLY, 1)),
        hit(store, ("\ud800", HOURLY, 1)),
        hit(store, ("b", HOURLY, 1)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], UnicodeEncodeError)
    for answer in (answers[0], answers[2]):
        assert not isinstance(answer, BaseException)
        assert answer[0].remaining == 99
    await store.aclose()


async def test_a_record_that_sqlite_cannot_take_is_the_callers_mistake(path):
    """It is not mistaken for a store that is down, and the store goes on."""
    keys = SqliteKeyStore(path, timeout_seconds=5.0)
    bad = KeyRecord(id="k", digest=None, pepper_id="p", owner="o", created_at=0.0)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        await keys.put(bad)
    await keys.put(RECORD)
    assert await keys.find("k") == RECORD
    await keys.aclose()


async def test_rows_of_full_buckets_are_deleted_as_new_ones_come(path):
    """The file does not grow with callers who have gone, and those who are there stay."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    await hit(store, ("busy", Rate(1, 1e6), 1))
    rate = Rate(10, 1.0)
    for second in range(30):
        await hit(store, *((f"{second:02}/{caller}", rate, 1) for caller in range(50)))
        clock.advance(1.0)
    assert not (await hit(store, ("busy", Rate(1, 1e6), 1)))[0].allowed
    await store.aclose()
    (rows,) = other_program(path).execute("SELECT count(*) FROM rate_limits").fetchone()
    assert rows <= 200


async def test_a_clock_set_back_does_not_lock_out(path):
    """Whatever the jump, a caller waits at most until a bucket is refilled that was overdrawn by one burst."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    rate = Rate(10, 60.0)
    await hit(store, ("k", rate, 1))
    clock.set_wall(clock.wall() - 86_400.0)
    (refused,) = await hit(store, ("k", rate, 1))
    assert not refused.allowed
    assert refused.retry_seconds == pytest.approx(66.0, abs=1e-5)
    clock.advance(refused.retry_seconds)
    assert (await hit(store, ("k", rate, 1)))[0].allowed
    await store.aclose()


async def test_a_job_taken_back_is_not_done(path):
    """A hit that timed out behind a slow transaction is not charged later."""
    patient = SqliteRateLimitStore(path, timeout_seconds=5.0)
    store = SqliteRateLimitStore(path, timeout_seconds=0.1)
    await hit(patient, ("k", HOURLY, 1))
    release = threading.Event()
    slow = asyncio.create_task(store._file.run(Kind.READ, lambda connection: release.wait(), 5.0))
    await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailableError, match=r"0\.1 s"):
        await hit(store, ("k", HOURLY, 1))
    release.set()
    await slow
    assert (await hit(patient, ("k", HOURLY, 0)))[0].remaining == 99
    await store.aclose()
    await patient.aclose()


async def test_a_stuck_file_refuses_at_once_in_the_end(path):
    """What waits for a disk that hangs is bounded."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await store.check()
    release = threading.Event()
    file = store._file
    jobs = [file.submit(Kind.READ, lambda connection: release.wait(5.0), 1.0)]
    while file._jobs.qsize():
        await asyncio.sleep(0.001)
    jobs += [file.submit(Kind.READ, lambda connection: True, 1.0) for _ in range(1001)]
    with pytest.raises(StoreUnavailableError, match="stuck"):
        file.submit(Kind.READ, lambda connection: None, 1.0)
    for job in jobs:
        job.cancel()
    release.set()
    while file._jobs.qsize():
        await asyncio.sleep(0.001)
    await store.check()
    await store.aclose()
