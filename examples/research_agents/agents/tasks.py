"""What is asked of Parallel's Task API: the shapes of the answers, and how they come back as material.

The descriptions stand in the schemas because a task's processor reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from examples.research_agents.material import Material
    from examples.research_agents.upstream import Basis

__all__ = ["ANALYSIS", "PLAN", "VERDICT", "read_sources"]

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


def read_sources(material: Material, basis: Iterable[Basis]) -> None:
    """Number the sources that an answer rests on."""
    for one in basis:
        for citation in one.citations:
            excerpt = "\n\n".join(citation.excerpts)
            material.cite(citation.url, citation.title or citation.url, excerpt)
