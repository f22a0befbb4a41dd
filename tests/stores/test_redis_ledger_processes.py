"""One ledger in Redis under several processes, and under processes and a server that are killed at any moment."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.redis_ledger import RedisLedger
from tests.stores.processes import finish, script
from tests.support.valkey import running_valkey, shared_valkey

pytestmark = pytest.mark.process
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

COUNTED = BudgetAsk("counted", 0, None, None)

IMPORTS = """
import random
from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import BudgetAsk, Hold, Reservation
from prodkit.stores.redis_ledger import RedisLedger
limited = BudgetAsk("limited", 0, None, 1000)
counted = BudgetAsk("counted", 0, None, None)
"""


@pytest.fixture
def server():
    valkey = shared_valkey()
    valkey.ask("FLUSHALL")
    return valkey


def later() -> FakeClock:
    """A clock on which every lease of these tests is over."""
    clock = FakeClock()
    clock.set_wall(time.time() + 7200)
    return clock


def started(source, server, names):
    """Processes that all begin when the last of them is ready."""
    processes = [script(source, server.url, name, imports=IMPORTS) for name in names]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def test_a_budget_of_so_many_calls_admits_exactly_so_many(server):
    """Three processes of 16 tasks ask for all they get; accounts, holds and entries say the same afterwards."""
    source = """
        async def task(ledger, name):
            admitted = cost = 0
            for n in range(20):
                asked = Reservation(id=f"{name}.{n}", amount_nano=10, lease_seconds=600.0, asks=(counted, limited),
                                    attributes={"tenant": name}, dispatched=True)
                if isinstance(await ledger.reserve(asked), Hold):
                    admitted += 1
                    if n % 3:
                        cost += (await ledger.settle(asked.id, 10)).charged_nano
            return admitted, cost
        async def main():
            ledger = RedisLedger(sys.argv[1], timeout_seconds=30.0)
            await ledger.accounts([limited])
            print("ready", flush=True)
            sys.stdin.readline()
            done = await asyncio.gather(*(task(ledger, f"{sys.argv[2]}.{n}") for n in range(16)))
            print(sum(admitted for admitted, _ in done), sum(cost for _, cost in done))
            await ledger.aclose()
        asyncio.run(main())
    """
    answers = [[int(word) for word in finish(process, 120)] for process in started(source, server, "abc")]
    assert sum(admitted for admitted, _ in answers) == 100, answers

    async def look():
        ledger = RedisLedger(server.url, timeout_seconds=30.0)
        spent = sum(cost for _, cost in answers)
        entries = await ledger.entries(limit=1000)
        holds = await ledger.open_holds()
        for account in await ledger.accounts([BudgetAsk("limited", 0, None, None), COUNTED]):
            assert (account.settled_nano, account.held_nano) == (spent, 1000 - spent)
        assert sum(entry.amount_nano for entry in entries) == spent
        assert sum(hold.amount_nano for hold in holds) == 1000 - spent
        assert len(holds) + len(entries) == 100
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(look())


def test_processes_never_overspend_a_limit_together(server):
    """Three of them reserve, settle, presume, release and forget: at no moment is more exposed than the limit."""
    source = """
        async def caller(ledger, name, dice, highest):
            spent = 0
            for n in range(30):
                asked = Reservation(id=f"{name}.{n}", amount_nano=dice.randint(0, 60), lease_seconds=600.0,
                                    asks=(counted, limited), dispatched=dice.random() < 0.9)
                answer = await ledger.reserve(asked)
                (account,) = await ledger.accounts([limited])
                highest.append(account.settled_nano + account.held_nano)
                if not isinstance(answer, Hold):
                    continue
                end = dice.randrange(4)
                if answer.state == "held":
                    await ledger.release(asked.id)
                elif end == 0:
                    spent += (await ledger.presume(asked.id)).charged_nano
                elif end < 3:
                    spent += (await ledger.settle(asked.id, dice.randint(0, asked.amount_nano))).charged_nano
                else:
                    spent += asked.amount_nano  # forgotten: the reaper will charge it
            return spent
        async def main():
            ledger = RedisLedger(sys.argv[1], timeout_seconds=30.0)
            await ledger.accounts([limited])
            print("ready", flush=True)
            sys.stdin.readline()
            dice, highest = random.Random(sys.argv[2]), []
            spent = await asyncio.gather(*(caller(ledger, f"{sys.argv[2]}.{n}", dice, highest) for n in range(8)))
            print(max(highest), sum(spent))
            await ledger.aclose()
        asyncio.run(main())
    """
    answers = [[int(word) for word in finish(process, 120)] for process in started(source, server, "abc")]
    assert max(highest for highest, _ in answers) <= 1000, answers
    assert max(highest for highest, _ in answers) > 900, "the limit was never in the way"

    async def look():
        ledger = RedisLedger(server.url, clock=later(), timeout_seconds=30.0)
        while (await ledger.reap()).presumed:
            pass
        (account,) = await ledger.accounts([BudgetAsk("limited", 0, None, None)])
        assert (account.settled_nano, account.held_nano) == (sum(spent for _, spent in answers), 0)
        assert account.settled_nano <= 1000
        assert await ledger.rebuild() == 0
        await ledger.aclose()

    asyncio.run(look())


KILLED = """
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
        ledger = RedisLedger(sys.argv[1], timeout_seconds=30.0)
        n = 0
        while True:
            try:
                await asyncio.gather(*(run(ledger, f"{sys.argv[2]}.{n}.{m}") for m in range(5)))
            except StoreError as error:
                print("failed", type(error).__name__, 0, flush=True)
                sys.stdin.readline()
            n += 1
    asyncio.run(main())
