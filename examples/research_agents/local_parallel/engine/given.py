"""The sources that come with a request, searched like a corpus: what somebody chose to hand over is read more readily."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import MIN_COVERAGE
from examples.research_agents.retrieval.text import sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth, Found

    from .evidence import Evidence
    from .results import Source

__all__ = ["Given"]

_LEAST = 0.5  # coverage; the corpus needs more, because nobody said that it matters
_PAIR = re.compile(r"[A-Z][\w /()-]{1,40}:\s\S")
_ENDED = re.compile(r"[.!?:;\"'\u201d)\]`*]$")


class Given:
    """*sources* as evidence. Their passages have addresses of their own here: two sources may share one outside.

    Args:
        sources: numbered, each number once.
        corpus: where the whole passage may be, of which a source shows a part.
    """

    def __init__(self, sources: Sequence[Source], corpus: Evidence) -> None:
        self._sources = {f"given:{source.n}": source for source in sources}
        self._library = Library(
            passage
            for address, source in self._sources.items()
            for passage in passages_of(address, source.title, _paragraphs(_whole(source, corpus)))
        )

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = 4000
    ) -> list[Found]:
        """The passages that answer one of *queries*, best first."""
        return self._library.search(queries, depth, limit=limit, max_chars=max_chars, least=_LEAST)

    def answers(self, question: str, depth: Depth) -> bool:
        """Whether a passage answers *question* as well as one of the corpus would have to."""
        return bool(self._library.search([question], depth, limit=1, least=MIN_COVERAGE))

    def read(self, url: str) -> tuple[str, str] | None:
        """(title, full text) of the passage *url*, or None."""
        return self._library.read(url)

    def source(self, url: str) -> Source | None:
        """The source that the passage *url* belongs to; None for one of the corpus."""
        return self._sources.get(url.partition("#")[0])


def _whole(source: Source, corpus: Evidence) -> str:
    """The passage that *source* shows a part of, where the corpus has it; else what it shows."""
    passage = corpus.read(source.url)
    shown = sentences(source.text.partition("\n")[0])
    return passage[1] if passage is not None and shown and shown[0] in passage[1] else source.text


def _paragraphs(text: str) -> str:
    """*text* with its paragraphs apart: an excerpt has one on each line, and lines that a longer one repeats."""
    lines = [line for line in text.split("\n") if line.strip()]
    told = [set(sentences(line)) for line in lines]
    parted: list[str] = []
    for place, line in enumerate(lines):
        if any(told[place] < other for other in told):
            continue
        listed = _PAIR.match(line) is not None and not _ENDED.search(line)
        if (
            parted
            and not line.startswith(" ")
            and (listed or _ENDED.search(parted[-1]) or parted[-1].startswith("- "))
        ):
            parted.append("")
        # A listing is read where its lines are marked as items.
        parted.append(f"- {line}" if listed else line)
    return "\n".join(parted)
