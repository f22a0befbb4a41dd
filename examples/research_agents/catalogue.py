"""Which agents there are, what each may be asked to spend, and how long that takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["AGENTS", "SEARCH", "AgentSpec", "Processor"]


@dataclass(frozen=True, slots=True)
class Processor:
    """One depth of work.

    Attributes:
        name: what clients send, and Parallel's search mode.
        latency_hint: how long Parallel says it takes; the local server answers in milliseconds.
        description: when to choose it.
    """

    name: str
    latency_hint: str
    description: str


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What the endpoint factory needs to know about an agent.

    Attributes:
        id: the path segment.
        name: the heading in the documentation.
        description: what it does and does not.
        instructions: what the model is told.
        processors: what may be chosen, cheapest first.
        default: the processor used when none is chosen.
        example: a question that shows what it is for.
    """

    id: str
    name: str
    description: str
    instructions: str
    processors: tuple[Processor, ...]
    default: str
    example: str

    def processor(self, name: str | None) -> Processor | None:
        """The processor *name*, the default for None; None when the agent has no such processor."""
        wanted = name or self.default
        return next((one for one in self.processors if one.name == wanted), None)


SEARCH = AgentSpec(
    id="search",
    name="Search",
    description="Quick answers in sentences of the sources, each with a citation, or an honest 'not found'. It looks "
    "up and quotes; it does not reason, calculate or remember.",
    instructions="Answer only from the results of web_search and cite each sentence with its [n]. "
    "Say that nothing was found when nothing was.",
    processors=(
        Processor("turbo", "under a second", "The fewest candidates; for names and definitions."),
        Processor("fast", "about a second", "The usual choice."),
        Processor("basic", "one to three seconds", "More candidates and longer excerpts."),
        Processor(
            "advanced",
            "three seconds and more",
            "The most candidates; for questions in other words than the sources.",
        ),
    ),
    default="fast",
    example="What does the nonlocal statement do?",
)

AGENTS: Mapping[str, AgentSpec] = {SEARCH.id: SEARCH}
