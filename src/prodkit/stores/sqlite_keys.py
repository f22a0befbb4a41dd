"""API keys in one SQLite file, and how the processes that share it learn of each other's changes."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prodkit.stores import KeyRecord
from prodkit.stores.records import merged
from prodkit.stores.sqlite_file import Kind, SqliteFile

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Sequence

__all__ = ["SqliteKeyStore", "check_writable"]

_CHECK_KEY = "\x00check"
# A worker that slept longer than so many changes forgets all it had cached, which costs it one look-up a key.
_MOST_TOLD = 1000
_KEPT_CHANGES = 10_000
# More than one write adds, so that the table shrinks; few enough to be no pause.
_TRIMMED_AT_ONCE = 20


class SqliteKeyStore:
    """API keys in a file; issuing and revoking wait for the disk (`synchronous=FULL`), and looking for keys waits for neither.

    Args:
        path: the file; shared with other stores of this release. Its directory has to exist.
        timeout_seconds: the longest `find`, `list`, `changes_since` and `touch` may take.
        durable_timeout_seconds: the longest the other writes may take. 5: an operator rather waits for a
            slow disk than wonders whether the key was revoked.

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
        # Its own: a revocation that waits for the lock of a backup may not keep every caller waiting.
        self._reads = SqliteFile.shared(path, for_reads=True)
        self._timeout_seconds = timeout_seconds
        self._durable_timeout_seconds = durable_timeout_seconds
        self._seen: tuple[sqlite3.Connection, int, int, int] | None = None

    async def find(self, key_id: str) -> KeyRecord | None:
        """See `KeyStore.find`."""
        return await self._reads.run(
            Kind.READ, lambda connection: _find(connection, key_id), self._timeout_seconds
        )

    async def put(self, record: KeyRecord) -> None:
        """See `KeyStore.put`."""

        def work(connection: sqlite3.Connection) -> None:
            known = _find(connection, record.id)
            _write(connection, record if known is None else merged(known, record))
            _trim(connection)

        await self._file.run(Kind.DURABLE, work, self._durable_timeout_seconds)

    async def revoke(self, key_id: str, at: float) -> bool:
        """See `KeyStore.revoke`."""
        return await self._update(
            "revoked_at = min(coalesce(revoked_at, :at), :at) WHERE id = :id", {"at": at, "id": key_id}
        )

    async def deprecate(self, key_id: str, *, replaced_by: str, at: float, expires_at: float) -> bool:
        """See `KeyStore.deprecate`."""
        return await self._update(
            "replaced_by = :new, deprecated_at = coalesce(deprecated_at, :at), "
            "expires_at = min(coalesce(expires_at, :end), :end) "
            f"WHERE id = :id AND revoked_at IS NULL AND (replaced_by IS NULL OR {_REPLACED_IN_VAIN})",
            {"new": replaced_by, "at": at, "end": expires_at, "id": key_id},
        )

    async def redigest(self, key_id: str, *, known: bytes, digest: bytes, pepper_id: str) -> bool:
        """See `KeyStore.redigest`."""
        return await self._update(
            "digest = :digest, pepper_id = :pepper WHERE id = :id AND digest = :known",
            {"digest": digest, "pepper": pepper_id, "id": key_id, "known": known},
        )

    async def touch(self, key_id: str, at: float) -> None:
        """See `KeyStore.touch`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, :at), :at) WHERE id = :id",
                {"at": at, "id": key_id},
            )

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """See `KeyStore.list`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        of_tenant, values = ("", ()) if tenant is None else ("tenant = ? AND ", (tenant,))
        query = f"{_SELECT} WHERE {of_tenant}id > ? ORDER BY id LIMIT ?"

        def work(connection: sqlite3.Connection) -> Sequence[KeyRecord]:
            return [_record(row) for row in connection.execute(query, (*values, after or "", limit))]

        return await self._reads.run(Kind.READ, work, self._timeout_seconds)

    async def changes_since(self, cursor: int | None) -> tuple[int, Sequence[str] | None]:
        """See `KeyStore.changes_since`. Two function calls of SQLite where nothing was committed meanwhile."""

        def work(connection: sqlite3.Connection) -> tuple[int, Sequence[str] | None]:
            # `data_version` moves with the commits of other connections, `total_changes` with those of this one.
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            written = connection.total_changes
            if cursor is not None and self._seen == (connection, version, written, cursor):
                return cursor, ()
            answer = _changes(connection, cursor)
            self._seen = (connection, version, written, answer[0])
            return answer

        return await self._reads.run(Kind.READ, work, self._timeout_seconds)

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""
        await check_writable(self._file, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._reads.aclose()
        await self._file.aclose()

    async def _update(self, assignment: str, values: dict[str, Any]) -> bool:
        """Whether the row was there and fit; on the disk when it returns. Any: what SQLite takes."""

        def work(connection: sqlite3.Connection) -> bool:
            updated = connection.execute(f"UPDATE api_keys SET {assignment}", values)  # noqa: S608  our own words
            _trim(connection)
            return updated.rowcount > 0

        return await self._file.run(Kind.DURABLE, work, self._durable_timeout_seconds)


async def check_writable(file: SqliteFile, timeout_seconds: float) -> None:
    """Return if *file* can be written; see `Store.check`."""

    # A real write: to take the write lock succeeds on a read-only file, and an empty write on a full disk.
    # The row means nothing even if somebody saw it: a bucket that was full in 1970.
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO rate_limits (key, full_at) VALUES (?, 0)", (_CHECK_KEY,))
        connection.execute("DELETE FROM rate_limits WHERE key = ?", (_CHECK_KEY,))

    await file.run(Kind.WRITE, work, timeout_seconds)


# By a key that was revoked before anybody used it: the answer with it was lost.
_REPLACED_IN_VAIN = (
    "EXISTS (SELECT 1 FROM api_keys AS lost WHERE lost.id = api_keys.replaced_by "
    "AND lost.revoked_at IS NOT NULL AND lost.last_used_at IS NULL)"
)

# The columns are the fields of a KeyRecord, by name and in order.
_FIELDS = tuple(field.name for field in fields(KeyRecord))
_COLUMNS = ", ".join(_FIELDS)
_SELECT = f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608  our own names
_MARKS = ", ".join("?" * len(_FIELDS))
_INSERT = f"INSERT OR REPLACE INTO api_keys ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608  see above


def _find(connection: sqlite3.Connection, key_id: str) -> KeyRecord | None:
    row = connection.execute(_SELECT + " WHERE id = ?", (key_id,)).fetchone()
    return None if row is None else _record(row)


def _record(row: tuple[Any, ...]) -> KeyRecord:  # Any: sqlite3 does not know the types of columns
    values = dict(zip(_FIELDS, row, strict=True))
    values["scopes"] = frozenset(json.loads(values["scopes"]))
    values["networks"] = tuple(json.loads(values["networks"]))
    return KeyRecord(**values)


def _write(connection: sqlite3.Connection, record: KeyRecord) -> None:
    values: dict[str, Any] = {name: getattr(record, name) for name in _FIELDS}
    values["scopes"] = json.dumps(sorted(record.scopes))
    values["networks"] = json.dumps(record.networks)
    connection.execute(_INSERT, tuple(values.values()))


def _changes(connection: sqlite3.Connection, cursor: int | None) -> tuple[int, Sequence[str] | None]:
    first, last = connection.execute("SELECT min(sequence), max(sequence) FROM api_key_changes").fetchone()
    if last is None:
        return 0, () if cursor == 0 else None
    # A cursor beyond the end is one of a file that was there before a backup came back.
    if cursor is None or not first - 1 <= cursor <= last or last - cursor > _MOST_TOLD:
        return last, None
    rows = connection.execute("SELECT id FROM api_key_changes WHERE sequence > ?", (cursor,))
    return last, [key_id for (key_id,) in rows]


def _trim(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM api_key_changes WHERE sequence IN (SELECT sequence FROM api_key_changes WHERE sequence <= "
        "(SELECT max(sequence) FROM api_key_changes) - ? ORDER BY sequence LIMIT ?)",
        (_KEPT_CHANGES, _TRIMMED_AT_ONCE),
    )
