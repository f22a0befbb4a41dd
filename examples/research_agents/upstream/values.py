"""What Parallel answers, as the agents use it. Plain values: whatever the SDK calls a field next year, these stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallel.types import ExtractResponse, FieldBasis, SearchResult, TaskRunResult

__all__ = ["Basis", "Citation", "Found", "ReadFound", "SearchFound", "TaskAnswer"]


@dataclass(frozen=True, slots=True)
class Found:
    """A page that was found or read.

    Attributes:
        url: where it is.
        title: what it calls itself; None where it does not.
        excerpts: the parts that matter to the question, in Markdown.
    """

    url: str
    title: str | None
    excerpts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchFound:
    """The answer to a search.

    Attributes:
        results: the best first.
        session_id: Parallel's name for the group of calls.
    """

    results: tuple[Found, ...]
    session_id: str

    @classmethod
    def of(cls, answer: SearchResult) -> SearchFound:
        """From the SDK's."""
        results = tuple(Found(one.url, one.title, tuple(one.excerpts)) for one in answer.results)
        return cls(results, answer.session_id)


@dataclass(frozen=True, slots=True)
class ReadFound:
    """The answer to a request to read pages.

    Attributes:
        results: the pages that could be read.
        unread: URLs of those that could not.
    """

    results: tuple[Found, ...]
    unread: tuple[str, ...]

    @classmethod
    def of(cls, answer: ExtractResponse) -> ReadFound:
        """From the SDK's. A page without excerpts gives the beginning of its whole text, if that was delivered."""
        results = tuple(
            Found(
                one.url,
                one.title,
                tuple(one.excerpts) or ((one.full_content[:4000],) if one.full_content else ()),
            )
            for one in answer.results
        )
        return cls(results, tuple(one.url for one in answer.errors))


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of an answer.

    Attributes:
        url: where it is.
        title: what it calls itself; None where Parallel does not say.
        excerpts: what the answer rests on; empty where Parallel does not say.
    """

    url: str
    title: str | None = None
    excerpts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Basis:
    """What one field of an answer rests on.

    Attributes:
        field: its name; of a list, with the index, as in `findings.0`.
        reasoning: why.
        citations: the sources.
        confidence: `high`, `medium` or `low`; None where Parallel does not say.
    """

    field: str
    reasoning: str
    citations: tuple[Citation, ...] = ()
    confidence: str | None = None

    @classmethod
    def of(cls, given: Iterable[FieldBasis]) -> tuple[Basis, ...]:
        """From the SDK's."""
        return tuple(
            cls(
                one.field,
                one.reasoning,
                tuple(
                    Citation(cited.url, cited.title, tuple(cited.excerpts or ()))
                    for cited in one.citations or ()
                ),
                one.confidence,
            )
            for one in given
        )

    @classmethod
    def read(cls, given: object) -> tuple[Basis, ...]:
        """From JSON that the SDK has no class for; what is not as documented is left out."""
        if not isinstance(given, list):
            return ()
        return tuple(cls._one(item) for item in given if isinstance(item, dict))

    @classmethod
    def _one(cls, item: Mapping[str, Any]) -> Basis:  # Any: JSON, checked here
        cited = item.get("citations")
        citations = tuple(
            Citation(one["url"], _text(one.get("title")), _texts(one.get("excerpts")))
            for one in (cited if isinstance(cited, list) else ())
            if isinstance(one, dict) and isinstance(one.get("url"), str)
        )
        field, reasoning = _text(item.get("field")), _text(item.get("reasoning"))
        return cls(field or "", reasoning or "", citations, _text(item.get("confidence")))


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What a task came to.

    Attributes:
        content: as the schema asked, or a text.
        basis: what it rests on.
        run_id: Parallel's name for the run.
        interaction_id: continues the conversation, as `previous_interaction_id`.
    """

    content: str | dict[str, Any]
    basis: tuple[Basis, ...]
    run_id: str
    interaction_id: str

    @classmethod
    def of(cls, answer: TaskRunResult) -> TaskAnswer:
        """From the SDK's."""
        output = answer.output
        return cls(output.content, Basis.of(output.basis), answer.run.run_id, answer.run.interaction_id)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
