"""Which of several values in a sentence a claim is about, and which are only parts of another: "14 vessels, of which five"."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .numbers import quantities_in
from .periods import is_earlier
from .units import SCALES, WORD_NUMBERS
from .vocabulary import content_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .numbers import Quantity

__all__ = ["beside_of", "is_part", "meant_by", "parts_in", "segment_of", "which_ones", "with_parts"]

_REACH = 40  # characters beside a number that tell whether it is a part
_PART_BEHIND = re.compile(
    r"\bof\s(?:which|whom|these|those|them)[\s,]+(?:only\s|about\s|some\s)?$", re.IGNORECASE
)
_PART_OF = re.compile(r"\s(?:more\s)?of\s(?:which|whom|these|those|them)\b", re.IGNORECASE)
_LISTED = re.compile(r"\s(?:in|at|from|for)\s", re.IGNORECASE)
_SIDES = ("with", "without", "before", "after", "above", "below", "inside", "outside", "former", "latter")
# "three factories: one in Graz": no quantity, and still the beginning of what is said of another.
_ONE = re.compile(
    r"\b(?:one|another|a\ssecond|a\sthird|the\sother|the\srest|the\sremainder|every(?=\s[a-z]))\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=2048)
def with_parts(text: str) -> tuple[Quantity, ...]:
    """The quantities in *text*; one that is a part of another, or compared with it, counts what that one counts."""
    found: list[Quantity] = []
    for one in quantities_in(text):
        whole = next((other for other in reversed(found) if other.kind == "count"), None)
        if (
            whole is not None
            and one.kind == "number"
            and (is_part(text, one) or is_earlier(text, one) or _goes_on(text, one))
        ):
            found.append(replace(one, family=whole.family, unit=whole.unit))
        else:
            found.append(one)
    return tuple(found)


def _goes_on(text: str, quantity: Quantity) -> bool:
    """Whether the noun is left out because it was just said: "three medals in 2022 and five in 2023"."""
    return text[: quantity.start].endswith((" and ", ", ")) and _LISTED.match(text, quantity.end) is not None


def parts_in(text: str) -> tuple[Quantity, ...]:
    """Those quantities of `with_parts` that are a part of another."""
    return tuple(one for one in with_parts(text) if not one.is_moment and is_part(text, one))


def is_part(text: str, quantity: Quantity) -> bool:
    """Whether *quantity* is told as a part of another: "five of them", "of which five", "700 in Hull and 260 in Cork"."""
    before = text[max(0, quantity.start - _REACH) : quantity.start]
    if _PART_BEHIND.search(before) or _PART_OF.match(text, quantity.end):
        return True
    # As in "960 people: 700 in Hull, and 260 in Cork".
    return ":" in text[: quantity.start] and _LISTED.match(text, quantity.end) is not None


def segment_of(text: str, quantity: Quantity) -> str:
    """*text* from the number to the next one that something else is said of; a count of another noun is no such."""
    marks = [match.start() for match in _ONE.finditer(text)]
    marks += [one.start for one in with_parts(text) if one.family in {"number", quantity.family}]
    end = min((mark for mark in marks if mark > quantity.start), default=len(text))
    return text[quantity.start if quantity.kind == "count" else quantity.end : end]


def meant_by(claim: str, claimed: Quantity, text: str, told: Sequence[Quantity]) -> list[Quantity]:
    """Those of the values *told* in *text* that stand before the words that the claim has beside its value.

    "99.4 percent of lead and 97 percent of chlorine" gives for chlorine one of them only, and "three factories: one in Graz"
    none for "three factories in Graz".
    """
    beside = content_keys(_undated(claim[claimed.end :]))
    beside |= which_ones(claimed)
    told = _on_the_same_side(claim[: claimed.start], text, told)
    return beside_of(beside, text, told)


def which_ones(claimed: Quantity) -> frozenset[str]:
    """What stands between number and noun and says which: "electric" of "five electric vessels"."""
    if claimed.kind != "count":
        return frozenset()
    words = claimed.text.lower().split()[1:-1]
    return content_keys(" ".join(word for word in words if word not in WORD_NUMBERS and word not in SCALES))


def beside_of(beside: frozenset[str], text: str, told: Sequence[Quantity]) -> list[Quantity]:
    """Those of the values *told* in *text* behind which a word of *beside* stands; none where it stands behind another one."""
    taken = {one.start for one in told}
    others = [match.start() for match in _ONE.finditer(text)]
    others += [one.start for one in with_parts(text) if one.kind == "number" and one.start not in taken]
    behind = frozenset[str]().union(*(content_keys(_from(text, start)) for start in others))
    fitting = [one for one in told if beside & content_keys(segment_of(text, one))]
    if fitting:
        # "60 percent of the apples to X and the rest to schools": apples are meant, and those sold to schools not.
        return [
            one
            for one in fitting
            if not (beside & behind) - content_keys(text[: one.end] + segment_of(text, one))
        ]
    if beside & behind:
        return []
    parts = {one.start for one in parts_in(text)}
    return [one for one in told if one.start not in parts] or list(told)


def _on_the_same_side(before: str, text: str, told: Sequence[Quantity]) -> Sequence[Quantity]:
    """Those of several values that have the same of "with" and "without" before them as the claim has."""
    for word in _SIDES:
        if len(told) < 2 or not re.search(rf"\b{word}\b", before, re.IGNORECASE):
            continue
        ends = [0, *(one.end for one in told[:-1])]
        led = [
            one
            for one, end in zip(told, ends, strict=True)
            if re.search(rf"\b{word}\b", text[end : one.start], re.IGNORECASE)
        ]
        told = led or told
    return told


def _undated(text: str) -> str:
    """*text* without its dates: for when a value holds is asked elsewhere."""
    for one in reversed(quantities_in(text)):
        if one.is_moment:
            text = f"{text[: one.start]}{text[one.end :]}"
    return text


def _from(text: str, start: int) -> str:
    """*text* from *start* to the next number or "one"."""
    marks = [match.start() for match in _ONE.finditer(text)] + [one.start for one in with_parts(text)]
    return text[start : min((mark for mark in marks if mark > start), default=len(text))]
