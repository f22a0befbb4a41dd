"""health: checks that cannot hurt the application, and the watchdog of the event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.health import HealthCheck, HealthResult
from prodkit.health.monitor import Monitor
from prodkit.health.watchdog import Watchdog


def fine() -> None:
    return None


class AsyncProbe:
    """An object whose `__call__` is a coroutine function."""

    async def __call__(self) -> HealthResult:
        return HealthResult("degraded", "object")


async def coroutine_check() -> HealthResult:
    return HealthResult("degraded", "coroutine")


@pytest.mark.parametrize(
    "function",
    [
        coroutine_check,
        AsyncProbe(),
        functools.partial(coroutine_check),
        lambda: coroutine_check(),  # noqa: PLW0108 - the disguise is the point
        lambda: HealthResult("degraded", "plain"),
    ],
    ids=["coroutine", "object", "partial", "lambda", "plain"],
)
async def test_every_kind_of_function_is_run(function: Any) -> None:
    """A check may be a coroutine function in any disguise, or a plain function."""
    monitor = Monitor([HealthCheck(name="x", check=function)], FakeClock().monotonic)
    await monitor.refresh(5)
    assert monitor.states[0].status == "degraded"


async def test_plain_function_does_not_block_the_loop() -> None:
    """A driver without asyncio runs in a thread of its own."""
    loop_thread = threading.get_ident()
    seen: list[int] = []
    monitor = Monitor(
        [HealthCheck(name="x", check=lambda: seen.append(threading.get_ident()))], FakeClock().monotonic
    )
    await monitor.refresh(5)
    assert monitor.states[0].status == "healthy"
    assert seen != [loop_thread]


async def test_false_is_not_healthy() -> None:
    """Who returns False means that something is wrong."""
    monitor = Monitor([HealthCheck(name="x", check=lambda: False)], FakeClock().monotonic)  # type: ignore[return-value]
    await monitor.refresh(5)
    assert monitor.states[0].status == "unhealthy"


async def test_slow_check_times_out_alone() -> None:
    """One check that hangs is unhealthy after its time; the others, run beside it, have their results."""
    never = asyncio.Event()
    clock = FakeClock()
    monitor = Monitor(
        [
            HealthCheck(name="hangs", check=never.wait, timeout_seconds=0.02),
            HealthCheck(name="fine", check=fine),
        ],
        clock.monotonic,
    )
    await monitor.refresh(5)
    assert [state.status for state in monitor.states] == ["unhealthy", "healthy"]
    assert monitor.states[0].detail == "no answer within 0.02 s"


async def test_hanging_thread_is_not_joined_by_a_second() -> None:
    """A plain function that never returns holds one thread, however often it is due."""
    release = threading.Event()
    calls: list[int] = []

    def hang() -> None:
        calls.append(1)
        release.wait(10)

    monitor = Monitor(
        [HealthCheck(name="x", check=hang, timeout_seconds=0.02, interval_seconds=0)], FakeClock().monotonic
    )
    try:
        for _ in range(3):
            await monitor.refresh(5)
        assert calls == [1]
        assert monitor.states[0].detail == "the previous run has not come back"
    finally:
        release.set()
    while monitor.states[0].is_in_thread:
        await asyncio.sleep(0.001)
    await monitor.refresh(5)
    assert (calls, monitor.states[0].status) == ([1, 1], "healthy")


async def test_probes_share_one_run() -> None:
    """However many probes ask at once, a dependency is asked once; and not again while the result is fresh."""
    calls: list[int] = []
    clock = FakeClock()

    async def count() -> None:
        calls.append(1)
        await asyncio.sleep(0)

    monitor = Monitor([HealthCheck(name="x", check=count)], clock.monotonic)
    await asyncio.gather(*(monitor.refresh(5) for _ in range(10)))
    assert monitor.is_fresh()
    await monitor.refresh(5)
    assert calls == [1]
    clock.advance(60)
    assert not monitor.is_fresh()
    await monitor.refresh(5)
    assert calls == [1, 1]


async def test_flapping_is_damped() -> None:
    """With fail_after 2 and recover_after 3, one odd result changes nothing."""
    results = iter("gbgbbgggb")
    clock = FakeClock()
    monitor = Monitor(
        [
            HealthCheck(
                name="x", check=lambda: HealthResult("healthy" if next(results) == "g" else "unhealthy")
            )
        ],
        clock.monotonic,
        fail_after=2,
        recover_after=3,
    )
    seen = []
    for _ in range(9):
        clock.advance(60)
        await monitor.refresh(5)
        seen.append(monitor.states[0].status)
    good, bad = "healthy", "unhealthy"
    assert seen == [good, good, good, good, bad, bad, bad, good, good]


async def test_watchdog_measures_the_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop is late beyond its tick is the lag."""
    clock = FakeClock()
    watchdog = Watchdog(clock.monotonic)
    passed = asyncio.Event()
    real_sleep = asyncio.sleep

    async def late(seconds: float) -> None:
        clock.advance(seconds + 3)
        if passed.is_set():
            await real_sleep(3600)
        passed.set()

    monkeypatch.setattr("prodkit.health.watchdog.asyncio.sleep", late)
    task = asyncio.create_task(watchdog.run_for_ever())
    await real_sleep(0)
    await real_sleep(0)
    task.cancel()
    assert watchdog.lag_seconds == pytest.approx(3)
    assert [sample.value for sample in watchdog.samples()] == [pytest.approx(3)]


async def test_interval_of_zero_does_not_spin() -> None:
    """A check that shall always be fresh is not run all the time."""
    calls: list[int] = []

    async def count() -> None:
        calls.append(1)

    monitor = Monitor([HealthCheck(name="x", check=count, interval_seconds=0)], FakeClock().monotonic)
    running = asyncio.create_task(monitor.run_for_ever())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert calls == [1]


async def test_exhausted_threads_are_unhealthy_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread the check fails, and runs again when there is one."""
    monitor = Monitor([HealthCheck(name="x", check=fine, interval_seconds=0)], FakeClock().monotonic)

    def start(self: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        await monitor.refresh(5)
    assert (monitor.states[0].status, monitor.states[0].detail) == ("unhealthy", "RuntimeError")
    await monitor.refresh(5)
    assert monitor.states[0].status == "healthy"
