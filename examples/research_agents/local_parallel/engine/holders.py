"""Who has a given property: "Which packages are licensed under MIT?" asks for owners, and gives the value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .attributes import attribute_in, same_value
from .entities import Entity
from .facts import Fact
from .polarity import denies
from .reading import gather

if TYPE_CHECKING:
    from examples.research_agents.retrieval.ranking import Depth

    from .evidence import Evidence

__all__ = ["holders_of"]

_ASKED = re.compile(
    r"^(?:which|what)\s(?:[\w-]+\s){1,3}?(?:is|are|was|were|uses?|have|has)\s(?:(?:licen[cs]ed|released|published|distributed)\sunder|under)?\s?"
    r"(?:the\s|an?\s)?(?P<value>[\w.+ -]{2,40}?)(?:\slicen[cs]e)?\s?\??$",
    re.IGNORECASE,
)
_KIND = re.compile(r"^(?:the\s)?(?:package|library|module|project|program)\s", re.IGNORECASE)


def holders_of(question: str, evidence: Evidence, depth: Depth) -> list[Fact]:
    """One fact for each owner whose license is the one named in *question*; empty where it asks something else."""
    asked = _ASKED.match(question.strip())
    if asked is None or "licen" not in question.lower():
        return []
    value = asked["value"]
    found: dict[tuple[str, ...], Fact] = {}
    for clause in gather([], [question, f"license {value}", value], evidence, depth):
        told = attribute_in(clause.text)
        if (
            told is None
            or not told.owner
            or denies(clause.text)
            or not any("licens" in one for one in told.measure)
        ):
            continue
        if same_value(value, told.value):
            name = _KIND.sub("", told.owner)
            owner = Entity(name, (name.lower(),), proper=False, thing=True)
            found.setdefault(owner.key, Fact(owner, "license", told.value, "", None, None, clause))
    return list(found.values())
