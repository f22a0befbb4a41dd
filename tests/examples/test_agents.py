"""Agno really runs the agents: its own events, its tool calls, and no telemetry."""

from __future__ import annotations

import os

import pytest
from agno.agent import Agent
from agno.run.agent import RunEvent as AgnoEvent
from parallel import AsyncParallel

from examples.research_agents.catalogue import AGENTS, SEARCH
from examples.research_agents.extractive import ExtractiveModel
from examples.research_agents.metering import RunMeter
from examples.research_agents.prices import PARALLEL_PRICES
from examples.research_agents.settings import ResearchSettings
from examples.research_agents.toolkit import SearchToolkit
from examples.research_agents.upstream import open_client


def agent_with(client: AsyncParallel, meter: RunMeter) -> Agent:
    tools = SearchToolkit(client, mode="fast", session_id="s", meter=meter, prices=PARALLEL_PRICES)
    return Agent(id="search", model=ExtractiveModel(), tools=[tools], telemetry=False)


async def test_a_run_has_agnos_events_and_tool_calls(settings: ResearchSettings) -> None:
    """RunStarted, a started and a completed tool call for each part of the question, content, RunCompleted."""
    meter = RunMeter()
    names, tools, answer = [], [], ""
    async with open_client(settings) as client:
        run = agent_with(client, meter).arun(
            "What is a generator function and what does the nonlocal statement do?",
            stream=True,
            stream_events=True,
        )
        async for event in run:
            names.append(event.event)
            if event.event == AgnoEvent.tool_call_completed.value:
                tools.append(
                    (event.tool.tool_name, event.tool.tool_args["query"], event.tool.tool_call_error)
                )
            if event.event == AgnoEvent.run_content.value:
                answer += event.content
    assert names[0] == "RunStarted"
    assert names[-1] == "RunCompleted"
    assert names.count("ToolCallStarted") == names.count("ToolCallCompleted") == 2
    assert sorted(tools) == [
        ("web_search", "What is a generator function?", False),
        ("web_search", "what does the nonlocal statement do?", False),
    ]
    assert "generator function" in answer
    assert "previously bound variables" in answer
    assert meter.searches == 2
    assert dict(meter.skus) == {"sku_search": 2}


async def test_the_model_answers_without_streaming_too(settings: ResearchSettings) -> None:
    """Agno may drive the same model whole: the content is the same."""
    async with open_client(settings) as client:
        result = await agent_with(client, RunMeter()).arun("What does the nonlocal statement do?")
    assert result.tools is not None
    assert [tool.tool_name for tool in result.tools] == ["web_search"]
    assert "previously bound variables" in str(result.content)


def test_the_model_is_deterministic_and_works_without_a_loop() -> None:
    """The first step is a tool call with the question, nothing else."""
    from agno.models.message import Message

    messages = [Message(role="user", content="What is tea?")]
    step = ExtractiveModel().invoke(messages)
    assert step.tool_calls[0]["function"] == {"name": "web_search", "arguments": '{"query": "What is tea?"}'}
    assert [one.tool_calls for one in ExtractiveModel().invoke_stream(messages)] == [step.tool_calls]


async def test_a_ceiling_holds_between_concurrent_tool_calls(settings: ResearchSettings) -> None:
    """Agno runs the calls of one step at the same time; together they stay below `max_cost_usd`."""
    meter = RunMeter(ceiling_nano=1_000_000)
    async with open_client(settings) as client:
        result = await agent_with(client, meter).arun("What does str.title do? What does str.lower do?")
    assert meter.searches == 1
    assert meter.cost_nano == 1_000_000
    assert len(meter.refused) == 1
    assert "Not looked up" in str(result.content)


def test_telemetry_is_off() -> None:
    """By the environment, which wins over the arguments of an agent."""
    assert os.environ["AGNO_TELEMETRY"] == "false"


@pytest.mark.parametrize("spec", AGENTS.values(), ids=list(AGENTS))
def test_every_processor_has_a_price(spec) -> None:
    """What may be chosen can be charged; the default can be chosen; an unknown one cannot."""
    assert all(PARALLEL_PRICES.search(processor.name) > 0 for processor in spec.processors)
    assert spec.processor(None) is spec.processor(spec.default) is not None
    assert SEARCH.processor("ultra") is None
