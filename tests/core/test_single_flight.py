"""One call for many waiters."""

from __future__ import annotations

import asyncio

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
