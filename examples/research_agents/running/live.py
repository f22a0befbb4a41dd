"""Runs under way in this process: produced by tasks of their own, watched by any number of requests, or by none.

A run is not tied to the request that began it. What happens in it is kept in memory for those who watch here, and goes
to the database a little later for everybody else: a stream that broke off is resumed on any worker. When nobody watches
any more, the run is given some time for somebody to come back, and then it is cancelled, because each call costs.

The end of a run is recorded before it is told. So who has seen `run.completed` will find the answer in the session, and an
answer that stands in a session is whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import structlog

from prodkit import Problem
from prodkit.core.problems import problem_answer

if TYPE_CHECKING:
    from examples.research_agents.state.records import RunRecord
    from examples.research_agents.state.runs import Runs

    from .run import Run

__all__ = ["LiveRun", "LiveRuns", "Told"]

_log = structlog.get_logger("research")

_MOST_EVENTS = 20_000  # of one run; a language model's longest answer has a fifth of that
_FLUSH_SECONDS = 0.3  # after which events go to the database; most runs are over before
_HEARTBEATS = 4  # in one lease: three may be lost
_POLL_SECONDS = 0.25  # how often somebody else's run is looked at
_END_SECONDS = 5.0  # closing connections takes milliseconds; what takes longer is stuck
_LAST = frozenset({"run.completed", "error"})

Ending = Literal["completed", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a run.

    Attributes:
        position: from 1, without gaps.
        name: see `Run`.
        data: its data.
    """

    position: int
    name: str
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.name in _LAST


