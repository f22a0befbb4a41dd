"""Whether one quantity bears another out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from .dates import same_date

if TYPE_CHECKING:
    from .numbers import Quantity

__all__ = ["agree", "comparable"]

_ABOUT = Decimal("0.05")  # what "about" leaves open
_ROUNDED = Decimal("0.02")  # the most that leaving out digits may change
_LOWER = frozenset(["more", "at_least"])
_LIMITS = frozenset(["more", "less", "at_least", "at_most"])


def agree(claimed: Quantity, told: Quantity) -> bool | None:
    """Whether *told* bears *claimed* out; None where they cannot be compared, or the text leaves it open.

    "More than 300" agrees with 340; 3.2 million with 3,200,000 and with 3.204 million, of which it is the rounding.
    """
    if not comparable(claimed, told):
        return None
    if claimed.is_moment:
        return (
            same_date(claimed.value, told.value) if claimed.family == "date" else claimed.value == told.value
        )
    one, other = claimed.value, told.value
    if claimed.bound in _LIMITS:
        return _within(claimed.bound, one, told)
    # "Over 300" refutes 290; of 400 it says nothing, and of 310 it is as good as the number.
    if told.bound in _LIMITS:
        beyond = one < other if told.bound in _LOWER else one > other
        return False if beyond else True if abs(one - other) <= abs(other) * _ABOUT else None
    return _near(claimed, told)


def _near(claimed: Quantity, told: Quantity) -> bool | None:
    """Whether two values are the same but for the digits that were left out."""
    apart = abs(claimed.value - told.value)
    if "about" in {claimed.bound, told.bound}:
        vague = abs(told.value) * _ABOUT
        return True if apart <= vague else None if apart <= 2 * vague else False
    if apart <= claimed.step / 2:
        return True if apart <= abs(told.value) * _ROUNDED else None
    # What was told is the rounding of what is claimed: neither borne out nor refuted.
    return None if apart <= told.step / 2 else False


def _within(bound: str, limit: Decimal, told: Quantity) -> bool | None:
    """Whether what is *told* keeps within the *limit* that a claim sets."""
    value = told.value
    fits = {
        "more": value > limit,
        "less": value < limit,
        "at_least": value >= limit,
        "at_most": value <= limit,
    }[bound]
    upwards = bound in {"more", "at_least"}
    if told.bound == bound and value == limit:
        return True
    if told.bound in _LIMITS:
        # "Over 300" does not tell "over 400" from "over 200"; "under 300" refutes "over 400".
        same_way = (told.bound in _LOWER) is upwards
        return None if same_way or fits else False
    return fits


def comparable(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities are of one family; a bare number goes with a count."""
    if one.family == other.family:
        return True
    kinds = {one.kind, other.kind}
    same_rate = ("/" in one.family) == ("/" in other.family)
    return "number" in kinds and kinds <= {"number", "count"} and same_rate
