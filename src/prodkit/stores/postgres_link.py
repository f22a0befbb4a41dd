"""One PostgreSQL as this process uses it: transactions, bounded in time, over a few connections of each event loop."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from prodkit.core.exceptions import StoreError, StoreUnavailableError
from prodkit.core.extras import require
from prodkit.core.features import HealthResult
from prodkit.stores import postgres_schema
from prodkit.stores.forking import survive_fork
from prodkit.stores.postgres_library import FAILURES, PostgresError, describe, sqlstate_of
from prodkit.stores.postgres_pool import Pool
from prodkit.stores.postgres_urls import parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.core.breaker import Breaker
    from prodkit.stores.postgres_library import Connection

__all__ = ["AgainError", "Keep", "PostgresLink", "Undo"]

R = TypeVar("R")

Keep: TypeAlias = Literal["durable", "lazy", "nothing", "report"]
"""What a transaction leaves behind: something that has to stay, something that a crash may take, or nothing, at once or as a page."""

_BEGIN: Final[dict[Keep, str]] = {
    "durable": "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    "lazy": "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = off",
    "nothing": "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
    "report": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}
# Deadlock and serialization failure: the transaction is gone as if it had not been, and may simply be done again.
_AGAIN: Final = {"40P01", "40001"}
_MISTAKES: Final = ("22", "23")
_ENDED: Final = ("08", "57P", "25P03")  # the session is over, at the server's will or not
_LATE: Final = {"57014", "55P03"}  # statement_timeout, lock_timeout
_LONGEST_PAUSE_SECONDS: Final = 0.02

_INSPECT: Final = """
    SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('synchronous_commit')
