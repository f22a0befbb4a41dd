"""The file under the SQLite stores: whose it is, who may read it, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import KeyRecord, Rate, sqlite_connection, sqlite_schema
from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
from prodkit.stores.sqlite_schema import APPLICATION_ID, UPGRADES
from prodkit.testing import hit

HOURLY = Rate(100, 3600.0)
RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)

posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and file modes of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def script(source, *arguments):
    """Start a process of its own that runs *source*."""
    prelude = """
        import asyncio, os, signal, sys, time
        from prodkit.core.exceptions import StoreError
        from prodkit.stores import KeyRecord, Rate
        from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
        from prodkit.testing import hit
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(source)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What it printed, after it ended well."""
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    return output.split()


# ------------------------------------------------------------------------------ several processes


def test_processes_admit_exactly_the_limit_together(path):
    """Three processes hammer one key at the same time, 32 callers each: the limit is admitted, no more, no less."""
    source = """
        store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        rate = Rate(500, 86_400.0)
        async def caller():
            return sum([(await hit(store, ("k", rate, 1)))[0].allowed for _ in range(10)])
        async def main():
            await store.check()
            print("ready", flush=True)
            sys.stdin.readline()
            print(sum(await asyncio.gather(*(caller() for _ in range(32)))))
            await store.aclose()
        asyncio.run(main())
    """
    processes = [script(source, path) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    admitted = [int(finish(process)[-1]) for process in processes]
    assert sum(admitted) == 500, admitted


@posix
def test_a_killed_writer_leaves_a_usable_file(path):
    """kill -9 in the middle of writing: the next process reads, writes, and finds what was answered."""
    source = """
        keys = SqliteKeyStore(sys.argv[1])
        limits = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        async def main():
            n = 0
            while True:
                await keys.put(KeyRecord(id=f"{n:06}", digest=b"d", pepper_id="p", owner="o", created_at=0.0))
                await asyncio.gather(*(hit(limits, (f"{n}/{m}", Rate(9, 1e6), 1)) for m in range(50)))
                print(n, flush=True)
                n += 1
        asyncio.run(main())
    """
    for _ in range(2):
        process = script(source, path)
        for _ in range(5):
            last = int(process.stdout.readline())
        process.kill()
        process.communicate()

        async def look(last=last):
            keys, limits = (
                SqliteKeyStore(path, timeout_seconds=5.0),
                SqliteRateLimitStore(path, timeout_seconds=5.0),
            )
            assert await keys.find(f"{last:06}") is not None
            assert (await hit(limits, (f"{last}/0", Rate(9, 1e6), 0)))[0].remaining < 9
            await keys.put(RECORD)
            await keys.aclose()
            await limits.aclose()

        asyncio.run(look())
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@posix
def test_a_store_opened_before_a_fork_works_on_both_sides(path):
    """Parent and child go on with the same store object; together they admit the limit; the file stays sound."""
    source = """
        store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        rate = Rate(300, 86_400.0)
        async def ask(n):
            return sum([answer[0].allowed for answer in await asyncio.gather(*(hit(store, ("k", rate, 1)) for _ in range(n)))])
        assert asyncio.run(ask(100)) == 100
        children = []
        for _ in range(2):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                admitted = sum(asyncio.run(ask(10)) for _ in range(15))
                os.write(writing, str(admitted).encode())
                asyncio.run(store.aclose())
                os._exit(0)
            os.close(writing)
            children.append((pid, reading))
        admitted = 100 + sum(asyncio.run(ask(10)) for _ in range(15))
        for pid, reading in children:
            admitted += int(os.read(reading, 100))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not asyncio.run(ask(1))
        asyncio.run(store.aclose())
        print(admitted)
    """
    assert finish(script(source, path)) == ["300"]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@posix
def test_no_connection_is_carried_across_a_fork(path):
    """SQLite forbids it: at the moment of the fork no descriptor of the file is open, in either process."""
    source = """
        store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        asyncio.run(store.check())
        def is_open(fd):
            try:
                return os.path.samestat(os.fstat(fd), os.stat(sys.argv[1]))
            except OSError:
                return False
        assert sum(map(is_open, range(256))) == 1
        pid = os.fork()
        if pid == 0:
            os._exit(sum(map(is_open, range(256))))
        print(sum(map(is_open, range(256))), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        asyncio.run(store.check())
        asyncio.run(store.aclose())
    """
    assert finish(script(source, path)) == ["0", "0"]


# ------------------------------------------------------------------------------ whose file it is


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


@pytest.mark.parametrize("version", range(len(UPGRADES) + 1))
async def test_every_released_file_is_brought_up_to_date(path, version):
    """A file of any release so far, and an empty one, becomes what the newest release makes."""
    old = sqlite3.connect(path, isolation_level=None)
    for statements in UPGRADES[:version]:
        for statement in statements:
            old.execute(statement)
    if version:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {version}")
    old.close()
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    assert (await hit(store, ("k", HOURLY, 1)))[0].allowed
    await store.aclose()
    now = sqlite3.connect(path)
    assert now.execute("PRAGMA user_version").fetchone() == (len(UPGRADES),)
    assert now.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert now.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert {name for (name,) in now.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
        "rate_limits",
        "api_keys",
    }
    now.close()


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


# ------------------------------------------------------------------------------ when it breaks


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
            try:
                for _ in range(3):
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
