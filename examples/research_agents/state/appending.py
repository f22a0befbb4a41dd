"""Recording the events of many runs at once: those that come while a transaction is under way share one statement."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from .run_steps import append_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from .database import Database
    from .run_steps import Event

__all__ = ["EventAppender"]


class EventAppender:
    """Appends events in groups; what is gathering while one group is written becomes the next.

    Args:
        database: started.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: _Group | None = None

    async def append(self, run_id: str, events: Sequence[Event]) -> bool:
        """See `Runs.append`. When the caller is cancelled, the events may be recorded or not."""
        group = self._gathering
        if group is None:
            group = self._gathering = _Group(self, self._database)
        group.entries.append((run_id, events))
        try:
            running = await asyncio.shield(group.written)
        except IntegrityError:
            # Somebody in the group made a mistake; only he shall be told so.
            alone = [(run_id, events)]
            running = await self._database.write(lambda connection: append_events(connection, alone))
        return run_id in running

    def close(self, group: _Group) -> None:
        """From now on, what comes belongs to another group."""
        if self._gathering is group:
            self._gathering = None


class _Group:
    def __init__(self, appender: EventAppender, database: Database) -> None:
        self.entries: list[tuple[str, Sequence[Event]]] = []
        self._appender = appender
        # Not in the context of whoever came first: it writes for all.
        self.written: asyncio.Task[frozenset[str]] = asyncio.create_task(
            database.write(self._write), name="append-events", context=contextvars.Context()
        )
        self.written.add_done_callback(self._end)

    async def _write(self, connection: AsyncConnection) -> frozenset[str]:
        self._appender.close(self)
        return await append_events(connection, self.entries)

    def _end(self, written: asyncio.Task[frozenset[str]]) -> None:
        # Also when the transaction never began, or a failed group would gather for ever.
        self._appender.close(self)
        # Retrieved, so that a failure all callers walked away from is not reported as lost.
        if not written.cancelled():
            written.exception()
