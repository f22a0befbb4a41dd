"""Rates as people write them: from `100/minute` and the name of an algorithm to the rule that a store decides by.

The grammar is that of the `limits` package, and weeks besides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import limits

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Rate, Rule, SlidingWindow

if TYPE_CHECKING:
    from datetime import date

    from prodkit.stores.rules import CalendarUnit

__all__ = ["ALGORITHMS", "Algorithm", "parse_rate", "rule_of"]

Algorithm: TypeAlias = Literal["gcra", "sliding-window", "moving-window", "fixed-window", "calendar"]
"""How it is counted; what each of them promises is told at `Policy`."""

ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "gcra",
    "sliding-window",
    "moving-window",
    "fixed-window",
    "calendar",
)

_SEVERAL: Final = re.compile(r"[,;|]")
# The grammar of `limits` knows no weeks, and quotas do.
_WEEKS: Final = re.compile(r"\s*([0-9]{1,13})\s*(?:/|\s+per\s+)\s*([0-9]{1,4})?\s*weeks?\s*", re.IGNORECASE)
_WEEK_SECONDS: Final = 604_800
# Longer than any rate that somebody wrote; what was read is remembered.
_MOST_CHARACTERS: Final = 100
_CURE: Final = "Write a number and a window, e.g. 100/minute or 5 per 10 seconds."
_UNITS: Final[dict[str, CalendarUnit]] = {
    "hour": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year",
}


def parse_rate(text: str, burst: int = 0) -> Rate:
    """Read `100/minute`, `5 per 10 seconds`: a number, and a window of seconds, minutes, hours, days, weeks, months or years.

    Args:
        text: the rate in the grammar of the `limits` package; one rate, not a list. A month is 30 days, a year 12 of them.
        burst: how many may come at once; 0 for as many as the rate's number.

    Raises:
        ValueError: the text is no rate, or one that no bucket can have; says what to write, after a bar.
    """
    amount, count, _, seconds = _read(text)
    try:
        return Rate(amount, float(count * seconds), burst)
    except ValueError as error:
        raise _no_rate(text, error) from None


def rule_of(
    text: str,
    algorithm: Algorithm = "gcra",
    *,
    burst: int = 0,
    counts_denied: bool = False,
    is_binding: bool = True,
    lease: int = 0,
    zone: str = "UTC",
    anchor: date | None = None,
) -> Rule:
    """The rule that *text* is by *algorithm*.

    Args:
        text: see `parse_rate`. By the calendar a window is a number of hours, days, weeks, months or years.
        algorithm: see `Policy`.
        burst: see `parse_rate`; of `gcra` only.
        counts_denied: see `prodkit.stores.Rate`.
        is_binding: see `prodkit.stores.Rate`.
        lease: see `prodkit.stores.Rate`; more than the rule admits at once is cut to that.
        zone: see `prodkit.stores.CalendarWindow`.
        anchor: see `prodkit.stores.CalendarWindow`.

    Raises:
        ValueError: there is no such rule; says what to write, after a bar.
    """
    amount, count, unit, seconds = _read(text)
    window = float(count * seconds)
    lease = min(lease, burst or amount)
    try:
        if algorithm == "gcra":
            return Rate(
                amount, window, burst, counts_denied=counts_denied, is_binding=is_binding, lease=lease
            )
        if algorithm == "calendar":
            if unit not in _UNITS:
                message = f"a calendar has no windows of {unit}s"
                raise ValueError(message)  # noqa: TRY301 - told with its cure below, as every other
            return CalendarWindow(
                amount,
                _UNITS[unit],
                count,
                zone,
                anchor,
                counts_denied=counts_denied,
                is_binding=is_binding,
                lease=lease,
            )
        kinds: dict[str, type[SlidingWindow | MovingWindow | FixedWindow]] = {
            "sliding-window": SlidingWindow,
            "moving-window": MovingWindow,
            "fixed-window": FixedWindow,
        }
        return kinds[algorithm](
            amount, window, counts_denied=counts_denied, is_binding=is_binding, lease=lease
        )
    except ValueError as error:
        raise _no_rate(text, error, algorithm) from None


def _read(text: str) -> tuple[int, int, str, int]:
    """How many, of how many units, the unit, and how many seconds one of it has."""
    if len(text) > _MOST_CHARACTERS:
        message = f"{text[:20]!r}... is not a rate: it has more than {_MOST_CHARACTERS} characters | {_CURE}"
        raise ValueError(message)
    if _SEVERAL.search(text):
        message = f"{text!r} holds several rates, and a policy has one | Declare a policy for each of them."
        raise ValueError(message)
    weeks = _WEEKS.fullmatch(text)
    if weeks is not None:
        return int(weeks[1]), int(weeks[2] or 1), "week", _WEEK_SECONDS
    try:
        item = limits.parse(text)
    except ValueError as error:
        raise _no_rate(text, error) from None
    return item.amount, item.multiples or 1, item.GRANULARITY.name, item.GRANULARITY.seconds


def _no_rate(text: str, error: ValueError, algorithm: Algorithm = "gcra") -> ValueError:
    cure = _CURE
    if algorithm == "calendar":
        cure = "Write a number and a window of hours, days, weeks, months or years, e.g. 10000/day."
    elif algorithm == "moving-window" and "remembers" in str(error):
        cure = "Set algorithm to sliding-window or gcra."
    return ValueError(f"{text!r} is not a rate: {error} | {cure}")
