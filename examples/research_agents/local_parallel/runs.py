"""Task runs: kept in memory, worked on in threads, watched by whoever holds their id.

They are bounded in number and age, and forgotten when the process ends: a run id of an earlier process is unknown (404).
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio.from_thread import check_cancelled
from anyio.from_thread import run_sync as on_loop
from anyio.to_thread import run_sync

from .problems import error_object
from .schemas import UnfittingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from .task_wire import TaskRequest

__all__ = ["Progress", "Run", "Runs", "TooManyRunsError"]

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Message = Literal["plan", "search", "result", "exec_status"]

_log = logging.getLogger(__name__)
_MOST_MESSAGES = 200  # of one run; the rest is counted in its statistics only
_LONGEST_MESSAGE = 500  # characters
_SAMPLE = 10  # URLs shown of those that were read


class TooManyRunsError(Exception):
    """As many runs are queued or running as the server takes."""


@dataclass(slots=True, eq=False)
class Run:
    """One task, from its acceptance to its result.

    Attributes:
        request: as it was accepted.
        id: names it.
        interaction_id: names it as the context of a later one.
        status: where it stands.
        output: of a completed run, as it goes over the wire.
        error: of a failed run, likewise.
        events: what happened so far, as it goes over the wire; the last one of a finished run shows its final state.
        changed: set, and replaced by another, whenever `status` or `events` change.
    """

    request: TaskRequest
    id: str = field(default_factory=lambda: f"trun_{uuid.uuid4().hex}")
    interaction_id: str = field(default_factory=lambda: f"interaction_{uuid.uuid4().hex}")
    status: Status = "queued"
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    considered: int = 0
    read: dict[str, None] = field(default_factory=dict)
    share: float = 0.0

    @property
    def active(self) -> bool:
        """Whether it is still queued or running."""
        return self.status in {"queued", "running"}

    def describe(self) -> dict[str, Any]:
        """The `TaskRun` of the wire."""
        warnings = [
            {"type": "warning", "message": message, "detail": None} for message in self.request.warnings
        ]
        return {
            "run_id": self.id,
            "interaction_id": self.interaction_id,
            "status": self.status,
            "is_active": self.active,
            "processor": self.request.processor,
            "metadata": self.request.metadata,
            "created_at": self.created_at.isoformat(),
            "modified_at": self.modified_at.isoformat(),
            "error": self.error,
            "warnings": warnings or None,
            "taskgroup_id": None,
        }

    def enter(self, status: Status) -> None:
        """Change the status, and tell those who watch."""
        self.status = status
        self.modified_at = datetime.now(UTC)
        self._tell({"type": "task_run.state", "event_id": None, "input": None, **self.state()})

    def state(self) -> dict[str, Any]:
        """The run with its output, as a state event and a result show it."""
        return {"run": self.describe(), "output": self.output}

    def say(self, kind: Message, message: str) -> None:
        """A line about what is being done, if the client asked for such events."""
        if self.request.wants_progress and len(self.events) < _MOST_MESSAGES:
            stamp = datetime.now(UTC).isoformat()
            text = message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
            self._tell({"type": f"task_run.progress_msg.{kind}", "message": text, "timestamp": stamp})

    def count(self, considered: int, read: list[str], share: float | None = None) -> None:
        """Count sources, and say how far the run has come: *share* is 0 to 1, None for as far as before."""
        self.share = self.share if share is None else share
        self.considered += considered
        self.read.update(dict.fromkeys(read))
        if self.request.wants_progress and len(self.events) < _MOST_MESSAGES:
            self._tell(
                {
                    "type": "task_run.progress_stats",
                    "progress_meter": round(100 * self.share, 1),
                    "source_stats": {
                        "num_sources_considered": self.considered,
                        "num_sources_read": len(self.read),
                        "sources_read_sample": list(self.read)[:_SAMPLE],
                    },
                }
            )

    def _tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        before, self.changed = self.changed, anyio.Event()
        before.set()


class Progress:
    """What the thread that works on a run may do to it: everything happens on the loop, where the run is watched.

    When the server is stopping, `say` ends the work by the cancellation it raises.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def say(self, kind: Message, message: str) -> None:
        """See `Run.say`."""
        check_cancelled()
        on_loop(self._run.say, kind, message)

    def count(self, considered: int, read: list[str], share: float | None = None) -> None:
        """See `Run.count`."""
        on_loop(self._run.count, considered, read, share)


class Runs:
    """Every run this process knows. To be used from one event loop.

    Args:
        work: what a run does, called in a thread; returns the `output` of the wire.
        limit: runs kept; the oldest finished ones go first.
        active_limit: runs queued or running at once.
        running_limit: runs running at once.
        threads: of them at work at once. They are Python code and take turns: more threads make all of them slower.
        lifetime_seconds: how long a run is kept after its acceptance.
        latency_seconds: how long each run waits before its work, to simulate a provider that takes its time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        work: Callable[[Run, Progress], dict[str, Any]],
        *,
        limit: int = 1000,
        active_limit: int = 256,
        running_limit: int = 64,
        threads: int = 2,
        lifetime_seconds: float = 3600,
        latency_seconds: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._limit = limit
        self._active_limit = active_limit
        self._lifetime = lifetime_seconds
        self._latency = latency_seconds
        self._clock = clock
        self._kept: dict[str, tuple[float, Run]] = {}
        self._active = 0
        self._slots = anyio.Semaphore(running_limit)
        self._threads = anyio.CapacityLimiter(threads)

    def get(self, run_id: str) -> Run | None:
        """The run of this id, unless it is unknown or forgotten."""
        self._forget()
        return self._kept[run_id][1] if run_id in self._kept else None

    def start(self, request: TaskRequest, group: TaskGroup) -> Run:
        """Accept a run; it is worked on in *group*, and cancelled with it.

        Raises:
            TooManyRunsError: `active_limit` runs have not ended yet.
        """
        if self._active >= self._active_limit:
            raise TooManyRunsError
        self._forget()
        run = Run(request)
        run.enter("queued")
        self._kept[run.id] = (self._clock(), run)
        self._active += 1
        group.start_soon(self._carry_out, run, name=f"task run {run.id}")
        return run

    async def _carry_out(self, run: Run) -> None:
        try:
            async with self._slots:
                run.enter("running")
                await anyio.sleep(self._latency)
                run.output = await run_sync(self._work, run, Progress(run), limiter=self._threads)
            run.enter("completed")
        except anyio.get_cancelled_exc_class():
            run.enter("cancelled")
            raise
        except UnfittingError as error:
            run.error = error_object(str(error), {"field": error.path})
            run.enter("failed")
        except Exception:  # noqa: BLE001 - whatever the engine stumbles over ends this run and no other
            run.error = error_object("The engine failed on this task.")
            _log.exception("task run %s failed, ref_id %s", run.id, run.error["ref_id"])
            run.enter("failed")
        finally:
            self._active -= 1

    def _forget(self) -> None:
        """Drop finished runs that are too old, then the oldest until there is room."""
        oldest = self._clock() - self._lifetime
        surplus = len(self._kept) - self._limit + 1
        for run_id, (since, run) in list(self._kept.items()):
            if since > oldest and surplus <= 0:
                break
            if not run.active:
                del self._kept[run_id]
                surplus -= 1
