"""Putting an agent together: its tools, its model, and Agno around both."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agno.agent import Agent
from agno.exceptions import AgentRunException
from agno.tools import Toolkit

from examples.research_agents.catalogue import ANALYST, CRITIC, DEEP_RESEARCH, SEARCH, WRITER, AgentSpec
from examples.research_agents.extractive import ExtractiveModel

from .analyst import AnalystConduct, AnalystTools
from .conduct import Conduct
from .critic import CriticConduct, CriticTools
from .deep_research import DeepResearchConduct, DeepResearchTools, Delegate
from .search import SearchConduct, SearchTools
from .workbench import Workbench
from .writer import WriterConduct

if TYPE_CHECKING:
    from agno.models.base import Model

__all__ = ["Member", "assemble"]

_MOST_TOOL_CALLS = 24  # of a language model in one run; what it may spend is bounded by the envelope besides


@dataclass(frozen=True, slots=True)
class Member:
    """An agent made for one run.

    Attributes:
        agent: Agno's.
        tools: what it holds.
    """

    agent: Agent
    tools: Toolkit


def assemble(
    spec: AgentSpec,
    bench: Workbench,
    *,
    model: Model | None,
    delegate: Delegate | None = None,
    gathered: bool = False,
) -> Member:
    """The agent of *spec*, for one run.

    Made per run, so that nothing about a request lives in a shared object.

    Args:
        spec: which one.
        bench: what its tools work with.
        model: the language model, or None for the extractive one.
        delegate: for `deep_research`: has another agent do something.
        gathered: for `writer`: whether the material is on the bench already.

    Raises:
        KeyError: there is no such agent.
    """
    tools, conduct = _PARTS[spec.id](bench, delegate, gathered)
    for function in tools.async_functions.values():
        if function.entrypoint is not None:
            function.entrypoint = _guarded(bench, function.entrypoint)
    agent = Agent(
        id=spec.id,
        name=spec.name,
        model=model or ExtractiveModel(conduct=conduct),
        tools=[tools],
        instructions=spec.instructions,
        tool_call_limit=_MOST_TOOL_CALLS,
        telemetry=False,
    )
    return Member(agent, tools)


def _guarded(bench: Workbench, tool: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    """*tool*, which ends the run where it fails in a way that it has not provided for."""

    @functools.wraps(tool)
    async def guarded(**arguments: Any) -> str:  # Any: each tool names its own, and Agno has validated them
        try:
            return await tool(**arguments)
        except AgentRunException:
            raise
        except Exception as error:
            raise bench.crash(error) from error

    return guarded


_Parts = tuple[Toolkit, Conduct]


def _search(bench: Workbench, _delegate: Delegate | None, _gathered: bool) -> _Parts:  # noqa: FBT001 - one signature for all
    return SearchTools(bench, mode=bench.processor.name), SearchConduct(bench)


def _analyst(bench: Workbench, _delegate: Delegate | None, _gathered: bool) -> _Parts:  # noqa: FBT001 - see _search
    return AnalystTools(bench, processor=bench.processor.name), AnalystConduct(bench)


def _critic(bench: Workbench, _delegate: Delegate | None, _gathered: bool) -> _Parts:  # noqa: FBT001 - see _search
    return CriticTools(bench, processor=bench.processor.name), CriticConduct(bench)


def _writer(bench: Workbench, _delegate: Delegate | None, gathered: bool) -> _Parts:  # noqa: FBT001 - see _search
    return SearchTools(bench, mode="fast"), WriterConduct(bench, gathered=gathered)


def _deep_research(bench: Workbench, delegate: Delegate | None, _gathered: bool) -> _Parts:  # noqa: FBT001 - see _search
    if delegate is None:
        message = "deep research needs somebody to delegate to"
        raise ValueError(message)
    return DeepResearchTools(bench, delegate), DeepResearchConduct(bench)


_PARTS: dict[str, Callable[[Workbench, Delegate | None, bool], _Parts]] = {
    SEARCH.id: _search,
    ANALYST.id: _analyst,
    CRITIC.id: _critic,
    WRITER.id: _writer,
    DEEP_RESEARCH.id: _deep_research,
}
