"""The rules of the ledger without a place to keep anything: what a verb makes of a hold, and what that costs.

An implementation reads a hold, asks here what becomes of it, and writes the answer down in one transaction. So the state
machine of `prodkit.stores.ledger` stands in one place, and no store can have its own idea of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from prodkit.stores.ledger import LedgerConflictError
from prodkit.stores.spending import ATTRIBUTES, BudgetAsk, Hold, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.stores.spending import Entry, EntryKind, Reservation

__all__ = [
    "Change",
    "Charge",
    "Posting",
    "admit",
    "close_expired",
    "dispatch",
    "draw",
    "known",
    "merged_attributes",
    "new_hold",
    "overdrawn",
    "postings",
    "presume",
    "reached_percents",
    "recognise",
    "recognise_manual",
    "release",
    "rest",
    "settle",
]


_WHO = ("organisation", "tenant", "principal", "key")


@dataclass(frozen=True, slots=True)
class Charge:
    """An entry to be written, its sequence and time still to come; see `prodkit.stores.spending.Entry`."""

    kind: EntryKind
    amount_nano: int
    estimated: bool
    units: Mapping[str, int] = field(default_factory=dict)
    saved_nano: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb does: to the hold, and to each account that the hold counts in.

    Attributes:
        hold: as it is afterwards.
        held: whether the rest of the hold (see `rest`) begins to count as held (1), ends to (-1), or neither.
        charge: what is added to what is settled, as an entry, or None.
    """

    hold: Hold
    held: Literal[-1, 0, 1] = 0
    charge: Charge | None = None


class Posting(NamedTuple):
    """What is added to one account, in nano-USD or in the unit of the ask."""

    ask: BudgetAsk
    held: int
    settled: int


def rest(hold: Hold, unit: str) -> int:
    """What an open hold itself holds of *unit*, or in nano-USD: what was reserved, without what was drawn from it."""
    if unit:
        return hold.units.get(unit, 0) - hold.drawn_units.get(unit, 0)
    return hold.amount_nano - hold.drawn_nano


def postings(
    asks: Iterable[BudgetAsk], charge: Charge | None, *, hold: Hold | None = None, held: int = 0
) -> list[Posting]:
    """What *charge*, and the rest of *hold* times *held*, add to the accounts of *asks*; those that do not change are left out."""
    added = []
    for ask in asks:
        settled = 0
        if charge is not None:
            settled = charge.units.get(ask.unit, 0) if ask.unit else charge.amount_nano
        holds = held * rest(hold, ask.unit) if held and hold is not None else 0
        if holds or settled:
            added.append(Posting(ask, holds, settled))
    return added


def admit(
    ask: BudgetAsk, reservation: Reservation, *, limit_nano: int | None, settled_nano: int, held_nano: int
) -> Refusal | None:
    """Why *reservation* does not fit into the account of *ask*, or None.

    Args:
        ask: whose `limit_nano` counts where no limit was set.
        reservation: what is to be held. A unit that it does not name only needs that there is some left.
        limit_nano: what `set_limit` said, or None.
        settled_nano: spent in the window.
        held_nano: held in it.
    """
    if limit_nano is None:
        limit_nano = ask.limit_nano
    amount = reservation.units.get(ask.unit, 1) if ask.unit else reservation.amount_nano
    if limit_nano is None or not ask.is_hard or settled_nano + held_nano + amount <= limit_nano:
        return None
    return Refusal(
        budget=ask.budget,
        limit_nano=limit_nano,
        settled_nano=settled_nano,
        held_nano=held_nano,
        amount_nano=amount,
        resets_at=ask.window_end,
        unit=ask.unit,
    )


def reached_percents(ask: BudgetAsk, *, limit_nano: int | None, settled_nano: int) -> tuple[int, list[int]]:
    """The limit that holds, and which of its parts that alert are reached; 0 and none where nothing limits.

    Args:
        ask: whose `limit_nano` counts where no limit was set.
        limit_nano: what `set_limit` said, or None.
        settled_nano: spent in the window.
    """
    limit = ask.limit_nano if limit_nano is None else limit_nano
    if not limit:
        return 0, []
    return limit, [percent for percent in ask.alert_percents if settled_nano * 100 >= percent * limit]


def new_hold(reservation: Reservation, now: float, envelope: Hold | None = None) -> Hold:
    """The hold that *reservation* opens, drawn from *envelope* or not."""
    units = dict(reservation.units)
    if envelope is not None:
        units = {unit: quantity for unit, quantity in units.items() if unit in envelope.units}
    return Hold(
        id=reservation.id,
        parent=None if envelope is None else envelope.id,
        state="dispatched" if reservation.dispatched else "held",
        envelope=reservation.envelope,
        amount_nano=reservation.amount_nano,
        drawn_nano=0,
        charged_nano=0,
        expires_at=now + reservation.lease_seconds,
        asks=reservation.asks if envelope is None else envelope.asks,
        attributes=merged_attributes({} if envelope is None else envelope.attributes, reservation.attributes),
        units=units,
    )


def recognise(hold: Hold, reservation: Reservation, parent: str | None) -> Hold:
    """Return *hold*, if it may be the one that *reservation* made.

    Raises:
        LedgerConflictError: the id was used for another reservation. One that was to be dispatched at once and was not is
            another one too: its caller would send what the ledger may yet give back.
    """
    same = (hold.amount_nano, hold.envelope, hold.parent) == (
        reservation.amount_nano,
        reservation.envelope,
        parent,
    ) and all(reservation.units.get(unit) == quantity for unit, quantity in hold.units.items())
    # What is drawn has them from its envelope.
    same = same and (parent is not None or _payers(hold) == _payers(reservation))
    if not same or (reservation.dispatched and hold.state in {"held", "released"}):
        message = f"the id {hold.id} was used for another reservation"
        raise LedgerConflictError(message)
    return hold


