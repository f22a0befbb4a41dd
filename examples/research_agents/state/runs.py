"""Runs: what was asked, what happened on the way, and what came of it. An answer is recorded whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import aliased

from .appending import EventAppender
from .models import EventRow, MessageRow, RunRow, SessionRow
from .records import MILLISECONDS, EventRecord, NewRun, RunRecord, RunStatus, SessionRecord, Swept
from .run_steps import (
    SessionAgentError,
    UnknownSessionError,
    add_events,
    close_run,
    forget_events,
    interrupt_abandoned,
    say,
    session_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from prodkit.core.clock import Clock

    from .database import Database
    from .run_steps import Event

__all__ = ["Runs", "SessionAgentError", "UnknownSessionError"]

_RUN = (
    RunRow.id,
    RunRow.tenant,
    RunRow.principal,
    RunRow.session_id,
    RunRow.agent,
    RunRow.processor,
    RunRow.message,
    RunRow.status,
    RunRow.worker,
    RunRow.lease_until,
    RunRow.created_at,
    RunRow.ended_at,
    RunRow.result,
    RunRow.problem,
)
_SWEPT_TOGETHER = 50  # runs in one transaction of a sweep, so that those who answer do not wait for it


class Runs:
    """The life of runs: begin, append ..., then exactly one of complete and end.

    A run belongs to the worker that began it as long as its lease is extended. When it is not, the worker is taken for
    dead, and a sweep by any other ends the run as `interrupted`. Whatever the worker then still wants to record is
    refused: False.

    Args:
        database: started.
        clock: for leases and the times recorded.
        worker: names this process, differently at every start.
        lease_seconds: how long a run is believed to live without a heartbeat; send one every third of it.
        keep_events_seconds: how long after its end a stream can still be resumed event by event; default 1 hour.

    Every method raises `StoreUnavailableError` when the database cannot be used.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        worker: str,
        *,
        lease_seconds: float = 30.0,
        keep_events_seconds: float = 3600.0,
    ) -> None:
        self._database = database
        self._clock = clock
        self._worker = worker
        self._appender = EventAppender(database)
        self._lease = int(lease_seconds * MILLISECONDS)
        self._keep_events = int(keep_events_seconds * MILLISECONDS)

    async def begin(self, run: NewRun) -> SessionRecord:
        """Record that *run* has begun, with the user's message; the session it belongs to.

        Raises:
            UnknownSessionError: the tenant has no such session, or a new one was wanted and its id is taken.
            SessionAgentError: the session is with another agent.
        """
        now = self._now()

        async def work(connection: AsyncConnection) -> SessionRecord:
            session = await session_of(connection, run, now)
            await connection.execute(
                insert(RunRow).values(
                    id=run.id,
                    tenant=run.tenant,
                    principal=run.principal,
                    session_id=run.session_id,
                    agent=run.agent,
                    processor=run.processor,
                    message=run.message,
                    status="running",
                    worker=self._worker,
                    lease_until=now + self._lease,
                    created_at=now,
                )
            )
            await say(connection, run.session_id, run.id, "user", content=run.message, now=now)
            return session

        return await self._database.write(work)

    async def append(self, run_id: str, events: Sequence[Event]) -> bool:
        """Record *events*, each `(position, name, data)`; False, and nothing recorded, when the run has ended.

        Raises:
            sqlalchemy.exc.IntegrityError: a position is taken.
        """
        return await self._appender.append(run_id, events)

    async def heartbeat(self, run_ids: Collection[str]) -> frozenset[str]:
        """Extend the leases of *run_ids*; those that still run here. The others were ended by somebody else."""
        if not run_ids:
            return frozenset()
        extending = (
            update(RunRow)
            .where(RunRow.id.in_(sorted(run_ids)), RunRow.status == "running", RunRow.worker == self._worker)
            .values(lease_until=self._now() + self._lease)
            .returning(RunRow.id)
        )

        async def work(connection: AsyncConnection) -> frozenset[str]:
            return frozenset((await connection.execute(extending)).scalars())

        return await self._database.write(work)

    async def complete(
        self,
        run_id: str,
        result: Mapping[str, Any],
        last_events: Sequence[Event] = (),
        *,
        interaction_id: str | None = None,
    ) -> bool:
        """Record the answer: its last events, the run, the message and the session, all or nothing.

        Args:
            run_id: which run.
            result: the answer document; `answer` is what was said.
            last_events: events not appended yet, the last one included.
            interaction_id: what the provider calls the conversation, if it said so.

        Returns:
            False, and nothing recorded, when the run has ended before: its lease was over, or its session is deleted.
        """
        now = self._now()
        document = dict(result)
        answer = str(document["answer"])

        async def work(connection: AsyncConnection) -> bool:
            session_id = await close_run(
                connection, run_id, "completed", now=now, keep_events=self._keep_events, result=document
            )
            if session_id is None:
                return False
            await add_events(connection, run_id, last_events)
            changes: dict[str, Any] = {"updated_at": now, "version": SessionRow.version + 1}
            changes |= {} if interaction_id is None else {"interaction_id": interaction_id}
            # First, so that the row is ours when the position of the message is chosen.
            await connection.execute(update(SessionRow).where(SessionRow.id == session_id).values(changes))
            await say(connection, session_id, run_id, "assistant", content=answer, now=now, detail=document)
            return True

        return await self._database.write(work)

    async def end(
        self,
        run_id: str,
        status: RunStatus,
        problem: Mapping[str, Any],
        last_events: Sequence[Event] = (),
    ) -> bool:
        """Record that the run ended without an answer; False, and nothing recorded, when it has ended before.

        Args:
            run_id: which run.
            status: `failed`, `cancelled` or `interrupted`.
            problem: the problem document that says why.
            last_events: events not appended yet, the last one included.

        Raises:
            ValueError: *status* is none of the three.
        """
        if status not in {"failed", "cancelled", "interrupted"}:
            message = f"a run does not end as {status}"
            raise ValueError(message)
        now = self._now()

        async def work(connection: AsyncConnection) -> bool:
            session_id = await close_run(
                connection, run_id, status, now=now, keep_events=self._keep_events, problem=dict(problem)
            )
            if session_id is None:
                return False
            await add_events(connection, run_id, last_events)
            return True

        return await self._database.write(work)

    async def get(self, tenant: str, run_id: str) -> RunRecord | None:
        """The run, or None when there is none or it is another tenant's."""
        query = select(*_RUN).where(RunRow.tenant == tenant, RunRow.id == run_id)
        async with self._database.session() as connection:
            row = (await connection.execute(query)).first()
            return None if row is None else RunRecord(*row)

    async def last_event(self, run_id: str) -> tuple[int, str] | None:
        """Position and name of its last event; None when there are none: not recorded yet, or forgotten."""
        query = (
            select(EventRow.position, EventRow.name)
            .where(EventRow.run_id == run_id)
            .order_by(EventRow.position.desc())
            .limit(1)
        )
        async with self._database.session() as connection:
            row = (await connection.execute(query)).first()
            return None if row is None else (row.position, row.name)

    async def events_after(self, run_id: str, position: int = 0, limit: int = 500) -> Sequence[EventRecord]:
        """Recorded events of *run_id* behind *position*, in order; whose run it is has been checked by `get`."""
        query = (
            select(EventRow.position, EventRow.name, EventRow.data)
            .where(EventRow.run_id == run_id, EventRow.position > position)
            .order_by(EventRow.position)
            .limit(limit)
        )
        async with self._database.session() as connection:
            return [EventRecord(*row) for row in await connection.execute(query)]

    async def history(self, session_id: str, limit: int = 10) -> Sequence[tuple[str, str]]:
        """The last *limit* exchanges `(question, answer)` of a session, in order of the answers.

        A question whose run did not complete is not part of it. Whose session it is has been checked by `begin`.
        """
        asked, answered = aliased(MessageRow), aliased(MessageRow)
        query = (
            select(asked.content, answered.content)
            .join(answered, (answered.run_id == asked.run_id) & (answered.role == "assistant"))
            .where(answered.session_id == session_id, asked.role == "user")
            .order_by(answered.position.desc())
            .limit(limit)
        )
        async with self._database.session() as connection:
            rows = (await connection.execute(query)).all()
        return [(question, answer) for question, answer in reversed(rows)]

    async def sweep(self) -> Swept:
        """End runs whose worker is gone, and forget events that nobody will ask for any more; in small transactions.

        Any number of workers may sweep at once. Call it every few seconds.
        """
        interrupted: list[str] = []
        while True:
            more = await self._database.write(
                lambda connection: interrupt_abandoned(
                    connection, _SWEPT_TOGETHER, now=self._now(), keep_events=self._keep_events
                )
            )
            interrupted += more
            if len(more) < _SWEPT_TOGETHER:
                break
        forgotten = 0
        while True:
            count = await self._database.write(
                lambda connection: forget_events(connection, _SWEPT_TOGETHER, now=self._now())
            )
            forgotten += count
            if count < _SWEPT_TOGETHER:
                return Swept(tuple(interrupted), forgotten)

    def _now(self) -> int:
        return int(self._clock.wall() * MILLISECONDS)
