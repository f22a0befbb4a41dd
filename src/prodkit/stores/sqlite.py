"""Stores in one SQLite file: shared by all workers of one machine, still there after a restart.

The embedded default. It needs a local disk (WAL does not work over network file systems) and serves one
machine; for several use Redis. Hits that arrive together go into one transaction
(`prodkit.stores.coalescing`).

Time is the wall clock, the only one that the processes of a machine share across restarts. Set back, it can
lock a caller out for at most one refill of the bucket; set forward, buckets are full early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError
from prodkit.stores.coalescing import Coalescer
from prodkit.stores.gcra import NEGATIVE_COST, decide, look
from prodkit.stores.sqlite_file import Kind, SqliteFile
from prodkit.stores.sqlite_keys import SqliteKeyStore, check_writable

if TYPE_CHECKING:
    import asyncio
    import os
    import sqlite3
    from collections.abc import Awaitable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, Decision, Rate

__all__ = ["SqliteKeyStore", "SqliteRateLimitStore"]

_SWEPT_PER_NEW_KEY = 2
# Few enough for one sweep to cost less than the transaction it rides on.
_MAX_SWEPT_PER_BATCH = 200


class SqliteRateLimitStore:
    """Buckets in a file; any number of processes on the machine admit exactly what one would.

    A batch is committed without waiting for the disk (`synchronous=NORMAL`): a power cut may forget the last
    hits, a killed process forgets none. Rows of full buckets are deleted a few at a time, as new keys come
    in. The file holds one row for each caller of the longest window.

    Args:
        path: the file; shared with other stores of this release. Its directory has to exist.
        clock: where `wall` is read.
        timeout_seconds: the longest any verb may take. 0.1: a healthy batch takes under 1 ms, a contended one
            some 10, and a request that waits longer for its limiter than for its work is badly served.

    Raises:
        StoreUnavailableError: the directory does not exist.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, timeout_seconds: float = 0.1
    ) -> None:
        """Open nothing yet."""
        self._file = SqliteFile.shared(path)
        self._wall = clock.wall
        self._timeout_seconds = timeout_seconds
        self._coalescer: Coalescer[Sequence[Ask], tuple[Decision, ...]] = Coalescer(
            self._send_batch, timeout_seconds=timeout_seconds
        )
        self._swept_up_to = ""

    def hit_many(self, asks: Sequence[Ask]) -> Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`; always an awaitable."""
        for ask in asks:
            if ask[2] < 0:
                raise ValueError(NEGATIVE_COST)
        return self._coalescer.ask(tuple(asks))

    async def peek(self, key: str, rate: Rate) -> Decision:
        """See `RateLimitStore.peek`."""

        def work(connection: sqlite3.Connection) -> Decision:
            now = self._now()
            return look(_read(connection, {key}).get(key, now), now, rate)

        return await self._file.run(Kind.READ, work, self._timeout_seconds)

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM rate_limits WHERE key = ?", (key,))

        await self._file.run(Kind.WRITE, work, self._timeout_seconds)

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""
        await check_writable(self._file, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._coalescer.aclose()
        await self._file.aclose()

    async def _send_batch(self, batch: list[Sequence[Ask]]) -> Sequence[tuple[Decision, ...] | Exception]:
        try:
            return await self._submit(batch)
        except StoreError:
            raise
        except Exception:
            if len(batch) == 1:
                raise
        # Somebody asked with a key that is no text for SQLite, say. The transaction was rolled back, so that
        # the others can be answered one by one as if that ask had not been there.
        return [await self._decide_one(asks) for asks in batch]

    async def _decide_one(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Exception:
        try:
            (answer,) = await self._submit([asks])
        except Exception as error:  # noqa: BLE001  the answer to whoever asked this
            return error
        return answer

    def _submit(self, batch: list[Sequence[Ask]]) -> asyncio.Future[list[tuple[Decision, ...]]]:
        return self._file.submit(
            Kind.WRITE, lambda connection: self._decide_all(connection, batch), self._timeout_seconds
        )

    # ------------------------------------------------------------------------------ in the thread

    def _now(self) -> int:
        # Whole microseconds: more than a float of this size holds would only be noise.
        return int(self._wall() * 1e6) * 1000

    def _decide_all(
        self, connection: sqlite3.Connection, batch: list[Sequence[Ask]]
    ) -> list[tuple[Decision, ...]]:
        now = self._now()
        full_at = _read(connection, {ask[0] for asks in batch for ask in asks})
        known = len(full_at)
        changed: dict[str, int] = {}
        answers = []
        for asks in batch:
            decisions, changes = decide(full_at, now, asks)
            full_at.update(changes)
            changed.update(changes)
            answers.append(decisions)
        if changed:
            connection.executemany(
                "INSERT INTO rate_limits (key, full_at) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET full_at = excluded.full_at",
                changed.items(),
            )
        if new := len(full_at) - known:
            self._sweep(connection, now, min(_SWEPT_PER_NEW_KEY * new, _MAX_SWEPT_PER_BATCH))
        return answers

    def _sweep(self, connection: sqlite3.Connection, now: int, count: int) -> None:
        """Walk on along the keys from where the last sweep stopped, and delete what has no meaning left."""
        rows = connection.execute(
            "SELECT key, full_at FROM rate_limits WHERE key > ? ORDER BY key LIMIT ?",
            (self._swept_up_to, count),
        ).fetchall()
        stale = [(key,) for key, full_at in rows if full_at <= now]
        if stale:
            connection.executemany("DELETE FROM rate_limits WHERE key = ?", stale)
        self._swept_up_to = rows[-1][0] if len(rows) == count else ""


def _read(connection: sqlite3.Connection, keys: set[str]) -> dict[str, int]:
    marks = ",".join("?" * len(keys))
    query = f"SELECT key, full_at FROM rate_limits WHERE key IN ({marks})"  # noqa: S608  question marks
    return dict(connection.execute(query, tuple(keys)))
