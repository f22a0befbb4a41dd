"""Quantities, dates and times in running text: read them, bring them to one unit, and print them.

Exact decimals throughout. What cannot be converted (dollars and euros, employees and turbines) is of another family and is
never compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from examples.research_agents.retrieval.names import names_in

from .agreement import agree, comparable
from .dates import dates_in, iso_date, times_in
from .units import CURRENCY_MARKS, SCALES, UNIT_PATTERN, WORD_NUMBERS, lookup

__all__ = ["Bound", "Quantity", "agree", "comparable", "plain", "quantities_in"]

Bound = Literal["exact", "about", "more", "less", "at_least", "at_most"]

_MOST = 200  # read in one text; a table of a thousand numbers is no sentence
_MOST_DIGITS = 20  # of a number; what is longer is none
_REACH = 60  # characters beside a number that say something about it
# 1,234.5 with any mark between thousands; 12 345; 3.5; .5
_PLAIN = r"\d{1,3}(?:[,\u00a0\u202f'\u2019]\d{3})+(?:\.\d+)?|\d{1,3}(?: \d{3})+(?![\d,])|\d+(?:\.\d+)?|\.\d+"
_WORDS = "|".join(sorted(WORD_NUMBERS, key=len, reverse=True))
_SPOKEN = rf"(?:(?:{_WORDS})(?:[\s-](?:and\s)?(?:{_WORDS})){{0,9}})\b"
_SCALE = r"hundred|thousand|million|billion|trillion|mio|mn|bn|tn|[kKmMbB](?![\w/\u00b2\u00b3])"
_NUMBER = re.compile(
    r"(?P<mark>(?:US|A|C|NZ)?[$]|[€£¥]|\b(?:USD|EUR|GBP|CHF|JPY|SEK|NOK|DKK)\b)?\s?"
    rf"(?P<sign>(?<![\w.])[-\u2212])?(?<![\w.,])(?P<number>{_PLAIN}|\b{_SPOKEN})"
    rf"(?:[\s-]?(?P<scale>{_SCALE})\b)?(?:\sof\s(?=(?:us\s)?(?:dollars|euros)))?"
    rf"(?:[\s-]?(?P<unit>{UNIT_PATTERN}))?",
    re.IGNORECASE,
)
_PER = re.compile(
    r"\s?(?:/|per\s|an?\s|each\s|every\s)(?P<per>year|annum|day|night|hour|month|week|second|minute|person|h|s|yr|"
    r"ha|hectare|kg|kilogram|litre|liter|km|kilomet(?:re|er)|m²|m2|m³|m3|unit|employee|inhabitant|ship|vessel)\b(?!\s(?:earlier|before|ago|later|after)\b)"
    r"|\s(?P<ly>annually|yearly|daily|monthly|hourly|weekly)\b",
    re.IGNORECASE,
)
_PERIODS = {
    "hectare": "ha", "kilogram": "kg", "liter": "litre", "kilometre": "km", "kilometer": "km", "m2": "m²", "m3": "m³",
    "annum": "year", "yr": "year", "h": "hour", "s": "second", "annually": "year", "yearly": "year", "daily": "day",
    "monthly": "month", "hourly": "hour", "weekly": "week",
}  # fmt: skip
# What stands right before a number and bounds it; the first that fits.
_BOUND_WORDS: tuple[tuple[Bound, str], ...] = (
    ("at_least", r"at least|no fewer than|no less than|not less than|a minimum of"),
    ("at_most", r"at most|no more than|not more than|up to|a maximum of"),
    (
        "more",
        r"more than|\bover|\babove|greater than|larger than|higher than|longer than|in excess of|exceed(?:s|ed|ing)?|upwards of",
    ),
    ("less", r"less than|fewer than|\bunder|\bbelow|smaller than|lower than|shorter than|short of"),
    (
        "about",
        r"\babout|\baround|roughly|approximately|\bsome|nearly|almost|close to|approx\.?|circa|\bca\.?|an estimated|just over|just under|~",
    ),
)
_BOUNDS = tuple((bound, re.compile(rf"(?:{words})\s$", re.IGNORECASE)) for bound, words in _BOUND_WORDS)
_TILDE = re.compile(r"~$")
_NOUN = re.compile(r"[\s-](?P<words>[a-z]+(?:-[a-z]+)?(?:\s[a-z]+(?:-[a-z]+)?){0,2})")
_COLLECTIVE = frozenset(
    ["people", "staff", "men", "women", "personnel", "crew", "children", "persons", "sheep", "fish", "species", "aircraft"]
)  # fmt: skip
# Words behind a number that are nothing one counts.
_BEHIND_NUMBERS = """
in of and or to at by for from on with per a an the is was are were has had have as than it its they since
until when while but which who that this after before during under over between among about up down out off
all work works worked less more fewer higher lower later earlier ago long tall high wide deep old away across
fail fails lives live
"""
_NO_NOUNS = frozenset(_BEHIND_NUMBERS.split())
# "one of them", "Unit 4", "v2.1", "1st", "3:1": no quantity by what follows.
_NO_NUMBER_AFTER = re.compile(r"(?:st|nd|rd|th)\b|[A-Za-z]*\d|\.\d|:\d|/\d")
# "Python 3.11", ">=2.0", "version 8": a version by what precedes.
_VERSION_BEFORE = re.compile(
    r"(?:[a-z]-|[<>=~!]=\s?|(?<=\w)\s?[<>]|\b(?:python|version|release|v)\s?|(?<=\d):)$", re.IGNORECASE
)


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
        family: of what can be compared: "power", "money:USD", "count:employe", "number", "date", "clock", "share".
        bound: whether the text says "about", "more than" and the like.
        step: what the last digit written is worth, in the base unit; 0 for a whole count.
    """

    start: int
    end: int
    text: str
    value: Decimal
    told: Decimal
    unit: str
    family: str
    bound: Bound = "exact"
    step: Decimal = Decimal(0)

    @property
    def kind(self) -> str:
        """The family without its detail: "money", "count", "power"."""
        return self.family.split(":")[0].split("/")[0]

    @property
    def counts(self) -> str:
        """The stem of what is counted; empty where nothing is."""
        return self.family.split(":")[1].split("/")[0] if self.kind == "count" else ""

    @property
    def shown(self) -> str:
        """The value as findings carry it: plain digits in `unit`, an ISO date, or a time of day."""
        if self.family == "clock":
            return f"{int(self.value) // 60:02d}:{int(self.value) % 60:02d}"
        return iso_date(self.value) if self.family == "date" else plain(self.told)

    @property
    def year(self) -> str | None:
        """Of a date."""
        return f"{int(self.value):08d}"[:4] if self.family == "date" else None

    @property
    def is_moment(self) -> bool:
        """Whether it is a date or a time of day."""
        return self.family in {"date", "clock"}


