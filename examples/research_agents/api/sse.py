"""A run as server-sent events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import ClientDisconnect

from prodkit import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import Request

    from examples.research_agents.running.live import Told

__all__ = ["event_stream", "last_event", "while_connected"]

_Result = TypeVar("_Result")
_EVENT_ID = re.compile(r"^(run_[0-9a-f]{32}):(\d{1,9})$")


def last_event(header: str | None) -> tuple[str, int] | None:
    """Run and position of a `Last-Event-ID`, or None where there is none.

    Raises:
        Problem: 400, it is none of ours.
    """
    if not header:
        return None
    match = _EVENT_ID.match(header)
    if match is None:
        raise Problem(400, detail="Last-Event-ID is not one of this service's.")
    return match[1], int(match[2])


async def event_stream(
    run_id: str, events: AsyncGenerator[Told, None], *, heartbeat_seconds: float
) -> AsyncIterator[bytes]:
    """*events* as bytes, each with an `id` of run and position. Silence is filled with comments.

    Closing the iterator stops watching the run.
    """
    async with aclosing(events):
        upcoming: asyncio.Task[Told | None] | None = None
        try:
            while True:
                if upcoming is None:
                    upcoming = asyncio.create_task(_next(events))
                done, _ = await asyncio.wait({upcoming}, timeout=heartbeat_seconds)
                if not done:
                    yield KEEPALIVE_COMMENT
                    continue
                told, upcoming = upcoming.result(), None
                if told is None:
                    return
                data = json.dumps(told.data, separators=(",", ":"))
                yield format_sse_event(data_str=data, event=told.name, id=f"{run_id}:{told.position}")
                if told.is_last:
                    return
        finally:
            if upcoming is not None:
                upcoming.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({upcoming})


async def _next(events: AsyncGenerator[Told, None]) -> Told | None:
    return await anext(events, None)


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
        task.cancel()
        gone.cancel()
        # Shielded: Starlette leaves by an anyio scope, which would cancel the cleaning up at its every `await`.
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task, gone})


async def _disconnected(request: Request) -> None:
    """Returns when the client has left. The body has been read by then, so nothing else is received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
