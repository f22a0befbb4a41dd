"""What stands in our SQLite files, how old files become new ones, and which files we refuse to write to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.exceptions import StoreIncompatibleError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["APPLICATION_ID", "UPGRADES", "is_current", "upgrade"]

APPLICATION_ID = 0x70726B74
"""`prkt` in ASCII, at byte 68 of the file; `file(1)` and we tell by it whose file it is."""

UPGRADES: Sequence[Sequence[str]] = (
    (
        # full_at: unix nanoseconds. No index on it: it would be written on every hit, to serve a sweep that
        # can as well walk along the keys.
        "CREATE TABLE rate_limits (key TEXT PRIMARY KEY, full_at INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE api_keys ( id TEXT PRIMARY KEY, digest BLOB NOT NULL, pepper_id TEXT NOT NULL, owner
            TEXT NOT NULL, tenant TEXT, scopes TEXT NOT NULL, plan TEXT, created_at REAL NOT NULL, not_before
            REAL, expires_at REAL, revoked_at REAL, last_used_at REAL, networks TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
)
"""`UPGRADES[n]` leads from schema version n to n + 1. Released entries are never edited; new ones only add
what an older release running beside the newer one can ignore."""


def is_current(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the file is ours and up to date, False if it is ours or empty and has to be upgraded.

    Only reads, so that a file which is not ours stays as it was, byte by byte. Everything is read at one moment:
    another process may be making the file meanwhile, and half of it before and half after would look like a stranger's.

    Raises:
        StoreIncompatibleError: the file belongs to another program, or to a newer release.
        sqlite3.Error: it cannot be read.
    """
    application_id, version, objects = _at_one_moment(
        connection, "PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master"
    )
    if application_id != APPLICATION_ID:
        if application_id or version or objects:
            message = (
                f"{path} is an SQLite database of another program (application_id {application_id:#x}); "
                "nothing was changed in it. Name another file in PRODKIT_STORE."
            )
            raise StoreIncompatibleError(message)
        return False
    if version > len(UPGRADES):
        message = (
            f"{path} was written by a newer release (schema {version}, known here up to {len(UPGRADES)}). "
            "Upgrade fastapi-prodkit, or name another file in PRODKIT_STORE."
        )
        raise StoreIncompatibleError(message)
    return version == len(UPGRADES)


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to the newest schema, all steps or none. Another process may do the same at the same
    time.

    Raises:
        StoreIncompatibleError: as `is_current`, which is asked again under the write lock.
        sqlite3.Error: it cannot be written, or is locked; nothing was changed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(connection, path):
            for statements in UPGRADES[_number(connection, "PRAGMA user_version") :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _at_one_moment(connection: sqlite3.Connection, *queries: str) -> list[int]:
    """The number each of *queries* answers, all of the same state of the file."""
    begins = not connection.in_transaction
    if begins:
        connection.execute("BEGIN")
    try:
        return [_number(connection, query) for query in queries]
    finally:
        # Some errors have ended it already.
        if begins and connection.in_transaction:
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
