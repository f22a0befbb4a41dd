"""The steps that transactions about runs are made of; each works on the connection it is given."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from .models import EventRow, MessageRow, RunRow, SessionRow
from .problems import problem_document
from .records import NewRun, RunStatus, SessionRecord
from .sessions import SESSION, add_session, session_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    Event = tuple[int, str, Mapping[str, Any]]  # Any: JSON

__all__ = [
    "Event",
    "SessionAgentError",
    "UnknownSessionError",
    "add_events",
    "append_events",
    "close_run",
    "forget_events",
    "interrupt_abandoned",
    "say",
    "session_of",
]

_LONGEST_TITLE = 80  # characters of the first message that become the title of its session


class UnknownSessionError(LookupError):
    """There is no such session of this tenant; it may have been deleted a moment ago."""


class SessionAgentError(ValueError):
    """The session is with another agent.

    Attributes:
        agent: the one it is with.
    """

    def __init__(self, agent: str) -> None:
        self.agent = agent
        super().__init__(f"the session is with the agent {agent}")


async def session_of(connection: AsyncConnection, run: NewRun, now: int) -> SessionRecord:
    """The session that *run* belongs to, made if it is to be; locked until the end of the transaction.

    Raises:
        UnknownSessionError: the tenant has none of this id, or one was to be made and the id is taken.
        SessionAgentError: it is with another agent.
    """
    title = " ".join(run.message.split())[:_LONGEST_TITLE]
    if run.create_session:
        session = SessionRecord(
            id=run.session_id,
            tenant=run.tenant,
            principal=run.principal,
            agent=run.agent,
            processor=run.processor,
            title=title,
            interaction_id=None,
            version=1,
            created_at=now,
            updated_at=now,
        )
        try:
            await add_session(connection, session)
        except IntegrityError as error:
            raise UnknownSessionError(run.session_id) from error
        return session
    touching = (
        update(SessionRow)
        .where(SessionRow.tenant == run.tenant, SessionRow.id == run.session_id)
        .values(updated_at=now, title=func.coalesce(func.nullif(SessionRow.title, ""), title))
        .returning(*SESSION)
    )
    row = (await connection.execute(touching)).first()
    if row is None:
        raise UnknownSessionError(run.session_id)
    session = session_record(row)
    if session.agent != run.agent:
        raise SessionAgentError(session.agent)
    return session


async def close_run(
    connection: AsyncConnection,
    run_id: str,
    status: RunStatus,
    *,
    now: int,
    keep_events: int,
    result: Mapping[str, Any] | None = None,
    problem: Mapping[str, Any] | None = None,
) -> str | None:
    """End a run that still runs, and say in which session; None when it does not run."""
    closing = (
        update(RunRow)
        .where(RunRow.id == run_id, RunRow.status == "running")
        .values(
            status=status,
            lease_until=None,
            ended_at=now,
            events_until=now + keep_events,
            result=result,
            problem=problem,
        )
        .returning(RunRow.session_id)
    )
    return (await connection.execute(closing)).scalar()


async def add_events(connection: AsyncConnection, run_id: str, events: Sequence[Event]) -> None:
    """Insert *events* of one run.

    Raises:
        sqlalchemy.exc.IntegrityError: a position is taken.
    """
    if events:
        await connection.execute(insert(EventRow), _rows(run_id, events))


async def append_events(
    connection: AsyncConnection, entries: Sequence[tuple[str, Sequence[Event]]]
) -> frozenset[str]:
    """Insert the events of those runs that still run, and say which these are.

    Raises:
        sqlalchemy.exc.IntegrityError: a position is taken.
    """
    ids = sorted({run_id for run_id, _ in entries})
    # Locked, where rows can be, so that none ends before its events are there.
    still = select(RunRow.id).where(RunRow.id.in_(ids), RunRow.status == "running").with_for_update()
    running = frozenset((await connection.execute(still)).scalars())
    rows = [row for run_id, events in entries if run_id in running for row in _rows(run_id, events)]
    if rows:
        await connection.execute(insert(EventRow), rows)
    return running


def _rows(run_id: str, events: Sequence[Event]) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "position": position, "name": name, "data": data}
        for position, name, data in events
    ]


async def say(
    connection: AsyncConnection,
    session_id: str,
    run_id: str,
    role: Literal["user", "assistant"],
    *,
    content: str,
    now: int,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a message behind the last one. The session's row has been written to in this transaction."""
    last = select(func.coalesce(func.max(MessageRow.position), 0)).where(MessageRow.session_id == session_id)
    position = (await connection.execute(last)).scalar_one() + 1
    await connection.execute(
        insert(MessageRow).values(
            id=f"msg_{uuid.uuid4().hex}",
            session_id=session_id,
            run_id=run_id,
            role=role,
            content=content,
            detail=detail,
            created_at=now,
            position=position,
        )
    )


async def interrupt_abandoned(
    connection: AsyncConnection, most: int, *, now: int, keep_events: int
) -> list[str]:
    """End at most *most* runs whose lease is over; their ids."""
    abandoned = (
        select(RunRow.id)
        .where(RunRow.lease_until < now)
        .order_by(RunRow.lease_until)
        .limit(most)
        .with_for_update(skip_locked=True)  # others sweep too
    )
    ids = (await connection.execute(abandoned)).scalars().all()
    for run_id in ids:
        problem = problem_document(
            503, "The server stopped before the answer was finished. Please ask again.", run_id=run_id
        )
        await close_run(connection, run_id, "interrupted", now=now, keep_events=keep_events, problem=problem)
    return list(ids)


async def forget_events(connection: AsyncConnection, most: int, *, now: int) -> int:
    """Delete the events of at most *most* runs that ended long enough ago; how many runs that were."""
    over = (
        select(RunRow.id)
        .where(RunRow.events_until < now)
        .order_by(RunRow.events_until)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = (await connection.execute(over)).scalars().all()
    if ids:
        await connection.execute(delete(EventRow).where(EventRow.run_id.in_(ids)))
        await connection.execute(update(RunRow).where(RunRow.id.in_(ids)).values(events_until=None))
        # What is left of a run whose session was deleted.
        await connection.execute(delete(RunRow).where(RunRow.id.in_(ids), RunRow.session_id.is_(None)))
    return len(ids)
