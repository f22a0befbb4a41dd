"""A ledger in PostgreSQL: one budget spent together by every worker of every machine, beside the data it belongs to.

Verbs of concurrent requests travel together (`prodkit.stores.coalescing`): one transaction of five round trips for all of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prodkit.core.breaker import Breaker
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores import accounting
from prodkit.stores import postgres_ledger_questions as questions
from prodkit.stores import postgres_ledger_sheet as sheet
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
from prodkit.stores.postgres_alerts import finish_alert, read_alerts, take_alerts
from prodkit.stores.postgres_ledger_rows import carry_out, is_storable
from prodkit.stores.postgres_library import PostgresError
from prodkit.stores.postgres_link import AgainError, PostgresLink
from prodkit.stores.postgres_usage import HORIZON, read_entries, read_usage, rebuild

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.features import HealthResult
    from prodkit.stores.accounting import Change
    from prodkit.stores.postgres_ledger_sheet import Verb
    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.postgres_link import Keep, Undo
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

__all__ = ["PostgresLedger"]

R = TypeVar("R")


class PostgresLedger:
    """Holds, accounts and entries in tables of a schema of their own; any number of processes and machines spend one budget together.

    Every verb is one transaction, and waits as long as the server's `synchronous_commit` says: by default until it is on the
    server's disk, so that neither kill -9 nor a power cut takes what was answered. Closed holds and entries stay, at about
    1.5 kB for each call with its entry; a trigger refuses to change or delete an entry.

    What is spent is exact whatever is asked at the same time: accounts are locked in one order, also those that are made just
    then, and the same budgets are therefore spent one transaction after the other. Reports see one moment, and leave two of
    the connections to the verbs.

    Args:
        postgres: where the server is, or the link to it.
        clock: where `wall` is read; the clock of the server if it is that of the system, so that the clocks of machines do not
            matter.
        timeout_seconds: the longest anything may take. 5: money rather waits for a slow disk than is spent unseen.
    """

    def __init__(
        self, postgres: PostgresLink | str, *, clock: Clock = SYSTEM_CLOCK, timeout_seconds: float = 5.0
    ) -> None:
        """Open nothing yet."""
        self._link = PostgresLink.shared(postgres) if isinstance(postgres, str) else postgres
        self._sql = self._link.sql
        self._wall = None if clock is SYSTEM_CLOCK else clock.wall
        self._timeout_seconds = timeout_seconds
        self._breaker = Breaker()
        self._coalescer: Coalescer[Verb, Any] = (
            Coalescer(  # Any: each is answered with what its own verb returned
                send_by=self._send_batch, timeout_seconds=timeout_seconds
            )
        )

    # ------------------------------------------------------------------------------ verbs

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.reserve`."""
        require_reservation(reservation, drawn=False)
        _require_storable(_texts_of(reservation))
        return cast("Hold | Refusal", await self._coalescer.ask(sheet.reserve(reservation)))

    async def draw(self, envelope: str, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.draw`."""
        require_reservation(reservation, drawn=True)
        _require_storable(_texts_of(reservation))
        return cast("Hold | Refusal", await self._coalescer.ask(sheet.draw(envelope, reservation)))

    async def dispatch(self, hold: str) -> Hold:
        """See `LedgerStore.dispatch`."""
        return await self._change(hold, lambda found, _now: accounting.dispatch(found), counts=False)

    async def extend(self, holds: Sequence[str], lease_seconds: float) -> None:
        """See `LedgerStore.extend`."""
        require_lease(lease_seconds)
        await self._coalescer.ask(sheet.extend(holds, lease_seconds))

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
        _require_storable([*delivered, *became_known.values()])
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
        over = await self._run(
            lambda connection: questions.expired(connection, self._sql, self._now(), limit), "nothing"
        )
        # Looked at once more when they are locked.
        return cast("Reaped", await self._coalescer.ask(sheet.reap(over)))

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
        _require_storable([entry, reason, *charge.units, *named.values(), *_names_of(counted)])
        verb = sheet.adjust(entry, charge, reason, counted, named)
        return cast("Entry", await self._coalescer.ask(verb))

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
        _require_storable([entry, *charge.units, *named.values()])
        return cast("Entry", await self._coalescer.ask(sheet.cached(entry, charge, named)))

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """See `LedgerStore.take_alerts`."""
        require_lease(lease_seconds)
        require_at_least_one("limit", limit)
        return await self._run(
            lambda connection: take_alerts(connection, self._sql, self._now(), lease_seconds, limit)
        )

    async def finish_alert(self, sequence: int, *, again_in_seconds: float | None = None) -> None:
        """See `LedgerStore.finish_alert`."""
        if again_in_seconds is not None:
            require_lease(again_in_seconds)
        await self._run(
            lambda connection: finish_alert(connection, self._sql, self._now(), sequence, again_in_seconds)
        )

    async def set_limit(self, budget: str, limit_nano: int | None) -> None:
        """See `LedgerStore.set_limit`."""
        require_text("the id of a budget", budget)
        _require_storable([budget])
        if limit_nano is not None:
            require_amount("limit_nano", limit_nano)
        await self._run(lambda connection: questions.set_limit(connection, self._sql, budget, limit_nano))

    async def rebuild(self) -> int:
        """See `LedgerStore.rebuild`; verbs that change accounts wait for it."""
        return await self._run(lambda connection: rebuild(connection, self._sql))

    # ------------------------------------------------------------------------------ questions

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """See `LedgerStore.accounts`."""
        wanted = tuple(asks)
        return await self._run(
            lambda connection: questions.accounts(connection, self._sql, wanted), "nothing"
        )

    async def find(self, hold: str) -> Hold | None:
        """See `LedgerStore.find`."""
        if not is_storable(hold):
            return None
        return await self._run(lambda connection: questions.find(connection, self._sql, hold), "nothing")

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """See `LedgerStore.open_holds`."""
        require_at_least_one("limit", limit)
        return await self._run(
            lambda connection: questions.open_holds(connection, self._sql, limit), "report"
        )

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `LedgerStore.usage`."""
        require_query(query)
        _require_storable(query.where.values())
        return await self._run(lambda connection: read_usage(connection, self._sql, query), "report")

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """See `LedgerStore.entries`. Whoever reads on from the last one seen misses none, whatever is written meanwhile."""
        require_at_least_one("limit", limit)
        require_attributes(where or {})
        wanted = dict(where or {})
        _require_storable(wanted.values())
        horizon = await self._horizon("ledger_entries")
        return await self._run(
            lambda connection: read_entries(connection, self._sql, after, horizon, limit, wanted), "report"
        )

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """See `LedgerStore.alerts`; as `entries`."""
        require_at_least_one("limit", limit)
        horizon = await self._horizon("ledger_alerts")
        return await self._run(
            lambda connection: read_alerts(connection, self._sql, after, horizon, limit), "report"
        )

    async def check(self) -> HealthResult | None:
        """Write something, and look how the server keeps it; see `Store.check`."""
        return await self._link.check(self._deadline(), self._breaker)

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._coalescer.aclose()
        await self._link.aclose()

    # ------------------------------------------------------------------------------ transactions

    def _now(self) -> float | None:
        """Unix seconds, or None for the server's."""
        return None if self._wall is None else self._wall()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def _run(self, work: Callable[[Connection], Awaitable[R | Undo[R]]], keep: Keep = "durable") -> R:
        return await self._link.run(work, self._deadline(), keep=keep, breaker=self._breaker)

    async def _horizon(self, table: str) -> int:
        name = self._sql(f"{{s}}.{table}")
        return int(
            await self._run(lambda connection: connection.fetchval(self._sql(HORIZON), name), "report") or 0
        )

    async def _change(
        self, hold: str, rule: Callable[[Hold, float], Change | None], *, counts: bool = True
    ) -> Hold:
        return cast("Hold", await self._coalescer.ask(sheet.change(hold, rule, counts=counts)))

    async def _send_batch(self, batch: list[Verb], deadline: float) -> list[Any]:  # Any: as of the coalescer
        try:
            answers, later = await self._carry_out(batch, deadline)
        except PostgresError as error:
            if len(batch) == 1:
                return [error]
            # One of them asks for what no column takes. Nothing was kept, so the others are answered as if it were not there.
            return [(await self._send_batch([verb], deadline))[0] for verb in batch]
        for position in sorted(later):
            # What it needs was made by the transaction that is over now.
            answers[position] = await self._send_later(batch[position], deadline)
        return answers

    async def _send_later(self, verb: Verb, deadline: float) -> Any:  # Any: as of the coalescer
        try:
            return (await self._send_batch([verb], deadline))[0]
        except StoreUnavailableError as error:
            return error

    async def _carry_out(self, batch: list[Verb], deadline: float) -> tuple[list[Any], set[int]]:
        later: set[int] = set()
        opens = False

        async def work(connection: Connection) -> list[object] | Undo[list[object]]:
            nonlocal opens
            later.clear()
            try:
                return await carry_out(connection, self._sql, batch, self._now(), later, opens=opens)
            except AgainError:
                opens = True
                raise

        answers = await self._link.run(work, deadline, keep="durable", breaker=self._breaker)
        return answers, later


def _texts_of(reservation: Reservation) -> list[str]:
    return [
        reservation.id,
        *reservation.units,
        *reservation.attributes.values(),
        *_names_of(reservation.asks),
    ]


def _names_of(asks: Iterable[BudgetAsk]) -> list[str]:
    return [text for ask in asks for text in (ask.budget, ask.unit)]


def _require_storable(texts: Iterable[str]) -> None:
    if not all(map(is_storable, texts)):
        message = "a text with a NUL character cannot be kept in PostgreSQL"
        raise ValueError(message)
