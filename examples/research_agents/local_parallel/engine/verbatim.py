"""Claims that stand in a source word for word, and claims that leave out whom they are about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .voices import Voice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .asking import Ask
    from .clauses import Clause

__all__ = ["WHOLE", "kind_named", "nobody_named", "verbatim"]

_WORD = re.compile(r"\w+(?:[.,:]\d+)*")
WHOLE = "whole"  # the part of a claim that is all of it
_LEAST_WORDS = 3  # fewer say nothing that could be true
_PRONOUN = re.compile(r"(?:it|they|he|she|its|their|his|her)\b", re.IGNORECASE)
_KIND = re.compile(r"(?:the|this)\s(?:company|firm|group|plant|organi[sz]ation)\b", re.IGNORECASE)


def verbatim(claim: str, clauses: Sequence[Clause]) -> Iterator[Voice]:
    """The sentences that are the *claim*, whatever their marks and capitals."""
    words = _words(claim)
    if len(words) < _LEAST_WORDS:
        return
    heard: set[tuple[str, str]] = set()
    for clause in clauses:
        if _words(clause.sentence) == words and (clause.url, clause.sentence) not in heard:
            heard.add((clause.url, clause.sentence))
            yield Voice(WHOLE, "supports", f'"{clause.title}" says it in these words.', clause)


def nobody_named(ask: Ask) -> bool:
    """Whether the claim is about "it" or "them", and names only a place or a person besides."""
    return _PRONOUN.match(ask.text) is not None and all(one.placed or not one.proper for one in ask.entities)


def kind_named(ask: Ask) -> bool:
    """Whether the claim is about "the company" and the like, and names only a place or a person besides."""
    return _KIND.match(ask.text) is not None and all(one.placed for one in ask.entities)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
