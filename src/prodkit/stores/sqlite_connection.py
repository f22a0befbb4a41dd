"""Opening a file, and waiting for a lock on it: what is said to SQLite itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.sqlite_schema import is_current, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_busy", "open_connection", "patiently", "require_directory"]

R = TypeVar("R")

# SQLite's own busy handler sleeps in steps of up to 100 ms, which is a whole time bound of ours; a lock on a
# healthy file is held for well under a millisecond.
_BUSY_FIRST_SLEEP_SECONDS = 0.000_2
_BUSY_LONGEST_SLEEP_SECONDS = 0.002


def open_connection(path: str, deadline: float) -> sqlite3.Connection:
    """Open *path* in WAL mode with the newest schema, making the file if need be.

    Args:
        path: absolute.
        deadline: until when to wait for locks of other processes, as `time.monotonic` counts.

    Raises:
        StoreUnavailableError: there is no directory to make it in, or its file system cannot do WAL.
        StoreIncompatibleError: the file belongs to another program, or to a newer release; not changed.
        sqlite3.Error, OSError: it cannot be opened, read or written.
    """
    require_directory(path)
    # O_EXCL: closing any descriptor of a database drops all locks this process holds on it (POSIX), so one is
    # opened here only if no connection can exist yet.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    uri = f"file:{quote(path)}?mode=rw"
    # One thread at a time uses it, but not always the one that opened it: a fork closes it.
    connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        current = patiently(lambda: is_current(connection, path), deadline)
        # Always: a file that came back from a backup may have left the mode.
        patiently(lambda: _switch_to_wal(connection, path), deadline)
        if not current:
            patiently(lambda: upgrade(connection, path), deadline)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def require_directory(path: str) -> None:
    """Raise `StoreUnavailableError` with the cure if there is no directory to make the file in."""
    directory = Path(path).parent
    if not directory.is_dir():
        message = (
            f"the directory {directory} does not exist, so {Path(path).name} cannot be made in it. Create "
            "it, or change PRODKIT_STORE (sqlite:///relative/path.db; an absolute path has four slashes)."
        )
        raise StoreUnavailableError(message)


def _switch_to_wal(connection: sqlite3.Connection, path: str) -> None:
    # Where the file system cannot do it, SQLite says so only by naming the mode it stayed in.
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        message = f"the file system of {path} cannot share memory between processes; put it on a local disk"
        raise StoreUnavailableError(message)


def is_busy(error: Exception) -> bool:
    """Whether *error* only says that somebody else holds a lock."""
    # The low byte is the primary code; the rest tells which kind of busy.
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def patiently(action: Callable[[], R], deadline: float) -> R:
    """Repeat *action* while another connection holds a lock, until *deadline*; then let the error rise.

    Blocks with `time.sleep`, so it is for the file's own thread only.
    """
    sleep_seconds = _BUSY_FIRST_SLEEP_SECONDS
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() + sleep_seconds > deadline:
                raise
        time.sleep(sleep_seconds)
        sleep_seconds = min(sleep_seconds * 2, _BUSY_LONGEST_SLEEP_SECONDS)
