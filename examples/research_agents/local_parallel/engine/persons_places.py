"""Persons, places and things that a clause names as somebody's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ownership import names_entity

if TYPE_CHECKING:
    from .clauses import Clause
    from .entities import Entity

__all__ = ["persons_in", "places_in", "product_in"]

_REACH = 120  # characters before a name that say how it stands there
_PLACED = re.compile(
    r"(?:\b(?:in|at|near|from|on|outside)\s+(?:the\s+)?(?:[\w-]+\s+){0,5}?"
    r"|\b(?:city|town|village|port|region|capital|headquarters|seat|office|home|base)\s+(?:of\s+|is\s+|is\sin\s+|are\s+)?"
    r"|:\s*|\bcalls?\s+)$",
    re.IGNORECASE,
)
_NO_PERSON = re.compile(r"\b(?:in|at|near|from|on|of|outside|for|to)\s+(?:the\s+)?$", re.IGNORECASE)
_BASED = re.compile(r"([\w\u00c0-\u024f]+)-based\b")
_ENUMERATED = re.compile(r".*(?:,|\band)\s*")
_MAKES = re.compile(
    r"\b(?:makes?|builds?|produces?|manufactures?|sells?|crafts?|develops?|speciali[sz]es\sin|(?:maker|producer|manufacturer)\sof)"
    r"\s+(?P<thing>[^.;]+)",
    re.IGNORECASE,
)
_ENDS = re.compile(r",?\s(?:in|for|at|and\s(?:is|was|has|employs|operates))\s")


def persons_in(entity: Entity, clause: Clause, *, one: bool = False) -> list[str]:
    """Names in the clause that are not *entity* and not a place; else the person it goes on about.

    Args:
        entity: whose persons.
        clause: what is read.
        one: whether there can be only one.
    """
    found = [
        str(name)
        for name in clause.names
        if not names_entity(entity, name, clause) and not _NO_PERSON.search(_before(clause, name.start))
    ]
    about = clause.subject
    if not found and about is not None and clause.inherited and not names_entity(entity, about, clause):
        found.append(str(about))
    return found[:1] if one else found


def places_in(entity: Entity, clause: Clause) -> list[str]:
    """Names in the clause that stand behind a preposition of place, or like "Oslo-based"."""
    found: list[str] = []
    for name in clause.names:
        before = _before(clause, name.start)
        if based := _BASED.match(name):
            found.append(based[1])
        elif clause.sentence.startswith("-based", name.end) or (
            not names_entity(entity, name, clause)
            and (_PLACED.search(before) or (found and _ENUMERATED.fullmatch(before[-6:])))
        ):
            found.append(str(name))
    return found


def product_in(clause: Clause) -> str | None:
    """What the clause says is made or sold."""
    match = _MAKES.search(clause.text)
    return None if match is None else _ENDS.split(match["thing"])[0].strip(" .,")


def _before(clause: Clause, start: int) -> str:
    offset = max(clause.sentence.find(clause.text), start - _REACH, 0)
    return clause.sentence[offset:start]
