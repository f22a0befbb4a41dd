"""One call for many waiters."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from prodkit.core.single_flight import SingleFlight


async def test_waiters_share_one_call_and_nothing_is_remembered():
    """Concurrent calls share one answer; the next call asks again."""
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls

    flights: SingleFlight[int] = SingleFlight()
    assert await asyncio.gather(*(flights.run("k", call) for _ in range(10))) == [1] * 10
    assert await flights.run("k", call) == 2


async def test_cancelled_leader_does_not_hurt_followers():
    """The first waiter may leave; the call goes on for the others."""
    release = asyncio.Event()

    async def call() -> str:
        await release.wait()
        return "answer"

    flights: SingleFlight[str] = SingleFlight()
    leader = asyncio.create_task(flights.run("k", call))
    follower = asyncio.create_task(flights.run("k", call))
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    release.set()
    assert await follower == "answer"


async def test_failure_is_everybodys():
    """An exception reaches every waiter, and the next call is fresh."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    flights: SingleFlight[None] = SingleFlight()
    results = await asyncio.gather(*(flights.run("k", fails) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert flights._flights == {}


def test_loops_at_once_do_not_join():
    """A task can be awaited on its own loop only: two test clients in two threads each have their own call."""
    calls: list[int] = []
    both_are_in = threading.Barrier(2, timeout=10)
    flights: SingleFlight[int] = SingleFlight()

    async def call() -> int:
        calls.append(threading.get_ident())
        await asyncio.get_running_loop().run_in_executor(None, both_are_in.wait)
        return threading.get_ident()

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: (threading.get_ident(), asyncio.run(flights.run("k", call))), "ab"))
    assert all(mine == answer for mine, answer in answers)
    assert len(calls) == 2
    assert flights._flights == {}


def test_a_loop_that_was_closed_half_way_hurts_nobody():
    """What was under way on it never ends; the next loop asks for itself, and the dead one is forgotten."""

    async def never() -> str:
        await asyncio.Event().wait()
        return "never"

    async def call() -> str:
        return "answer"

    flights: SingleFlight[str] = SingleFlight()
    dead = asyncio.new_event_loop()
    left: list[Any] = [dead.create_task(flights.run("k", never))]
    for _ in range(3):
        dead.run_until_complete(asyncio.sleep(0))
    left += flights._flights[dead].values()
    dead.close()
    assert asyncio.run(flights.run("k", call)) == "answer"
    assert flights._flights == {}
    for task in left:
        task._log_destroy_pending = False  # that they were left behind is the point