def plain(value: Decimal) -> str:
    """*value* without exponent and without zeros behind the point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=4096)
def quantities_in(text: str) -> tuple[Quantity, ...]:
    """The quantities, dates and times in *text*, in order, none overlapping another; at most 200."""
    found = [_moment(text, *one, "date") for one in dates_in(text)]
    taken = bytearray(len(text))
    for one in found:
        taken[one.start : one.end] = b"\1" * (one.end - one.start)
    for time in times_in(text):
        if not any(taken[time[0] : time[1]]):
            found.append(_moment(text, *time, "clock"))
            taken[time[0] : time[1]] = b"\1" * (time[1] - time[0])
    for name in names_in(text):
        if (
            name[-1].isdigit()
            and (model := re.search(r"\d+$", name))
            and not taken[name.start + model.start()]
        ):
            taken[name.start + model.start() : name.end] = b"\1" * len(
                model.group()
            )  # "the Kestrel 90": no value
    for match in _NUMBER.finditer(text):
        if len(found) >= _MOST:
            break
        if (
            not any(taken[match.start("number") : match.end()])
            and (quantity := _quantity(text, match)) is not None
        ):
            found.append(quantity)
    return tuple(sorted(found[:_MOST], key=lambda one: one.start))


def _moment(text: str, start: int, end: int, value: Decimal, family: str) -> Quantity:
    return Quantity(start, end, text[start:end], value, value, "", family)


def _quantity(text: str, match: re.Match[str]) -> Quantity | None:
    begin = match.start("number")
    before = text[max(0, begin - _REACH) : begin]
    after = text[match.end("number") : match.end("number") + _REACH]
    number = _number(match["number"])
    if number is None or _NO_NUMBER_AFTER.match(after) or _VERSION_BEFORE.search(before):
        return None
    if match["number"][0].isalpha() and number <= 1:
        return None
    if match["sign"]:
        number = -number
    scale, unit, family, factor, end = _measured(match)
    told = number * scale
    if (
        family == "number"
        and (noun := _NOUN.match(text, end, end + _REACH))
        and (counted := _counted(noun["words"]))
    ):
        unit, family = counted, f"count:{_key(counted)}"
        end = noun.start("words") + noun["words"].index(counted) + len(counted)
    value = (told - 32) * 5 / 9 if unit == "°F" else told * factor
    if per := _PER.match(text, end):
        period = (per["per"] or per["ly"]).lower()
        period = _PERIODS.get(period, period)
        unit, family = f"{unit}/{period}".lstrip("/"), f"{family}/{period}"
        end = per.end()
    start = next(match.start(part) for part in ("mark", "sign", "number") if match[part])
    bound = _bound(text[max(0, start - _REACH) : start])
    step = Decimal(1).scaleb(int(number.as_tuple().exponent)) * scale * factor
    if step == factor and family.startswith(("count", "number")):
        step = Decimal(0)
    return Quantity(start, end, text[start:end], value, told, unit, family, bound, step)


def _measured(match: re.Match[str]) -> tuple[Decimal, str, str, Decimal, int]:
    """(scale, unit, family, factor to the base unit, where it ends) of a number."""
    one = Decimal(1)
    written = match["scale"] or ""
    scale = SCALES.get(written.lower(), one)
    end = match.end("scale") if written else match.end("number")
    if mark := (match["mark"] or "").upper():
        currency = CURRENCY_MARKS.get(mark, mark)
        return scale, currency, f"money:{currency}", one, end
    unit = match["unit"] or ""
    if written == "m" and not unit:
        return one, "m", "length", one, end  # "12 m" are metres, "12M users" millions
    if unit and (known := lookup(unit)) is not None:
        shown, family, factor = known
        return scale, shown, f"money:{shown}" if family == "money" else family, factor, match.end()
    return scale, "", "number", one, end


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
    if len(text) > _MOST_DIGITS and text[0].isdigit():
        return None
    if text[0].isdigit() or text[0] == ".":
        digits = re.sub(r"[,\s\u00a0\u202f'\u2019]", "", text)
        # `\d` takes every script's digits; so does Decimal.
        return Decimal(digits)
    return _spoken(re.split(r"[\s-]+", text.lower()))


def _spoken(words: list[str]) -> Decimal | None:
    """The value of number words: "three hundred and forty"."""
    total = current = Decimal(0)
    for word in words:
        if word == "and":
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
    if _TILDE.search(before):
        return "about"
    return next((bound for bound, pattern in _BOUNDS if pattern.search(before)), "exact")
