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
    "describe",
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


def describe(error: BaseException) -> str:
    """The code and the kind of an error of the server, and the cure where it is one we know; never its text, which has values."""
    code = sqlstate_of(error)
    cure = ""
    if code in {"26000", "42P05"}:  # a prepared statement that is not known, or known already
        cure = ": behind a PgBouncer that hands connections out by transaction, add ?statement_cache_size=0"
    return f"{code} {type(error).__name__}{cure}"
