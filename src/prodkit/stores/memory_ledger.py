"""A ledger in this process's memory: the readable reference, for tests and for trying things out.

Nothing is shared with other processes and everything is forgotten at a restart, what was spent included: with N workers
a budget can be spent N times. Money that matters belongs into a file at least (`prodkit.stores.sqlite_ledger`). Not
thread-safe: all calls come from the thread of one event loop. No verb awaits anything, so each is atomic.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores import accounting
from prodkit.stores.accounting import Change, Charge, known, merged_attributes, overdrawn, postings, rest
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
from prodkit.stores.memory_alerts import Alerts
from prodkit.stores.memory_history import History
from prodkit.stores.spending import Account, Hold, Reaped, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    from prodkit.core.clock import Clock
    from prodkit.stores.accounting import Posting
    from prodkit.stores.spending import Alert, BudgetAsk, Entry, Reservation, UsageQuery, UsageRow

    AccountKey: TypeAlias = tuple[str, int]

__all__ = ["MemoryLedger"]


class MemoryLedger:
    """Holds, accounts and entries of one process.

    Of the history only the newest part is kept: the oldest entries and closed holds are dropped, after which reports no
    longer see them and their ids are new again. Accounts never lose anything by that.

    Args:
        clock: where `wall` is read.
        max_history: how many entries, and how many closed holds, are kept; 100 000 of both are some 150 MB.

    Raises:
        ValueError: *max_history* is under 1.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, max_history: int = 100_000) -> None:
        """Start with nothing spent."""
        require_at_least_one("max_history", max_history)
        self._wall = clock.wall
        self._max_history = max_history
        self._forget_all()

    def _forget_all(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._open: set[str] = set()
        self._closed: deque[str] = deque()
        self._history = History(self._max_history)
        self._alerts = Alerts(self._max_history)
        self._settled: Counter[AccountKey] = Counter()
        self._held: Counter[AccountKey] = Counter()
        self._limits: dict[str, int] = {}

    # ------------------------------------------------------------------------------ verbs

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.reserve`."""
        require_reservation(reservation, drawn=False)
        if hold := self._holds.get(reservation.id):
            return accounting.recognise(hold, reservation, None)
        for ask in reservation.asks:
            account = self._account(ask)
            refusal = accounting.admit(
                ask,
                reservation,
                limit_nano=account.limit_nano,
                settled_nano=account.settled_nano,
                held_nano=account.held_nano,
            )
            if refusal is not None:
                return refusal
        hold = accounting.new_hold(reservation, self._wall())
        return self._make(Change(hold, 1))

    async def draw(self, envelope: str, reservation: Reservation) -> Hold | Refusal:
        """See `LedgerStore.draw`."""
        require_reservation(reservation, drawn=True)
        if hold := self._holds.get(reservation.id):
            return accounting.recognise(hold, reservation, envelope)
        drawn_from = accounting.draw(self._known(envelope), reservation)
        if isinstance(drawn_from, Refusal):
            return drawn_from
        # The accounts stay as they are: what the envelope no longer holds, its call does.
        self._make(Change(drawn_from))
        return self._make(Change(accounting.new_hold(reservation, self._wall(), drawn_from)))

    async def dispatch(self, hold: str) -> Hold:
        """See `LedgerStore.dispatch`."""
        return self._carry_out(hold, accounting.dispatch(self._known(hold)))

    async def extend(self, holds: Sequence[str], lease_seconds: float) -> None:
        """See `LedgerStore.extend`."""
        require_lease(lease_seconds)
        expires_at = self._wall() + lease_seconds
        for name in self._open.intersection(holds):
            self._holds[name] = replace(self._holds[name], expires_at=expires_at)

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
        change = accounting.settle(
            self._known(hold),
            self._wall(),
            amount_nano,
            units=units or {},
            estimated=estimated,
            attributes=attributes or {},
        )
        return self._carry_out(hold, change)

    async def release(self, hold: str) -> Hold:
        """See `LedgerStore.release`."""
        return self._carry_out(hold, accounting.release(self._known(hold), self._wall()))

    async def presume(self, hold: str) -> Hold:
        """See `LedgerStore.presume`."""
        return self._carry_out(hold, accounting.presume(self._known(hold), self._wall()))

    async def reap(self, *, limit: int = 100) -> Reaped:
        """See `LedgerStore.reap`."""
        require_at_least_one("limit", limit)
        now = self._wall()
        expired = [hold for hold in self._by_expiry() if hold.expires_at <= now][:limit]
        closed = [self._carry_out(hold.id, accounting.close_expired(hold, now)) for hold in expired]
        return Reaped(
            released=tuple(hold for hold in closed if hold.state == "released"),
            presumed=tuple(hold for hold in closed if hold.state == "presumed"),
        )

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
        if made := self._history.find_by_id("manual", entry):
            return accounting.recognise_manual(made, amount_nano, units or {})
        charge = Charge("manual", amount_nano, estimated=False, units=dict(units or {}))
        named = merged_attributes({}, attributes or {})
        added = postings(asks, charge)
        self._post(added)
        written = self._history.write(self._wall(), entry, charge, tuple(asks), named, reason)
        self._alert(added, written)
        return written

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
        if made := self._history.find_by_id("cached", entry):
            return made
        charge = Charge("cached", 0, estimated=False, units=dict(units or {}), saved_nano=saved_nano)
        return self._history.write(self._wall(), entry, charge, (), merged_attributes({}, attributes or {}))

    async def take_alerts(self, *, lease_seconds: float, limit: int = 20) -> Sequence[Alert]:
        """See `LedgerStore.take_alerts`."""
        require_lease(lease_seconds)
        require_at_least_one("limit", limit)
        return self._alerts.take(self._wall(), lease_seconds, limit)

    async def finish_alert(self, sequence: int, *, again_in_seconds: float | None = None) -> None:
        """See `LedgerStore.finish_alert`."""
        if again_in_seconds is not None:
            require_lease(again_in_seconds)
        self._alerts.finish(sequence, None if again_in_seconds is None else self._wall() + again_in_seconds)

    async def alerts(self, *, after: int = 0, limit: int = 100) -> Sequence[Alert]:
        """See `LedgerStore.alerts`."""
        require_at_least_one("limit", limit)
        return self._alerts.select(after, limit)

    async def set_limit(self, budget: str, limit_nano: int | None) -> None:
        """See `LedgerStore.set_limit`."""
        require_text("the id of a budget", budget)
        if limit_nano is None:
            self._limits.pop(budget, None)
        else:
            require_amount("limit_nano", limit_nano)
            self._limits[budget] = limit_nano

    # ------------------------------------------------------------------------------ questions

    async def accounts(self, asks: Sequence[BudgetAsk]) -> Sequence[Account]:
        """See `LedgerStore.accounts`."""
        return [self._account(ask) for ask in asks]

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `LedgerStore.usage`."""
        require_query(query)
        return self._history.usage(query)

    async def entries(
        self, *, after: int = 0, limit: int = 100, where: Mapping[str, str] | None = None
    ) -> Sequence[Entry]:
        """See `LedgerStore.entries`."""
        require_at_least_one("limit", limit)
        require_attributes(where or {})
        return self._history.select(after, limit, where or {})

    async def find(self, hold: str) -> Hold | None:
        """See `LedgerStore.find`."""
        return self._holds.get(hold)

    async def open_holds(self, *, limit: int = 1000) -> Sequence[Hold]:
        """See `LedgerStore.open_holds`."""
        require_at_least_one("limit", limit)
        return self._by_expiry()[:limit]

    async def rebuild(self) -> int:
        """See `LedgerStore.rebuild`."""
        settled, held = self._history.totals(), Counter[tuple[str, int]]()
        for name in self._open:
            for ask in self._holds[name].asks:
                held[ask.budget, ask.window_start] += rest(self._holds[name], ask.unit)
        keys = settled.keys() | held.keys() | self._settled.keys() | self._held.keys()
        wrong = sum((settled[key], held[key]) != (self._settled[key], self._held[key]) for key in keys)
        self._settled, self._held = settled, held
        return wrong

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._forget_all()

    # ------------------------------------------------------------------------------ what is kept

    def _known(self, hold: str) -> Hold:
        return known(self._holds.get(hold), hold)

    def _account(self, ask: BudgetAsk) -> Account:
        key = (ask.budget, ask.window_start)
        return Account(
            budget=ask.budget,
            window_start=ask.window_start,
            limit_nano=self._limits.get(ask.budget),
            settled_nano=self._settled[key],
            held_nano=self._held[key],
        )

    def _by_expiry(self) -> list[Hold]:
        return sorted((self._holds[name] for name in self._open), key=lambda hold: (hold.expires_at, hold.id))

    def _carry_out(self, hold: str, change: Change | None) -> Hold:
        return self._holds[hold] if change is None else self._make(change)

    def _make(self, change: Change) -> Hold:
        hold, charge = change.hold, change.charge
        added = postings(hold.asks, charge, hold=hold, held=change.held)
        self._post(added)
        if charge is not None:
            entry = self._history.write(self._wall(), hold.id, charge, hold.asks, hold.attributes)
            self._alert(added, entry)
        self._holds[hold.id] = hold
        if hold.state in {"held", "dispatched"}:
            self._open.add(hold.id)
        elif hold.id in self._open:
            self._open.remove(hold.id)
            self._closed.append(hold.id)
            if len(self._closed) > self._max_history:
                del self._holds[self._closed.popleft()]
        return hold

    def _post(self, added: Iterable[Posting]) -> None:
        for ask, held, settled in added:
            key = (ask.budget, ask.window_start)
            if self._settled[key] + settled < 0 or self._held[key] + held < 0:
                raise overdrawn(ask.budget)
        for ask, held, settled in added:
            self._settled[ask.budget, ask.window_start] += settled
            self._held[ask.budget, ask.window_start] += held

    def _alert(self, added: Iterable[Posting], entry: Entry) -> None:
        for ask, _, settled in added:
            if settled > 0 and ask.alert_percents:
                account = self._account(ask)
                limit, percents = accounting.reached_percents(
                    ask, limit_nano=account.limit_nano, settled_nano=account.settled_nano
                )
                for percent in percents:
                    self._alerts.add(ask, percent, limit, account.settled_nano, entry)
