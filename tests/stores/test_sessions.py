"""Sessions in memory and in a file keep the same promises, and the contract finds a store that does not."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.stores.sessions import SessionRecord, SessionStore
from prodkit.stores.sqlite_sessions import _PURGE, SqliteSessionStore
from prodkit.stores.urls import open_store
from prodkit.testing.sessions_contract import SessionStoreContract
from tests.stores.processes import finish, script


def record(name, **fields):
    usual = {"subject": "ann", "principal": "{}", "created_at": 1.0, "seen_at": 1.0, "expires_at": 1e9}
    return SessionRecord(**usual | fields, id=name)


class TestMemory(SessionStoreContract):
    def make_store(self):
        return MemorySessionStore()


class TestSqlite(SessionStoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make_store(self):
        return SqliteSessionStore(self.folder / "app.db", timeout_seconds=5.0)


class Revives(MemorySessionStore):
    async def touch(self, session_id, at):
        await super().touch(session_id, at)
        if session_id in self._records:
            self._records[session_id] = record(session_id, seen_at=at)


class Unlimited(MemorySessionStore):
    async def open(self, record, *, most):
        await super().open(record, most=1000)


class EndsOthers(MemorySessionStore):
    async def revoke_subject(self, subject, at):
        for name in list(self._records):
            await self.revoke(name, at)
        return len(self._records)


class ForgetsAll(MemorySessionStore):
    async def purge(self, before, *, limit=100):
        return await super().purge(before + 1, limit=10_000)


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (Revives, "test_a_revocation_is_final"),
        (Revives, "test_last_use_never_goes_back"),
        (Unlimited, "test_the_oldest_give_way"),
        (EndsOthers, "test_all_of_a_subject_end_together"),
        (ForgetsAll, "test_only_what_is_over_is_forgotten"),
    ],
)
def test_a_store_that_breaks_a_promise_is_found(store, promise):
    """The test of that promise fails."""

    class Contract(SessionStoreContract):
        def make_store(self):
            return store()

    with pytest.raises(AssertionError, match="breaks its contract"):
        getattr(Contract(), promise)()


async def test_memory_is_bounded():
    """Beyond its size it forgets what expired or ended first, then what was unused for the longest time."""
    store = MemorySessionStore(max_sessions=3)
    for number in range(3):
        await store.open(record(f"s{number}", subject=f"u{number}"), most=5)
    await store.touch("s0", 3.0)
    await store.touch("s1", 4.0)
    await store.touch("s0", 2.0)
    await store.revoke("s1", 5.0)
    for number in range(3):
        name = f"t{number}"
        await store.open(record(name, subject=name, created_at=9.0, seen_at=9.0), most=5)
        kept = [name for name in ("s0", "s1", "s2", "t0", "t1", "t2") if await store.find(name)]
        assert kept == [["s0", "s2", "t0"], ["s0", "t0", "t1"], ["t0", "t1", "t2"]][number]
    with pytest.raises(ValueError, match="at least 1"):
        MemorySessionStore(max_sessions=0)


async def test_a_full_memory_is_as_fast_as_an_empty_one():
    """A login walks through the sessions of one caller, not through all; and leaves nothing behind but its session."""
    store = MemorySessionStore()
    for number in range(10_000):
        await store.open(record(f"s{number}", subject=f"u{number % 200}"), most=100)
    begun = time.perf_counter()
    for number in range(300):
        await store.open(record(f"t{number}", subject="ann", created_at=2.0), most=5)
        await store.revoke(f"t{number}", 3.0)
        await store.revoke(f"t{number}", 3.0)
        await store.purge(2.5, limit=20)
    # 5 ms each where all were looked at.
    assert time.perf_counter() - begun < 0.3
    assert len(store._records) == 10_000
    assert sum(map(len, store._by_subject.values())) == 10_000
    for _ in range(15_000):
        await store.revoke("t299", 3.0)
    assert len(store._ends) <= 20_100
    for number in range(300):
        await store.revoke_subject(f"u{number}", 4.0)
    assert await store.purge(1e10, limit=20_000) == 10_000
    assert (store._records, store._by_subject) == ({}, {})


async def test_what_was_forgotten_takes_nothing_along():
    """A name may come again: what was known of the end of the one before says nothing about it."""
    store = MemorySessionStore()
    await store.open(record("s", expires_at=100.0), most=5)
    await store.revoke("s", 50.0)
    assert await store.purge(60.0) == 1
    await store.open(record("s", expires_at=1000.0), most=5)
    assert await store.purge(200.0) == 0
    assert await store.find("s") is not None


async def test_both_are_stores_of_this_kind_and_no_others(tmp_path):
    """Features find them by the protocol, and find no key store in their place."""
    for url in ("memory://", f"sqlite:///{tmp_path}/app.db"):
        stores = open_store(url)
        found = (stores.limits, stores.keys, stores.ledger, stores.sessions)
        assert [one for one in found if isinstance(one, SessionStore)] == [stores.sessions]
        await stores.check()
        await stores.aclose()


async def test_a_file_that_cannot_be_used_is_unavailable(tmp_path):
    """Every verb says so within its bound, and says nothing else."""
    path = tmp_path / "app.db"
    store = SqliteSessionStore(path, timeout_seconds=0.2, durable_timeout_seconds=0.2)
    await store.open(record("s"), most=5)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        writes = (
            store.open(record("t"), most=5),
            store.touch("s", 9.0),
            store.revoke("s", 9.0),
            store.revoke_subject("ann", 9.0),
            store.purge(9.0),
            store.check(),
        )
        for write in writes:
            with pytest.raises(StoreUnavailableError):
                await write
        assert (await store.find("s")).revoked_at is None
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    path.unlink()
    with pytest.raises(StoreUnavailableError):
        await store.find("s")
    await store.aclose()


def test_a_revocation_in_one_process_is_found_in_another(tmp_path):
    """There is one file, and what was told to be revoked is revoked for everybody."""
    path = tmp_path / "app.db"
    source = """
        from prodkit.stores.sqlite_sessions import SqliteSessionStore
        async def main():
            store = SqliteSessionStore(sys.argv[1], timeout_seconds=5.0)
            print(await store.revoke("s", 5.0), (await store.find("s")).revoked_at)
            await store.aclose()
        asyncio.run(main())
    """

    async def main():
        store = SqliteSessionStore(path, timeout_seconds=5.0)
        await store.open(record("s"), most=5)
        assert await asyncio.to_thread(finish, script(source, path)) == ["True", "5.0"]
        assert (await store.find("s")).revoked_at == 5.0
        await store.aclose()

    asyncio.run(main())


async def test_what_is_over_is_found_by_its_index(tmp_path):
    """Removing it does not walk through all the sessions that are open."""
    path = tmp_path / "app.db"
    store = SqliteSessionStore(path, timeout_seconds=5.0)
    await store.open(record("s"), most=5)
    plan = sqlite3.connect(path).execute(f"EXPLAIN QUERY PLAN {_PURGE}", (1.0, 5)).fetchall()
    assert any("web_sessions_by_end" in row[3] for row in plan), plan
    await store.aclose()
