"""The database behind sessions, runs and documents: SQLite by default, any other SQLAlchemy can reach asynchronously."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError

from .migration import is_current, upgrade
from .sqlite_file import BUSY_SECONDS, WRITES, configure, identity_of, make_file
from .writing import GroupWriter, Work, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["UPGRADE_COMMAND", "Database"]

T = TypeVar("T")

UPGRADE_COMMAND = "python -m examples.research_agents.state upgrade"
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_READERS = 4  # connections, each a thread with SQLite; a read takes well under a millisecond


class Database:
    """Reads and writes, each in a transaction of its own.

    Args:
        url: `sqlite:///relative/path.db` (an absolute path has four slashes), `postgresql://...`, or any URL of an
            asynchronous SQLAlchemy driver.

    Raises:
        ValueError: *url* is none, or names a SQLite database that only one connection could see.
    """

    def __init__(self, url: str) -> None:
        self._url = _asynchronous(url)
        self._path = Path(self._url.database or "").absolute() if self._is_sqlite else None
        self._engine: AsyncEngine | None = None
        self._writer: GroupWriter | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def __repr__(self) -> str:
        return f"Database({self._url.render_as_string(hide_password=True)!r})"

    async def start(self) -> None:
        """Open it. A SQLite file is made and migrated, by one of the processes that start at once.

        Raises:
            StoreIncompatibleError: the schema is not the one of this release; the message names the command that
                migrates, or says that a newer release has written it.
            StoreUnavailableError: it cannot be reached, read or written.
        """
        if self._is_sqlite:
            await self.migrate()
        elif not await self._current():
            message = f"the database {self!r} is not at the schema of this release; run: {UPGRADE_COMMAND}"
            raise StoreIncompatibleError(message)
        self._engine = self._open()
        self._writer = GroupWriter(self._engine.execution_options(**{WRITES: True}))

    async def migrate(self) -> bool:
        """Bring the schema to the one of this release; False when it was there already.

        Raises:
            StoreIncompatibleError: a newer release has written it.
            StoreUnavailableError: it cannot be reached, read or written.
        """
        async with self._prepared() as engine, engine.begin() as connection:
            return await connection.run_sync(upgrade)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, in one transaction that sees one state of the database.

        Raises:
            StoreUnavailableError: it cannot be reached or read.
            RuntimeError: not started, or closed.
        """
        if self._engine is None:
            message = "start() the database first"
            raise RuntimeError(message)
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, sqlite3.Error) as error:
            raise unavailable(error) from error

    async def write(self, work: Work[T]) -> T:
        """What *work* returns, when all it has written is on disk; see `GroupWriter.run`.

        Raises:
            StoreUnavailableError: it cannot be written to; nothing of *work* is stored.
            RuntimeError: not started, or closed.
        """
        if self._writer is None:
            message = "start() the database first"
            raise RuntimeError(message)
        return await self._writer.run(work)

    async def check(self) -> None:
        """Ask it something; for health checks.

        Raises:
            StoreUnavailableError: it does not answer, or the file was replaced by another under the same name.
        """
        async with self.session() as connection:
            await connection.execute(text("SELECT 1"))
        if self._path is not None and identity_of(self._path) != self._identity:
            # A deleted file goes on working for those who have it open, and for nobody else.
            message = f"{self._path} was deleted or replaced while it was in use; restart every process that uses it"
            raise StoreUnavailableError(message)

    async def aclose(self) -> None:
        """Finish what is being written and close every connection. May be called twice, and before `start`."""
        writer, self._writer = self._writer, None
        engine, self._engine = self._engine, None
        if writer is not None:
            await writer.aclose()
        if engine is not None:
            await engine.dispose()

    async def _current(self) -> bool:
        async with self._prepared() as engine, engine.connect() as connection:
            return await connection.run_sync(is_current)

    @contextlib.asynccontextmanager
    async def _prepared(self) -> AsyncIterator[AsyncEngine]:
        """An engine for migrations; its file is there, and rules between tables are not enforced on the way."""
        engine: AsyncEngine | None = None
        try:
            if self._path is not None:
                await asyncio.to_thread(make_file, self._path)
                self._identity = identity_of(self._path)
            engine = self._open(foreign_keys=False)
            yield engine.execution_options(**{WRITES: True})
        except (SQLAlchemyError, OSError, sqlite3.Error) as error:
            told = unavailable(error)
            if isinstance(told, StoreUnavailableError):
                raise told from error
            message = f"the database {self!r} cannot be used: {getattr(error, 'orig', None) or error}"
            raise StoreUnavailableError(message) from error
        finally:
            if engine is not None:
                await engine.dispose()

    def _open(self, *, foreign_keys: bool = True) -> AsyncEngine:
        # Parameters are what people wrote to us: an error must not carry them into a log.
        if self._path is None:
            return create_async_engine(self._url, hide_parameters=True, pool_pre_ping=True)
        engine = create_async_engine(
            self._url,
            hide_parameters=True,
            pool_size=_READERS + 1,
            max_overflow=0,
            connect_args={"timeout": BUSY_SECONDS},
        )
        configure(engine, foreign_keys=foreign_keys)
        return engine


def _asynchronous(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Without the URL itself, which may hold a password.
        message = "not a database URL; an example is sqlite:///state.db"
        raise ValueError(message) from None
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() == "sqlite" and (
        parsed.database in {None, "", ":memory:"} or parsed.database.startswith("file:")
    ):
        message = "a SQLite database in memory cannot be shared by several connections; name a file"
        raise ValueError(message)
    return parsed
