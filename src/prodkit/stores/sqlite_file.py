"""One SQLite file and the one thread of this process that works on it.

The event loop never executes SQL: it leaves a job with the thread and awaits the answer. Each job is one
transaction, taken with `BEGIN IMMEDIATE`, so what it reads cannot change before it writes, whichever process
it is in.

`synchronous` is switched per job, not per file: `NORMAL` for what a power cut may take (a rate limit), `FULL`
for what it may not (keys, later the ledger). Two files would be two threads and two settings, and two
connections to one file would wait for each other; the switch is a PRAGMA of a few microseconds, made only
when the kind changes.

A writer that waits for another process's lock holds up all that is queued behind it. What may not wait for it asks
for a second thread with a connection of its own, on which nothing is written: in WAL mode, readers wait for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import queue
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from prodkit.core.exceptions import StoreError, StoreUnavailableError
from prodkit.stores.forking import no_fork, survive_fork
from prodkit.stores.sqlite_connection import is_busy, open_connection, patiently, require_directory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Kind", "SqliteFile"]

R = TypeVar("R")

if TYPE_CHECKING:
    Work: TypeAlias = Callable[[sqlite3.Connection], R]

_MAX_QUEUED_JOBS = 1000
_LONGEST_FAREWELL_SECONDS = 5.0
# Errors of whoever handed the work in, which say nothing about the file.
_MISTAKES = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class Kind(enum.Enum):
    """What a transaction does, and so which lock it takes and whether it waits for the disk."""

    READ = enum.auto()
    """Waits for nobody: WAL readers see the last committed state."""
    WRITE = enum.auto()
    """Takes the write lock at once. A killed process loses nothing of it, a power cut may."""
    DURABLE = enum.auto()
    """As WRITE, and on the disk when it returns."""


class _Job(Generic[R]):
    """One transaction to run, and whom to tell."""

    __slots__ = ("deadline", "future", "kind", "loop", "work")

    def __init__(self, kind: Kind, work: Work[R], timeout_seconds: float) -> None:
        self.kind = kind
        self.work = work
        # The real clock: this bounds real waiting for a real lock, also in a test whose own clock stands
        # still.
        self.deadline = time.monotonic() + timeout_seconds
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[R] = self.loop.create_future()

    def require_waiter(self) -> None:
        """Raise if the job was taken back, or its time is up: nobody may be charged for what they were told has failed."""
        if self.future.done():
            message = "the job was taken back"
            raise StoreUnavailableError(message)

    def answer(self, result: R) -> None:
        self._tell(self._set_result, result)

    def fail(self, error: Exception) -> None:
        self._tell(self._set_exception, error)

    def _tell(self, callback: Callable[..., None], value: object) -> None:
        # A closed loop: whoever waited is gone, and so is the place to report it to.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, value)

    def _set_result(self, result: R) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _set_exception(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class SqliteFile:
    """A file in WAL mode, opened by its thread when the first job arrives, reopened after any error.

    Every user of the same path in this process gets the same thread, or the one for reads: see `SqliteFile.shared`. A fork is safe:
    the connection is closed before it (SQLite forbids carrying one across) and both sides reopen. The file is
    made with mode 0600, and -wal and -shm inherit that.

    Args:
        path: the file, absolute; made when it does not exist. Its directory has to exist.
        is_for_reads: only named after it; that nothing else is asked of it is up to its users.

    Raises:
        StoreUnavailableError: the directory does not exist.
    """

    def __init__(self, path: str, *, is_for_reads: bool = False) -> None:
        """Check the directory; open nothing yet."""
        self.path = path
        self._thread_name = f"prodkit-sqlite-{Path(path).name}{'-reads' if is_for_reads else ''}"
        require_directory(path)
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None
        self._synchronous_full = False
        self._working = threading.Lock()  # held while the connection is in use; a fork waits for it
        survive_fork(self)

    @staticmethod
    def shared(path: str | os.PathLike[str], *, for_reads: bool = False) -> SqliteFile:
        """Return this process's one object for *path*, or its one for reads, made at the first call."""
        real = os.path.realpath(path)
        with no_fork:
            file = _files.get((real, for_reads))
            if file is None:
                file = _files[real, for_reads] = SqliteFile(real, is_for_reads=for_reads)
            return file

    def submit(self, kind: Kind, work: Work[R], timeout_seconds: float) -> asyncio.Future[R]:
        """Queue *work* as one transaction and return the future of its result.

        Cancel the future, or give it an error, to take the job back: what is not committed by then never is.
        *work* may be called again when a lock was in the way. *timeout_seconds* bounds only the wait for
        another process's lock: the caller bounds the rest (`run` does).

        Raises:
            StoreUnavailableError: the thread is hopelessly behind.
        """
        if self._jobs.qsize() > _MAX_QUEUED_JOBS:
            message = f"{self.path} is stuck: {_MAX_QUEUED_JOBS} transactions wait for it"
            raise StoreUnavailableError(message)
        job = _Job(kind, work, timeout_seconds)
        with no_fork:
            self._jobs.put(job)  # type: ignore[arg-type]  # a job takes its own result only
            if self._thread is None:
                # A daemon: an application that forgets to close must still be able to end. What is then cut
                # off is what kill -9 cuts off, and WAL is made for that.
                self._thread = threading.Thread(
                    target=self._work, args=(self._jobs,), name=self._thread_name, daemon=True
                )
                self._thread.start()
        return job.future

    async def run(self, kind: Kind, work: Work[R], timeout_seconds: float) -> R:
        """Run *work* as one transaction and return what it returns, within *timeout_seconds* in all.

        Raises:
            StoreUnavailableError: SQLite failed, or the time is up; in that case the work may still be done.
            StoreIncompatibleError: the file is not ours, or is too new.
        """
        future = self.submit(kind, work, timeout_seconds)
        # Not `asyncio.timeout`, which would throw away an answer that came in time where the loop comes round to it late: a
        # busy loop is no broken store. The answer was put into the loop's queue before the timer is.
        timer = future.get_loop().call_later(timeout_seconds, self._give_up, future, timeout_seconds)
        try:
            return await future
        finally:
            timer.cancel()

    def _give_up(self, future: asyncio.Future[R], timeout_seconds: float) -> None:
        if not future.done():
            message = f"{self.path} did not answer within {timeout_seconds} s"
            future.set_exception(StoreUnavailableError(message))

    async def aclose(self) -> None:
        """End the thread after the queued jobs, and close the connection. The next job starts again.

        Other users of the same file are not disturbed: their next job finds a new thread.
        """
        with no_fork:
            thread, self._thread = self._thread, None
            jobs, self._jobs = self._jobs, queue.SimpleQueue()
            jobs.put(None)
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, _LONGEST_FAREWELL_SECONDS)

    # ------------------------------------------------------------------------------ in the thread

    def _work(self, jobs: queue.SimpleQueue[_Job[object] | None]) -> None:
        while (job := jobs.get()) is not None:
            with self._working:
                self._carry_out(job)
            del job  # or it, and all it refers to, would live until the next one comes
        with self._working:
            self._close_connection()

    def _carry_out(self, job: _Job[object]) -> None:
        try:
            result = self._transact(job)
        except StoreError as error:
            job.fail(error)
        except _MISTAKES as error:
            job.fail(error)
        except (sqlite3.Error, OSError) as error:
            if not is_busy(error):
                self._close_connection()  # the next job starts afresh: that is how a repaired file is found
            unavailable = StoreUnavailableError(f"{self.path} cannot be used: {error}")
            unavailable.__cause__ = error
            job.fail(unavailable)
        except Exception as error:  # noqa: BLE001  a mistake in the work belongs to whoever handed it in
            job.fail(error)
        else:
            job.answer(result)

    def _transact(self, job: _Job[object]) -> object:
        job.require_waiter()
        connection = self._connection or self._open(job.deadline)
        self._require_same_file()
        durable = job.kind is Kind.DURABLE
        if durable is not self._synchronous_full:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._synchronous_full = durable
        return patiently(lambda: _attempt(connection, job), job.deadline)

    def _open(self, deadline: float) -> sqlite3.Connection:
        with _opening:
            connection = self._connection = open_connection(self.path, deadline)
        self._opened_file = _identity(self.path)
        self._synchronous_full = False
        return connection

    def _require_same_file(self) -> None:
        # A deleted file goes on working for those who have it open, and for nobody else: a key revoked in the
        # new one would stay valid here. It cannot be healed from here either: closing the old file deletes
        # the -wal of the new one, by name. One stat per transaction costs a few microseconds.
        identity = _identity(self.path)
        if identity is None or identity != self._opened_file:
            message = (
                f"{self.path} was deleted or replaced while it was in use. "
                "Restart every process that uses it."
            )
            raise StoreUnavailableError(message)

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # It is closed because it failed, or is not needed any more; that it fails again changes nothing.
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    # ------------------------------------------------------------------------------ around a fork

    def before_fork(self) -> None:
        """See `ForkAware`; waits for the transaction under way."""
        self._working.acquire()
        self._close_connection()

    def after_fork_in_parent(self) -> None:
        """See `ForkAware`; the next job reopens."""
        self._working.release()

    def after_fork_in_child(self) -> None:
        """See `ForkAware`; the next job starts a thread and reopens."""
        # The thread and the waiting loops did not come along; the queue may have been in the middle of
        # anything.
        self._working = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._thread = None


def _attempt(connection: sqlite3.Connection, job: _Job[R]) -> R:
    job.require_waiter()
    connection.execute("BEGIN" if job.kind is Kind.READ else "BEGIN IMMEDIATE")
    try:
        result = job.work(connection)
        job.require_waiter()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  a Path costs a third more, in every transaction
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


# By path, and whether it is for reads; guarded by `no_fork`. Weak: a file that no store refers to any more is forgotten.
_files: weakref.WeakValueDictionary[tuple[str, bool], SqliteFile] = weakref.WeakValueDictionary()

# Who makes a file closes a descriptor of it, which drops the locks that this process holds on it (POSIX): no other thread
# may have it open by then. Free during a fork, which waits for whoever opens.
_opening = threading.Lock()
