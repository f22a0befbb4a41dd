"""The ledger in PostgreSQL under several processes, and under processes that are killed or stopped at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk, Hold
from tests.stores.postgres_stores import T, asked, exposed, ledger_at
from tests.stores.processes import finish, script
from tests.support.postgres import shared_postgres

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")

LIMITED = BudgetAsk("limited", 0, None, 1000)
COUNTED = BudgetAsk("counted", 0, None, None)

IMPORTS = """
import random
from prodkit.core.clock import FakeClock
from prodkit.stores import postgres_pool
from prodkit.stores.ledger import BudgetAsk, Hold, Reservation
from prodkit.stores.postgres_ledger import PostgresLedger
limited = BudgetAsk("limited", 0, None, 1000)
counted = BudgetAsk("counted", 0, None, None)
"""


def later() -> FakeClock:
    """A clock on which every lease of these tests is over."""
    clock = FakeClock()
    clock.set_wall(time.time() + 7200)
    return clock


@pytest.fixture
def url():
    return shared_postgres().url()


def test_processes_never_overspend_a_limit_together(url):
    """Four of them reserve, settle, presume, release and forget: at no moment is more exposed than the limit."""
    source = """
        async def caller(ledger, name, dice, highest):
            spent = 0
            for n in range(25):
                asks = [counted, limited, BudgetAsk(f"new {n}", 60 * n, None, None)]
                dice.shuffle(asks)
                asked = Reservation(id=f"{name}.{n}", amount_nano=dice.randint(0, 60), lease_seconds=600.0,
                                    asks=tuple(asks), dispatched=True)
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
            ledger = PostgresLedger(sys.argv[1], timeout_seconds=30.0)
            print("ready", flush=True)
            sys.stdin.readline()
            dice, highest = random.Random(sys.argv[2]), []
            spent = await asyncio.gather(*(caller(ledger, f"{sys.argv[2]}.{n}", dice, highest) for n in range(8)))
            print(max(highest), sum(spent))
            await ledger.aclose()
        asyncio.run(main())
    """
    processes = [script(source, url, name, imports=IMPORTS) for name in "abcd"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all of them find no tables yet, and make them
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [[int(word) for word in finish(process, timeout_seconds=120)] for process in processes]
    assert max(highest for highest, _ in answers) <= 1000, answers
    assert max(highest for highest, _ in answers) > 900, "the limit was never in the way"

    async def look():
        async with ledger_at(url, clock=later()) as ledger:
            while (await ledger.reap()).presumed:
                pass
            assert await exposed(ledger, LIMITED) == [(sum(spent for _, spent in answers), 0)]
            assert await ledger.rebuild() == 0

    asyncio.run(look())


@posix
def test_a_killed_process_loses_nothing_that_it_was_told(url):
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
            ledger = PostgresLedger(sys.argv[1], timeout_seconds=30.0)
            n = 0
            while True:
                await asyncio.gather(*(run(ledger, f"{sys.argv[2]}.{n}.{m}") for m in range(5)))
                n += 1
        asyncio.run(main())
    """
    left: dict[str, int] = {}
    cost: dict[str, int] = {}
    for attempt in range(3):
        process = script(source, url, attempt, imports=IMPORTS)
        said = [process.stdout.readline() for _ in range(25 + 7 * attempt)]
        process.kill()
        said += process.communicate()[0].splitlines(keepends=True)
        for what, call, nano in (line.split() for line in said if line.endswith("\n")):
            (left if what == "left" else cost)[call] = int(nano)

    async def look():
        async with ledger_at(url, clock=later()) as ledger:
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
            assert await exposed(ledger, COUNTED) == [(sum(entry.amount_nano for entry in entries), 0)]
            assert await ledger.rebuild() == 0

    asyncio.run(look())
    assert len(cost) > 10


@posix
def test_a_process_stopped_in_the_middle_lets_go_of_its_locks(url):
    """One that is frozen with an account locked keeps others waiting no longer than its own time; what it had begun is undone."""
    source = """
        async def main():
            ledger = PostgresLedger(sys.argv[1], timeout_seconds=1.0)
            await ledger.check()
            import asyncpg
            below = asyncpg.Connection.fetchrow
            async def freezing(self, *arguments, **options):
                answer = await below(self, *arguments, **options)
                print("frozen", flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)
                return answer
            asyncpg.Connection.fetchrow = freezing
            await ledger.reserve(Reservation(id="frozen", amount_nano=600, lease_seconds=60.0,
                                             asks=(BudgetAsk("tenant", 0, None, 1000),)))
        asyncio.run(main())
    """
    process = script(source, url, imports=IMPORTS)
    try:
        assert process.stdout.readline() == "frozen\n"

        async def go_on():
            async with ledger_at(url) as ledger:
                began = time.monotonic()
                assert isinstance(await ledger.reserve(asked("h", 700)), Hold)
                assert time.monotonic() - began < 5.0
                assert await ledger.find("frozen") is None
                assert await exposed(ledger, T) == [(0, 700)]

        asyncio.run(go_on())
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
