"""Sessions and what was said in them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, tuple_, update

from .models import EventRow, MessageRow, RunRow, SessionRow
from .problems import problem_document
from .records import MILLISECONDS, MessageRecord, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from prodkit.core.clock import Clock

    from .database import Database

__all__ = ["SESSION", "Sessions", "StaleVersionError", "session_record"]

SESSION = (
    SessionRow.id,
    SessionRow.tenant,
    SessionRow.principal,
    SessionRow.agent,
    SessionRow.processor,
    SessionRow.title,
    SessionRow.interaction_id,
    SessionRow.version,
    SessionRow.created_at,
    SessionRow.updated_at,
)
_MESSAGE = (
    MessageRow.id,
    MessageRow.session_id,
    MessageRow.run_id,
    MessageRow.role,
    MessageRow.content,
    MessageRow.detail,
    MessageRow.created_at,
    MessageRow.position,
)
_REMEMBERED = 3_600_000  # milliseconds for which readers of a stream are told that its session was deleted


class StaleVersionError(Exception):
    """The session has changed since the caller saw it.

    Attributes:
        version: the one it has now.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"the session is at version {version} now")


class Sessions:
    """Every method takes the tenant first, and another tenant's session is as one that does not exist.

    Args:
        database: started.
        clock: for the times recorded.

    Every method raises `StoreUnavailableError` when the database cannot be used.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, tenant: str, principal: str, agent: str, processor: str, title: str = ""
    ) -> SessionRecord:
        """A new, empty session."""
        now = self._now()
        record = SessionRecord(
            f"ses_{uuid.uuid4().hex}", tenant, principal, agent, processor, title, None, 1, now, now
        )

        async def work(connection: AsyncConnection) -> SessionRecord:
            await add_session(connection, record)
            return record

        return await self._database.write(work)

    async def get(self, tenant: str, session_id: str) -> SessionRecord | None:
        """The session, or None."""
        async with self._database.session() as connection:
            return await _find(connection, tenant, session_id)

    async def list(
        self,
        tenant: str,
        *,
        principal: str | None = None,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionRecord]:
        """Sessions, the newest first.

        Args:
            tenant: whose.
            principal: only those this caller began; None for all of the tenant.
            after: `(created_at, id)` of the last one already seen. Sessions made meanwhile shift nothing.
            limit: most to return.
        """
        query = (
            select(*SESSION)
            .where(SessionRow.tenant == tenant)
            .order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
            .limit(limit)
        )
        if principal is not None:
            query = query.where(SessionRow.principal == principal)
        if after is not None:
            query = query.where(tuple_(SessionRow.created_at, SessionRow.id) < tuple_(*after))
        async with self._database.session() as connection:
            return [session_record(row) for row in await connection.execute(query)]

    async def patch(
        self,
        tenant: str,
        session_id: str,
        *,
        processor: str | None = None,
        title: str | None = None,
        version: int | None = None,
    ) -> SessionRecord | None:
        """Change what is not None; the session as it is then, or None if there is none.

        Args:
            tenant: whose.
            session_id: which.
            processor: for messages that name none.
            title: what people call it.
            version: the one the caller has seen; None changes whatever there is.

        Raises:
            StaleVersionError: it has another version by now; nothing is changed.
        """
        changes: dict[str, Any] = {"updated_at": self._now(), "version": SessionRow.version + 1}
        changes |= {} if processor is None else {"processor": processor}
        changes |= {} if title is None else {"title": title}
        changing = (
            update(SessionRow).where(SessionRow.tenant == tenant, SessionRow.id == session_id).values(changes)
        )
        if version is not None:
            changing = changing.where(SessionRow.version == version)

        async def work(connection: AsyncConnection) -> SessionRecord | None:
            changed = await connection.execute(changing)
            found = await _find(connection, tenant, session_id)
            if found is not None and changed.rowcount == 0:
                raise StaleVersionError(found.version)
            return found

        return await self._database.write(work)

    async def delete(self, tenant: str, session_id: str) -> frozenset[str] | None:
        """Delete the session with all that was said in it; the runs that this cancelled, or None if there is none.

        A run that is under way ends as `cancelled`: its worker learns so by the next thing it wants to record. What
        was asked and what had been answered is deleted at once; only that there was such a run stays for an hour, for
        the readers of its stream.
        """
        now = self._now()
        problem = problem_document(410, "The session was deleted while the answer was being made.")

        async def work(connection: AsyncConnection) -> frozenset[str] | None:
            found = await connection.execute(
                select(SessionRow.id)
                .where(SessionRow.tenant == tenant, SessionRow.id == session_id)
                .with_for_update()  # a run may be about to begin in it
            )
            if found.first() is None:
                return None
            of_session = RunRow.session_id == session_id
            await connection.execute(delete(RunRow).where(of_session, RunRow.status != "running"))
            cancelling = (
                update(RunRow)
                .where(of_session)
                .values(
                    status="cancelled",
                    message="",
                    problem=problem,
                    lease_until=None,
                    ended_at=now,
                    events_until=now + _REMEMBERED,
                )
                .returning(RunRow.id)
            )
            cancelled = frozenset((await connection.execute(cancelling)).scalars())
            await connection.execute(delete(EventRow).where(EventRow.run_id.in_(cancelled)))
            await connection.execute(delete(SessionRow).where(SessionRow.id == session_id))
            return cancelled

        return await self._database.write(work)

    async def messages(
        self, tenant: str, session_id: str, *, after: int = 0, limit: int = 100
    ) -> Sequence[MessageRecord] | None:
        """What was said, in order; None if there is no such session.

        Args:
            tenant: whose.
            session_id: where.
            after: the position of the last message already seen.
            limit: most to return.
        """
        query = (
            select(*_MESSAGE)
            .where(MessageRow.session_id == session_id, MessageRow.position > after)
            .order_by(MessageRow.position)
            .limit(limit)
        )
        async with self._database.session() as connection:
            if await _find(connection, tenant, session_id) is None:
                return None
            return [MessageRecord(*row) for row in await connection.execute(query)]

    def _now(self) -> int:
        return int(self._clock.wall() * MILLISECONDS)


async def _find(connection: AsyncConnection, tenant: str, session_id: str) -> SessionRecord | None:
    query = select(*SESSION).where(SessionRow.tenant == tenant, SessionRow.id == session_id)
    row = (await connection.execute(query)).first()
    return None if row is None else session_record(row)


async def add_session(connection: AsyncConnection, record: SessionRecord) -> None:
    """Insert *record*.

    Raises:
        sqlalchemy.exc.IntegrityError: there is a session with its id.
    """
    values = {name: getattr(record, name) for name in SessionRecord.__slots__}
    await connection.execute(insert(SessionRow).values(values))


def session_record(row: Row[*tuple[Any, ...]]) -> SessionRecord:  # Any: the columns, in order
    """A row of the columns `SESSION`."""
    return SessionRecord(*row)
