"""Cutting a sentence into the clauses that say one thing each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cut_clauses", "embedded_in"]

_NAME = r"(?:the\s+)?[A-Z\u00c0-\u00de][\w'\u2019.&-]*(?:\s+[A-Z\u00c0-\u00de][\w'\u2019.&-]*){0,3}"
_VERBAL = r"(?:is|was|are|were|has|had|have|will|[a-z]+(?:ed|es|s))"
# Where a clause ends: at a semicolon, before "while" and the like, before a relative pronoun, before "and" with a verb or an
# amount behind it, and before another name with a verb or a number behind it.
_CUT = re.compile(
    rf";\s+|,?\s+(?:while|whereas|but|although|though|yet)\s+|,\s+(?=(?:which|who|whose|where)\b)"
    rf"|,?\s+and\s+(?=(?:also\s+|it\s+|its\s+|the\s+company\s+)?{_VERBAL}\s)|,?\s+and\s+(?=(?:an?\s+)?\w+\s+of\s+[$€£\d])"
    rf"|,?\s+and\s+(?={_NAME}\s+{_VERBAL}\b)|,\s+(?={_NAME}\s+(?:{_VERBAL}|\d)\b)"
)


# What stands between commas behind a name and says something of it: "A, a subsidiary of B, earned", "A, who founded B, was born".
# Not behind a preposition of time or place: "A, in 2020, earned" says one thing.
_EMBEDDED = re.compile(
    rf",\s(?P<inner>(?!(?:in|on|at|by|during|after|before|with|since|from|for|until|and|or|but|while|as|to|however|though|although|if)\b)"
    rf"[a-z][^,;]{{2,200}}),\s(?P<rest>(?:also\s|now\s|still\s|then\s)?(?:{_VERBAL}|[a-z]+(?:n|t|d|w|g|ve|ke)\b)\s)"
)


def embedded_in(sentence: str, end: int) -> tuple[str, int, int] | None:
    """(text, where it starts, where the sentence goes on) of what is embedded right behind *end*, where a name ends."""
    found = _EMBEDDED.match(sentence, end)
    return (found["inner"], found.start("inner"), found.start("rest")) if found else None


def cut_clauses(sentence: str) -> Iterator[tuple[str, int]]:
    """(text, where it starts) of each clause."""
    start = 0
    for match in _CUT.finditer(sentence):
        if match.start() > start:
            yield sentence[start : match.start()], start
            start = match.end()
    yield sentence[start:], start
