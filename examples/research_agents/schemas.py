"""What clients send to the agents and get from them. Money is a decimal string in both directions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from prodkit.core.money import UsdString

__all__ = [
    "AgentDescription",
    "AgentList",
    "ChatAnswer",
    "ChatRequest",
    "Citation",
    "ProcessorDescription",
    "RunDescription",
    "Usage",
]

LONGEST_MESSAGE = 4000  # characters; a question or some claims, not a document


class ChatRequest(BaseModel):
    """A message to an agent."""

    model_config = ConfigDict(extra="forbid")

    message: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_MESSAGE)
    ] = Field(description="The question, the claims or the topic. Several questions may be asked at once.")
    session_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The conversation to continue; one is made when absent.",
    )
    processor: str | None = Field(
        None,
        max_length=32,
        description="How deep to go; see `GET /v1/agents/{agent}`. Decides the price. Default: the session's, else the agent's.",
    )
    max_cost_usd: UsdString | None = Field(
        None, description="The most this run may cost, as a decimal string; what does not fit is not called."
    )


class Citation(BaseModel):
    """A source the answer rests on."""

    n: int = Field(description="The number in `[n]`.")
    url: str = Field(description="Where it can be looked up.")
    title: str = Field(description="What it calls itself.")
    excerpt: str = Field(description="The part that was read.")


class Finding(BaseModel):
    """A fact as one source states it."""

    model_config = ConfigDict(extra="allow")

    statement: str
    subject: str = ""
    measure: str = ""
    value: str = Field("", description="The number as a decimal string, or empty.")
    unit: str = ""
    period: str = ""
    n: list[int] = Field(default_factory=list, description="Its sources, as in `citations`.")


class Statement(BaseModel):
    """Something said about several sources together."""

    model_config = ConfigDict(extra="allow")

    statement: str
    n: list[int] = Field(default_factory=list, description="The sources, as in `citations`.")


class Side(BaseModel):
    """One side of a comparison."""

    subject: str
    value: str = Field(description="In the unit of the comparison, as a decimal string.")


class Comparison(Statement):
    """One measure of several subjects, or of one at several times."""

    measure: str = ""
    unit: str = Field("", description="Common to all values.")
    order: list[Side] = Field(default_factory=list, description="The highest first.")
    lowest: str = Field("", description="Empty where the values have no order.")
    highest: str = Field("", description="Empty where the values have no order.")


class ClaimBasis(BaseModel):
    """A passage that a verdict rests on."""

    model_config = ConfigDict(extra="allow")

    n: int
    url: str
    title: str = ""
    excerpt: str = ""
    stance: str = Field("", description="`supports` or `contradicts`.")


class Claim(BaseModel):
    """A claim and its verdict."""

    claim: str
    verdict: Literal["supported", "contradicted", "not_found"]
    confidence: str = Field(description="`high`, `medium` or `low`.")
    reasoning: str
    basis: list[ClaimBasis]


class Usage(BaseModel):
    """What a run used, counted around the calls themselves."""

    calls: int = Field(description="Billable calls that left, answered or not.")
    units: dict[str, int] = Field(description="Units delivered, by SKU.")
    saved_usd: str = Field(
        "0",
        description="What answers would have cost that the tenant had paid for already, as a decimal string.",
    )
    price_book: str = Field(description="The version of the prices used.")
    estimated: bool = Field(description="Whether some of the cost is an estimate, the outcome being unknown.")
    simulated: bool = Field(
        description="Whether nothing was really billed, because the sources are on this machine."
    )


class ChatAnswer(BaseModel):
    """An answer with its sources and its cost."""

    session_id: str = Field(description="Send it again to continue.")
    run_id: str = Field(description="Names this run in logs, usage and problems.")
    agent: str
    processor: str
    degraded_from: str | None = Field(
        None, description="The processor that was not taken, because a budget is nearly spent."
    )
    answer: str = Field(description="Markdown with `[n]`, or that nothing was found.")
    citations: list[Citation] = Field(description="The sources named; empty when nothing was found.")
    findings: list[Finding] = Field(default_factory=list, description="Of the analyst.")
    comparisons: list[Comparison] = Field(default_factory=list, description="Of the analyst.")
    conflicts: list[Statement] = Field(default_factory=list, description="Where sources disagree.")
    claims: list[Claim] = Field(default_factory=list, description="Of the critic.")
    plan: list[str] = Field(default_factory=list, description="Sub-questions of a deep research.")
    not_found: list[str] = Field(default_factory=list, description="What was looked for in vain.")
    usage: Usage
    cost_usd: str = Field(description="What the run cost, as a decimal string.")
    engine: str = Field(
        description="What answered. `local-extractive` quotes this machine's documents by rules; it is no language model. "
        "`parallel` is what Parallel's APIs returned, whose models may have written it. `model:...` is a language model of "
        "the operator's that led the conversation."
    )


class RunDescription(BaseModel):
    """A run, for a client that lost its stream."""

    run_id: str
    session_id: str | None
    agent: str
    processor: str
    status: Literal["running", "completed", "failed", "cancelled", "interrupted"]
    result: ChatAnswer | None = Field(None, description="The answer, once it is whole.")
    problem: dict[str, Any] | None = Field(
        None, description="The problem document, where there is no answer."
    )


class ProcessorDescription(BaseModel):
    """A depth of work that may be chosen."""

    name: str
    price_usd: str = Field(description="Price of one unit, as a decimal string.")
    unit: str = Field(description="What that price is for.")
    least_cost_usd: str = Field(description="What `max_cost_usd` must allow at least.")
    most_cost_usd: str = Field(description="What one message can cost at most.")
    latency_hint: str = Field(
        description="How long Parallel says it takes; the local server answers at once."
    )
    description: str
    premium: bool = Field(description="Whether it needs the scope `agents:premium`.")


class AgentDescription(BaseModel):
    """An agent and its processors."""

    id: str
    name: str
    description: str
    engine: str
    default_processor: str
    processors: list[ProcessorDescription]
    example: str = Field(description="A message to try.")
    price_book: str = Field(description="The version of the prices shown.")


class AgentList(BaseModel):
    """Every agent."""

    agents: list[AgentDescription]