@dataclass(slots=True)
class LiveRun:
    """A run that is produced here.

    Attributes:
        run: what is executed.
        events: what has happened so far.
        task: produces it.
        watchers: how many requests follow it.
        failure: what went wrong, if something did; what the `error` event tells.
        is_ending: whether it has run and is only being recorded, which is not cancelled any more.
        on_request: whether somebody asked for its end.
        has_begun: whether its task has taken its first step. One that is cancelled before would never take any.
        is_unwanted: whether it was to be cancelled before.
    """

    run: Run
    events: list[Told] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    watchers: int = 0
    flushed: int = 0
    failure: Problem | None = None
    is_ending: bool = False
    on_request: bool = False
    has_begun: bool = False
    is_unwanted: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.TimerHandle | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Add an event and wake who watches.

        Raises:
            Problem: 502, the run has told more than any answer needs.
        """
        if len(self.events) >= _MOST_EVENTS and name not in _LAST:
            raise Problem(502, detail="The agent said more than can be kept.")
        self.events.append(Told(len(self.events) + 1, name, data))
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    @property
    def is_over(self) -> bool:
        """Whether its last event was told."""
        return bool(self.events) and self.events[-1].is_last


class LiveRuns:
    """Starts, follows, resumes and ends runs.

    Args:
        runs: where they are recorded.
        resume_seconds: how long a run goes on when nobody watches it.
        lease_seconds: how long *runs* believes a run to live without a heartbeat.
    """

    def __init__(self, runs: Runs, *, resume_seconds: float, lease_seconds: float = 30.0) -> None:
        self._runs = runs
        self._heartbeat_seconds = lease_seconds / _HEARTBEATS
        self._resume_seconds = resume_seconds
        self._live: dict[str, LiveRun] = {}
        self._closing = False
        self._upkeep: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many runs are under way here."""
        return len(self._live)

    def start(self, run: Run) -> LiveRun:
        """Begin to produce *run*, which is recorded already. It ends by itself, whoever watches."""
        live = LiveRun(run)
        self._live[run.run_id] = live
        live.task = asyncio.create_task(self._produce(live), name=f"run-{run.run_id}")
        self.keep_up()
        return live

    def keep_up(self) -> None:
        """Begin to extend the leases of what runs here, and to end what ran in processes that are gone.

        The first run begins it too. Who calls it when the application starts ends also the runs of the process before it,
        if nobody asks for a new one.
        """
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._keep_up(), name="runs-upkeep")

    async def follow(self, tenant: str, run_id: str, *, after: int = 0) -> AsyncGenerator[Told, None]:
        """The events of a run behind position *after*, until its last one; it may be under way here, elsewhere, or over.

        Closing the iterator stops watching.
        """
        live = self._live.get(run_id)
        if live is not None:
            async with aclosing(self._watch(live, after)) as watched:
                async for told in watched:
                    yield told
            return
        while True:
            record = await self._runs.get(tenant, run_id)
            if record is None:
                return
            events = await self._runs.events_after(run_id, after, 500)
            for event in events:
                told = Told(event.position, event.name, event.data)
                after = told.position
                yield told
                if told.is_last:
                    return
            if events:
                continue
            if record.outcome is not None:
                last = await self._runs.last_event(run_id)
                if last is None or last[1] not in _LAST:
                    # Its last event was never written, or is too old to be kept.
                    yield Told(after + 1, *record.outcome)
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def may_have_told(self, record: RunRecord, position: int) -> bool:
        """Whether the run can have an event at *position*.

        Not known, so True, where its events are forgotten, or whoever told them has not written them down, or never will.
        """
        if record.outcome is None:
            live = self._live.get(record.id)
            return live is None or position <= len(live.events)
        last = await self._runs.last_event(record.id)
        # A process that was killed had told more than it had written down.
        return last is None or last[1] not in _LAST or position <= last[0]

    async def answer(self, live: LiveRun) -> dict[str, Any]:
        """The body of a chat, when the run is over. Being cancelled while waiting cancels the run.

        Raises:
            Problem: the run failed; as it was told.
        """
        last: Told | None = None
        try:
            async with aclosing(self._watch(live, 0)) as watched:
                async for told in watched:
                    last = told
        finally:
            if last is None or not last.is_last:
                await self.cancel(live.run.run_id)
        if last is None or last.name != "run.completed":
            raise live.failure or Problem(500)
        return last.data

    async def cancel(self, run_id: str, *, on_request: bool = False) -> bool:
        """End a run that is under way here, and wait until it has ended; whether there was one.

        Args:
            run_id: which.
            on_request: whether somebody asked for it; else nobody waits for it any more. The problem says which.
        """
        live = self._live.get(run_id)
        if live is None or live.task is None:
            return False
        live.on_request = live.on_request or on_request
        _stop(live)
        await _ended([live.task])
        return True

    async def aclose(self) -> None:
        """End every run: each is recorded as interrupted, with what it has cost."""
        self._closing = True
        tasks = [live.task for live in self._live.values() if live.task is not None]
        for live in self._live.values():
            _stop(live)
        if self._upkeep is not None:
            self._upkeep.cancel()
            tasks.append(self._upkeep)
            self._upkeep = None
        if tasks:
            await _ended(tasks)

    # ------------------------------------------------------------------------------------------ watching

    async def _watch(self, live: LiveRun, after: int) -> AsyncGenerator[Told, None]:
        live.watchers += 1
        if live.leave is not None:
            live.leave.cancel()
            live.leave = None
        try:
            while True:
                changed = live.changed
                while after < len(live.events):
                    told = live.events[after]
                    after += 1
                    yield told
                    if told.is_last:
                        return
                if live.is_over:
                    # Who was told to follow from beyond the end still sees it; a stream without one would never end.
                    yield live.events[-1]
                    return
                await changed.wait()
        finally:
            live.watchers -= 1
            if not live.watchers and not live.is_ending:
                loop = asyncio.get_running_loop()
                live.leave = loop.call_later(self._resume_seconds, _stop, live)

    # ------------------------------------------------------------------------------------------ producing

    async def _produce(self, live: LiveRun) -> None:
        run = live.run
        flusher = asyncio.create_task(self._flush_slowly(live), name=f"flush-{run.run_id}")
        ending: Ending = "failed"
        result: dict[str, Any] | None = None
        live.has_begun = True
        try:
            if live.is_unwanted:
                await run.abandon()
                raise asyncio.CancelledError  # noqa: TRY301 - as it would have been cancelled a moment later
            result = await run.execute(live.tell)
            ending = "completed"
        except asyncio.CancelledError:
            ending = "interrupted" if self._closing else "cancelled"
            live.failure = _interrupted(run) if self._closing else _cancelled(run, on_request=live.on_request)
        except Problem as problem:
            live.failure = problem
        except Exception as error:  # noqa: BLE001 - it is recorded and told, where an exception could reach nobody
            _log.error("run_failed", run_id=run.run_id, exc_info=error)
            live.failure = Problem(500, run_id=run.run_id, cost_usd=run.cost_usd)
        live.is_ending = True
        if live.leave is not None:
            live.leave.cancel()
            live.leave = None
        live.over.set()
        await flusher
        await self._record(live, ending, result)

    async def _record(self, live: LiveRun, ending: Ending, result: dict[str, Any] | None) -> None:
        """Write down how the run ended, then tell it. An answer that could not be recorded was not given."""
        run_id = live.run.run_id
        name, data = ("run.completed", result) if result is not None else ("error", _document(live.failure))
        last = Told(len(live.events) + 1, name, data)
        rest = [*_rows(live.events[live.flushed :]), *_rows([last])]
        try:
            if result is None:
                await self._runs.end(run_id, ending, data, rest)
            elif not await self._runs.complete(
                run_id, result, rest, interaction_id=result.pop("interaction_id", None)
            ):
                detail = "Its session was deleted, or this server was taken for dead, before the answer was recorded."
                live.failure = Problem(410, detail, run_id=run_id, cost_usd=live.run.cost_usd)
        except Exception as error:  # noqa: BLE001 - whatever the database says, who waits has to be told
            _log.error("run_not_recorded", run_id=run_id, exc_info=error)
            live.failure = live.failure or Problem(
                503, detail="The answer could not be recorded.", run_id=run_id
            )
        finally:
            self._live.pop(run_id, None)
            if live.failure is not None:
                name, data = "error", _document(live.failure)
            live.tell(name, data)

    async def _flush_slowly(self, live: LiveRun) -> None:
        """Bring events to the database while the run goes on, for those who watch elsewhere or come back."""
        while not live.over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(live.over.wait(), _FLUSH_SECONDS)
            new = live.events[live.flushed :]
            if not new or live.over.is_set():
                continue
            try:
                await self._runs.append(live.run.run_id, _rows(new))
                live.flushed += len(new)
            except Exception as error:  # noqa: BLE001 - they are kept, and written with the next ones or at the end
                _log.warning("events_not_recorded", run_id=live.run.run_id, exc_info=error)

    async def _keep_up(self) -> None:
        """Extend the leases of what runs here; end what ran in processes that are gone."""
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._runs.heartbeat(list(self._live))
                await self._runs.sweep()
            except Exception as error:  # noqa: BLE001 - tried again; until then others may call our runs interrupted
                _log.warning("runs_not_kept_up", exc_info=error)


