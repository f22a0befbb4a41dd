"""What the engine reads: sources that can be searched, several of them as one, and how an answer names its basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth, Found

__all__ = ["Basis", "Citation", "Combined", "Confidence", "Evidence"]

Confidence = Literal["high", "medium", "low"]


class Evidence(Protocol):
    """Passages that can be searched; `CorpusIndex` and `Library` are some."""

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = 4000
    ) -> list[Found]:
        """The passages that answer one of *queries*, best first; empty when none covers enough of it."""
        ...

    def read(self, url: str) -> tuple[str, str] | None:
        """(title, full text) of the passage *url*, or None."""
        ...


class Combined:
    """Several sources as one; what an earlier one finds comes before what a later one finds.

    Args:
        sources: in order of preference: the documents given with a task before the corpus.
    """

    def __init__(self, *sources: Evidence) -> None:
        self._sources = sources

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = 4000
    ) -> list[Found]:
        """The passages that answer one of *queries*: of the first source best first, then of the next."""
        found: dict[str, Found] = {}
        for source in self._sources:
            for one in source.search(queries, depth, limit=limit, max_chars=max_chars):
                found.setdefault(one.url, one)
            if len(found) >= limit:
                break
        return list(found.values())[:limit]

    def read(self, url: str) -> tuple[str, str] | None:
        """(title, full text) of the passage *url* in the first source that has it, or None."""
        return next((text for source in self._sources if (text := source.read(url)) is not None), None)


@dataclass(frozen=True, slots=True)
class Citation:
    """A place that says something.

    Attributes:
        url: of the passage.
        title: of the passage.
        excerpts: its sentences, word for word.
    """

    url: str
    title: str
    excerpts: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON, in Parallel's form."""
        return {"url": self.url, "title": self.title, "excerpts": list(self.excerpts)}


@dataclass(frozen=True, slots=True)
class Basis:
    """Why a field of an answer says what it says.

    Attributes:
        field: the field's name; a dotted path for a part of it (`findings.0`).
        reasoning: one sentence.
        citations: the sources; empty where nothing was found.
        confidence: how far they carry: "high" only when a source says it in so many words.
    """

    field: str
    reasoning: str
    citations: tuple[Citation, ...]
    confidence: Confidence

    def document(self) -> dict[str, Any]:
        """As JSON, in Parallel's form."""
        return {
            "field": self.field,
            "reasoning": self.reasoning,
            "citations": [citation.document() for citation in self.citations],
            "confidence": self.confidence,
        }
