"""Words that say who has more of what: "heavier" compares weights, "older" dates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Comparative", "comparative_in"]

# The relations of the lexicon that a word compares, those first that are meant most often, and which way.
_WORDS: tuple[tuple[str, str, Literal[1, -1]], ...] = (
    ("heavier heaviest weighs\\smore", "weight", 1),
    ("lighter lightest weighs\\sless", "weight", -1),
    ("deeper deepest", "depth", 1),
    ("shallower shallowest", "depth", -1),
    ("taller tallest", "height", 1),
    ("longer longest", "length duration", 1),
    ("shorter shortest", "length height duration", -1),
    ("wider widest broader", "width", 1),
    ("narrower narrowest", "width", -1),
    ("faster fastest quicker", "speed", 1),
    ("slower slowest", "speed", -1),
    ("hotter hottest warmer", "temperature", 1),
    ("colder coldest cooler", "temperature", -1),
    ("more\\sexpensive most\\sexpensive dearer costs\\smore cost\\smore", "cost", 1),
    ("cheaper cheapest less\\sexpensive least\\sexpensive costs\\sless cost\\sless", "cost", -1),
    ("more\\spowerful most\\spowerful", "output", 1),
    ("larger largest bigger biggest", "area population staff revenue output", 1),
    ("smaller smallest", "area population staff revenue output", -1),
    # A later year is a younger thing.
    ("older oldest earlier", "founded opened built born", -1),
    ("younger youngest newer newest later", "founded opened built born", 1),
)
_BY_WORD = tuple(
    (re.compile(rf"\b(?:{'|'.join(words.split())})\b"), tuple(relations.split()), sign)
    for words, relations, sign in _WORDS
)
_MORE = re.compile(
    r"\b(?:more|higher|highest|greater|exceeds?|surpass\w*|outnumber\w*|ahead|above|most|larger|largest|bigger)\b"
)
_LESS = re.compile(r"\b(?:less|fewer|lower|lowest|smaller|behind|below|least|fewest)\b")


@dataclass(frozen=True, slots=True)
class Comparative:
    """A word that compares.

    Attributes:
        word: as written, in lower case.
        relations: of the lexicon which it can compare; empty where another word has to say what.
        sign: 1 for more, -1 for less, of the value itself: "older" is -1, an earlier year.
    """

    word: str
    relations: tuple[str, ...]
    sign: Literal[1, -1]


def comparative_in(lowered: str) -> Comparative | None:
    """The first word of *lowered* that compares, those that say what before those that do not; None without one."""
    for pattern, relations, sign in _BY_WORD:
        if match := pattern.search(lowered):
            return Comparative(match.group(), relations, sign)
    if match := _MORE.search(lowered):
        return Comparative(match.group(), (), 1)
    if match := _LESS.search(lowered):
        return Comparative(match.group(), (), -1)
    return None
