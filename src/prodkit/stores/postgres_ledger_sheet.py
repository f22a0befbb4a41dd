"""What a few verbs of a ledger make of what was loaded for them, in memory; saved together, or not at all.

A transaction in PostgreSQL costs a round trip for each statement. So all that the verbs of concurrent requests need is locked
and loaded by two statements, decided here by the rules of `prodkit.stores.accounting`, and saved by a third. A verb refuses
before it changes anything of the sheet, so one that is refused leaves nothing for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from prodkit.stores import accounting
from prodkit.stores.accounting import Change, Charge, known, overdrawn, postings, reached_percents
from prodkit.stores.ledger import LedgerConflictError
from prodkit.stores.spending import Entry, Hold, Reaped, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.stores.accounting import Posting
    from prodkit.stores.spending import BudgetAsk, Reservation

    Decide: TypeAlias = "Callable[[Sheet], object]"

__all__ = [
    "AccountKey",
    "NotLoadedError",
    "OpenAccount",
    "Sheet",
    "Verb",
    "adjust",
    "cached",
    "change",
    "draw",
    "extend",
    "reap",
    "reserve",
]

AccountKey: TypeAlias = "tuple[str, int]"
EntryKey: TypeAlias = "tuple[str, str]"
_OPEN = frozenset({"held", "dispatched"})


class NotLoadedError(Exception):
    """A verb needs what another one of the same batch only made; it has its turn in the next."""


@dataclass(slots=True)
class OpenAccount:
    """One budget in one window, locked."""

    settled_nano: int
    held_nano: int
    limit_nano: int | None
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb needs, and what it makes of it.

    Attributes:
        decide: returns the answer, or raises; changes the sheet only if it returns.
        holds: the ids it looks for.
        asks: whose accounts it looks at.
        counts: whether it changes the accounts of its holds.
        entry: kind and id of an entry that may be there already.
    """

    decide: Decide
    holds: tuple[str, ...] = ()
    asks: tuple[BudgetAsk, ...] = ()
    counts: bool = False
    entry: EntryKey | None = None


