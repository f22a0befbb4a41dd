"""The ASGI application of the local server: Parallel's Search, Extract, Task and Chat APIs over what is on this machine.

It is not a language model and does not pretend to be one: it retrieves, quotes, compares and counts by rules, says
`X-Local-Engine: extractive` on every answer, and "not found" where it finds nothing. A program of its own, on its own
port, with a token made for one run. It is never mounted in the hardened application: the agents must reach it as they
would reach Parallel, over HTTP and through the SDK.
"""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import chat, searching, tasks
from .access import TokenGate
from .answering import answer_task
from .calls import CallLog
from .corpus import passages
from .faults import Faults
from .index import CorpusIndex
from .problems import EXCEPTION_HANDLERS
from .runs import Progress, Run, Runs
from .state import ServerState, state_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

__all__ = ["create_server"]

_RUN = "/v1/tasks/runs/{run_id}"
_ROUTES = [
    Route("/v1/search", searching.search, methods=["POST"]),
    Route("/v1/extract", searching.extract, methods=["POST"]),
    Route("/v1/tasks/runs", tasks.create, methods=["POST"]),
    Route(_RUN, tasks.retrieve, methods=["GET"]),
    Route(f"{_RUN}/input", tasks.retrieve_input, methods=["GET"]),
    Route(f"{_RUN}/result", tasks.result, methods=["GET"]),
    Route(f"{_RUN}/events", tasks.events, methods=["GET"]),
    # Parallel documents the first; OpenAI's client asks for one of the others, depending on its base URL.
    Route("/v1beta/chat/completions", chat.complete, methods=["POST"]),
    Route("/chat/completions", chat.complete, methods=["POST"]),
    Route("/v1/chat/completions", chat.complete, methods=["POST"]),
]


def create_server(
    token: str, *, docs_folder: Path | None = None, latency_seconds: float = 0, faults: bool = False
) -> ASGIApp:
    """The application. The index is built when it starts, in a temporary directory that goes when it stops.

    Args:
        token: what callers must send as `x-api-key` or as a bearer token.
        docs_folder: Markdown files to search besides Python's topics and the installed packages.
        latency_seconds: how long each task run and each chat waits before its work, to simulate a slow provider.
        faults: whether callers may order misbehaviour and read the log of calls; see `faults`. For tests.

    Raises:
        ValueError: *token* is shorter than 16 characters, or *latency_seconds* is negative.
    """
    if not 0 <= latency_seconds < float("inf"):
        message = "latency_seconds must be zero or more"
        raise ValueError(message)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="local-parallel-") as folder:
            index = CorpusIndex(Path(folder) / "corpus.db")
            await run_sync(lambda: index.build(passages(docs_folder)))
            async with anyio.create_task_group() as group:
                app.state.local = ServerState(
                    index=index,
                    # Ranking is Python code: more threads than this would only take turns.
                    threads=anyio.CapacityLimiter(4),
                    runs=Runs(partial(_work, index), latency_seconds=latency_seconds),
                    group=group,
                    calls=CallLog(),
                    latency_seconds=latency_seconds,
                )
                yield
                group.cancel_scope.cancel()

    ordered = Faults()
    app = Starlette(
        routes=[*_ROUTES, Route("/health", _health, methods=["GET"]), *(ordered.routes() if faults else ())],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    return TokenGate(ordered.wrap(app) if faults else app, token=token, public=["/health"])


def _work(index: CorpusIndex, run: Run, progress: Progress) -> dict[str, Any]:
    return answer_task(run.request, index, progress)


async def _health(request: Request) -> JSONResponse:
    """Whether the index is there, and its size. Needs no token: it says nothing about the content."""
    return JSONResponse({"passages": state_of(request).index.size})
