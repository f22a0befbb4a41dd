"""Whether what a clause says of a person or a place is of the time the claim names."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .agreement import agree
from .numbers import quantities_in

if TYPE_CHECKING:
    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .numbers import Quantity
    from .voices import Voice

__all__ = ["at_its_time", "holds_times"]

_REACH = 30  # characters before a date in which its preposition is looked for
_SIDE = re.compile(
    r"\b(since|until|till|from|in|on|by|before|after)\s(?:the\s)?(?:[a-z]+\s)?$", re.IGNORECASE
)
# An office changes hands: what was once says nothing about today, nor the other way round.
_ONCE = re.compile(
    r"\b(?:was|were|had|until|till|former(?:ly)?|resigned|stepped\sdown|retired|once|previous(?:ly)?)\b",
    re.IGNORECASE,
)
_MONTH = re.compile(
    r"\b(?:January|February|March|April|May(?=\s(?:\d|of\b)|[.,?]|$)|June|July|August|September|October|November|December)\b"
)


def at_its_time(ask: Ask, relation: Relation, voice: Voice) -> Voice | None:
    """*voice* where it is of the time that the claim names; the contrary where only the time is another; else None."""
    clause = voice.clause
    if voice.stance == "contradicts":
        once = relation.name == "leader" and bool(_ONCE.search(ask.text) or _ONCE.search(clause.text))
        return None if once or (relation.name == "leader" and not _dates_told(ask, clause)) else voice
    for claimed in _dates(ask.text):
        if any(agree(claimed, told) for told in _dates(clause.text) or _dates(clause.sentence)):
            continue
        other = _beside_the_same(ask.text, claimed, clause)
        if other is None:
            return None
        reason = f'"{clause.title}" says {_side(ask.text, claimed)} {other.text}, not {claimed.text}.'
        return replace(voice, stance="contradicts", reason=reason)
    return voice


def _dates_told(ask: Ask, clause: Clause) -> bool:
    told = _dates(clause.sentence)
    return all(any(agree(claimed, one) for one in told) for claimed in _dates(ask.text))


def _beside_the_same(text: str, claimed: Quantity, clause: Clause) -> Quantity | None:
    """The date of the clause behind the same preposition as the one claimed: "since 2019" for "since 2017"."""
    side = _side(text, claimed)
    return next((one for one in _dates(clause.text) if side and _side(clause.text, one) == side), None)


def _side(text: str, date: Quantity) -> str:
    found = _SIDE.search(text[max(0, date.start - _REACH) : date.start])
    return found[1].lower() if found else ""


def _dates(text: str) -> list[Quantity]:
    return [one for one in quantities_in(text) if one.family == "date"]


def holds_times(asked: str, clause: Clause) -> bool:
    """Whether the clause is of the month that *asked* names, if it names one: of January nothing follows for February."""
    months = _months(asked)
    if not months:
        return True
    told = _months(f"{clause.sentence} {clause.title}")
    return not told or months <= told or bool(months & told and len(told) > 1)


@lru_cache(maxsize=8192)
def _months(text: str) -> frozenset[str]:
    return frozenset(_MONTH.findall(text))
