"""A run as server-sent events, and what happens when the client has left.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import anyio
import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import ClientDisconnect

from prodkit import Problem
from prodkit.core.problems import problem_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from fastapi import Request

    from .runs import Run, RunEvent

__all__ = ["event_stream", "while_connected"]

_Result = TypeVar("_Result")
_CLEANUP_SECONDS = 5.0  # closing a connection takes milliseconds; what takes longer is stuck
_log = structlog.get_logger("research")


async def event_stream(run: Run, *, heartbeat_seconds: float) -> AsyncIterator[bytes]:
    """The events of *run* as bytes, each with an `id` of run and position; the last one is `run.completed` or `error`.

    A response whose status is sent cannot become an error any more, so a failure is an `error` event that holds the
    problem document. Silence is filled with comments. Closing the iterator cancels the run.
    """
    # The bound makes a slow reader slow the run down instead of filling memory.
    queue: asyncio.Queue[RunEvent | Exception | None] = asyncio.Queue(maxsize=32)

    async def pump() -> None:
        try:
            async with aclosing(run.events()) as events:
                async for event in events:
                    await queue.put(event)
        except Exception as error:  # noqa: BLE001 - handed over, and handled where it can still be told
            await queue.put(error)
        else:
            await queue.put(None)

    task = asyncio.create_task(pump(), name=f"run-{run.run_id}")
    position = 0
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), heartbeat_seconds)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            if item is None:
                return
            position += 1
            if isinstance(item, Exception):
                yield _event(run, position, "error", _told(item))
                return
            yield _event(run, position, item.name, item.data)
    finally:
        await _end(task)


def _told(error: Exception) -> dict[str, Any]:
    """The problem document for *error*; anything unexpected is logged and stays opaque."""
    if isinstance(error, Problem):
        problem = error
    else:
        _log.error("stream_failed", exc_info=error)
        problem = Problem(500)
    document: dict[str, Any] = json.loads(problem_answer(problem).body)
    return document


def _event(run: Run, position: int, name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(
        data_str=json.dumps(data, separators=(",", ":")), event=name, id=f"{run.run_id}:{position}"
    )


async def while_connected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of *work*, which is cancelled when the client leaves: nobody is there to read it, and it costs.

    Raises:
        ClientDisconnect: the client left first.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        await _end(task, gone)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel *tasks* and wait until they have ended, which closes what they had open.

    Shielded, because Starlette leaves a stream by an anyio scope, and that cancels again at every `await`: a plain
    `await task` would pass the second cancellation on to the task, in the midst of its cleaning up, and the connection
    to the sources would stay open.
    """
    for task in tasks:
        task.cancel()
    with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
        await asyncio.wait(tasks)
        return
    _log.warning("run_not_ended", tasks=[task.get_name() for task in tasks if not task.done()])


async def _disconnected(request: Request) -> None:
    """Returns when the client has left. The body has been read by then, so nothing else is received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
