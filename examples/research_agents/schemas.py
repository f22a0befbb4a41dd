"""What clients send and get. Money is a decimal string in both directions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from prodkit.core.money import UsdString

__all__ = [
    "AgentDescription",
    "AgentList",
    "ChatAnswer",
    "ChatRequest",
    "Citation",
    "ProcessorDescription",
    "Usage",
]

LONGEST_MESSAGE = 4000  # characters; a question, not a document


class ChatRequest(BaseModel):
    """A question to an agent."""

    model_config = ConfigDict(extra="forbid")

    message: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_MESSAGE)
    ] = Field(description="The question; several may be asked at once, up to four are looked up.")
    session_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The conversation to continue; one is made when absent.",
    )
    processor: str | None = Field(
        None,
        max_length=32,
        description="How deep to search; see `GET /v1/agents/{agent}`. Decides the price.",
    )
    max_cost_usd: UsdString | None = Field(
        None, description="The most this run may cost, as a decimal string; what does not fit is not called."
    )


class Citation(BaseModel):
    """A source the answer quotes."""

    n: int = Field(description="The number in `[n]`.")
    url: str = Field(description="Where it can be looked up.")
    title: str = Field(description="What it calls itself.")
    excerpt: str = Field(description="The part that was read.")


class Usage(BaseModel):
    """What a run used, counted around the calls themselves."""

    searches: int = Field(description="Calls made, answered or not.")
    units: dict[str, int] = Field(description="Units the provider says it delivered, by SKU.")
    price_table: str = Field(description="The version of the prices used.")
    estimated: bool = Field(description="Whether a call of unknown outcome is counted at its highest price.")
    simulated: bool = Field(
        description="Whether nothing was really billed, because the sources are on this machine."
    )


class ChatAnswer(BaseModel):
    """An answer with its sources and its cost."""

    session_id: str = Field(description="Send it again to continue.")
    run_id: str = Field(description="Names this run in logs and problems.")
    agent: str
    answer: str = Field(description="Sentences of the sources with `[n]`, or that nothing was found.")
    citations: list[Citation] = Field(description="Empty when nothing was found.")
    usage: Usage
    cost_usd: str = Field(description="What the run cost, as a decimal string.")
    engine: str = Field(
        description="What answered. `local-extractive` quotes this machine's documents; no language model."
    )


class ProcessorDescription(BaseModel):
    """A depth of work that may be chosen."""

    name: str
    price_usd: str = Field(description="Price of one search, as a decimal string.")
    latency_hint: str = Field(description="How long the provider says it takes.")
    description: str


class AgentDescription(BaseModel):
    """An agent and its processors."""

    id: str
    name: str
    description: str
    engine: str
    default_processor: str
    processors: list[ProcessorDescription]
    price_table: str = Field(description="The version of the prices shown.")


class AgentList(BaseModel):
    """Every agent."""

    agents: list[AgentDescription]


EXAMPLE_ANSWER: dict[str, Any] = {
    "session_id": "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a",
    "run_id": "run_c9f0f895fb98ab9159f51fd0297e236d",
    "agent": "search",
    "answer": 'The "nonlocal" statement causes the listed identifiers to refer to previously bound variables in the '
    "nearest enclosing scope excluding globals. [1]",
    "citations": [
        {
            "n": 1,
            "url": "pydoc:nonlocal",
            "title": 'Python help: nonlocal - The "nonlocal" statement',
            "excerpt": 'The "nonlocal" statement causes the listed identifiers to refer to previously bound variables '
            "in the nearest enclosing scope excluding globals.",
        }
    ],
    "usage": {
        "searches": 1,
        "units": {"sku_search": 1},
        "price_table": "parallel-2026-10-18",
        "estimated": False,
        "simulated": True,
    },
    "cost_usd": "0.001",
    "engine": "local-extractive",
}
