"""Writing to a database with one writer: what queued while a transaction was under way shares the next one.

A commit that survives a power cut waits for the disk, and SQLite has one writer at a time. Together, 64 runs that
record their events at once wait for it twice, not 64 times.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from prodkit.core.exceptions import StoreUnavailableError

__all__ = ["GroupWriter", "Work", "unavailable"]

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_MOST_TOGETHER = 64  # jobs in one transaction; other processes wait that long for their turn
# The exact classes: a broken constraint is a `DatabaseError` too, and a damaged file is nothing else.
_PASSING = frozenset({"OperationalError", "InterfaceError", "DatabaseError"})
_log = structlog.get_logger("research.state")


@dataclass(slots=True)
class _Job:
    work: Work[Any]  # Any: jobs of every result type wait in one queue
    waiter: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def answer(self, result: object) -> None:
        if not self.waiter.done():
            self.waiter.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.waiter.done():
            self.waiter.set_exception(error)


class GroupWriter:
    """Runs jobs one after the other, several of them in one transaction.

    A job whose caller was cancelled before it began is left out; one that has begun is finished whatever happens to
    the caller, so that a cancelled request never leaves a transaction open.

    Args:
        engine: its transactions are for writing.
        together: most jobs in one transaction.
    """

    def __init__(self, engine: AsyncEngine, *, together: int = _MOST_TOGETHER) -> None:
        self._engine = engine
        self._together = together
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        """What *work* returns, once it is safely on disk.

        *work* is given the connection and uses nothing else: when a job it shared a transaction with fails, it is
        run again in one of its own.

        Raises:
            StoreUnavailableError: the database could not be written to; nothing of *work* is stored.
            Exception: whatever *work* raised; nothing of it is stored.
        """
        job = _Job(work)
        self._jobs.append(job)
        if self._task is None:
            # Not in the caller's context: the task outlives the request, and writes for others too.
            self._task = asyncio.create_task(
                self._write_all(), name="state-writer", context=contextvars.Context()
            )
        result: T = await job.waiter
        return result

    async def aclose(self) -> None:
        """Wait until what has been asked for is written."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _write_all(self) -> None:
        batch: list[_Job] = []
        try:
            while self._jobs:
                batch = []
                while self._jobs and len(batch) < self._together:
                    job = self._jobs.popleft()
                    if not job.waiter.done():
                        batch.append(job)
                await self._write(batch)
        except BaseException:
            # A loop that ends cancels this task: nobody would ever answer those who wait.
            for job in (*batch, *self._jobs):
                job.waiter.cancel()
            self._jobs.clear()
            raise
        finally:
            # In the same step as the last look at the queue, so that nobody's job is left behind.
            self._task = None

    async def _write(self, batch: list[_Job]) -> None:
        failed: _Job | None = None
        results: list[object] = []
        try:
            async with self._engine.begin() as connection:
                for job in batch:
                    failed = job
                    results.append(await job.work(connection))
                failed = None
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to whoever handed the job in
            if failed is None:  # neither began nor committed: the same would happen to each alone
                for job in batch:
                    job.fail(_told(error))
            elif len(batch) == 1:
                failed.fail(_told(error))
            else:
                for job in batch:
                    await self._write([job])
        else:
            for job, result in zip(batch, results, strict=True):
                job.answer(result)


def _told(error: Exception) -> Exception:
    return unavailable(error) if isinstance(error, (SQLAlchemyError, OSError, sqlite3.Error)) else error


def unavailable(error: Exception) -> Exception:
    """*error* as callers are told: `StoreUnavailableError` for what may pass; a broken constraint or a wrong statement
    is a mistake of ours and stays what it is.
    """
    # SQLite's own: where a transaction begins, SQLAlchemy has not wrapped it yet.
    passing = isinstance(error, (OSError, PoolTimeoutError)) or (
        isinstance(error, (DBAPIError, sqlite3.Error)) and type(error).__name__ in _PASSING
    )
    if not passing:
        return error
    # The driver's own words; SQLAlchemy's would repeat the statement and its parameters.
    reason = error.orig if isinstance(error, DBAPIError) else error
    _log.warning("state_unavailable", reason=str(reason))
    told = StoreUnavailableError(f"the database of sessions and documents cannot be used: {reason}")
    told.__cause__ = error
    return told
