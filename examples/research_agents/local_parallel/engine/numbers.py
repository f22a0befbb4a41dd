"""Quantities and dates in running text: read them, bring them to one unit, compare and print them.

Exact decimals throughout. What cannot be converted (dollars and euros, employees and turbines) is of another family and is
never compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from .units import CURRENCY_MARKS, SCALES, UNIT_PATTERN, WORD_NUMBERS, lookup

__all__ = ["Bound", "Quantity", "agree", "plain", "quantities_in"]

Bound = Literal["exact", "about", "more", "less", "at_least", "at_most"]

_PLAIN = r"\d{1,3}(?:[,\u00a0\u202f'\u2019]\d{3})+(?:\.\d+)?|\d{1,3}(?: \d{3})+(?![\d,])|\d+(?:\.\d+)?|\.\d+"
_WORDS = "|".join(sorted(WORD_NUMBERS, key=len, reverse=True))
_SPOKEN = rf"(?:(?:{_WORDS})(?:[\s-](?:and\s)?(?:{_WORDS}))*)\b"
_SCALE = r"hundred|thousand|million|billion|trillion|mio|mn|bn|tn|[kKmMbB](?![\w/\u00b2\u00b3])"
_NUMBER = re.compile(
    rf"(?P<mark>(?:US|A|C|NZ)?[$]|[€£¥]|\b(?:USD|EUR|GBP|CHF|JPY|SEK|NOK|DKK)\b)?\s?"
    rf"(?P<sign>(?<![\w.])[-\u2212])?(?<![\w.,])(?P<number>{_PLAIN}|\b{_SPOKEN})"
    rf"(?:[\s-]?(?P<scale>{_SCALE})\b)?(?:\sof\s(?=(?:us\s)?(?:dollars|euros)))?"
    rf"(?:[\s-]?(?P<unit>{UNIT_PATTERN}))?",
    re.IGNORECASE,
)
_PER = re.compile(
    r"\s?(?:/|per\s|an?\s|each\s|every\s)(?P<per>year|annum|day|hour|month|week|second|minute|h|s|yr)\b|\s(?P<ly>annually|yearly|daily|monthly|hourly|weekly)\b",
    re.IGNORECASE,
)
_PERIODS = {
    "annum": "year", "yr": "year", "h": "hour", "s": "second", "annually": "year", "yearly": "year", "daily": "day",
    "monthly": "month", "hourly": "hour", "weekly": "week",
}  # fmt: skip
_MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?"
_DATES = (
    re.compile(r"\b(?P<year>\d{4})-(?P<number>\d\d)-(?P<day>\d\d)\b"),
    re.compile(
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH},?\s(?P<year>\d{{4}})\b", re.IGNORECASE
    ),
    re.compile(rf"\b{_MONTH}\s(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<year>\d{{4}})\b", re.IGNORECASE),
    re.compile(rf"\b{_MONTH},?\s(?:of\s)?(?P<year>\d{{4}})\b", re.IGNORECASE),
    re.compile(r"\b(?P<year>1[0-9]\d\d|20\d\d|21\d\d)\b(?![,.]\d|\u00a0)"),
)
_BOUNDS: tuple[tuple[Bound, re.Pattern[str]], ...] = (
    ("at_least", re.compile(r"(?:at least|no fewer than|no less than|not less than|a minimum of)\s(?:[\w$]+\s)?$", re.IGNORECASE)),
    ("at_most", re.compile(r"(?:at most|no more than|not more than|up to|a maximum of)\s$", re.IGNORECASE)),
    ("more", re.compile(r"(?:more than|over|above|greater than|larger than|higher than|in excess of|exceed(?:s|ed|ing)?|upwards of)\s$", re.IGNORECASE)),
    ("less", re.compile(r"(?:less than|fewer than|under|below|smaller than|lower than|short of)\s$", re.IGNORECASE)),
    ("about", re.compile(r"(?:about|around|roughly|approximately|some|nearly|almost|close to|approx\.?|circa|ca\.?|an estimated|just over|just under)\s$|~\s?$", re.IGNORECASE)),
)  # fmt: skip
_NOUN = re.compile(r"[\s-](?P<words>[a-z]+(?:-[a-z]+)?(?:\s[a-z]+(?:-[a-z]+)?){0,2})")
_COLLECTIVE = frozenset(
    ["people", "staff", "men", "women", "personnel", "crew", "children", "persons", "sheep", "fish", "species", "aircraft"]
)
_NO_NOUNS = frozenset(
    ["in", "of", "and", "or", "to", "at", "by", "for", "from", "on", "with", "per", "a", "an", "the", "is", "was", "are", "were", "has", "had", "have", "as", "than", "it", "its", "they", "since", "until", "when", "while", "but", "which", "who", "that", "this", "after", "before", "during", "under", "over", "between", "among", "about", "up", "down", "out", "off", "all", "work", "works", "worked", "less", "more", "fewer", "higher", "lower", "later", "earlier", "ago", "long", "tall", "high", "wide", "deep", "old", "away", "across"]
)
_YEAR_BEFORE = re.compile(
    r"\b(?:in|since|by|of|from|to|until|till|during|year|fy|between|and|for|circa|around|about|early|late|mid|spring|summer|autumn|fall|winter|before|after|back|founded|established|started|opened|built|born|est|year was|year is|founded:|than)[\s(:,.-]*$"
    r"|[(:\u2013-]\s?$|^\W*$",
    re.IGNORECASE,
)
_ABOUT = Decimal("0.05")
_ROUNDED = Decimal("0.005")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit, or a date, as a text tells it.

    Attributes:
        start: of the first character.
        end: behind the last.
        text: as written.
        value: in the base unit of its family; of a date `yyyymmdd` with zeros for what is not told.
        told: in the unit as written.
        unit: as an answer writes it: "MW", "USD", "employees", "%"; empty for dates and bare numbers.
        family: of what can be compared: "power", "money:USD", "count:employe", "number", "date", "share".
        bound: whether the text says "about", "more than" and the like.
    """

    start: int
    end: int
    text: str
    value: Decimal
    told: Decimal
    unit: str
    family: str
    bound: Bound = "exact"

    @property
    def kind(self) -> str:
        """The family without its detail: "money", "count", "power"."""
        return self.family.split(":")[0].split("/")[0]

    @property
    def shown(self) -> str:
        """The value as findings carry it: plain digits in `unit`, or an ISO date."""
        if self.family != "date":
            return plain(self.told)
        digits = f"{int(self.value):08d}"
        parts = [digits[:4], digits[4:6], digits[6:]]
        return "-".join(part for part in parts if int(part))

    @property
    def year(self) -> str | None:
        """Of a date."""
        return f"{int(self.value):08d}"[:4] if self.family == "date" else None


