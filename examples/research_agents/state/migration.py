"""Bringing a database to the schema that this release works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from prodkit.core.exceptions import StoreIncompatibleError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["downgrade", "is_current", "upgrade"]


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made here, so that no alembic.ini has to be found at run time."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def is_current(connection: Connection) -> bool:
    """Whether the schema is the one of this release.

    Raises:
        StoreIncompatibleError: a newer release has written it.
    """
    script = ScriptDirectory.from_config(configuration())
    there = set(MigrationContext.configure(connection).get_current_heads())
    unknown = there - {revision.revision for revision in script.walk_revisions()}
    if unknown:
        message = (
            f"the database is at revision {', '.join(sorted(unknown))}, which this release does not know: a newer one "
            "has written it. Start that release, or restore a backup."
        )
        raise StoreIncompatibleError(message)
    return there == set(script.get_heads())


def upgrade(connection: Connection) -> bool:
    """Bring the schema to this release's, within the transaction of *connection*; False when it was there already.

    On SQLite the transaction must have begun as a writing one: that is the lock by which only one of several
    processes migrates, and by which a process killed half way leaves nothing behind.

    Raises:
        StoreIncompatibleError: a newer release has written it, or rows would refer to others that are not there.
    """
    if is_current(connection):
        return False
    command.upgrade(configuration(connection), "head")
    _require_whole(connection)
    return True


def downgrade(connection: Connection, revision: str = "base") -> None:
    """Take the schema back to *revision*, within the transaction of *connection*. What newer tables hold is lost."""
    command.downgrade(configuration(connection), revision)
    _require_whole(connection)


def _require_whole(connection: Connection) -> None:
    # Foreign keys are off while SQLite migrates, so what refers to nothing would go unnoticed.
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            message = f"{len(broken)} rows would refer to rows that are not there; nothing was changed"
            raise StoreIncompatibleError(message)
