"""The keeping and carrying out of runs, without a server: bounded, cancelled with it, and one failure is one failure."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from examples.research_agents.local_parallel.runs import Progress, Run, Runs, TooManyRunsError
from examples.research_agents.local_parallel.schemas import UnfittingError
from examples.research_agents.local_parallel.task_wire import TaskRequest

OUTPUT = {"type": "text", "content": "done", "basis": []}


def task(processor: str = "lite") -> TaskRequest:
    return TaskRequest(input="x", processor=processor)


def done(_: Run, __: Progress) -> dict[str, Any]:
    return OUTPUT


async def ended(run: Run) -> None:
    while run.active:
        await run.changed.wait()


async def test_old_runs_are_forgotten_and_active_ones_never() -> None:
    """By age, on the clock that is given."""
    now = 0.0
    gate = threading.Event()

    def work(run: Run, _: Progress) -> dict[str, Any]:
        if run.request.processor == "ultra":
            gate.wait(10)
        return OUTPUT

    runs = Runs(work, lifetime_seconds=100, clock=lambda: now)
    async with anyio.create_task_group() as group:
        slow, quick = runs.start(task("ultra"), group), runs.start(task(), group)
        await ended(quick)
        now = 99.0
        assert runs.get(quick.id) is quick
        now = 101.0
        assert runs.get(quick.id) is None
        assert runs.get(slow.id) is slow
        gate.set()
        await ended(slow)
        assert runs.get(slow.id) is None


async def test_only_so_many_runs_are_kept() -> None:
    """The oldest finished ones go."""
    runs = Runs(done, limit=3)
    kept = []
    async with anyio.create_task_group() as group:
        for _ in range(5):
            kept.append(runs.start(task(), group))
            await ended(kept[-1])
    assert [runs.get(run.id) is not None for run in kept[:3]] == [False, False, False]
    assert runs.get(kept[4].id) is kept[4]


async def test_only_so_many_runs_are_taken() -> None:
    """One more is refused, and accepted once another has ended."""
    gate = threading.Event()

    def work(_: Run, __: Progress) -> dict[str, Any]:
        gate.wait(10)
        return OUTPUT

    runs = Runs(work, active_limit=3, running_limit=1)
    async with anyio.create_task_group() as group:
        started = [runs.start(task(), group) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert [run.status for run in started] == ["running", "queued", "queued"]
        with pytest.raises(TooManyRunsError):
            runs.start(task(), group)
        gate.set()
        for run in started:
            await ended(run)
        await asyncio.sleep(0)
        await ended(runs.start(task(), group))


async def test_a_failure_ends_one_run_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What the client sees names nothing of the engine; the log has the rest under the same reference."""

    def work(run: Run, _: Progress) -> dict[str, Any]:
        if run.request.processor == "base":
            raise RuntimeError("entrails")
        return OUTPUT

    runs = Runs(work)
    with caplog.at_level(logging.ERROR):
        async with anyio.create_task_group() as group:
            broken, fine = runs.start(task("base"), group), runs.start(task(), group)
    assert (broken.status, fine.status) == ("failed", "completed")
    assert broken.error is not None
    assert "entrails" not in str(broken.describe())
    assert broken.error["ref_id"] in caplog.text
    assert "entrails" in caplog.text


async def test_a_schema_that_cannot_be_met_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """The run fails, says at which field, and nothing is logged."""

    def work(_: Run, __: Progress) -> dict[str, Any]:
        raise UnfittingError("size")

    runs = Runs(work)
    async with anyio.create_task_group() as group:
        run = runs.start(task(), group)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["detail"] == {"field": "size"}
    assert not caplog.records


async def test_the_end_of_the_server_cancels_what_runs_and_what_waits() -> None:
    """The thread at work stops at its next step, and who waits for the result learns it."""
    reached = threading.Event()
    left = threading.Event()

    def work(_: Run, progress: Progress) -> dict[str, Any]:
        reached.set()
        try:
            for _step in range(10_000):
                progress.say("search", "x")
        finally:
            left.set()
        return OUTPUT

    runs = Runs(work, running_limit=1)
    async with anyio.create_task_group() as group:
        working, waiting = runs.start(task("ultra"), group), runs.start(task(), group)
        await asyncio.to_thread(reached.wait, 5)
        group.cancel_scope.cancel()
    assert (working.status, waiting.status) == ("cancelled", "cancelled")
    assert left.is_set()
    assert working.events[-1]["run"]["status"] == "cancelled"


async def test_latency_comes_before_the_work_and_holds_no_thread() -> None:
    """Sixty runs of a tenth of a second take a tenth of a second, with two threads."""
    runs = Runs(done, latency_seconds=0.1, threads=2)
    before = anyio.current_time()
    async with anyio.create_task_group() as group:
        started = [runs.start(task(), group) for _ in range(60)]
        await asyncio.sleep(0.02)
        assert {run.status for run in started} == {"running"}
    assert anyio.current_time() - before < 1.5
    assert {run.status for run in started} == {"completed"}


async def test_the_story_of_a_run_is_bounded() -> None:
    """However much the engine says."""

    def work(_: Run, progress: Progress) -> dict[str, Any]:
        for _step in range(1000):
            progress.say("search", "y" * 5000)
            progress.count(1, ["pydoc:x"], 0.5)
        return OUTPUT

    runs = Runs(work)
    async with anyio.create_task_group() as group:
        run = runs.start(task("ultra"), group)
    assert len(run.events) < 210
    assert max(len(one.get("message", "")) for one in run.events) == 500
    assert (run.considered, list(run.read)) == (1000, ["pydoc:x"])
    assert run.events[-1]["output"] == OUTPUT


async def test_everybody_who_watches_is_told() -> None:
    """Fifty watchers see the same end."""
    gate = threading.Event()

    def work(_: Run, __: Progress) -> dict[str, Any]:
        gate.wait(10)
        return OUTPUT

    async def watch(run: Run, seen: Callable[[str], None]) -> None:
        await ended(run)
        seen(run.status)

    runs = Runs(work)
    seen: list[str] = []
    async with anyio.create_task_group() as group:
        run = runs.start(task(), group)
        for _ in range(50):
            group.start_soon(watch, run, seen.append)
        await asyncio.sleep(0.01)
        gate.set()
    assert seen == ["completed"] * 50
