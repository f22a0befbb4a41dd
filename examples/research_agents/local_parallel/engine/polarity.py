"""Which way a sentence points: whether it denies, tells a rise or a fall, compares, hedges or speaks of all."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

__all__ = [
    "Direction",
    "compares",
    "denies",
    "direction_of",
    "hedges",
    "intended_in",
    "is_conditional",
    "is_still_to_come",
    "strength_of",
    "turns",
]

Direction = Literal["up", "down"]

_CONTRACTED = r"(?:is|are|was|were|does|do|did|has|have|had|wo|ca|could|would|should|must)n['\u2019]?t"
# A negation, except where it only bounds a number ("no more than 5") or adds something ("not only").
_NOT = re.compile(
    rf"\b(?:not|never|no\slonger|neither|nor|cannot|can['\u2019]t|without(?!\s\d)|none|nowhere|nobody|{_CONTRACTED}|"
    r"denie[sd]|ceased\sto|stopped\s\w+ing|refuses\sto|fail(?:s|ed)\sto|no)\b"
    r"(?!\s+(?:more\sthan|less\sthan|fewer\sthan|later\sthan|only|until)\b)",
    re.IGNORECASE,
)
_WITHOUT = re.compile(r"\bwithout\b", re.IGNORECASE)
_UP = re.compile(
    r"\b(?:gr[eo]w(?:s|n|ing|th)?|ris(?:e|es|en|ing)|rose|increas\w+|climb\w*|expand\w*|gain(?:s|ed)?|up\sfrom)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:fall(?:s|en|ing)?|fell|drop(?:s|ped)?|decreas\w+|declin\w+|shr[aiu]nk\w*|sank|sinks?|reduc\w+|down\sfrom|slump\w*)\b",
    re.IGNORECASE,
)
_COMPARING = re.compile(
    r"\b(?:compar\w+|versus|vs\.?|differ\w*|rank|more|less|fewer|most|least|fewest|highest|lowest|[a-z]{2,}er\s+than"
    r"|which\s+(?:of|is|has|one)|cheaper|cheapest|dearer"
    r"|(?:high|low|larg|bigg|great|small|long|tall|heavi|fast|old|young|new|deep|wid|strong)(?:er|est)|exceed\w*|same)\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:may|might|could|sometimes|usually|often|perhaps|possibly|probably|rarely|plans?\sto|planned|proposed|expected|"
    r"intends?\sto|would|should|allegedly|reportedly|in\ssome\scases)\b",
    re.IGNORECASE,
)
_INTENDED = re.compile(
    r"\b(?:expects?|aims?|hopes?|wants?|plans?|intends?|motions?|proposals?|requests?|attempts?|offers?|bids?|ideas?|wish(?:es)?|refused|"
    r"failed|asked|proposed|suggested|threatened|promised)\sto\b",
    re.IGNORECASE,
)
_CONDITIONAL = re.compile(
    r"\b(?:if|unless|provided\sthat|only\swhen|except|as\slong\sas|in\scase)\b", re.IGNORECASE
)
# Words that make a statement say more than it would without them.
_STRONG: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("only", re.compile(r"\b(?:only|solely|exclusively|just)\b", re.IGNORECASE)),
    ("always", re.compile(r"\balways\b", re.IGNORECASE)),
    ("never", re.compile(r"\bnever\b", re.IGNORECASE)),
    ("must", re.compile(r"\b(?:must|required|requires?|mandatory|has\sto|have\sto|obligatory|compulsory)\b", re.IGNORECASE)),
    ("first", re.compile(r"\b(?:first|oldest|earliest)\b", re.IGNORECASE)),
    ("most", re.compile(r"(?<!at\s)\b(?:most|best|largest|biggest|highest|greatest|longest|deepest|tallest)\b", re.IGNORECASE)),
    ("least", re.compile(r"(?<!at\s)\b(?:least|smallest|lowest|shortest|fewest|worst)\b", re.IGNORECASE)),
)  # fmt: skip

_KEPT = 8192  # texts whose answer is remembered: a claim is asked about beside every sentence


@lru_cache(maxsize=_KEPT)
def denies(text: str) -> bool:
    """Whether *text* holds a negation."""
    return _NOT.search(text) is not None


def turns(text: str) -> bool:
    """Whether *text* denies what its verb says: "plots without clover yielded 4.9 t" does not."""
    return denies(_WITHOUT.sub("", text))


def direction_of(text: str) -> Direction | None:
    """Whether *text* tells a rise or a fall; None for neither, or both."""
    up, down = _UP.search(text) is not None, _DOWN.search(text) is not None
    return None if up == down else "up" if up else "down"


def compares(text: str) -> bool:
    """Whether *text* holds a word that compares."""
    return _COMPARING.search(text) is not None


_FUTURE = re.compile(r"\b(?:will|going\sto|shall|plans?\sto)\b", re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|had|has|have|did|[a-z]{2,}ed)\b", re.IGNORECASE)


def is_still_to_come(claim: str, told: str) -> bool:
    """Whether *claim* says of the past what *told* only says of the future."""
    return (
        _FUTURE.search(told) is not None and _FUTURE.search(claim) is None and _PAST.search(claim) is not None
    )


@lru_cache(maxsize=_KEPT)
def hedges(text: str) -> bool:
    """Whether *text* says only that something can be so, or is planned to be."""
    return _HEDGED.search(text) is not None


@lru_cache(maxsize=_KEPT)
def intended_in(text: str) -> str:
    """What *text* says that somebody only expects or means to do: all behind "expects to"; empty without."""
    found = _INTENDED.search(text)
    return text[found.end() :] if found else ""


@lru_cache(maxsize=_KEPT)
def is_conditional(text: str) -> bool:
    """Whether *text* holds only under a condition it names."""
    return _CONDITIONAL.search(text) is not None


@lru_cache(maxsize=_KEPT)
def strength_of(text: str) -> frozenset[str]:
    """Which words that strengthen a statement *text* holds: "only", "always", "never", "must", "first", "most", "least"."""
    return frozenset(name for name, pattern in _STRONG if pattern.search(text))