def _rows(events: Sequence[Told]) -> list[tuple[int, str, dict[str, Any]]]:
    return [(told.position, told.name, told.data) for told in events]


def _document(problem: Problem | None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(problem_answer(problem or Problem(500)).body)
    return document


def _stop(live: LiveRun) -> None:
    """Cancel the run, once, and not any more when it is only being recorded."""
    if not live.has_begun:
        live.is_unwanted = True
    elif live.task is not None and not live.is_ending and not live.task.cancelling():
        live.task.cancel()


def _cancelled(run: Run, *, on_request: bool) -> Problem:
    why = "as was asked for" if on_request else "because nobody waited for it"
    return Problem(410, f"The run was cancelled, {why}.", run_id=run.run_id, cost_usd=run.cost_usd)


def _interrupted(run: Run) -> Problem:
    detail = "The server stopped before the run had finished."
    return Problem(503, detail, run_id=run.run_id, cost_usd=run.cost_usd)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until *tasks* have ended, whatever happens to who waits.

    Shielded, because Starlette leaves a stream by an anyio scope, and that cancels again at every `await`: a plain
    `await task` would pass the second cancellation on to the task, in the midst of its cleaning up, and the connection
    to the sources would stay open.
    """
    with anyio.move_on_after(_END_SECONDS, shield=True):
        await asyncio.wait(tasks)
        return
    _log.warning("run_not_ended", tasks=[task.get_name() for task in tasks if not task.done()])