"""


class AgainError(Exception):
    """What a transaction found is not what it went by; nothing of it is kept and it is done once more."""


@dataclass(frozen=True, slots=True)
class Undo(Generic[R]):
    """The answer of a transaction of which nothing is to be kept."""

    answer: R


class PostgresLink:
    """The way to one PostgreSQL; may be used from several event loops, and after a fork on both sides.

    Args:
        url: see `prodkit.stores.postgres_urls.parse`.
        setting: the name to complain under.

    Attributes:
        target: what the URL says.

    Raises:
        SettingsError: the URL cannot be used.
        MissingExtraError: asyncpg is not installed.
    """

    def __init__(self, url: str, *, setting: str = "PRODKIT_METERING__STORE") -> None:
        """Open nothing yet."""
        require("asyncpg", extra="postgres", purpose=f"The store of {setting}")
        self.target = parse(url, setting=setting)
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._left: list[Pool] = []
        self._is_ready = False
        survive_fork(self)

    @staticmethod
    def shared(url: str, *, setting: str = "PRODKIT_METERING__STORE") -> PostgresLink:
        """Return this process's one link for *url*, made at the first call."""
        link = _SHARED.get(url)
        if link is None:
            link = _SHARED[url] = PostgresLink(url, setting=setting)
        return link

    def sql(self, text: str) -> str:
        """*text* with the name of our schema in place of `{s}`."""
        return text.replace("{s}", f'"{self.target.schema}"')

    async def run(
        self,
        work: Callable[[Connection], Awaitable[R | Undo[R]]],
        deadline: float,
        *,
        keep: Keep,
        breaker: Breaker,
    ) -> R:
        """Do *work* in one transaction and return what it returns; done again where others were in its way.

        Args:
            work: is called with the connection; may be called again, and then knows nothing of the time before.
            deadline: in the event loop's time.
            keep: what the transaction leaves behind.
            breaker: whether the server is left alone for a moment.

        Raises:
            StoreUnavailableError: no answer by *deadline*, or an error that may pass. What was to be kept may have been.
            StoreIncompatibleError: what is there is not ours, or too new.
            asyncpg.PostgresError: a value does not fit (classes 22 and 23); a mistake of whoever asked. Nothing was kept.
        """
        passage = breaker.enter()
        if passage is None:
            message = f"{self.target.name} failed several times in a row and is left alone for a moment"
            raise StoreUnavailableError(message)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._patiently(work, deadline, keep)
        except TimeoutError as error:
            breaker.failed(passage)
            message = f"{self.target.name} did not answer in time"
            raise StoreUnavailableError(message) from error
        except _LostError as error:
            breaker.failed(passage)
            raise StoreUnavailableError(*error.args) from error
        except (StoreError, PostgresError):
            breaker.succeeded()  # it answered
            raise
        except BaseException:
            breaker.abandoned(passage)
            raise
        breaker.succeeded()
        return answer

    async def check(self, deadline: float, breaker: Breaker) -> HealthResult | None:
        """Write something; see `Store.check`. Whether the tables are ours is asked once, by the first connection of this process:
        a newer release that upgrades them meanwhile only adds what this one can ignore.

        Raises:
            StoreUnavailableError: it cannot be read or written, or is a standby.
            StoreIncompatibleError: what is there is not ours, or too new.
        """

        async def work(connection: Connection) -> list[str]:
            row = await connection.fetchrow(_INSPECT)
            standby, fsync, pages, commit = row or (True, "", "", "")
            if standby:
                message = f"{self.target.name} is a standby and cannot be written"
                raise StoreUnavailableError(message)
            await connection.execute(self.sql(_WRITE))
            found = []
            if "off" in {fsync, pages}:
                found.append("fsync or full_page_writes is off: a crash of its machine may destroy it")
            if commit == "off":
                found.append("synchronous_commit is off: a crash may take what was answered last")
            return found

        found = await self.run(work, deadline, keep="durable", breaker=breaker)
        return HealthResult("degraded", f"{self.target.name}: {'; '.join(found)}") if found else None

    async def aclose(self) -> None:
        """Close the connections of this event loop; who is being answered gets an error. The next use opens again."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    def before_fork(self) -> None:
        """See `ForkAware`."""

    def after_fork_in_parent(self) -> None:
        """See `ForkAware`."""

    def after_fork_in_child(self) -> None:
        """See `ForkAware`: what is open belongs to the parent."""
        # Kept, because connections that nobody ends complain when they are collected, and say farewell to the server.
        self._left += self._pools.values()
        self._pools = {}

    # ------------------------------------------------------------------------------ one transaction

    async def _patiently(
        self, work: Callable[[Connection], Awaitable[R | Undo[R]]], deadline: float, keep: Keep
    ) -> R:
        pool = self._here()
        if keep == "report":
            async with pool.reports:
                return await self._until_done(pool, work, deadline, keep)
        return await self._until_done(pool, work, deadline, keep)

    async def _until_done(
        self, pool: Pool, work: Callable[[Connection], Awaitable[R | Undo[R]]], deadline: float, keep: Keep
    ) -> R:
        begun_anew = False
        while True:
            connection = await self._acquire(pool)
            has_begun = False
            try:
                await connection.execute(self._begin(keep, deadline - pool.loop.time()))
                has_begun = True
                answer = await work(connection)
                end = "ROLLBACK" if isinstance(answer, Undo) else "COMMIT"
                # A transaction that has failed is rolled back by its COMMIT too, without an error.
                if await connection.execute(end) != end:
                    raise AgainError  # noqa: TRY301  told like any other that has to be repeated
            except AgainError:
                await self._roll_back(pool, connection)
            except FAILURES as error:
                code = sqlstate_of(error)
                if not code or connection.is_closed() or code.startswith(_ENDED):
                    pool.discard(connection, others=True)
                    if not has_begun and not begun_anew:
                        begun_anew = True  # it was idle, and the server has been restarted meanwhile
                        continue
                    raise self._lost(error) from error
                await self._roll_back(pool, connection)
                if code in _AGAIN:
                    await asyncio.sleep(random.random() * _LONGEST_PAUSE_SECONDS)  # noqa: S311  no secret
                    continue
                if code.startswith(_MISTAKES):
                    raise
                raise self._failed(error) from error
            except BaseException as error:
                if isinstance(error, Exception):
                    await self._roll_back(pool, connection)
                else:
                    # Cancelled, at any point: what it is doing now nobody knows.
                    pool.discard(connection, others=keep == "durable" and pool.loop.time() >= deadline)
                raise
            else:
                pool.release(connection)
                return answer.answer if isinstance(answer, Undo) else answer

    async def _acquire(self, pool: Pool) -> Connection:
        try:
            return await pool.acquire()
        except StoreUnavailableError as error:
            raise _LostError(*error.args) from error

    async def _roll_back(self, pool: Pool, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except FAILURES:
            pool.discard(connection)
        except BaseException:
            pool.discard(connection)
            raise
        else:
            pool.release(connection)

    def _begin(self, keep: Keep, seconds: float) -> str:
        # In every transaction, since a PgBouncer may give us another session each time. A process that is stopped in the
        # middle of one lets go of its locks, and a server that is not heard does not go on for ever.
        milliseconds = max(1, round(seconds * 1000))
        return (
            f"{_BEGIN[keep]}; SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = {milliseconds}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}"
        )

    def _here(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for ended in [one for one in self._pools if one.is_closed()]:
                del self._pools[ended]
            pool = self._pools[loop] = Pool(self.target, self._prepare)
        return pool

    async def _prepare(self, connection: Connection) -> None:
        if not self._is_ready:
            await postgres_schema.ensure(connection, self.target)
            self._is_ready = True

    def _lost(self, error: Exception) -> _LostError:
        what = sqlstate_of(error) or type(error).__name__
        return _LostError(
            f"{self.target.name}: the connection was lost ({what}); what was asked may have been done"
        )

    def _failed(self, error: Exception) -> StoreUnavailableError:
        code = sqlstate_of(error)
        if code in _LATE:
            return StoreUnavailableError(f"{self.target.name} did not answer in time ({code})")
        return StoreUnavailableError(f"{self.target.name} cannot be used: {describe(error)}")


class _LostError(StoreUnavailableError):
    """The server is not there, or was not; counted by the breaker."""


_WRITE: Final = (
    "INSERT INTO {s}.checked (at) VALUES (clock_timestamp()) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
)

_SHARED: WeakValueDictionary[str, PostgresLink] = WeakValueDictionary()
