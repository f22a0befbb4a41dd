"""A part of a sentence that says one thing, with what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import told_relations
from examples.research_agents.retrieval.text import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from examples.research_agents.retrieval.names import Name

__all__ = ["Clause"]


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a sentence that says one thing.

    Attributes:
        text: as written.
        sentence: the whole sentence it stands in.
        quote: that sentence behind those it points back at: what can be cited alone.
        url: of the passage.
        title: of the passage.
        subject: the name it is about, resolved; None when there is none.
        inherited: whether *subject* stands in an earlier clause, sentence or the title.
        names: its own names.
        place: of the sentence in its passage.
        aliases: short forms of longer names in the passage, see `aliases_in`.
        context: terms of the title.
        before: the sentences before it in the passage, at most two.
        apart: whether the rest of its sentence says something else, maybe of somebody else: "A, who founded B, was born in 1960".
    """

    text: str
    sentence: str
    quote: str
    url: str
    title: str
    subject: Name | None
    inherited: bool
    names: tuple[Name, ...]
    place: int
    aliases: Mapping[str, frozenset[str]]
    context: frozenset[str]
    before: tuple[str, ...] = ()
    apart: bool = False

    @property
    def tells(self) -> frozenset[str]:
        """The relations it speaks of."""
        return told_relations(self.text.lower())

    @property
    def terms(self) -> frozenset[str]:
        """Its index terms."""
        return _terms(self.text)


@lru_cache(maxsize=8192)
def _terms(text: str) -> frozenset[str]:
    return frozenset(terms(text))
