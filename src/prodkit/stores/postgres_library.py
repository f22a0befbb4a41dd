"""What is used of asyncpg, in one place: modules of ours can be imported where the extra `postgres` is not installed.

Whoever makes a `PostgresLink` there is told so; until then the names below only have to exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "CLIENT_ERRORS",
    "FAILURES",
    "Connection",
    "PostgresError",
    "connect",
    "sqlstate_of",
]

if TYPE_CHECKING:
    from asyncpg import connect  # type: ignore[import-untyped]
    from asyncpg.connection import Connection  # type: ignore[import-untyped]

    class PostgresError(Exception):
        """What the server answered in place of a result."""

    CLIENT_ERRORS: tuple[type[Exception], ...]
else:
    try:
        from asyncpg import Connection, InterfaceError, InternalClientError, PostgresError, connect

        CLIENT_ERRORS = (InterfaceError, InternalClientError)
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise

        class PostgresError(Exception):
            """Never raised: there is no connection that could."""

        CLIENT_ERRORS = (PostgresError,)
        Connection = connect = None


FAILURES: tuple[type[Exception], ...] = (PostgresError, OSError, *CLIENT_ERRORS)
"""All that asking a PostgreSQL may end with."""


def sqlstate_of(error: BaseException) -> str:
    """The five characters by which PostgreSQL tells what went wrong; empty where it did not say."""
    return str(getattr(error, "sqlstate", None) or "") if isinstance(error, PostgresError) else ""
