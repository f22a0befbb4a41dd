"""Putting into words what is looked up: one aspect of one subject as a question that hardly depends on the words of texts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .retrieval.names import names_in

__all__ = ["CLAUSE", "WHEN", "WITHIN", "Part", "about", "bare", "part_of"]

WITHIN = re.compile(r"\s(?:in|at|on|within|during)\s(?:(?:the\s)?[A-Z][\w-]*|\d{4}|[a-z][\w-]+)$")
WHEN = re.compile(r"\s(?:in|during|for|of)\s(?:the\syear\s)?\d{4}$")
CLAUSE = re.compile(r"^(?:what|how|when|where|who|why|which|whether)\b", re.IGNORECASE)
_EACH = re.compile(r"\b(?:each(?:\sof\sthem|\sone)?|both|they|it|these|them)\b", re.IGNORECASE)
_COUNTED_WORDS = (
    "employees customers clients users inhabitants residents members people workers sites offices branches"
)
_COUNTED = frozenset(_COUNTED_WORDS.split())
_ASKED_AS = {
    "founding": "When was {} founded?", "foundation": "When was {} founded?", "founding year": "When was {} founded?",
    "year of foundation": "When was {} founded?", "founding date": "When was {} founded?", "age": "When was {} founded?",
    "founder": "Who founded {}?", "founders": "Who founded {}?", "headquarters": "Where is {} based?",
    "seat": "Where is {} based?", "location": "Where is {} based?", "base": "Where is {} based?", "head office": "Where is {} based?",
    "ceo": "Who leads {}?", "chief executive": "Who leads {}?", "boss": "Who leads {}?", "leadership": "Who leads {}?", "management": "Who leads {}?",
    "leader": "Who leads {}?", "head": "Who leads {}?",
    "dependencies": "What does {} depend on?", "required python version": "Which Python does {} require?", "python version": "Which Python does {} require?",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """A question that can be looked up alone.

    Attributes:
        question: as it is looked up.
        subject: whom or what it is about, where the message was taken apart; else empty.
        aspect: what of the subject is wanted; empty for the subject as a whole.
    """

    question: str
    subject: str = ""
    aspect: str = ""

    @property
    def phrase(self) -> str:
        """How a text names it: "revenue of Velkor Dynamics"."""
        if self.aspect and self.subject and not CLAUSE.match(self.aspect):
            return f"{self.aspect} of {self.subject}"
        return self.subject if self.subject and not self.aspect else self.question


def part_of(aspect: str, side: str) -> Part:
    """The question for one aspect of one subject."""
    when = WHEN.search(side) or WHEN.search(aspect)
    side, aspect = WHEN.sub("", side), WHEN.sub("", aspect)
    then = when.group() if when else ""
    name = side if re.match(r"(?:the|an?)\s", side, re.IGNORECASE) else bare(side)
    if not aspect:
        return Part(about(f"{side}{then}"), bare(f"{side}{then}"))
    lowered = aspect.lower()
    if CLAUSE.match(aspect):
        question = f"{_EACH.sub(name, aspect, count=1)}?"
    elif lowered in _ASKED_AS:
        question = _ASKED_AS[lowered].format(name)
    elif lowered in _COUNTED:
        question = f"How many {lowered} does {name} have{then}?"
    else:
        persons = re.match(r"(?:people|persons|participants|attendees|partners|authors)\b", lowered)
        verb = (
            "are"
            if persons or (re.search(r"[^su]s$", lowered) and lowered not in {"headquarters", "sales"})
            else "is"
        )
        question = f"{'Who' if persons else 'What'} {verb} the {aspect} of {name}{then}?"
    return Part(question, bare(f"{side}{then}"), aspect)


def about(side: str) -> str:
    """How a subject as a whole is looked up: a name by its name, since hardly a text defines one; a thing by what it is."""
    names = names_in(side)
    if (
        names
        and names[0].start <= 4
        and len(names[0]) >= len(bare(side)) - 8
        and not re.search(r"[_.()`]", side)
    ):
        return f"Tell me about {side}."
    # The language reference does not say of which language it is.
    side = re.sub(r"\s(?:in|of)\sPython$", "", side)
    noun = WITHIN.sub("", side)
    plural = re.search(r"\b[a-z]{2,}[^su]s$", noun) and not re.match(r"(?:an?)\s", noun)
    return f"What {'are' if plural else 'is'} {side}?"


def bare(side: str) -> str:
    """*side* without its article."""
    return re.sub(r"^(?:[Tt]he|an?|A(?=\s[a-z]))\s", "", side)
