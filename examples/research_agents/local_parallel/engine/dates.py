"""Dates and times of day in running text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from .units import UNIT_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dates_in", "iso_date", "same_date", "times_in"]

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")  # fmt: skip
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
_YEAR = r"(?P<year>\d{4})\b"
_ORDINAL = r"(?:st|nd|rd|th)?"
# 1987-05-12; 12 May 1987; May 12, 1987; May 1987: the longer ones first.
_FULL = (
    re.compile(rf"\b{_YEAR}-(?P<number>\d\d)-(?P<day>\d\d)\b"),
    re.compile(rf"\b(?P<day>\d{{1,2}}){_ORDINAL}\s(?:of\s)?{_MONTH},?\s{_YEAR}", re.IGNORECASE),
    re.compile(rf"\b{_MONTH}\s(?P<day>\d{{1,2}}){_ORDINAL},?\s{_YEAR}", re.IGNORECASE),
    re.compile(rf"\b{_MONTH},?\s(?:of\s)?{_YEAR}", re.IGNORECASE),
)
# Four digits that may be a year: not with a decimal part or further digits behind.
_BARE = re.compile(r"(?<![\w.$€£#,])(?P<year>1\d\d\d|2[01]\d\d)\b(?![,.]\d|\u00a0|-\w)")
_MEASURED = re.compile(rf"\s?(?:{UNIT_PATTERN})\b|\s(?:thousand|million|billion)|\s?%")
# What only looks like a unit: "in 1987 a", "1987 in Oslo".
_NO_UNIT = re.compile(r"\s(?:a|in|m)\b")
_COUNTED = re.compile(r"\s(?:[a-z]+\s){0,2}?(?:[a-z]{2,}(?<!s)s|people|staff)\b")
_NO_COUNTED = re.compile(r"\s(?:was|is|has|as|this|its|under|by|with|in|at|and|to|for|or|of|from|on|the|a)\b")
# The words and marks before four digits that make them a year.
_INTRODUCED = re.compile(
    r"\b(?:in|since|by|of|from|to|until|till|during|year|fy|between|and|for|circa|around|about|early|late|mid|spring|summer|autumn|fall|"
    r"winter|before|after|back|founded|established|started|opened|built|born|est|year\swas|year\sis|founded:|than)[\s(:,.-]{0,4}$"
    r"|[(:\u2013-]\s?$|^\W*$",
    re.IGNORECASE,
)
# "a population of 1852": what is counted, and no year.
_COUNTING = re.compile(
    r"\b(?:population|number|total|workforce|headcount|staff|price|cost|capacity|output|count)\b[^.;]{0,30}\b(?:of|is|was|reached|to)\s$",
    re.IGNORECASE,
)
_ENDS = re.compile(r"\s*(?:[.,;)]|$)")
_TIME = re.compile(
    r"(?<![\d:.,])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?![\d:])(?:\s?(?:UTC|GMT|CET|CEST)\b)?"
)
_REACH = 60  # characters beside a number that tell whether it is a year


def dates_in(text: str) -> Iterator[tuple[int, int, Decimal]]:
    """(start, end, date as `yyyymmdd` with zeros for what is not told) of each date in *text*; none overlaps another."""
    taken = bytearray(len(text))
    for pattern in _FULL:
        for match in pattern.finditer(text):
            start, end = match.span()
            if not any(taken[start:end]) and (date := _date(match)) is not None:
                taken[start:end] = b"\1" * (end - start)
                yield start, end, date
    for match in _BARE.finditer(text):
        start, end = match.span()
        if not any(taken[start:end]) and _is_year(
            text[max(0, start - _REACH) : start], text[end : end + _REACH]
        ):
            yield start, end, Decimal(int(match["year"]) * 10_000)


def times_in(text: str) -> Iterator[tuple[int, int, Decimal]]:
    """(start, end, minutes after midnight) of each time of day in *text*."""
    for match in _TIME.finditer(text):
        yield match.start(), match.end(), Decimal(int(match["hour"]) * 60 + int(match["minute"]))


def _is_year(before: str, after: str) -> bool:
    """Whether four digits are a year: by the word before, and by no unit or counted noun behind."""
    if _MEASURED.match(after) and not _NO_UNIT.match(after):
        return False
    if _COUNTED.match(after) and not _NO_COUNTED.match(after):
        return False
    if _COUNTING.search(before):
        return False
    return _INTRODUCED.search(before) is not None or _ENDS.match(after) is not None


def _date(match: re.Match[str]) -> Decimal | None:
    parts = match.groupdict()
    month = int(parts.get("number") or 0)
    if name := parts.get("month"):
        month = next(place for place, one in enumerate(_MONTHS, 1) if one.startswith(name.lower()[:3]))
    day = int(parts.get("day") or 0)
    if month > 12 or day > 31:
        return None
    return Decimal(int(parts["year"]) * 10_000 + month * 100 + day)


def iso_date(value: Decimal) -> str:
    """`1987`, `1987-05` or `1987-05-12` of a date as `dates_in` gives it."""
    digits = f"{int(value):08d}"
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:]) if int(part))


def same_date(claimed: Decimal, told: Decimal) -> bool:
    """Whether two dates agree in everything both tell."""
    one, other = f"{int(claimed):08d}", f"{int(told):08d}"
    parts = ((one[:4], other[:4]), (one[4:6], other[4:6]), (one[6:], other[6:]))
    return all(not int(asked) or not int(said) or asked == said for asked, said in parts)
