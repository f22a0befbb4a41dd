"""Stores in one SQLite file: shared by all workers of one machine, still there after a restart.

The embedded default. It needs a local disk (WAL does not work over network file systems) and serves one
machine; for several use Redis. Hits that arrive together go into one transaction
(`prodkit.stores.coalescing`).

Time is the wall clock, the only one that the processes of a machine share across restarts. Set back, it can
lock a caller out for at most two refills of the bucket, or two windows; set forward, buckets are full early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError
from prodkit.stores.algorithms import Moment, look, require_costs
from prodkit.stores.coalescing import Coalescer
from prodkit.stores.sqlite_file import Kind, SqliteFile
from prodkit.stores.sqlite_keys import SqliteKeyStore, check_writable
from prodkit.stores.sqlite_limits import Item, Sweep, decide_batch, forget, load

if TYPE_CHECKING:
    import asyncio
    import os
    import sqlite3
    from collections.abc import Awaitable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, Decision, Rule, Settlement
    from prodkit.stores.sqlite_limits import Batch

__all__ = ["SqliteKeyStore", "SqliteRateLimitStore"]


class SqliteRateLimitStore:
    """Limits in a file; any number of processes on the machine admit exactly what one would.

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

    is_partitioned = False

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, timeout_seconds: float = 0.1
    ) -> None:
        """Open nothing yet."""
        self._file = SqliteFile.shared(path)
        self._wall = clock.wall
        self._timeout_seconds = timeout_seconds
        self._coalescer: Coalescer[Item, tuple[Decision, ...]] = Coalescer(
            self._send_batch, timeout_seconds=timeout_seconds
        )
        self._sweep = Sweep()

    def hit_many(self, asks: Sequence[Ask]) -> Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`; always an awaitable."""
        require_costs(asks)
        return self._coalescer.ask(Item(asks=tuple(asks)))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `RateLimitStore.settle`; travels with the hits, in the order of asking."""
        await self._coalescer.ask(Item(settlements=tuple(settlements)))

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`."""

        def work(connection: sqlite3.Connection) -> Decision:
            now = self._now()
            return look(load(connection, (rule.code, key), now), now, rule)

        return await self._file.run(Kind.READ, work, self._timeout_seconds)

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""
        await self._file.run(Kind.WRITE, lambda connection: forget(connection, key), self._timeout_seconds)

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""
        await check_writable(self._file, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._coalescer.aclose()
        await self._file.aclose()

    async def _send_batch(self, batch: Batch) -> Sequence[tuple[Decision, ...] | Exception]:
        try:
            return await self._submit(batch)
        except StoreError:
            raise
        except Exception:
            if len(batch) == 1:
                raise
        # Somebody asked with a key that is no text for SQLite, say. The transaction was rolled back, so that
        # the others can be answered one by one as if that ask had not been there.
        return [await self._decide_one(item) for item in batch]

    async def _decide_one(self, item: Item) -> tuple[Decision, ...] | Exception:
        try:
            (answer,) = await self._submit([item])
        except Exception as error:  # noqa: BLE001  the answer to whoever asked this
            return error
        return answer

    def _submit(self, batch: Batch) -> asyncio.Future[list[tuple[Decision, ...]]]:
        return self._file.submit(
            Kind.WRITE, lambda connection: self._decide_all(connection, batch), self._timeout_seconds
        )

    # ------------------------------------------------------------------------------ in the thread

    def _now(self) -> Moment:
        # Whole microseconds: more than a float of this size holds would only be noise.
        now_us = int(self._wall() * 1e6)
        return Moment(now_us * 1000, now_us)

    def _decide_all(self, connection: sqlite3.Connection, batch: Batch) -> list[tuple[Decision, ...]]:
        return decide_batch(connection, batch, self._now(), self._sweep)
