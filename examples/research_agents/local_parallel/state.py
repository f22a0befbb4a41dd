"""What the endpoints of one server share; made when it starts, gone when it stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .problems import WireError

if TYPE_CHECKING:
    from anyio import CapacityLimiter
    from anyio.abc import TaskGroup
    from starlette.requests import Request

    from .calls import CallLog
    from .index import CorpusIndex
    from .runs import Runs

__all__ = ["ServerState", "admitted", "busy", "state_of"]

_LONGEST_QUEUE = 256  # requests that may wait for a thread


@dataclass(frozen=True, slots=True)
class ServerState:
    """The parts of a running server.

    Attributes:
        index: the corpus.
        threads: what searches and chats wait for; task runs have their own, so that neither starves the other.
        runs: the task runs.
        group: where they are worked on.
        calls: what was accepted.
        latency_seconds: how long a chat waits before its work.
    """

    index: CorpusIndex
    threads: CapacityLimiter
    runs: Runs
    group: TaskGroup
    calls: CallLog
    latency_seconds: float


def state_of(request: Request) -> ServerState:
    """The state of the server that got *request*."""
    # Starlette's state is untyped.
    state: ServerState = request.app.state.local
    return state


def admitted(request: Request) -> ServerState:
    """The state, for a request that needs a thread.

    Raises:
        WireError: 429 when so many wait for one that this one would wait for long.
    """
    state = state_of(request)
    if state.threads.statistics().tasks_waiting >= _LONGEST_QUEUE:
        raise busy()
    return state


def busy() -> WireError:
    """The refusal of a call for which there is no room now; nothing was accepted."""
    return WireError(
        429, "The server has as much to do as it takes; try again.", headers={"Retry-After": "1"}
    )
