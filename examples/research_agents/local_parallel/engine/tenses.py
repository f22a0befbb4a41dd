"""What was until some year, what is since one, and what is only planned."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .asking import Ask
    from .clauses import Clause

__all__ = ["has_ended", "is_planned", "of_its_time"]

_YEAR = r"(?:the\s)?(?:end\sof\s)?(?:[a-z]+\s){0,2}?(?:\d{1,2}\s)?(?:[A-Z][a-z]+\s)?(?:19|20)\d\d\b"
_ENDED = re.compile(rf"\b(?:[Uu]ntil|[Tt]ill|[Uu]p\sto)\s{_YEAR}|\bused\sto\b")
_PRESENT = re.compile(r"\b(?:is|are|has|have|does|will)\b", re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|had|did|used\sto|[a-z]{2,}ed)\b", re.IGNORECASE)
_SINCE = re.compile(rf"\b[Ss]ince\s{_YEAR}|\b(?:today|now|currently|nowadays)\b", re.IGNORECASE)
_PLANNED = re.compile(
    r"\b(?:plans?|planned|planning|intends?|aims?|hopes?|wants?|expects?|expected|projected|projects|forecasts?|forecasted|predicts?|predicted|"
    r"scheduled|targets?|targeted|set|due|estimated|likely|wish(?:es)?)\sto\b|\bwill\b|\bshall\b"
    r"|\b(?:targets?|forecasts?|goals?|projections?|ambitions?)\b|\b(?:planned|expected|projected|forecast|targeted)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def has_ended(text: str) -> bool:
    """Whether *text* says what was so until a year, and is not any more."""
    return _ENDED.search(text) is not None and _PRESENT.search(text) is None


@lru_cache(maxsize=8192)
def is_planned(text: str, start: int) -> bool:
    """Whether the value at *start* of *text* is one that somebody plans, expects or aims at.

    Only what stands before the value counts: "employs 200 people and plans a factory" tells a fact.
    """
    return _PLANNED.search(text, 0, start) is not None


def of_its_time(ask: Ask, clauses: Sequence[Clause]) -> list[Clause]:
    """The clauses that can say something at the time of the claim: a claim in the present is not about what has ended.

    A claim in the past is not about what is so since then, where the same passage tells what was before. Claims that name a year
    are heard as they are: their values have their own periods.
    """
    if ask.years:
        return list(clauses)
    if _PRESENT.search(ask.text) or not _PAST.search(ask.text):
        return [clause for clause in clauses if not has_ended(clause.text)]
    ended = {clause.url for clause in clauses if has_ended(clause.text)}
    return [clause for clause in clauses if clause.url not in ended or not _SINCE.search(clause.sentence)]
