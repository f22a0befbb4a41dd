"""Answers in an SQLite file: shared by all workers of one machine, still there after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores.cache import MOST_VALUE_BYTES, Claim, require_key, require_owner, require_seconds
from prodkit.stores.sqlite_file import Kind, SqliteFile

if TYPE_CHECKING:
    import os
    import sqlite3

    from prodkit.core.clock import Clock

__all__ = ["SqliteCacheStore"]

_CHECK_KEY: Final = "\x00check"
_MOST_ENTRIES: Final = 100_000
_MOST_BYTES: Final = 256 * 1024 * 1024
# A few with each write, so that none of them takes long and they are faster than what comes.
_SWEPT: Final = 20

# A row without a value is a lease.
_LOOK: Final = "SELECT owner, ends_at, value FROM cached_answers WHERE key = ?"
_LEASE: Final = """INSERT INTO cached_answers (key, owner, ends_at, value) VALUES (?, ?, ?, NULL)
    ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, ends_at = excluded.ends_at, value = NULL"""
_FILL: Final = """UPDATE cached_answers SET owner = '', ends_at = :end, value = :value
    WHERE key = :key AND owner = :owner AND value IS NULL AND ends_at > :now"""
_EXTEND: Final = """UPDATE cached_answers SET ends_at = :end
    WHERE key = :key AND owner = :owner AND value IS NULL AND ends_at > :now"""
_END: Final = "DELETE FROM cached_answers WHERE key = ? AND owner = ? AND value IS NULL"
_SWEEP: Final = """DELETE FROM cached_answers WHERE rowid IN (
    SELECT rowid FROM cached_answers WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)"""
_EVICT: Final = """DELETE FROM cached_answers WHERE rowid IN (
    SELECT rowid FROM cached_answers WHERE value IS NOT NULL AND key <> ? ORDER BY ends_at LIMIT 1)"""
_ROOM: Final = "SELECT entries, bytes FROM cached_answers_room"


class SqliteCacheStore:
    """Answers in a file. No verb waits for the disk: a power cut may take the last ones, which are then bought again.

    An answer that is there is read without a lock. What has expired is removed a few at a time when others come; the file
    keeps the room, so it stays as large as it once had to be. Times are those of the wall clock: set back, it keeps answers
    longer by as much.

    Args:
        path: the file; shared with other stores of this release. Its directory has to exist.
        clock: where `wall` is read.
        timeout_seconds: the longest any verb may take. 0.1: a healthy file answers in under 1 ms.
        max_entries: how many answers are kept.
        max_bytes: of all answers together. Beyond either, those go that would expire first.
        max_value_bytes: of one answer.

    Raises:
        StoreUnavailableError: the directory does not exist.
        ValueError: a bound is under 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock = SYSTEM_CLOCK,
        timeout_seconds: float = 0.1,
        max_entries: int = _MOST_ENTRIES,
        max_bytes: int = _MOST_BYTES,
        max_value_bytes: int = MOST_VALUE_BYTES,
    ) -> None:
        """Open nothing yet."""
        if min(max_entries, max_bytes, max_value_bytes) < 1:
            message = "max_entries, max_bytes and max_value_bytes must be at least 1"
            raise ValueError(message)
        self._file = SqliteFile.shared(path)
        self._reads = SqliteFile.shared(path, for_reads=True)
        self._wall = clock.wall
        self._timeout_seconds = timeout_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_value_bytes = min(max_value_bytes, max_bytes)

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Claim:
        """See `CacheStore.claim`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")

        def look(connection: sqlite3.Connection) -> Claim | None:
            return _seen(connection, key, owner, self._wall())

        def lead(connection: sqlite3.Connection) -> Claim:
            now = self._wall()
            # Looked again, under the lock: somebody else may have been quicker.
            seen = _seen(connection, key, owner, now)
            if seen is not None:
                return seen
            self._sweep(connection, now)
            connection.execute(_LEASE, (key, owner, now + lease_seconds))
            return Claim("leading", lease_seconds)

        seen = await self._reads.run(Kind.READ, look, self._timeout_seconds)
        if seen is not None:
            return seen
        return await self._file.run(Kind.WRITE, lead, self._timeout_seconds)

    async def extend(self, key: str, owner: str, *, lease_seconds: float) -> bool:
        """See `CacheStore.extend`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")

        def work(connection: sqlite3.Connection) -> bool:
            now = self._wall()
            values = {"key": key, "owner": owner, "now": now, "end": now + lease_seconds}
            return connection.execute(_EXTEND, values).rowcount > 0

        return await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def fill(self, key: str, owner: str, value: bytes, *, ttl_seconds: float) -> bool:
        """See `CacheStore.fill`."""
        require_key(key)
        require_owner(owner)
        require_seconds(ttl_seconds, "ttl_seconds")
        if len(value) > self._max_value_bytes:
            await self.abandon(key, owner)
            return False

        def work(connection: sqlite3.Connection) -> bool:
            now = self._wall()
            values = {"key": key, "owner": owner, "value": value, "now": now, "end": now + ttl_seconds}
            if connection.execute(_FILL, values).rowcount == 0:
                return False
            self._sweep(connection, now)
            self._evict(connection, key)
            return True

        return await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def abandon(self, key: str, owner: str) -> None:
        """See `CacheStore.abandon`."""
        require_key(key)
        require_owner(owner)
        await self._write(_END, key, owner)

    async def forget(self, key: str) -> None:
        """See `CacheStore.forget`."""
        require_key(key)
        await self._write("DELETE FROM cached_answers WHERE key = ?", key)

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""

        # A real write, as for the other stores: the lock alone can be had on a read-only file.
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_LEASE, (_CHECK_KEY, "", 0.0))
            connection.execute("DELETE FROM cached_answers WHERE key = ?", (_CHECK_KEY,))

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._reads.aclose()
        await self._file.aclose()

    async def _write(self, statement: str, *values: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    # ------------------------------------------------------------------------------ in the thread

    @staticmethod
    def _sweep(connection: sqlite3.Connection, now: float) -> None:
        connection.execute(_SWEEP, (now, _SWEPT))

    def _evict(self, connection: sqlite3.Connection, key: str) -> None:
        """Make the file fit its bounds again, which *key* was just written to."""
        while True:
            entries, size = connection.execute(_ROOM).fetchone()
            if entries <= self._max_entries and size <= self._max_bytes:
                return
            connection.execute(_EVICT, (key,))


def _seen(connection: sqlite3.Connection, key: str, owner: str, now: float) -> Claim | None:
    """What *owner* finds under *key*; None where it may lead."""
    row = connection.execute(_LOOK, (key,)).fetchone()
    if row is None or row[1] <= now:
        return None
    leader, ends_at, value = row
    if value is not None:
        return Claim("found", ends_at - now, value)
    return None if leader == owner else Claim("taken", ends_at - now)
