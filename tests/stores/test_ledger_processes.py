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
import random
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
