"""What the SQLite stores say when the file breaks, and how they recover."""

from __future__ import annotations

import os
import tempfile
import time

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import Rate
from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
from prodkit.testing import hit
from tests.stores.processes import finish, script

HOURLY = Rate(100, 3600.0)

posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and file modes of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


async def refused(store, match):
    """Every verb says promptly that the store is unavailable."""
    start = time.monotonic()
    for attempt in (hit(store, ("k", HOURLY, 1)), store.check(), store.reset("k")):
        with pytest.raises(StoreUnavailableError, match=match):
            await attempt
    assert time.monotonic() - start < 2.0


def test_a_missing_directory_is_refused_at_once(tmp_path):
    """At construction, with the directory and the setting."""
    for kind in (SqliteRateLimitStore, SqliteKeyStore):
        with pytest.raises(StoreUnavailableError, match=r"none does not exist.*PRODKIT_STORE"):
            kind(tmp_path / "none" / "app.db")


async def test_a_directory_that_goes_missing_is_named(tmp_path):
    """Also when it disappears before the first use; and the store works as soon as it is back."""
    folder = tmp_path / "data"
    folder.mkdir()
    store = SqliteRateLimitStore(folder / "app.db", timeout_seconds=5.0)
    folder.rmdir()
    await refused(store, "data does not exist")
    folder.mkdir()
    await store.check()
    await store.aclose()


async def test_a_file_that_is_no_database(path):
    """Unavailable, at once, and unchanged; repaired, the store works again without a restart."""
    path.write_bytes(b"this is no database, and long enough to be looked at closely\n" * 100)
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await refused(store, "not a database")
    assert path.read_bytes().startswith(b"this is no database")
    path.unlink()
    await store.check()
    await store.aclose()


async def test_a_damaged_file(path):
    """Unavailable, at once; with the backup in its place the store works again."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await hit(store, *((f"k{n}", HOURLY, 1) for n in range(500)))
    await store.aclose()
    sound = path.read_bytes()
    path.write_bytes(sound[:4096] + b"\xa5" * (len(sound) - 4096))
    with pytest.raises(StoreUnavailableError, match="malformed"):
        await hit(store, ("k1", HOURLY, 1))
    await store.aclose()
    path.write_bytes(sound)
    assert (await hit(store, ("k1", HOURLY, 0)))[0].remaining < 100
    await store.aclose()


async def test_a_file_deleted_under_way_is_noticed(path):
    """Others would make a new one beside it: two truths. The store refuses, and says what to do."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await hit(store, ("k", HOURLY, 1))
    path.rename(path.with_name("moved.db"))
    await refused(store, "Restart every process")
    path.write_bytes(b"")
    await refused(store, "Restart every process")
    await store.aclose()


@posix
def test_a_read_only_file():
    """Unavailable, at once; writable again, the store works."""
    source = """
        path = sys.argv[1]
        async def main():
            store = SqliteRateLimitStore(path, timeout_seconds=5.0)
            await store.check()
            await store.aclose()
            os.chmod(path, 0o400)
            for attempt in (store.check(), hit(store, ("k", Rate(1, 1.0), 1))):
                try:
                    await attempt
                except StoreError as error:
                    print("readonly" in str(error))
            for name in os.listdir(os.path.dirname(path)):
                os.chmod(os.path.join(os.path.dirname(path), name), 0o600)
            await store.check()
            print("recovered")
            await store.aclose()
        import concurrent.futures.thread  # whom a root becomes below may not see the library
        if os.getuid() == 0:  # root may write anything
            os.chmod(os.path.dirname(path), 0o777)
            os.setuid(65534)
        asyncio.run(main())
    """
    # Not in pytest's folder, which is closed to the user that a test run as root becomes.
    with tempfile.TemporaryDirectory() as folder:
        assert finish(script(source, f"{folder}/app.db")) == ["True", "True", "recovered"]


@posix
def test_a_full_disk(path):
    """Unavailable, at once, nothing half written; with room again the store works."""
    source = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = sys.argv[1]
        async def main():
            store = SqliteRateLimitStore(path, timeout_seconds=5.0)
            await hit(store, ("k", Rate(100, 1e6), 1))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path + "-wal"), hard))
            try:
                await hit(store, *((f"much {n:0100}", Rate(100, 1e6), 1) for n in range(1000)))
            except StoreError as error:
                print(type(error).__name__)
            # Not even one page more: the failure above has emptied the -wal, which may be filled again.
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            try:
                await store.check()
            except StoreError as error:
                print(type(error).__name__)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            print((await hit(store, ("k", Rate(100, 1e6), 1)))[0].remaining)
            print((await hit(store, (f"much {1:0100}", Rate(100, 1e6), 0)))[0].remaining)
            await store.aclose()
        asyncio.run(main())
    """
    assert finish(script(source, path)) == ["StoreUnavailableError", "StoreUnavailableError", "98", "100"]


@posix
def test_a_cost_that_finds_the_disk_full_is_written_later(path):
    """Unavailable, at once, and nothing half written; said again when there is room, it is charged once."""
    source = """
        import resource
        from prodkit.stores.ledger import BudgetAsk, Reservation
        from prodkit.stores.sqlite_ledger import SqliteLedger
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ask = BudgetAsk("b", 0, None, 100)
        async def main():
            ledger = SqliteLedger(sys.argv[1], timeout_seconds=5.0)
            await ledger.reserve(Reservation(id="h", amount_nano=60, lease_seconds=60.0, asks=(ask,), dispatched=True))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            late = Reservation(id="i", amount_nano=1, lease_seconds=60.0, asks=(ask,))
            for attempt in (ledger.settle("h", 50), ledger.check(), ledger.reserve(late)):
                try:
                    await attempt
                except StoreError as error:
                    print(type(error).__name__)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await ledger.check()
            for _ in range(2):
                await ledger.settle("h", 50)
            (account,) = await ledger.accounts([ask])
            print(account.settled_nano, account.held_nano, len(await ledger.entries()), await ledger.rebuild())
            await ledger.aclose()
        asyncio.run(main())
    """
    assert finish(script(source, path)) == ["StoreUnavailableError"] * 3 + ["50", "0", "1", "0"]
