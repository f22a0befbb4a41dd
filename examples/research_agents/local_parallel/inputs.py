"""What a task or a conversation asks, and the texts that come with it.

A caller hands over its own texts inside the request, in a JSON object that Parallel would read as well:
`{"question": "...", "documents": [{"url", "title", "text"}], "sources": [{"n", "url", "title", "text"}]}`. Documents are
searched before the corpus; sources are what a text is to be written from, under the numbers they have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of

from .engine import Combined, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .engine import Evidence

__all__ = ["Asked", "read_input", "read_text"]

_OBJECT = re.compile(r'\{\s*"')
_MOST_OBJECTS = 50  # beginnings of objects tried in one text
_FENCE_BEFORE = re.compile(r"```(?:json)?\s*$")
_FENCE_AFTER = re.compile(r"^\s*```")


class _Document(BaseModel):
    url: str = Field(min_length=1)
    title: str = ""
    text: str


class _Source(_Document):
    n: int | None = Field(None, ge=1)


class _Envelope(BaseModel):
    """The object, other fields ignored. `claim` and `request` are what a critic and a writer would call the question."""

    question: str | None = None
    claim: str | None = None
    request: str | None = None
    documents: list[_Document] = Field(default_factory=list)
    sources: list[_Source] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its texts.

    Attributes:
        question: what is asked; may be empty where only texts are given.
        claim: what is to be verified, without any question around it; empty where there is only a question.
        documents: (url, title, text), each URL once.
        sources: numbered, each number once.
    """

    question: str
    documents: tuple[tuple[str, str, str], ...] = ()
    sources: tuple[Source, ...] = ()
    claim: str = ""

    def before(self, corpus: Evidence) -> Evidence:
        """The documents, preferred to the *corpus*. Blocks for the time it takes to cut them into passages."""
        if not self.documents:
            return corpus
        cut = (passage for document in self.documents for passage in passages_of(*document))
        return Combined(Library(cut), corpus)


# What a JSON object of a caller holds is any JSON.
def read_input(given: str | dict[str, Any]) -> Asked:
    """The `input` of a task: text, text that is such an object, such an object, or any other (its scalar values)."""
    if isinstance(given, str):
        return read_text(given)
    asked = _envelope(given)
    if asked is not None:
        return asked
    values = (str(value) for value in given.values() if isinstance(value, str | int | float))
    return Asked(" ".join(value.strip() for value in values))


def read_text(text: str) -> Asked:
    """A message: its text, with the objects taken out that hold documents or sources."""
    question, documents, sources = text, list[tuple[str, str, str]](), list[Source]()
    for begin, end, found in _objects(text):
        asked = _envelope(found)
        if asked is None:
            continue
        before = _FENCE_BEFORE.sub("", text[:begin])
        after = _FENCE_AFTER.sub("", text[end:])
        question = "\n".join(part for part in (before.strip(), asked.question, after.strip()) if part)
        documents.extend(asked.documents)
        sources.extend(asked.sources)
        break
    return Asked(question.strip(), tuple(documents), tuple(sources))


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(begin, end, object) of the JSON objects that stand in *text*; nested ones are not looked at."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_MOST_OBJECTS):
        begins = _OBJECT.search(text, position)
        if begins is None:
            return
        try:
            found, end = decoder.raw_decode(text, begins.start())
        except (ValueError, RecursionError):
            position = begins.end()
            continue
        position = end
        yield begins.start(), end, found


def _envelope(given: dict[str, Any]) -> Asked | None:
    """The object as a question with its texts, or None if it is something else."""
    try:
        read = _Envelope.model_validate(given)
    except ValidationError:
        return None
    question = read.question or read.claim or read.request
    # An empty list of sources is one as well: a writer whom nobody gave any.
    if question is None and not (given.keys() & {"documents", "sources"}):
        return None
    documents, sources = tuple(_joined(read.documents)), tuple(_numbered(read.sources))
    return Asked((question or "").strip(), documents, sources, (read.claim or "").strip())


def _joined(documents: list[_Document]) -> Iterator[tuple[str, str, str]]:
    """Each URL once, with all its texts: several passages of one document may come under the same."""
    texts: dict[str, list[_Document]] = {}
    for document in documents:
        texts.setdefault(document.url, []).append(document)
    for url, parts in texts.items():
        yield url, parts[0].title or url, "\n\n".join(part.text for part in parts)


def _numbered(sources: list[_Source]) -> Iterator[Source]:
    """Each under its number; one without, or with a number that is taken, gets the next free one."""
    taken: set[int] = set()
    following = max((source.n or 0 for source in sources), default=0)
    for source in sources:
        n = source.n
        if n is None or n in taken:
            following += 1
            n = following
        taken.add(n)
        yield Source(n, source.url, source.title or source.url, source.text)
