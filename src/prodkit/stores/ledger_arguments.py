"""What a ledger refuses to be asked, before it looks at anything it keeps: the same for every implementation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodkit.core.money import MOST_NANO
from prodkit.stores.spending import ATTRIBUTES, LONGEST_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prodkit.stores.spending import BudgetAsk, Reservation, UsageQuery

__all__ = [
    "require_amount",
    "require_asks",
    "require_at_least_one",
    "require_attributes",
    "require_lease",
    "require_manual",
    "require_query",
    "require_reservation",
    "require_text",
    "require_units",
]

_NAMES = frozenset(ATTRIBUTES)
_MOST_GROUPS = 3
_MOST_UNITS = 100
_MOST_PERCENTS = 10
_HIGHEST_PERCENT = 1000
_DAY_SECONDS = 86_400


def require_reservation(reservation: Reservation, *, drawn: bool) -> None:
    """Raise `ValueError` unless *reservation* can be asked for, of budgets or, when *drawn*, of an envelope."""
    require_text("the id of a hold", reservation.id)
    require_amount("amount_nano", reservation.amount_nano)
    require_lease(reservation.lease_seconds)
    require_attributes(reservation.attributes)
    require_units(reservation.units)
    require_asks(reservation.asks)
    if drawn and reservation.asks:
        message = "what is drawn counts in the budgets of its envelope; ask for none"
        raise ValueError(message)
    if reservation.envelope and reservation.dispatched:
        message = "an envelope is never dispatched; the calls drawn from it are"
        raise ValueError(message)


def require_manual(  # noqa: PLR0917  the arguments of `LedgerStore.adjust`
    entry: str,
    amount_nano: int,
    reason: str,
    asks: Sequence[BudgetAsk],
    attributes: Mapping[str, str],
    units: Mapping[str, int],
) -> None:
    """Raise `ValueError` unless a manual entry can be written with these."""
    require_text("the id of an entry", entry)
    require_text("a reason", reason)
    require_amount("the amount of a manual entry", amount_nano, least=-MOST_NANO)
    require_asks(asks)
    require_attributes(attributes)
    require_units(units, least=-MOST_NANO)


def require_amount(name: str, nano: int, *, least: int = 0) -> None:
    """Raise `ValueError` unless *nano* is a whole number of nano-USD from *least* to `MOST_NANO`."""
    if not _is_whole(nano) or not least <= nano <= MOST_NANO:
        message = f"{name} must be a whole number of nano-USD from {least} to {MOST_NANO}, not {nano!r}"
        raise ValueError(message)


def require_asks(asks: Sequence[BudgetAsk]) -> None:
    """Raise `ValueError` if an ask is impossible, or if two of them are one account."""
    seen = set()
    for ask in asks:
        require_text("the id of a budget", ask.budget)
        bounds = [ask.window_start] if ask.window_end is None else [ask.window_start, ask.window_end]
        if not all(map(_is_whole, bounds)) or bounds[0] < 0 or bounds[-1] < bounds[0]:
            message = f"no window: from {ask.window_start!r} to {ask.window_end!r}"
            raise ValueError(message)
        if ask.limit_nano is not None:
            require_amount("limit_nano", ask.limit_nano)
        if ask.unit:
            require_text("a unit", ask.unit)
        _require_percents(ask.alert_percents)
        seen.add((ask.budget, ask.window_start))
    if len(seen) < len(asks):
        message = "two budgets of one reservation have the same id and window; it would be held twice there"
        raise ValueError(message)


def require_attributes(attributes: Mapping[str, str]) -> None:
    """Raise `ValueError` if a name is not in `ATTRIBUTES`, or a value is no text or too long."""
    _require_names(attributes, _NAMES)
    for name, value in attributes.items():
        if len(value) > LONGEST_ATTRIBUTE:
            message = f"the attribute {name} has {len(value)} characters; {LONGEST_ATTRIBUTE} are the most"
            raise ValueError(message)
        _require_encodable(f"the attribute {name}", value)


def _require_percents(percents: Sequence[int]) -> None:
    if len(percents) > _MOST_PERCENTS or not all(
        _is_whole(percent) and 1 <= percent <= _HIGHEST_PERCENT for percent in percents
    ):
        message = f"alert at {_MOST_PERCENTS} whole percents from 1 to {_HIGHEST_PERCENT} at most, not at {percents!r}"
        raise ValueError(message)


def require_units(units: Mapping[str, int], *, least: int = 0) -> None:
    """Raise `ValueError` unless every unit has a name and a whole number from *least* on that a double holds exactly."""
    if len(units) > _MOST_UNITS:
        message = f"{_MOST_UNITS} units are the most, not {len(units)}"
        raise ValueError(message)
    for name, quantity in units.items():
        require_text("a unit", name)
        if not _is_whole(quantity) or not least <= quantity <= MOST_NANO:
            message = f"{name} must be a whole number from {least} to {MOST_NANO}, not {quantity!r}"
            raise ValueError(message)


def require_lease(lease_seconds: float) -> None:
    """Raise `ValueError` unless *lease_seconds* is a number above 0."""
    if not (math.isfinite(lease_seconds) and lease_seconds > 0):
        message = f"lease_seconds must be a number above 0, not {lease_seconds!r}"
        raise ValueError(message)


def require_at_least_one(name: str, value: int) -> None:
    """Raise `ValueError` if *value* is under 1."""
    if value < 1:
        message = f"{name} must be at least 1, not {value}"
        raise ValueError(message)


def require_query(query: UsageQuery) -> None:
    """Raise `ValueError` if a name is unknown, or there are more than three groups, or no row is asked for."""
    require_attributes(query.where)
    _require_names(query.group_by, _NAMES | {"day"})
    if len(query.group_by) > _MOST_GROUPS or len(set(query.group_by)) < len(query.group_by):
        message = f"group by at most {_MOST_GROUPS} different names, not by {', '.join(query.group_by)}"
        raise ValueError(message)
    if not -_DAY_SECONDS < query.utc_offset_seconds < _DAY_SECONDS:
        message = f"utc_offset_seconds must be less than a day, not {query.utc_offset_seconds}"
        raise ValueError(message)
    require_at_least_one("limit", query.limit)


def require_text(what: str, text: str) -> None:
    """Raise `ValueError` if *text* is empty, or cannot be written anywhere."""
    if not text:
        message = f"{what} must not be empty"
        raise ValueError(message)
    _require_encodable(what, text)


def _require_names(names: Iterable[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            message = f"there is no attribute {name[:32]!r}; known: {', '.join(sorted(known))}"
            raise ValueError(message)


def _require_encodable(what: str, text: str) -> None:
    # Half a surrogate pair passes through JSON and fails in a column: the hold would be made and could never be charged.
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"{what} is not valid Unicode text"
        raise ValueError(message) from None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
