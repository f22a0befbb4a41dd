"""Sentences as a text quotes them: which of them can stand alone in one, and which say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from examples.research_agents.retrieval.quoting import announces
from examples.research_agents.retrieval.text import terms

__all__ = ["Line", "reads", "same"]

_ALIKE = 0.6  # share of common terms from which two sentences say the same
_TELLING = 10  # words from which a sentence that ends in a colon says something by itself
_LONGEST = 600  # characters of a sentence; a longer one is a list without full stops
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f][\w'\u2019-]*")
_PAIR = re.compile(r"^[A-Z][\w /()-]{1,40}:\s\S")  # "Employees: 340", a line of a listing
_NAMED_PAIR = re.compile(
    r"^[A-Z][\w-]{1,20}: [A-Z][\w'\u2019-]*(?: [A-Z][\w'\u2019-]*){1,3}\.$"
)  # "Owner: Ada Lind."
_ENDED = re.compile(r"[.!?][\"'\u201d\u2019)\]*`]{0,3}$")
# Code, grammar and prompts; what looks like one of our own marks; an entry of a list of references.
_CODE = re.compile(
    r"::=|>>>|^\s*[#$>|@{}<]|[{};]\s*$|=\s*\S+\(|\w\(\w*,\s*\w+\)\s*$|\w\[\d{1,3}\]\s*=|^\W*PEP\s\d+\W+-\s"
)
_REFERRING = re.compile(
    r"^(?:(?:Additional|More|Further)\s(?:information|details?)|See\b|(?:Read|Learn)\smore|For\s(?:more|further|details|an?\s(?:full|complete)))"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of a passage.

    Attributes:
        text: word for word.
        url: of the passage.
        title: of the passage.
        rank: of the passage among those that answer; 0 is the best.
        place: among the sentences of its passage.
        topic: what the paragraph calls itself, as in "Impact: 31 % of all requests failed."; may be empty.
    """

    text: str
    url: str
    title: str
    rank: int
    place: int
    topic: str = ""


def reads(text: str) -> bool:
    """Whether *text* is a whole sentence that says something, or a line of a listing, and no code."""
    if _CODE.search(text) or _REFERRING.match(text) or len(text) > _LONGEST:
        return False
    words = _WORD.findall(text)
    if text.endswith(":"):
        return not announces(text) and len(words) >= _TELLING
    if _PAIR.match(text) and (not text.endswith(".") or _NAMED_PAIR.match(text)):
        return len(words) >= 2
    # "Every setting: reference." is what is left of a list of links.
    least = _TELLING // 2 if ": " in text and not re.search(r"\d", text) else 3
    return len(words) >= 2 and len(text.split()) >= least and _ENDED.search(text) is not None


def same(one: str, other: str) -> bool:
    """Whether two sentences share most of their terms, and all of their numbers."""
    left, right = set(terms(one)), set(terms(other))
    if {word for word in left if word.isdigit()} != {word for word in right if word.isdigit()}:
        return False
    union = left | right
    return not union or len(left & right) / len(union) >= _ALIKE
