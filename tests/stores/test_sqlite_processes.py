"""The SQLite stores under several processes, kill -9 and fork."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from prodkit.stores import KeyRecord, Rate
from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
from prodkit.testing import hit
from tests.stores.processes import finish, script

RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)

posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and file modes of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def test_processes_admit_exactly_the_limit_together(path):
    """Three processes hammer one key, 32 callers each: the limit is admitted, no more, no less."""
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
    """Parent and child go on with the same store; together they admit the limit; the file stays sound."""
    source = """
        store = SqliteRateLimitStore(sys.argv[1], timeout_seconds=20.0)
        rate = Rate(300, 86_400.0)
        async def ask(n):
            answers = await asyncio.gather(*(hit(store, ("k", rate, 1)) for _ in range(n)))
            return sum(answer[0].allowed for answer in answers)
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
