"""The SQLite file: who may read it, how it keeps what it was given, and what each connection is told."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import AdaptedConnection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["BUSY_SECONDS", "WRITES", "configure", "identity_of", "make_file"]

BUSY_SECONDS = 5.0  # how long to wait for another process's transaction, which takes milliseconds
WRITES = "state_writes"  # execution option of connections that will write
_SWITCH_SECONDS = 30.0


def make_file(path: Path) -> None:
    """Make *path* for this user alone, with its folder, unless it is there; and see to it that it is in WAL mode.

    Blocks.

    Raises:
        OSError: the folder or the file cannot be made.
        sqlite3.Error: it is not a database, its file system cannot do WAL, or it stayed locked for half a minute.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # O_EXCL: closing any descriptor of a database drops all locks this process holds on it (POSIX).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as connection:
        mode = _switch_to_wal(connection, time.monotonic() + _SWITCH_SECONDS)
    if mode != "wal":
        message = f"the file system of {path} cannot share memory between processes; put it on a local disk"
        raise sqlite3.OperationalError(message)


def _switch_to_wal(connection: sqlite3.Connection, until: float) -> str:
    """The journal mode it is in then."""
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # Two processes that switch at once are told "locked" without any waiting: each waits for the other.
            busy = (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return str(mode)


def configure(engine: AsyncEngine, *, foreign_keys: bool = True) -> None:
    """Tell every connection of *engine* how to wait, what to keep and where transactions begin.

    Args:
        engine: of a file in WAL mode.
        foreign_keys: off only for migrations, which rebuild tables: a table that is dropped would take those along
            that refer to it.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: DBAPIConnection, _: Any) -> None:  # Any: SQLAlchemy's record, not used
        # The driver would open a transaction at the first write only, so that what was read before may be stale.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        # A commit waits for the disk. With NORMAL, a power cut takes back answers that were already shown.
        cursor.execute("PRAGMA synchronous = FULL")
        # A write-ahead log that grew under a long reader shrinks again.
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes cannot wait for another writer: SQLite refuses it at once.
        statement = "BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES, False) else "BEGIN"
        # One call of the driver's thread in place of three, for every transaction there is.
        adapted = cast("AdaptedConnection", connection.connection.dbapi_connection)
        adapted.run_async(lambda driver: driver.execute(statement))


def identity_of(path: Path) -> tuple[int, int] | None:
    """What tells the file at *path* from another one of the same name; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