"""


def said_before_the_end(process, lines, end):
    """What calls left, and what they cost, as the process said until *end* was done to it."""
    said = [process.stdout.readline() for _ in range(lines)]
    end()
    process.kill()
    said += process.communicate()[0].splitlines(keepends=True)
    words = [line.split() for line in said if line.endswith("\n")]
    return [{call: int(nano) for what, call, nano in words if what == kind} for kind in ("left", "cost")]


async def require_true(url, left, cost):
    """Of what was said everything holds; what is not known is charged in full; nothing is held any more."""
    ledger = RedisLedger(url, clock=later(), timeout_seconds=30.0)
    while (reaped := await ledger.reap()).released or reaped.presumed:
        pass
    assert await ledger.open_holds() == []
    for call, estimate in left.items():
        hold = await ledger.find(call)
        assert hold is not None, call
        assert hold.state in ({"settled"} if call in cost else {"settled", "presumed"}), hold
        assert hold.charged_nano == cost.get(call, hold.charged_nano if hold.state == "settled" else estimate)
    entries = await ledger.entries(limit=100_000)
    (account,) = await ledger.accounts([COUNTED])
    assert (account.settled_nano, account.held_nano) == (sum(entry.amount_nano for entry in entries), 0)
    assert await ledger.rebuild() == 0
    await ledger.aclose()
    return entries


@posix
def test_a_killed_process_loses_nothing_that_it_was_told(server):
    """kill -9 in the middle of runs: what was answered holds, what had left is charged, the rest is given back."""
    left, cost = {}, {}
    for attempt in range(3):
        process = script(KILLED, server.url, attempt, imports=IMPORTS)
        told = said_before_the_end(process, 25 + 7 * attempt, process.kill)
        left.update(told[0])
        cost.update(told[1])
    asyncio.run(require_true(server.url, left, cost))
    assert len(cost) > 10


@posix
def test_a_call_that_was_under_way_when_its_process_was_killed_is_presumed(server):
    """Dispatched and never settled: the reaper of another process charges it in full, once."""
    source = """
        async def main():
            ledger = RedisLedger(sys.argv[1], timeout_seconds=30.0)
            for name in ("away", "kept"):
                await ledger.reserve(Reservation(id=name, amount_nano=40, lease_seconds=60.0, asks=(limited,)))
            await ledger.dispatch("away")
            print("left", flush=True)
            sys.stdin.readline()
        asyncio.run(main())
    """
    process = script(source, server.url, imports=IMPORTS)
    assert process.stdout.readline() == "left\n"
    process.kill()
    process.communicate()

    async def look():
        early, late = (
            RedisLedger(server.url, clock=clock, timeout_seconds=30.0) for clock in (None, later())
        )
        assert (await early.reap()).presumed == ()
        reaped = await asyncio.gather(*(late.reap() for _ in range(5)))
        assert [hold.id for some in reaped for hold in some.presumed] == ["away"]
        assert [hold.id for some in reaped for hold in some.released] == ["kept"]
        (account,) = await late.accounts([BudgetAsk("limited", 0, None, None)])
        assert (account.settled_nano, account.held_nano) == (40, 0)
        await late.aclose()

    asyncio.run(look())


@posix
def test_a_server_that_is_killed_comes_back_with_all_it_answered():
    """With `appendfsync always`, kill -9 of the server in the middle of runs: whatever a verb returned is there again."""
    with running_valkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        process = script(KILLED, server.url, "a", imports=IMPORTS)
        left, cost = said_before_the_end(process, 60, server.kill)
        server.start()
        entries = asyncio.run(require_true(server.url, left, cost))
        assert len(cost) > 10
        assert len(entries) >= len(cost)
