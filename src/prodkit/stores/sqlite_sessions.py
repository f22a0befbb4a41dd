"""Sessions in an SQLite file: shared by all workers of one machine, still there after a restart."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from typing import TYPE_CHECKING

from prodkit.stores.sessions import SessionRecord
from prodkit.stores.sqlite_file import Kind, SqliteFile

if TYPE_CHECKING:
    import os

__all__ = ["SqliteSessionStore"]

_CHECK_ID = "\x00check"

# The columns are the fields of a SessionRecord, by name and in order.
_FIELDS = tuple(field.name for field in fields(SessionRecord))
_COLUMNS = ", ".join(_FIELDS)
_MARKS = ", ".join("?" * len(_FIELDS))
_SELECT = f"SELECT {_COLUMNS} FROM web_sessions WHERE id = ?"  # noqa: S608  our own names
_INSERT = f"INSERT INTO web_sessions ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608  see above
# The newest most - 1 stay beside the one that comes.
_END_OLDEST = """UPDATE web_sessions SET revoked_at = :now WHERE id IN (
    SELECT id FROM web_sessions
    WHERE subject = :subject AND revoked_at IS NULL AND expires_at > :now AND id <> :id
    ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET :kept)"""
# As the index has it, or it would not be used.
_END = "min(expires_at, coalesce(revoked_at, expires_at))"
_PURGE = f"""DELETE FROM web_sessions WHERE id IN (
    SELECT id FROM web_sessions WHERE {_END} < ? ORDER BY {_END}, id LIMIT ?)"""  # noqa: S608  our own words


class SqliteSessionStore:
    """Sessions in a file; ending one waits for the disk (`synchronous=FULL`), opening and using one does not.

    A power cut may make somebody log in again, and never lets somebody in again who had logged out.

    Args:
        path: the file; shared with other stores of this release. Its directory has to exist.
        timeout_seconds: the longest `find`, `touch` and `purge` may take. 0.1: a healthy file answers in under 1 ms.
        durable_timeout_seconds: the longest `open`, `revoke` and `revoke_subject` may take. 5: whoever logs out rather
            waits for a slow disk than wonders whether it was done.

    Raises:
        StoreUnavailableError: the directory does not exist.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout_seconds: float = 0.1,
        durable_timeout_seconds: float = 5.0,
    ) -> None:
        """Open nothing yet."""
        self._file = SqliteFile.shared(path)
        self._timeout_seconds = timeout_seconds
        self._durable_timeout_seconds = durable_timeout_seconds

    async def open(self, record: SessionRecord, *, most: int) -> None:
        """See `SessionStore.open`."""
        if most < 1:
            message = f"most must be at least 1, not {most}"
            raise ValueError(message)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, tuple(getattr(record, name) for name in _FIELDS))
            others = {"now": record.created_at, "subject": record.subject, "id": record.id, "kept": most - 1}
            connection.execute(_END_OLDEST, others)

        try:
            await self._file.run(Kind.WRITE, work, self._durable_timeout_seconds)
        except sqlite3.IntegrityError as error:
            message = "there is a session of this id"
            raise ValueError(message) from error

    async def find(self, session_id: str) -> SessionRecord | None:
        """See `SessionStore.find`."""

        def work(connection: sqlite3.Connection) -> SessionRecord | None:
            row = connection.execute(_SELECT, (session_id,)).fetchone()
            return None if row is None else SessionRecord(**dict(zip(_FIELDS, row, strict=True)))

        return await self._file.run(Kind.READ, work, self._timeout_seconds)

    async def touch(self, session_id: str, at: float) -> None:
        """See `SessionStore.touch`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE web_sessions SET seen_at = max(seen_at, ?) WHERE id = ?", (at, session_id)
            )

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def revoke(self, session_id: str, at: float) -> bool:
        """See `SessionStore.revoke`."""

        def work(connection: sqlite3.Connection) -> bool:
            updated = connection.execute(
                "UPDATE web_sessions SET revoked_at = min(coalesce(revoked_at, :at), :at) WHERE id = :id",
                {"at": at, "id": session_id},
            )
            return updated.rowcount > 0

        return await self._file.run(Kind.DURABLE, work, self._durable_timeout_seconds)

    async def revoke_subject(self, subject: str, at: float) -> int:
        """See `SessionStore.revoke_subject`."""

        def work(connection: sqlite3.Connection) -> int:
            updated = connection.execute(
                "UPDATE web_sessions SET revoked_at = ? WHERE subject = ? AND revoked_at IS NULL",
                (at, subject),
            )
            return updated.rowcount

        return await self._file.run(Kind.DURABLE, work, self._durable_timeout_seconds)

    async def purge(self, before: float, *, limit: int = 100) -> int:
        """See `SessionStore.purge`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        return await self._file.run(
            Kind.WRITE,
            lambda connection: connection.execute(_PURGE, (before, limit)).rowcount,
            self._timeout_seconds,
        )

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""

        # A real write, as for the other stores: the lock alone can be had on a read-only file.
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, (_CHECK_ID, "", "", 0.0, 0.0, 0.0, 0.0))
            connection.execute("DELETE FROM web_sessions WHERE id = ?", (_CHECK_ID,))

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._file.aclose()
