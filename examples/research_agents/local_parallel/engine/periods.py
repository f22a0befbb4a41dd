"""For which time a value holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .numbers import quantities_in

if TYPE_CHECKING:
    from .clauses import Clause
    from .numbers import Quantity

__all__ = ["is_earlier", "of_other_year", "period_before", "period_of"]

_REACH = 60  # characters beside a number or a date that are looked at
_BEHIND = 25  # characters between a value and the date behind it
_EARLIER = re.compile(
    r"(?:\bfrom|\bcompared\s(?:with|to)|\bagainst|\bafter|\bversus|\bup\son|\bdown\son|\binstead\sof|\brather\sthan|\bnot)"
    r"\s(?:about\s|around\s|just\s|roughly\s|some\s|only\s)?$",
    re.IGNORECASE,
)
_EARLIER_YEAR = re.compile(
    r"\s?(?:a\syear\s(?:earlier|before|ago)|the\s(?:year\sbefore|previous\syear)|previously|before)|\s?(?:less|more|fewer)\sthan\b",
    re.IGNORECASE,
)
_PREVIOUS = re.compile(
    r"\s?(?:[a-z]+\s)?(?:in\s(?:[A-Z][a-z]+\s(?:of\s)?)?)?(?:a\syear\s(?:earlier|before|ago)|(?:in\s)?the\s(?:year\sbefore|previous\syear|"
    r"preceding\syear|prior\syear)|(?:the\s)?last\syear)",
)
_OWN_YEAR = re.compile(r"\s*(?:,\s*|\()?(?:in|for|of|during)?\s*(?:the\s+year\s+)?\d{4}\b", re.IGNORECASE)
# "since 2010" and "founded in 1987" say nothing about the time of a value beside them.
_NO_PERIOD = re.compile(
    r"\b(?:since|founded|established|opened|built|started|back\sto|inaugurated|commissioned|set\sup)\s(?:\w+\s){0,3}$",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:in|during|for|as of|at the end of)\s(?:[a-z]+\s){0,3}(\d{4})\b", re.IGNORECASE)
_TITLED = re.compile(r"\b(?:19|20)\d\d\b")


def period_of(clause: Clause, quantity: Quantity, *, alone: bool) -> str | None:
    """The date that *quantity* holds for: the one right behind it, else one before it, else that of sentence or title.

    Args:
        clause: where it stands.
        quantity: one of the clause's text.
        alone: whether it is the only value there.
    """
    text = clause.text
    dates = [
        one
        for one in quantities_in(text)
        if one.family == "date" and not _NO_PERIOD.search(text[max(0, one.start - _REACH) : one.start])
    ]
    if (earlier := period_before(clause, quantity)) is not None:
        return earlier
    behind = next((one for one in dates if 0 <= one.start - quantity.end < _BEHIND), None)
    before = [one for one in dates if one.end <= quantity.start]
    if behind is not None:
        return behind.shown
    if before:
        return before[-1].shown
    if dates and alone:
        return dates[0].shown
    if lead := _LEADING.match(clause.sentence):
        return lead[1]
    titled = _TITLED.findall(clause.title)
    return titled[0] if len(titled) == 1 else None


def period_before(clause: Clause, quantity: Quantity) -> str | None:
    """The year before the one the clause is of, for the value of "compared with 8,105 in January of the previous year"."""
    text = clause.text
    if not _PREVIOUS.match(text, quantity.end):
        return None
    # What stands before the value says which year "the previous year" is before.
    years = [one.year for one in quantities_in(text[: quantity.start]) if one.year]
    if not years and (lead := _LEADING.match(clause.sentence)):
        years = [lead[1]]
    return str(int(years[0]) - 1) if years and years[0] else None


def is_earlier(text: str, quantity: Quantity) -> bool:
    """Whether *quantity* is what a value is compared with: "up from 290", "290 a year before", "9 less than"."""
    after = text[quantity.end : quantity.end + _REACH]
    if _OWN_YEAR.match(after):
        return False
    before = text[max(0, quantity.start - _REACH) : quantity.start]
    return bool(_EARLIER.search(before) or _EARLIER_YEAR.match(after))


def of_other_year(text: str, quantity: Quantity, years: tuple[str, ...]) -> bool:
    """Whether the year right behind *quantity* is none of those asked: "three medals in 2022" says nothing about 2023."""
    if not years or not _OWN_YEAR.match(text, quantity.end):
        return False
    behind = next((one.year for one in quantities_in(text) if one.year and one.start >= quantity.end), None)
    return behind is not None and behind not in years