def plain(value: Decimal) -> str:
    """*value* without exponent and without zeros behind the point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=8192)
def quantities_in(text: str) -> tuple[Quantity, ...]:
    """The quantities and dates in *text*, in order, none overlapping another."""
    found: list[Quantity] = []
    taken: list[tuple[int, int]] = []
    for pattern in _DATES:
        for match in pattern.finditer(text):
            if any(start < match.end() and match.start() < end for start, end in taken):
                continue
            if pattern is _DATES[-1] and not _is_year(text, match):
                continue
            date = _date(match)
            if date is not None:
                bound = _bound(text[: match.start()])
                found.append(
                    Quantity(match.start(), match.end(), match.group(), date, date, "", "date", bound)
                )
                taken.append(match.span())
    for match in _NUMBER.finditer(text):
        if match["number"] and not any(
            start < match.end() and match.start("number") < end for start, end in taken
        ):
            quantity = _quantity(text, match)
            if quantity is not None:
                found.append(quantity)
    return tuple(sorted(found, key=lambda one: one.start))


def _is_year(text: str, match: re.Match[str]) -> bool:
    """Whether four digits are a year: by the word before, and by no unit or counted noun behind."""
    after = text[match.end() :]
    if re.match(rf"\s?(?:{UNIT_PATTERN})\b|\s(?:thousand|million|billion)", after) and not re.match(
        r"\s(?:a|in|m)\b", after
    ):
        return False
    before = text[: match.start()]
    if before.endswith(("$", "€", "£", "#")) or re.search(r"[\w.]$", before):
        return False
    noun = _NOUN.match(after)
    if (
        noun is not None
        and _counted(noun["words"])
        and re.search(r"(?:s|people|staff)$", _counted(noun["words"]) or "")
    ):
        return False
    return _YEAR_BEFORE.search(before) is not None or re.match(r"\s*(?:[.,;)]|$)", after) is not None


def _date(match: re.Match[str]) -> Decimal | None:
    parts = match.groupdict()
    month = int(parts.get("number") or 0)
    if name := parts.get("month"):
        month = next(place for place, one in enumerate(_MONTHS, 1) if one.startswith(name.lower()[:3]))
    day = int(parts.get("day") or 0)
    if month > 12 or day > 31:
        return None
    return Decimal(int(parts["year"]) * 10_000 + month * 100 + day)


def _quantity(text: str, match: re.Match[str]) -> Quantity | None:
    number = _number(match["number"])
    before = text[: match.start("number")]
    # "one of them", "Unit 4", "v2.1", "1st": no quantity.
    if number is None or re.match(r"(?:st|nd|rd|th)\b|[A-Za-z]*\d|\.\d", text[match.end("number") :]):
        return None
    if match["number"][0].isalpha() and number <= 1:
        return None
    if match["sign"]:
        number = -number
    scale = SCALES.get((match["scale"] or "").lower(), Decimal(1))
    mark = (match["mark"] or "").upper()
    end = match.end()
    unit_text = match["unit"] or ""
    if mark:
        unit, family, factor = (
            CURRENCY_MARKS.get(mark, mark),
            f"money:{CURRENCY_MARKS.get(mark, mark)}",
            Decimal(1),
        )
        end = match.end("scale") if match["scale"] else match.end("number")
    elif (match["scale"] or "") in {"m", "M", "b", "B"} and not unit_text:
        # "12 m" are metres, "12M users" millions.
        if match["scale"] == "m":
            unit, family, factor, scale = "m", "length", Decimal(1), Decimal(1)
        else:
            unit, family, factor = "", "number", Decimal(1)
    elif unit_text and (known := lookup(unit_text)) is not None:
        unit, family, factor = known
        if family == "money":
            family = f"money:{unit}"
    else:
        unit, family, factor = "", "number", Decimal(1)
        end = match.end("scale") if match["scale"] else match.end("number")
    told = number * scale
    if family == "number" and (noun := _NOUN.match(text, end)) and (counted := _counted(noun["words"])):
        unit, family = counted, f"count:{_key(counted)}"
        end = noun.start("words") + noun["words"].index(counted) + len(counted)
    value = told * factor
    if unit == "°F":
        value = (told - 32) * 5 / 9
    if per := _PER.match(text, end):
        period = (per["per"] or per["ly"]).lower()
        period = _PERIODS.get(period, period)
        unit, family = f"{unit}/{period}".lstrip("/"), f"{family}/{period}"
        end = per.end()
    start = (
        match.start("mark")
        if match["mark"]
        else match.start("sign")
        if match["sign"]
        else match.start("number")
    )
    return Quantity(
        start,
        end,
        text[start:end],
        value,
        told,
        unit,
        family,
        _bound(before if not match["mark"] else text[:start]),
    )


def _counted(words: str) -> str:
    """The noun that is counted: "people" of "people work", "turbines" of "wind turbines stand"; empty when none."""
    first: str = ""
    for word in words.split():
        if word in _NO_NOUNS:
            break
        first = first or word
        if word in _COLLECTIVE or (word.endswith("s") and not word.endswith(("ss", "us", "is"))):
            return word
    return first if len(first) > 2 and not first.endswith(("ly", "ed", "ing")) else ""


def _key(noun: str) -> str:
    return "people" if noun in {"people", "persons"} else noun.removesuffix("s")


def _number(text: str) -> Decimal | None:
    if text[0].isdigit() or text[0] == ".":
        return Decimal(re.sub(r"[,\s\u00a0\u202f'\u2019]", "", text))
    total = current = Decimal(0)
    for word in re.split(r"[\s-]+", text.lower()):
        if word in {"and", "a"}:
            current = current or Decimal(word == "a")
            continue
        value = WORD_NUMBERS.get(word)
        if value is None:
            return None
        if value >= 1000:
            total, current = total + (current or 1) * value, Decimal(0)
        elif value == 100:
            current = (current or 1) * value
        else:
            current += value
    return total + current


def _bound(before: str) -> Bound:
    return next((bound for bound, pattern in _BOUNDS if pattern.search(before)), "exact")


def agree(claimed: Quantity, told: Quantity) -> bool | None:
    """Whether *told* bears *claimed* out; None where they cannot be compared.

    "More than 300" agrees with 340; 3.2 million with 3,200,000; 3.2 with 3.204 where the claim gives two digits only.
    """
    if claimed.family == told.family == "date":
        return _same_date(claimed, told)
    if not comparable(claimed, told):
        return None
    one, other = claimed.value, told.value
    if claimed.bound in {"more", "less", "at_least", "at_most"}:
        result = {
            "more": other > one,
            "less": other < one,
            "at_least": other >= one,
            "at_most": other <= one,
        }[claimed.bound]
        # "Over 300" is told of 340 and of "over 300" alike.
        return result or (told.bound == claimed.bound and other == one)
    if told.bound in {"more", "at_least"} and told.bound != claimed.bound:
        return one >= other and one <= other * (1 + 2 * _ABOUT)
    if told.bound in {"less", "at_most"} and told.bound != claimed.bound:
        return one <= other and one >= other * (1 - 2 * _ABOUT)
    slack = _ABOUT if "about" in {claimed.bound, told.bound} else _precision(claimed)
    return abs(one - other) <= abs(other) * slack


def comparable(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities are of one family; a bare number goes with a count."""
    if one.family == other.family:
        return True
    kinds = {one.kind, other.kind}
    same_rate = ("/" in one.family) == ("/" in other.family)
    return "number" in kinds and kinds <= {"number", "count"} and same_rate


def _same_date(claimed: Quantity, told: Quantity) -> bool:
    if claimed.bound in {
        "more",
        "less",
    }:  # "before 1990", "after" are not read as bounds; "over" of years is rare
        return claimed.value == told.value
    one, other = f"{int(claimed.value):08d}", f"{int(told.value):08d}"
    parts = [(one[:4], other[:4]), (one[4:6], other[4:6]), (one[6:], other[6:])]
    return all(not int(asked) or not int(said) or asked == said for asked, said in parts)


def _precision(claimed: Quantity) -> Decimal:
    """How far a value may be off for the digits the claim gives: none for whole counts, half a percent for rounded ones."""
    return (
        _ROUNDED
        if claimed.told != claimed.told.to_integral_value() or claimed.told >= 100_000
        else Decimal(0)
    )
