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
    CalendarWindow,
    FixedWindow,
    KeyRecord,
    KeyStore,
    MovingWindow,
    Permit,
    Rate,
    RateLimitStore,
    SlidingWindow,
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


def test_loops_come_and_go(path):
    """A store outlives the loops that use it, also one that ends with an ask under way."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)

    async def once():
        return await hit(store, ("k", HOURLY, 1))

    async def walk_out():
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        assert not task.done()

    first = asyncio.run(once())
    asyncio.run(walk_out())
    second = asyncio.run(once())
    assert first[0].remaining == 99
    assert second[0].remaining in {97, 98}
    asyncio.run(store.aclose())


async def test_two_loops_at_once(path):
    """A test that asks beside the application's own loop: both are answered, exactly."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    rate = Rate(50, 3600.0)

    async def many():
        return [(await hit(store, ("k", rate, 1)))[0].allowed for _ in range(40)]

    here, there = await asyncio.gather(many(), asyncio.to_thread(lambda: asyncio.run(many())))
    assert sum(here) + sum(there) == 50
    await store.aclose()


OTHERS = (FixedWindow(5, 10.0), SlidingWindow(5, 10.0), MovingWindow(5, 10.0), CalendarWindow(5, "hour"))


async def test_every_kind_survives_a_restart(path):
    """Counts, the entries of a moving window, who holds a place and who waits in which order."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    await hit(store, *(("k", rule, 4) for rule in OTHERS))
    for name in "zab":
        await hit(store, ("k", Permit(1, name, 60.0, 2, 60.0), 1))
    await store.aclose()
    again = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    assert [(await again.peek("k", rule)).remaining for rule in OTHERS] == [1, 1, 1, 1]
    assert [(await again.peek("k", Permit(1, name, 60.0, 2, 60.0))).queued for name in "ab"] == [1, 2]
    assert (await hit(again, ("k", Permit(1, "z", 60.0), 1)))[0].allowed
    await again.aclose()


async def test_rows_of_every_kind_are_deleted_as_new_ones_come(path):
    """The file does not grow with windows that are over, their entries, or permits that nobody gave back."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    for hour in range(20):
        for rule in OTHERS:
            await hit(store, *((f"{hour:02}/{caller}", rule, 1) for caller in range(10)))
        await hit(store, *((f"{hour:02}/{caller}", Permit(1, "p", 5.0), 1) for caller in range(10)))
        clock.advance(3600.0)
    await store.aclose()
    connection = other_program(path)
    for table, most in (("rate_counts", 120), ("rate_entries", 40), ("rate_permits", 30)):
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert 0 < rows <= most
    connection.close()


async def test_what_is_settled_travels_with_what_is_asked(path, monkeypatch):
    """In one transaction, and in the order of asking."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    batches = []
    decide_all = SqliteRateLimitStore._decide_all

    def counted(self, connection, batch):
        batches.append(len(batch))
        return decide_all(self, connection, batch)

    await asyncio.gather(*(hit(store, ("warm", HOURLY, 1)) for _ in range(4)))
    monkeypatch.setattr(SqliteRateLimitStore, "_decide_all", counted)
    permit, other = Permit(1, "a", 60.0), Permit(1, "b", 60.0)
    (first,), (between,), nothing, (last,) = await asyncio.gather(
        hit(store, ("k", permit, 1)),
        hit(store, ("k", other, 1)),
        store.settle([("k", permit, -1, 0)]),
        hit(store, ("k", other, 1)),
    )
    assert nothing is None
    assert (first.allowed, between.allowed, last.allowed) == (True, False, True)
    assert batches == [4]
    await store.aclose()


async def test_a_bad_ask_of_any_kind_spoils_no_other(path):
    """What was done for the others in the same batch is done once."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await asyncio.gather(*(hit(store, ("warm", HOURLY, 1)) for _ in range(4)))
    rule = MovingWindow(5, 3600.0)
    answers = await asyncio.gather(
        hit(store, ("a", rule, 1)),
        hit(store, ("\ud800", rule, 1)),
        store.settle([("\ud800", rule, 1, 0)]),
        hit(store, ("a", rule, 1)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], UnicodeEncodeError)
    assert isinstance(answers[2], UnicodeEncodeError)
    assert (await store.peek("a", rule)).remaining == 3
    await store.aclose()


async def test_a_leap_back_keeps_the_total_of_a_moving_window(path):
    """What came in the future came now, and the sum of the entries is the total that is decided on."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    rule = MovingWindow(5, 60.0)
    for _ in range(2):
        clock.advance(1.0)
        await hit(store, ("k", rule, 2))
    clock.set_wall(clock.wall() - 3600.0)
    assert (await store.peek("k", rule)).remaining == 1
    (refused,) = await hit(store, ("k", rule, 2))
    assert (refused.allowed, refused.remaining) == (False, 1)
    assert refused.retry_seconds == pytest.approx(60.0, abs=1e-5)
    clock.advance(refused.retry_seconds)
    (admitted,) = await hit(store, ("k", rule, 5))
    assert admitted.allowed
    await store.aclose()
    connection = other_program(path)
    (total,) = connection.execute("SELECT count FROM rate_counts WHERE key = 'k' AND kind = 'm'").fetchone()
    assert connection.execute("SELECT sum(cost), count(*) FROM rate_entries").fetchone() == (total, 1)
    connection.close()