@dataclass(slots=True)
class Sheet:
    """What is locked and loaded, and what becomes of it.

    Attributes:
        now: unix seconds.
        holds: by id; those that are not there are missing.
        accounts: by budget and window.
        written: entries that are there already, by kind and id.
        fresh: ids of holds that were made here.
        changed: ids of loaded holds that became different.
        entries: new ones, their sequences still to come, with the asks they count in.
        alerts: what was reached, whether or not it was before; their sequences are still to come.
    """

    now: float
    holds: dict[str, Hold]
    accounts: dict[AccountKey, OpenAccount]
    written: dict[EntryKey, Entry]
    fresh: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    entries: list[tuple[Entry, Sequence[BudgetAsk]]] = field(default_factory=list)
    alerts: list[tuple[BudgetAsk, int, int, int, Entry]] = field(default_factory=list)

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to save: whatever changes an account makes a hold, or an entry, too."""
        return bool(self.fresh or self.changed or self.entries)

    def account(self, ask: BudgetAsk) -> OpenAccount:
        """The account of *ask*."""
        try:
            return self.accounts[ask.budget, ask.window_start]
        except KeyError:
            raise NotLoadedError from None

    def make(self, change: Change) -> Hold:
        """Note what a verb makes of a hold, with all that follows from it."""
        hold, charge = change.hold, change.charge
        added = postings(hold.asks, charge, hold=hold, held=change.held)
        self._post(added)
        self.keep(hold)
        if charge is not None:
            self.write(hold.id, charge, hold.asks, hold.attributes, added)
        return hold

    def keep(self, hold: Hold) -> None:
        """Note *hold* as it is now."""
        if hold.id not in self.holds:
            self.fresh.add(hold.id)
        elif hold.id not in self.fresh:
            self.changed.add(hold.id)
        self.holds[hold.id] = hold

    def write(  # noqa: PLR0917  the columns of an entry
        self,
        hold: str,
        charge: Charge,
        asks: Sequence[BudgetAsk],
        attributes: Mapping[str, str],
        added: Sequence[Posting],
        reason: str = "",
    ) -> Entry:
        """Add an entry, and the alerts that *added*, which is in the accounts already, gives rise to."""
        entry = Entry(
            sequence=0,
            hold=hold,
            kind=charge.kind,
            amount_nano=charge.amount_nano,
            at=self.now,
            estimated=charge.estimated,
            units=charge.units,
            attributes=attributes,
            reason=reason,
            saved_nano=charge.saved_nano,
        )
        self.entries.append((entry, asks))
        for ask, _, settled in added:
            if settled > 0 and ask.alert_percents:
                account = self.account(ask)
                limit, percents = reached_percents(
                    ask, limit_nano=account.limit_nano, settled_nano=account.settled_nano
                )
                self.alerts += [(ask, percent, limit, account.settled_nano, entry) for percent in percents]
        return entry

    def post_manually(self, asks: Sequence[BudgetAsk], charge: Charge) -> list[Posting]:
        """Add *charge* to the accounts of *asks*, of no hold."""
        added = postings(asks, charge)
        self._post(added)
        return added

    def _post(self, added: Sequence[Posting]) -> None:
        accounts = [self.account(ask) for ask, _, _ in added]
        for account, (ask, held, settled) in zip(accounts, added, strict=True):
            if account.settled_nano + settled < 0 or account.held_nano + held < 0:
                raise overdrawn(ask.budget)
        for account, (_, held, settled) in zip(accounts, added, strict=True):
            account.settled_nano += settled
            account.held_nano += held
            account.is_changed = True


def reserve(reservation: Reservation) -> Verb:
    """See `LedgerStore.reserve`."""

    def decide(sheet: Sheet) -> Hold | Refusal:
        hold = sheet.holds.get(reservation.id)
        if hold is not None:
            return accounting.recognise(hold, reservation, None)
        for ask in reservation.asks:
            account = sheet.account(ask)
            refusal = accounting.admit(
                ask,
                reservation,
                limit_nano=account.limit_nano,
                settled_nano=account.settled_nano,
                held_nano=account.held_nano,
            )
            if refusal is not None:
                return refusal
        return sheet.make(Change(accounting.new_hold(reservation, sheet.now), 1))

    return Verb(decide, holds=(reservation.id,), asks=reservation.asks)


def draw(envelope: str, reservation: Reservation) -> Verb:
    """See `LedgerStore.draw`."""

    def decide(sheet: Sheet) -> Hold | Refusal:
        hold = sheet.holds.get(reservation.id)
        if hold is not None:
            return accounting.recognise(hold, reservation, envelope)
        drawn_from = accounting.draw(known(sheet.holds.get(envelope), envelope), reservation)
        if isinstance(drawn_from, Refusal):
            return drawn_from
        # The accounts stay as they are: what the envelope no longer holds, its call does.
        sheet.keep(drawn_from)
        return sheet.make(Change(accounting.new_hold(reservation, sheet.now, drawn_from)))

    return Verb(decide, holds=(envelope, reservation.id))


def change(hold: str, rule: Callable[[Hold, float], Change | None], *, counts: bool = True) -> Verb:
    """Change *hold* by *rule*, which answers None where it has been done already."""

    def decide(sheet: Sheet) -> Hold:
        found = known(sheet.holds.get(hold), hold)
        made = rule(found, sheet.now)
        return found if made is None else sheet.make(made)

    return Verb(decide, holds=(hold,), counts=counts)


def extend(holds: Sequence[str], lease_seconds: float) -> Verb:
    """See `LedgerStore.extend`."""
    wanted = tuple(holds)

    def decide(sheet: Sheet) -> None:
        for name in wanted:
            hold = sheet.holds.get(name)
            if hold is not None and hold.state in _OPEN:
                sheet.keep(replace(hold, expires_at=sheet.now + lease_seconds))

    return Verb(decide, holds=wanted)


def reap(candidates: Sequence[str]) -> Verb:
    """See `LedgerStore.reap`; *candidates* were open and over a moment ago, the longest over in front."""
    wanted = tuple(candidates)

    def decide(sheet: Sheet) -> Reaped:
        closed = []
        for name in wanted:
            hold = sheet.holds.get(name)
            if hold is None or hold.state not in _OPEN or hold.expires_at > sheet.now:
                continue
            made = accounting.close_expired(hold, sheet.now)
            closed.append(hold if made is None else sheet.make(made))
        return Reaped(
            released=tuple(hold for hold in closed if hold.state == "released"),
            presumed=tuple(hold for hold in closed if hold.state == "presumed"),
        )

    return Verb(decide, holds=wanted, counts=True)


def adjust(
    entry: str, charge: Charge, reason: str, asks: tuple[BudgetAsk, ...], attributes: Mapping[str, str]
) -> Verb:
    """See `LedgerStore.adjust`."""

    def decide(sheet: Sheet) -> Entry:
        made = sheet.written.get(("manual", entry))
        if made is not None:
            if made.amount_nano != charge.amount_nano:
                message = f"the id {entry} was used for another manual entry"
                raise LedgerConflictError(message)
            return made
        added = sheet.post_manually(asks, charge)
        named = accounting.merged_attributes({}, attributes)
        sheet.written["manual", entry] = written = sheet.write(entry, charge, asks, named, added, reason)
        return written

    return Verb(decide, asks=asks, entry=("manual", entry))


def cached(entry: str, charge: Charge, attributes: Mapping[str, str]) -> Verb:
    """See `LedgerStore.cached`."""

    def decide(sheet: Sheet) -> Entry:
        made = sheet.written.get(("cached", entry))
        if made is None:
            named = accounting.merged_attributes({}, attributes)
            made = sheet.written["cached", entry] = sheet.write(entry, charge, (), named, ())
        return made

    return Verb(decide, entry=("cached", entry))
