"""A ledger in an SQLite file: shared by all workers of one machine, and on the disk before a verb returns.

The embedded default. Verbs of concurrent requests travel together (`prodkit.stores.coalescing`): one transaction, one
wait for the disk, a savepoint for each so that what refuses one undoes nothing of the others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores import accounting
from prodkit.stores import sqlite_ledger_rows as rows
from prodkit.stores.accounting import known
from prodkit.stores.coalescing import Coalescer
from prodkit.stores.ledger_arguments import (
    require_amount,
    require_at_least_one,
    require_attributes,
    require_lease,
    require_manual,
    require_query,
    require_reservation,
    require_text,
    require_units,
)
from prodkit.stores.sqlite_alerts import finish_alert, read_alerts, take_alerts
from prodkit.stores.sqlite_file import Kind, SqliteFile
from prodkit.stores.sqlite_usage import read_entries, read_usage

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores.spending import (
        Account,
        Alert,
        BudgetAsk,
        Entry,
        Hold,
        Reaped,
        Refusal,
        Reservation,
        UsageQuery,
        UsageRow,
    )

    Verb: TypeAlias = Callable[[sqlite3.Connection, float], object]

__all__ = ["SqliteLedger"]

R = TypeVar("R")

_CHECK_BUDGET = "\x00check"
# Errors of one verb that leave the connection sound; with any other the whole transaction is lost.
_MISTAKES = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class SqliteLedger:
    """Holds, accounts and entries in a file; any number of processes on the machine spend one budget together.

    Every verb waits for the disk (`synchronous=FULL`): neither kill -9 nor a power cut takes what was answered. Closed
    holds and entries stay, at about 1 kB for each call with its entry; the file refuses to change or delete an entry.

    Reports (`usage`, `entries`) are read on a thread and a connection of their own, so that a long one keeps no verb, and
    no rate limit in the same file, waiting. They see everything that was committed before they were asked for.

    Args:
        path: the file; shared with other stores of this release. Its directory has to exist.
        clock: where `wall` is read.
        timeout_seconds: the longest any verb may take. 5: money rather waits for a slow disk than is spent unseen.

    Raises:
        StoreUnavailableError: the directory does not exist.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, timeout_seconds: float = 5.0
    ) -> None:
        """Open nothing yet."""
        self._file = SqliteFile.shared(path)
        self._reports = SqliteFile(self._file.path)
        self._wall = clock.wall
        self._timeout_seconds = timeout_seconds
        self._coalescer: Coalescer[Verb, object] = Coalescer(
            self._send_batch, timeout_seconds=timeout_seconds
        )

    # ------------------------------------------------------------------------------ verbs

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.reserve`."""
        require_reservation(reservation, drawn=False)
        return await self._do(lambda connection, now: rows.reserve(connection, now, reservation))

    async def draw(self, envelope: str, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.draw`."""
        require_reservation(reservation, drawn=True)
        return await self._do(lambda connection, now: rows.draw(connection, now, envelope, reservation))

    async def dispatch(self, hold: str) -> Hold:
        """See `LedgerStore.dispatch`."""
        return await self._change(hold, lambda found, _now: accounting.dispatch(found))

    async def extend(self, holds: Sequence[str], lease_seconds: float) -> None:
        """See `LedgerStore.extend`."""
        require_lease(lease_seconds)
        await self._do(lambda connection, now: rows.extend(connection, now, tuple(holds), lease_seconds))

    async def settle(
        self,
        hold: str,
        amount_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        estimated: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> Hold:
        """See `LedgerStore.settle`."""
        require_amount("amount_nano", amount_nano)
        require_units(units or {})
        require_attributes(attributes or {})
        delivered, became_known = dict(units or {}), dict(attributes or {})
        return await self._change(
            hold,
            lambda found, now: accounting.settle(
                found, now, amount_nano, units=delivered, estimated=estimated, attributes=became_known
            ),
        )

    async def release(self, hold: str) -> Hold:
        """See `LedgerStore.release`."""
        return await self._change(hold, accounting.release)

    async def presume(self, hold: str) -> Hold:
        """See `LedgerStore.presume`."""
        return await self._change(hold, accounting.presume)

    async def reap(self, *, limit: int = 100) -> Reaped:
        """See `LedgerStore.reap`."""
        require_at_least_one("limit", limit)
        return await self._do(lambda connection, now: rows.reap(connection, now, limit))

    async def adjust(
        self,
        entry: str,
        amount_nano: int,
        *,
        reason: str,
        asks: Sequence[BudgetAsk] = (),
        attributes: Mapping[str, str] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Entry:
        """See `LedgerStore.adjust`."""
        require_manual(entry, amount_nano, reason, asks, attributes or {}, units or {})
        charge = accounting.Charge("manual", amount_nano, estimated=False, units=dict(units or {}))
        counted, named = tuple(asks), dict(attributes or {})
        return await self._do(
            lambda connection, now: rows.adjust(connection, now, entry, charge, reason, counted, named)
        )

    async def cached(
        self,
        entry: str,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> Entry:
        """See `LedgerStore.cached`."""
        require_text("the id of an entry", entry)
        require_amount("saved_nano", saved_nano)
        require_units(units or {})
        require_attributes(attributes or {})
        charge = accounting.Charge(
            "cached", 0, estimated=False, units=dict(units or {}), saved_nano=saved_nano
        )
        named = dict(attributes or {})
        return await self._do(lambda connection, now: rows.cached(connection, now, entry, charge, named))

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """See `LedgerStore.take_alerts`."""
        require_lease(lease_seconds)
        require_at_least_one("limit", limit)
        return await self._do(lambda connection, now: take_alerts(connection, now, lease_seconds, limit))

    async def finish_alert(self, sequence: int, *, again_in_seconds: float | None = None) -> None:
        """See `LedgerStore.finish_alert`."""
        if again_in_seconds is not None:
            require_lease(again_in_seconds)
        await self._do(
            lambda connection, now: finish_alert(
                connection, sequence, None if again_in_seconds is None else now + again_in_seconds
            )
        )

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """See `LedgerStore.alerts`."""
        require_at_least_one("limit", limit)
        return await self._read(lambda connection: read_alerts(connection, after, limit))

    async def set_limit(self, budget: str, limit_nano: int | None) -> None:
        """See `LedgerStore.set_limit`."""
        require_text("the id of a budget", budget)
        if limit_nano is not None:
            require_amount("limit_nano", limit_nano)
        await self._do(lambda connection, _now: rows.set_limit(connection, budget, limit_nano))

    async def rebuild(self) -> int:
        """See `LedgerStore.rebuild`."""
        return await self._do(lambda connection, _now: rows.rebuild(connection))

    # ------------------------------------------------------------------------------ questions

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """See `LedgerStore.accounts`."""
        wanted = tuple(asks)
        return await self._read(lambda connection: [rows.read_account(connection, ask) for ask in wanted])

    async def find(self, hold: str) -> Hold | None:
        """See `LedgerStore.find`."""
        return await self._read(lambda connection: rows.find(connection, hold))

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """See `LedgerStore.open_holds`."""
        require_at_least_one("limit", limit)
        return await self._read(lambda connection: rows.open_holds(connection, limit))

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `LedgerStore.usage`."""
        require_query(query)
        return await self._report(lambda connection: read_usage(connection, query))

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """See `LedgerStore.entries`."""
        require_at_least_one("limit", limit)
        require_attributes(where or {})
        wanted = dict(where or {})
        return await self._report(lambda connection: read_entries(connection, after, limit, wanted))

    async def check(self) -> None:
        """Write something and delete it again; see `Store.check`."""

        # A real write: to take the write lock succeeds on a read-only file, and an empty write on a full disk.
        def work(connection: sqlite3.Connection) -> None:
            rows.set_limit(connection, _CHECK_BUDGET, 0)
            rows.set_limit(connection, _CHECK_BUDGET, None)

        await self._file.run(Kind.DURABLE, work, self._timeout_seconds)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._coalescer.aclose()
        try:
            await self._reports.aclose()
        finally:
            await self._file.aclose()

    # ------------------------------------------------------------------------------ transactions

    async def _change(self, hold: str, decide: Callable[[Hold, float], accounting.Change | None]) -> Hold:
        def verb(connection: sqlite3.Connection, now: float) -> Hold:
            found = known(rows.find(connection, hold), hold)
            return rows.carry_out(connection, now, found, decide(found, now))

        return await self._do(verb)

    async def _do(self, verb: Callable[[sqlite3.Connection, float], R]) -> R:
        # Each is answered with what its own verb returned.
        return cast("R", await self._coalescer.ask(verb))

    async def _read(self, work: Callable[[sqlite3.Connection], R]) -> R:
        return await self._file.run(Kind.READ, work, self._timeout_seconds)

    async def _report(self, work: Callable[[sqlite3.Connection], R]) -> R:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        # Two threads of one process may not both be making the file: see `open_connection`.
        await self._read(lambda _connection: None)
        return await self._reports.run(Kind.READ, work, deadline - loop.time())

    def _send_batch(self, batch: list[Verb]) -> asyncio.Future[list[object]]:
        return self._file.submit(
            Kind.DURABLE, lambda connection: self._carry_out_all(connection, batch), self._timeout_seconds
        )

    def _carry_out_all(self, connection: sqlite3.Connection, batch: list[Verb]) -> list[object]:
        now = self._wall()
        return [_carry_out(connection, now, verb) for verb in batch]


def _carry_out(connection: sqlite3.Connection, now: float, verb: Verb) -> object:
    """What *verb* returned, or the error it ended with, after which nothing of it is left."""
    connection.execute("SAVEPOINT verb")
    try:
        answer = verb(connection, now)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, _MISTAKES):
            raise
        connection.execute("ROLLBACK TO verb")
        answer = error
    connection.execute("RELEASE verb")
    return answer
