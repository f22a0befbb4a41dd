"""The ledger in a file under several processes, and under processes that are killed at any moment."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.stores.processes import finish, script

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")

LIMITED = BudgetAsk("limited", 0, None, 1000)

IMPORTS = """
import json, random, shutil, sqlite3
from prodkit.core.clock import FakeClock
from prodkit.stores import sqlite_connection
from prodkit.stores.ledger import BudgetAsk, Hold, Reservation
from prodkit.stores.sqlite_ledger import SqliteLedger
limited = BudgetAsk("limited", 0, None, 1000)
counted = BudgetAsk("counted", 0, None, None)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def later() -> FakeClock:
    """A clock on which every lease of these tests is over."""
    clock = FakeClock()
    clock.set_wall(time.time() + 7200)
    return clock


def test_processes_never_overspend_a_limit_together(path):
    """Three of them reserve, settle, presume, release and forget: at no moment is more exposed than the limit."""
    source = """
        async def caller(ledger, name, dice, highest):
            spent = 0
            for n in range(30):
                asked = Reservation(id=f"{name}.{n}", amount_nano=dice.randint(0, 60), lease_seconds=600.0,
                                    asks=(counted, limited), dispatched=True)
                answer = await ledger.reserve(asked)
                (account,) = await ledger.accounts([limited])
                highest.append(account.settled_nano + account.held_nano)
                if not isinstance(answer, Hold):
                    continue
                end = dice.randrange(4)
                if end == 0:
                    spent += (await ledger.presume(asked.id)).charged_nano
                elif end < 3:
                    spent += (await ledger.settle(asked.id, dice.randint(0, asked.amount_nano))).charged_nano
                else:
                    spent += asked.amount_nano  # forgotten: the reaper will charge it
            return spent
        async def main():
            ledger = SqliteLedger(sys.argv[1], timeout_seconds=30.0)
            await ledger.check()
            print("ready", flush=True)
            sys.stdin.readline()
            dice, highest = random.Random(sys.argv[2]), []
            spent = await asyncio.gather(*(caller(ledger, f"{sys.argv[2]}.{n}", dice, highest) for n in range(8)))
            print(max(highest), sum(spent))
            await ledger.aclose()
        asyncio.run(main())
    """
    processes = [script(source, path, name, imports=IMPORTS) for name in "abc"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [[int(word) for word in finish(process, timeout_seconds=120)] for process in processes]
    assert max(highest for highest, _ in answers) <= 1000, answers
    assert max(highest for highest, _ in answers) > 900, "the limit was never in the way"

    async def look():
        ledger = SqliteLedger(path, clock=later(), timeout_seconds=30.0)
        while (await ledger.reap()).presumed:
            pass
        (account,) = await ledger.accounts([LIMITED])
        assert (account.settled_nano, account.held_nano) == (sum(spent for _, spent in answers), 0)
        assert account.settled_nano <= 1000
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(look())


@posix
def test_a_killed_process_loses_nothing_that_it_was_told(path):
    """kill -9 in the middle of runs: what was answered holds, what had left is charged, the rest is given back."""
    source = """
        async def run(ledger, name):
            asked = Reservation(id=name, amount_nano=50, lease_seconds=60.0, asks=(counted,), envelope=True)
            await ledger.reserve(asked)
            for n in range(2):
                call = f"{name}.{n}"
                await ledger.draw(name, Reservation(id=call, amount_nano=20, lease_seconds=60.0, dispatched=True))
                print("left", call, 20, flush=True)
                await ledger.settle(call, 10 + n)
                print("cost", call, 10 + n, flush=True)
            await ledger.release(name)
        async def main():
            ledger = SqliteLedger(sys.argv[1], timeout_seconds=30.0)
            n = 0
            while True:
                await asyncio.gather(*(run(ledger, f"{sys.argv[2]}.{n}.{m}") for m in range(5)))
                n += 1
        asyncio.run(main())
    """
    left: dict[str, int] = {}
    cost: dict[str, int] = {}
    for attempt in range(3):
        process = script(source, path, attempt, imports=IMPORTS)
        said = [process.stdout.readline() for _ in range(25 + 7 * attempt)]
        process.kill()
        said += process.communicate()[0].splitlines(keepends=True)
        for what, call, nano in (line.split() for line in said if line.endswith("\n")):
            (left if what == "left" else cost)[call] = int(nano)

    async def look():
        ledger = SqliteLedger(path, clock=later(), timeout_seconds=30.0)
        while (reaped := await ledger.reap()).released or reaped.presumed:
            pass
        assert await ledger.open_holds() == []
        for call, estimate in left.items():
            hold = await ledger.find(call)
            assert hold is not None
            assert hold.state in ({"settled"} if call in cost else {"settled", "presumed"})
            assert hold.charged_nano == cost.get(
                call, hold.charged_nano if hold.state == "settled" else estimate
            )
        entries = await ledger.entries(limit=100_000)
        (account,) = await ledger.accounts([BudgetAsk("counted", 0, None, None)])
        assert (account.settled_nano, account.held_nano) == (sum(entry.amount_nano for entry in entries), 0)
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(look())
    assert len(cost) > 10
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@posix
def test_a_process_may_be_killed_between_any_two_statements(path):
    """Whichever statement is the last: what follows is either the end of the lease or the same verbs again, and both are true.

    After the lease nothing is held, and each call that was told it may leave is charged. Said again, the verbs end as if
    nothing had happened: they are recognised by their ids, and charged once.
    """
    source = """
        class Deadly(sqlite3.Connection):
            left = None
            def _count(self):
                if Deadly.left is not None:
                    Deadly.left -= 1
                    if Deadly.left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            def execute(self, *arguments):
                self._count()
                return super().execute(*arguments)
            def executemany(self, *arguments):
                self._count()
                return super().executemany(*arguments)
        connect = sqlite3.connect
        sqlite_connection.sqlite3.connect = lambda *names, **options: connect(*names, factory=Deadly, **options)

        def asked(name, nano, **options):
            return Reservation(id=name, amount_nano=nano, lease_seconds=60.0, **options)

        async def verbs(ledger, tell):
            await ledger.reserve(asked("run", 100, asks=(limited, counted), envelope=True))
            await ledger.draw("run", asked("a", 40, dispatched=True))
            tell("left a")
            await ledger.draw("run", asked("b", 30, dispatched=True))
            tell("left b")
            await ledger.settle("a", 25, units={"sku": 1})
            tell("cost a")
            await ledger.presume("b")
            await ledger.settle("b", 10)
            tell("cost b")
            await ledger.draw("run", asked("c", 5))
            await ledger.release("c")
            await ledger.release("run")
            await ledger.adjust("m", -3, reason="credit", asks=(limited,))

        async def child(path, left, writing):
            ledger = SqliteLedger(path, timeout_seconds=30.0)
            await ledger.check()
            Deadly.left = left
            await verbs(ledger, lambda text: os.write(writing, f"{text};".encode()))
            Deadly.left = None
            await ledger.aclose()

        async def state(path, *, again):
            clock = FakeClock()
            clock.set_wall(time.time() + 3600)
            ledger = SqliteLedger(path, clock=clock, timeout_seconds=30.0)
            if again:
                await verbs(ledger, lambda text: None)
            await ledger.reap()
            assert await ledger.open_holds() == []
            accounts = [(a.settled_nano, a.held_nano) for a in await ledger.accounts([limited, counted])]
            holds = {name: await ledger.find(name) for name in "abc"}
            entries = [(e.hold, e.kind, e.amount_nano) for e in await ledger.entries()]
            assert await ledger.rebuild() == 0
            await ledger.aclose()
            return accounts, holds, entries

        died = 0
        for number in range(1000):
            path, copy = f"{sys.argv[1]}.{number}", f"{sys.argv[1]}.{number}.copy"
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                asyncio.run(child(path, number, writing))
                os._exit(0)
            os.close(writing)
            told = b"".join(iter(lambda: os.read(reading, 1000), b"")).decode().split(";")
            os.close(reading)
            killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            for ending in ("", "-wal"):
                if os.path.exists(path + ending):
                    shutil.copy(path + ending, copy + ending)
            accounts, holds, entries = asyncio.run(state(path, again=False))
            charged = sum(hold.charged_nano for hold in holds.values() if hold)
            credit = sum(nano for _, kind, nano in entries if kind == "manual")
            assert accounts == [(charged + credit, 0), (charged, 0)], (number, accounts, entries)
            for name, estimate, cost in (("a", 40, 25), ("b", 30, 10)):
                if f"cost {name}" in told:
                    assert (holds[name].state, holds[name].charged_nano) == ("settled", cost), (number, holds)
                elif f"left {name}" in told:
                    assert holds[name].charged_nano in (estimate, cost), (number, holds)
            accounts, holds, entries = asyncio.run(state(copy, again=True))
            assert accounts == [(32, 0), (35, 0)], (number, accounts, entries)
            assert entries == [("a", "settled", 25), ("b", "presumed", 30), ("b", "adjusted", -20), ("m", "manual", -3)]
            for name in (path, copy):
                os.unlink(name)
            if not killed:
                break
            died += 1
        print(died)
    """
    (died,) = finish(script(source, path, imports=IMPORTS), timeout_seconds=120)
    assert int(died) > 60
