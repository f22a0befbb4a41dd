"""Streams that are left: what was open is closed before the response ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import anyio

from examples.research_agents.runs import RunEvent
from examples.research_agents.streaming import event_stream
from prodkit import Problem


class FakeRun(SimpleNamespace):
    """A run that emits one event and then *after* happens; it takes a moment to clean up, as closing a connection does."""

    run_id = "run_1"
    cleaned = False

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        try:
            yield RunEvent("run.started", {})
            if self.after is not None:
                raise self.after
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            self.cleaned = True


async def read(run: Any, received: list[bytes]) -> None:
    async for piece in event_stream(run, heartbeat_seconds=60):
        received.append(piece)  # noqa: PERF401 - one by one: the test looks at what has arrived


async def test_a_cancelled_scope_waits_for_the_cleaning_up() -> None:
    """Starlette leaves a stream by an anyio scope, which cancels at every `await`; the run still ends in order, before
    the response does, so that no connection and no task is left.
    """
    run, received = FakeRun(after=None), list[bytes]()
    async with anyio.create_task_group() as group:
        group.start_soon(read, run, received)
        while not received:
            await asyncio.sleep(0)
        group.cancel_scope.cancel()
    assert run.cleaned
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "run-run_1"]


async def test_an_unexpected_error_is_opaque() -> None:
    """The client is told that something failed, and not what."""
    received: list[bytes] = []
    await read(FakeRun(after=RuntimeError("secret of ours")), received)
    assert received[-1].startswith(b"event: error\n")
    assert b'"status":500' in received[-1]
    assert b"secret" not in b"".join(received)


async def test_a_problem_is_told() -> None:
    """With its status and detail, under the next id."""
    received: list[bytes] = []
    await read(FakeRun(after=Problem(503, "Come back later.")), received)
    assert b"Come back later." in received[-1]
    assert b"id: run_1:2\n" in received[-1]
