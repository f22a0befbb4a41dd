"""What is asked of Parallel's Task API: the shapes of the answers, and how they come back as material.

The descriptions stand in the schemas because a task's processor reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from examples.research_agents.upstream import UpstreamError

if TYPE_CHECKING:
    from examples.research_agents.material import Material
    from examples.research_agents.upstream import Basis, TaskAnswer

_log = structlog.get_logger("research")

__all__ = ["ANALYSIS", "PLAN", "VERDICT", "Analysis", "Plan", "Verdict", "read_content", "read_sources"]

_T = TypeVar("_T", bound=BaseModel)

_TEXT = {"type": "string"}
_URLS = {
    "type": "array",
    "items": {"type": "string"},
    "description": "URLs of the sources that say so, given documents included.",
}


def _object(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


ANALYSIS = _object(
    "Findings about the question, from the given documents first and other sources second.",
    findings={
        "type": "array",
        "description": "One for each fact found.",
        "items": _object(
            "A fact as one source states it.",
            statement={**_TEXT, "description": "The sentence of the source."},
            subject={**_TEXT, "description": "Who or what it is about."},
            measure={**_TEXT, "description": "Which property, e.g. revenue; empty if none."},
            value={**_TEXT, "description": "The number as a decimal string, or empty."},
            unit={**_TEXT, "description": "Its unit, or empty."},
            period={**_TEXT, "description": "The year or date it holds for, or empty."},
            url={**_TEXT, "description": "The URL of the source."},
        ),
    },
    comparisons={
        "type": "array",
        "description": "One for each measure that several subjects have.",
        "items": _object(
            "Subjects put in order by one measure.",
            measure=_TEXT,
            unit={**_TEXT, "description": "Common to all values, or empty."},
            order={
                "type": "array",
                "description": "Highest first.",
                "items": _object("One side.", subject=_TEXT, value=_TEXT),
            },
            statement={
                **_TEXT,
                "description": "One sentence: what is higher or lower, and by how much.",
            },
            lowest={
                **_TEXT,
                "description": "The subject with the least value; empty where there is no order.",
            },
            highest={**_TEXT, "description": "The subject with the greatest; empty where there is no order."},
            urls=_URLS,
        ),
    },
    conflicts={
        "type": "array",
        "description": "One for each fact that sources state differently.",
        "items": _object("A disagreement.", statement=_TEXT, urls=_URLS),
    },
    not_found={
        "type": "array",
        "description": "Parts of the question that no source answers.",
        "items": _TEXT,
    },
)

VERDICT = _object(
    "Whether sources support one claim.",
    verdict={
        "type": "string",
        "enum": ["supported", "contradicted", "not_found"],
        "description": "not_found unless a source says so or says otherwise.",
    },
    confidence={"type": "string", "enum": ["high", "medium", "low"]},
    reasoning={**_TEXT, "description": "One sentence that compares the claim with the source."},
    evidence={
        "type": "array",
        "items": _object(
            "A passage that the verdict rests on.",
            url=_TEXT,
            title=_TEXT,
            excerpt={**_TEXT, "description": "The sentence of the source, word for word."},
            stance={"type": "string", "enum": ["supports", "contradicts"]},
        ),
    },
)

PLAN = _object(
    "How to research the question.",
    sub_questions={
        "type": "array",
        "items": _TEXT,
        "minItems": 1,
        "maxItems": 6,
        "description": "Questions that can each be looked up, which together answer the whole.",
    },
)


def _text_of(value: object) -> object:
    return "" if value is None else value


_Text = Annotated[str, BeforeValidator(_text_of), Field(max_length=20_000)]
_Texts = Annotated[list[_Text], Field(max_length=500)]


class _Content(BaseModel):
    """What somebody else wrote: other members are left out, and those that are known have to be what they should be."""

    model_config = ConfigDict(extra="ignore", strict=True)


class FindingContent(_Content):
    """See `ANALYSIS`."""

    statement: _Text
    subject: _Text = ""
    measure: _Text = ""
    value: _Text = ""
    unit: _Text = ""
    period: _Text = ""
    url: _Text = ""


class SideContent(_Content):
    """See `ANALYSIS`."""

    subject: _Text = ""
    value: _Text = ""


class ComparisonContent(_Content):
    """See `ANALYSIS`."""

    statement: _Text
    measure: _Text = ""
    unit: _Text = ""
    order: list[SideContent] = Field(default_factory=list, max_length=500)
    lowest: _Text = ""
    highest: _Text = ""
    urls: _Texts = Field(default_factory=list)


class ConflictContent(_Content):
    """See `ANALYSIS`."""

    statement: _Text
    urls: _Texts = Field(default_factory=list)


class Analysis(_Content):
    """What comes back for `ANALYSIS`."""

    findings: list[FindingContent] = Field(default_factory=list, max_length=500)
    comparisons: list[ComparisonContent] = Field(default_factory=list, max_length=500)
    conflicts: list[ConflictContent] = Field(default_factory=list, max_length=500)
    not_found: _Texts = Field(default_factory=list)


class EvidenceContent(_Content):
    """See `VERDICT`."""

    url: Annotated[str, Field(min_length=1, max_length=20_000)]
    title: _Text = ""
    excerpt: _Text = ""
    stance: Literal["supports", "contradicts"]


class Verdict(_Content):
    """What comes back for `VERDICT`."""

    verdict: Literal["supported", "contradicted", "not_found"]
    confidence: Literal["high", "medium", "low"] = "low"
    reasoning: _Text = ""
    evidence: list[EvidenceContent] = Field(default_factory=list, max_length=500)


class Plan(_Content):
    """What comes back for `PLAN`."""

    sub_questions: _Texts


def read_content(answer: TaskAnswer, model: type[_T]) -> _T:
    """The content of *answer* as *model*.

    Raises:
        UpstreamError: it is something else. It was paid for; what it says cannot be told.
    """
    try:
        return model.model_validate(answer.content)
    except ValidationError as error:
        _log.warning("task_content_unreadable", run_id=answer.run_id, faults=error.error_count())
        reason = "The search service sent an answer that cannot be read."
        raise UpstreamError(502, reason, billable=True) from error


def read_sources(material: Material, basis: Iterable[Basis]) -> None:
    """Number the sources that an answer rests on."""
    for one in basis:
        for citation in one.citations:
            excerpt = "\n\n".join(citation.excerpts)
            material.cite(citation.url, citation.title or citation.url, excerpt)