def _payers(one: Hold | Reservation) -> tuple[object, ...]:
    """Whose money it is: nobody spends that of others by naming their hold. Windows may have changed between two attempts."""
    return ({ask.budget for ask in one.asks}, *(one.attributes.get(name) or "" for name in _WHO))


def draw(envelope: Hold, reservation: Reservation) -> Hold | Refusal:
    """*envelope* as it is after *reservation* was drawn from it, or why that is too much.

    Raises:
        LedgerConflictError: it is closed, or none.
    """
    if not envelope.envelope or envelope.state != "held":
        what = "a closed envelope" if envelope.envelope else "no envelope"
        message = f"{envelope.id} is {what}; nothing can be drawn from it"
        raise LedgerConflictError(message)
    if reservation.amount_nano > rest(envelope, ""):
        return _too_much(envelope, "", reservation.amount_nano)
    drawn = dict(envelope.drawn_units)
    for unit, quantity in reservation.units.items():
        if unit in envelope.units:
            if quantity > rest(envelope, unit):
                return _too_much(envelope, unit, quantity)
            drawn[unit] = drawn.get(unit, 0) + quantity
    return replace(envelope, drawn_nano=envelope.drawn_nano + reservation.amount_nano, drawn_units=drawn)


def _too_much(envelope: Hold, unit: str, amount: int) -> Refusal:
    # What was drawn counts as spent: none of it returns to the envelope, so waiting for it would be in vain.
    return Refusal(
        budget=envelope.id,
        limit_nano=envelope.units[unit] if unit else envelope.amount_nano,
        settled_nano=envelope.drawn_units.get(unit, 0) if unit else envelope.drawn_nano,
        held_nano=0,
        amount_nano=amount,
        resets_at=None,
        unit=unit,
    )


def dispatch(hold: Hold) -> Change | None:
    """See `LedgerStore.dispatch`; None, here and below: it has been done already."""
    if hold.envelope or hold.state == "released":
        raise _conflict(hold, "dispatched")
    return Change(replace(hold, state="dispatched")) if hold.state == "held" else None


def settle(
    hold: Hold,
    now: float,
    amount_nano: int,
    *,
    units: Mapping[str, int],
    estimated: bool,
    attributes: Mapping[str, str],
) -> Change | None:
    """See `LedgerStore.settle`."""
    if hold.state == "settled" and hold.charged_nano == amount_nano:
        return None
    if hold.state not in {"dispatched", "presumed"}:
        raise _conflict(hold, f"settled with {amount_nano}")
    settled = replace(
        hold,
        state="settled",
        charged_nano=amount_nano,
        expires_at=now,
        attributes=merged_attributes(hold.attributes, attributes),
    )
    if hold.state == "presumed":
        corrected = {unit: units.get(unit, 0) - hold.units.get(unit, 0) for unit in {**hold.units, **units}}
        learnt = {unit: difference for unit, difference in corrected.items() if difference}
        return Change(settled, 0, Charge("adjusted", amount_nano - hold.charged_nano, estimated, learnt))
    return Change(settled, -1, Charge("settled", amount_nano, estimated, dict(units)))


def release(hold: Hold, now: float) -> Change | None:
    """See `LedgerStore.release`."""
    if hold.state == "released":
        return None
    if hold.state != "held":
        raise _conflict(hold, "released")
    return Change(replace(hold, state="released", expires_at=now), -1)


def presume(hold: Hold, now: float) -> Change | None:
    """See `LedgerStore.presume`."""
    if hold.state in {"presumed", "settled"}:
        return None
    if hold.state != "dispatched":
        raise _conflict(hold, "presumed spent")
    presumed = replace(hold, state="presumed", charged_nano=hold.amount_nano, expires_at=now)
    return Change(presumed, -1, Charge("presumed", hold.amount_nano, estimated=True, units=hold.units))


def close_expired(hold: Hold, now: float) -> Change | None:
    """What becomes of an open hold whose lease is over: nothing left, or nobody knows."""
    return presume(hold, now) if hold.state == "dispatched" else release(hold, now)


def known(hold: Hold | None, hold_id: str) -> Hold:
    """Return *hold*.

    Raises:
        LedgerConflictError: there is none.
    """
    if hold is None:
        message = f"nothing is known of a hold {hold_id}"
        raise LedgerConflictError(message)
    return hold


def merged_attributes(known_before: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Both together in the order of `ATTRIBUTES`, *new* ones first in rank. An empty value is the same as none."""
    merged = {**known_before, **new}
    return {name: merged[name] for name in ATTRIBUTES if merged.get(name)}


def recognise_manual(made: Entry, amount_nano: int, units: Mapping[str, int]) -> Entry:
    """Return *made*, if it may be the manual entry of that amount and those units.

    Raises:
        LedgerConflictError: the id was used for another one.
    """
    if made.amount_nano != amount_nano or Counter(made.units) != Counter(units):  # a unit of 0 is none
        message = f"the id {made.hold} was used for another manual entry"
        raise LedgerConflictError(message)
    return made


def overdrawn(budget: str) -> LedgerConflictError:
    """A credit that is larger than what was spent: it would be money to spend in that window, out of nothing."""
    return LedgerConflictError(f"less than nothing would have been spent in {budget}; nothing was changed")


def _conflict(hold: Hold, wanted: str) -> LedgerConflictError:
    kind = "an envelope" if hold.envelope else "a hold"
    return LedgerConflictError(f"{hold.id} is {kind} in the state {hold.state} and cannot be {wanted}")
