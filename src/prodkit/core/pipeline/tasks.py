"""What a task is doing, as its chain of coroutines tells: which request it serves, and whether a thread or its
client keeps it waiting.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from prodkit.core.pipeline.exchange import Exchange

__all__ = ["recognise", "stream_of", "tasks_of", "waits_in", "works_in_thread"]

_MOST_STEPS: Final = 1000
_IN_WORKER_THREAD: Final = "run_sync_in_worker_thread"  # anyio's; a test holds us to it

_SENDS_STREAM: Final = StreamingResponse.stream_response.__name__


def tasks_of(
    exchanges: Container[Exchange], loops: Iterable[asyncio.AbstractEventLoop]
) -> dict[Exchange, asyncio.Task[Any]]:
    """The task that runs the pipeline for each of *exchanges*, as far as they can be found in *loops*.

    A task knows what it waits for, and that what it waits for, down to the pipeline's own frame.
    """
    found = {}
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            for step in _steps(task):
                if getattr(step, "cr_code", None) is _PIPELINE_CODE[0] and step.cr_frame is not None:
                    exchange = step.cr_frame.f_locals.get("context")
                    if exchange in exchanges:
                        found[exchange] = task
                        break
    return found


# The code of `Pipeline.__call__`, which that module sets: it imports this one.
_PIPELINE_CODE: list[object] = [None]


def recognise(code: object) -> None:
    """Have *code* taken for the pipeline's."""
    _PIPELINE_CODE[0] = code


def works_in_thread(task: asyncio.Task[Any]) -> bool:
    """Whether *task* is waiting for a thread of anyio's pool, as every `def` endpoint and dependency does.

    It waits for nothing else where the innermost coroutine is the function that runs threads. Behind an asynchronous generator,
    which a dependency with `yield` is, only the garbage collector knows what comes next.
    """
    name = ""
    for step in _steps(task):
        code = getattr(step, "cr_code", None) or getattr(step, "ag_code", None) or step.gi_code
        name = code.co_name
    return name == _IN_WORKER_THREAD


def stream_of(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """The task in which Starlette sends the pieces of the stream that *task* answers with, where that is another one.

    It is where the server does not raise for a client that left (ASGI HTTP before 2.4), so that somebody has to listen for it.
    """
    response = None
    for step in _steps(task):
        if (
            getattr(step, "cr_code", None) is StreamingResponse.__call__.__code__
            and step.cr_frame is not None
        ):
            response = step.cr_frame.f_locals.get("self")
    if response is None:
        return None
    for other in asyncio.all_tasks(task.get_loop()) - {task}:
        for step in _steps(other):
            frame = getattr(step, "cr_frame", None)
            if frame is not None and frame.f_code.co_name == _SENDS_STREAM:
                if frame.f_locals.get("self") is response:
                    return other
                break
    return None


def waits_in(task: asyncio.Task[Any], function: object) -> bool:
    """Whether *task* is inside of a call of *function*: of a server's `send`, which waits for a client that does not read.

    Of compiled servers that cannot be told, and so it is not said.
    """
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and any(getattr(step, "cr_code", None) is code for step in _steps(task))


def _steps(task: asyncio.Task[Any]) -> Iterator[Any]:
    """The coroutines and generators that *task* is in, the outermost first."""
    step: Any = task.get_coro()
    for _ in range(_MOST_STEPS):
        if any(hasattr(step, name) for name in ("cr_code", "ag_code", "gi_code")):
            yield step
            step = _next(step)
        elif type(step).__name__.startswith(("async_generator_a", "coroutine_wrapper")):
            step = next(
                (one for one in gc.get_referents(step) if hasattr(one, "ag_code") or hasattr(one, "cr_code")),
                None,
            )
        else:
            return


def _next(step: Any) -> Any:
    for attribute in ("cr_await", "ag_await", "gi_yieldfrom"):
        found = getattr(step, attribute, None)
        if found is not None:
            return found
    return None
