"""`/v1/tasks/runs`: create a run, look at it, wait for its result, watch it.

What Parallel does not document is decided so: the result of a failed run is 422 with the run's error; the events of a run
start with the first one, for a client that connects late, unless `Last-Event-ID` names the last one it has; the last
event of a finished run, its state with the output, is always sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from starlette.responses import JSONResponse

from . import sse
from .access import read_body
from .answering import PROCESSORS
from .problems import WireError
from .runs import TooManyRunsError
from .state import busy, state_of
from .task_wire import TaskRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import StreamingResponse

    from .runs import Run

__all__ = ["create", "events", "result", "retrieve", "retrieve_input"]

_LONGEST_WAIT = 600.0  # seconds; Parallel's default and, here, its most
_KEEP_ALIVE_SECONDS = 10.0


async def create(request: Request) -> JSONResponse:
    """Accept a run: 202. An unknown processor is 403, as Parallel answers for one that a key may not use."""
    asked = await read_body(request, TaskRequest)
    if asked.processor not in PROCESSORS:
        raise WireError(403, "This processor is not available.", {"processors": list(PROCESSORS)})
    state = state_of(request)
    try:
        run = state.runs.start(asked, state.group)
    except TooManyRunsError as error:
        raise busy() from error
    state.calls.accept(request, run_id=run.id, processor=asked.processor, metadata=asked.metadata)
    return JSONResponse(run.describe(), status_code=202)


async def retrieve(request: Request) -> JSONResponse:
    """Where the run stands."""
    return JSONResponse(_run(request).describe())


async def retrieve_input(request: Request) -> JSONResponse:
    """The run's input, as it was sent."""
    return JSONResponse(_run(request).request.model_dump(mode="json", exclude_unset=True))


async def result(request: Request) -> JSONResponse:
    """Wait for the run to end, at most `?timeout=` seconds: then 408, and the run goes on."""
    run = _run(request)
    with anyio.move_on_after(_seconds(request)):
        while run.active:
            await run.changed.wait()
    if run.active:
        raise WireError(408, "The run is still active.", {"run_id": run.id, "status": run.status})
    if run.status != "completed":
        said = run.error["message"] if run.error else f"The run was {run.status}."
        raise WireError(422, said, {"run_id": run.id, "status": run.status, "error": run.error})
    return JSONResponse(run.state())


async def events(request: Request) -> StreamingResponse:
    """Watch the run until it ends."""
    run = _run(request)
    seen = request.headers.get("last-event-id", "")
    position = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 9 else 0
    return sse.event_stream(_events(run, position))


async def _events(run: Run, position: int) -> AsyncIterator[str]:
    # The id of an event is its number, counted from one: the position that follows it.
    while True:
        changed, finished = run.changed, not run.active
        if finished:
            position = min(position, len(run.events) - 1)
        for number, one in enumerate(run.events[position:], start=position + 1):
            yield sse.event(one, number)
        position = max(position, len(run.events))
        if finished:
            return
        if changed is not run.changed:
            continue
        with anyio.move_on_after(_KEEP_ALIVE_SECONDS) as waiting:
            await changed.wait()
        if waiting.cancelled_caught:
            yield sse.KEEP_ALIVE


def _run(request: Request) -> Run:
    run = state_of(request).runs.get(request.path_params["run_id"])
    if run is None:
        raise WireError(404, "There is no run of this id.")
    return run


def _seconds(request: Request) -> float:
    given = request.query_params.get("timeout")
    if given is None:
        return _LONGEST_WAIT
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    # Written so that NaN is refused too.
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise WireError(422, f"timeout must be a number of seconds from 0 to {_LONGEST_WAIT:.0f}.")
    return seconds
