"""Agno really runs the agents: its own events, its tool calls with their arguments, and no telemetry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from agno.agent import Agent
from agno.models.message import Message
from agno.models.response import ModelResponse
from agno.run.agent import RunEvent as AgnoEvent
from agno.tools import Toolkit
from parallel import APIConnectionError, AsyncParallel

from examples.research_agents.agents.conduct import ToolCall, ToolResult
from examples.research_agents.agents.team import assemble
from examples.research_agents.agents.workbench import Workbench
from examples.research_agents.catalogue import AGENTS, CRITIC, DEEP_RESEARCH, SEARCH, AgentSpec
from examples.research_agents.extractive import ExtractiveModel
from examples.research_agents.material import Material
from examples.research_agents.pricing import least_nano, most_nano, unit_nano
from examples.research_agents.retrieval.library import Library
from examples.research_agents.settings import ResearchSettings
from examples.research_agents.upstream import Upstream
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.metering import Envelope, Meter, PriceBook
from prodkit.stores.memory_ledger import MemoryLedger

MakeBench = Callable[..., Awaitable[Workbench]]


@pytest.fixture
async def bench_of(settings: ResearchSettings) -> AsyncIterator[MakeBench]:
    """`await bench_of(spec, amount_nano=...)`: what the tools of one run of an agent work with, against the local server."""
    prices = PriceBook.load("parallel")
    meter = Meter(prices=prices)
    meter.bind(MemoryLedger(clock=SYSTEM_CLOCK), SYSTEM_CLOCK)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(meter.aclose)
        upstream = await stack.enter_async_context(Upstream(settings, prices))

        async def library() -> Library:
            return Library([])

        async def make(spec: AgentSpec, *, amount_nano: int | None = None) -> Workbench:
            processor = spec.processor(None)
            assert processor is not None
            amount = most_nano(prices, processor) if amount_nano is None else amount_nano
            envelope: Envelope = await meter.open(f"run-{spec.id}", amount_nano=amount, attributes={})
            await stack.enter_async_context(envelope)
            bench = Workbench(
                parallel=upstream.for_run(envelope),
                library=library,
                material=Material(),
                processor=processor,
                session_id="s",
                progress=lambda stage, message: None,
            )
            envelopes[id(bench)] = envelope
            return bench

        envelopes: dict[int, Envelope] = {}
        make.envelopes = envelopes  # type: ignore[attr-defined] # for tests that look at the money
        yield make


async def run(agent: Agent, message: str) -> tuple[list[str], list[tuple[str, dict[str, Any], bool]], str]:
    """(names of Agno's events, the tool calls that were completed, what was said)."""
    names: list[str] = []
    tools: list[tuple[str, dict[str, Any], bool]] = []
    said = ""
    async for event in agent.arun(message, stream=True, stream_events=True):
        names.append(event.event)
        if event.event == AgnoEvent.tool_call_completed.value:
            tools.append((event.tool.tool_name, event.tool.tool_args, bool(event.tool.tool_call_error)))
        if event.event == AgnoEvent.run_content.value:
            said += event.content
    return names, tools, said


CASES = {
    "search": (
        "What is a generator function and what does the nonlocal statement do?",
        {
            ("web_search", "query", "What is a generator function?"),
            ("web_search", "query", "what does the nonlocal statement do?"),
            ("search_documents", "query", "What is a generator function?"),
            ("search_documents", "query", "what does the nonlocal statement do?"),
        },
        "previously bound variables",
    ),
    "analyst": (
        "Compare the licenses of the packages fastapi and redis.",
        {("analyse", "question", "Compare the licenses of the packages fastapi and redis.")},
        "MIT",
    ),
    "critic": (
        "The package fastapi requires Python 2. The moon is made of cheese.",
        {
            ("verify_claim", "claim", "The package fastapi requires Python 2."),
            ("verify_claim", "claim", "The moon is made of cheese."),
        },
        "Not found",
    ),
    "writer": (
        "Write a short report on the nonlocal statement.",
        {
            ("web_search", "query", "What is the nonlocal statement?"),
            ("search_documents", "query", "What is the nonlocal statement?"),
        },
        "previously bound variables",
    ),
}


@pytest.mark.parametrize("agent", CASES)
async def test_a_run_has_agnos_events_and_tool_calls(bench_of: MakeBench, agent: str) -> None:
    """RunStarted, each tool call started and completed with its arguments, content out of their results, RunCompleted."""
    message, expected, part = CASES[agent]
    spec = AGENTS[agent]
    member = assemble(spec, await bench_of(spec), model=None)
    assert isinstance(member.agent, Agent)
    assert isinstance(member.tools, Toolkit)
    names, tools, said = await run(member.agent, message)
    assert names[0] == "RunStarted"
    assert names[-1] == "RunCompleted"
    assert "RunContent" in names
    assert names.count("ToolCallStarted") == names.count("ToolCallCompleted") == len(tools)
    called = {
        (tool, name, value) for tool, arguments, _ in tools for name, value in arguments.items() if value
    }
    assert called == expected
    assert not any(failed for _, _, failed in tools)
    assert part in said, said


async def test_deep_research_calls_its_tools_in_stages(bench_of: MakeBench) -> None:
    """A plan first, then search and analysis, then the critic, and the writer last; each delegation is a tool call of Agno."""
    bench = await bench_of(DEEP_RESEARCH)
    asked: list[tuple[str, str]] = []

    async def delegate(spec: AgentSpec, processor: str, message: str) -> str:
        asked.append((spec.id, message))
        bench.material.cite("pydoc:nonlocal", "nonlocal", "A sentence of four words stands here.")
        return "A sentence of four words stands here. [1]"

    member = assemble(DEEP_RESEARCH, bench, model=None, delegate=delegate)
    names, tools, said = await run(member.agent, "What does the nonlocal statement do?")
    order = [tool for tool, _, _ in tools]
    assert order[0] == "make_plan"
    assert order[-2:] == ["ask_critic", "ask_writer"]
    assert {"ask_search", "ask_analyst"} <= set(order)
    assert [agent for agent, _ in asked] == [tool.removeprefix("ask_") for tool in order[1:]]
    assert names[-1] == "RunCompleted"
    assert "[1]" in said


async def test_without_its_tools_an_agent_answers_nothing(bench_of: MakeBench) -> None:
    """What it says comes out of the tools that Agno called, and out of nothing else."""
    member = assemble(SEARCH, await bench_of(SEARCH), model=None)
    member.agent.tools = []
    _, tools, said = await run(member.agent, "What does the nonlocal statement do?")
    assert tools == []
    assert "previously bound variables" not in said


async def test_the_model_answers_without_streaming_too(bench_of: MakeBench) -> None:
    """Agno may drive the same model whole: the content is the same."""
    member = assemble(SEARCH, await bench_of(SEARCH), model=None)
    result = await member.agent.arun("What does the nonlocal statement do?")
    assert result.tools is not None
    assert {tool.tool_name for tool in result.tools} == {"web_search", "search_documents"}
    assert "previously bound variables" in str(result.content)


async def test_a_ceiling_holds_between_concurrent_tool_calls(bench_of: MakeBench) -> None:
    """Agno runs the calls of one step at the same time; together they stay below what the run may cost."""
    bench = await bench_of(SEARCH, amount_nano=1_000_000)
    member = assemble(SEARCH, bench, model=None)
    _, _, said = await run(member.agent, "What does str.title do? What does str.lower do?")
    envelope: Envelope = bench_of.envelopes[id(bench)]  # type: ignore[attr-defined] # see the fixture
    assert envelope.calls == 1
    assert envelope.charged_nano == 1_000_000
    assert len(bench.material.refused) == 1
    assert "Not looked up" in said


async def test_a_critic_that_may_spend_little_says_what_it_did_not_verify(bench_of: MakeBench) -> None:
    """One of two claims is verified; the other is named, and not judged."""
    bench = await bench_of(CRITIC, amount_nano=25_000_000)
    member = assemble(CRITIC, bench, model=None)
    _, _, said = await run(member.agent, "The package fastapi requires Python 2. The moon is made of cheese.")
    assert said.count("Not verified") == 1
    assert len(bench.material.claims) == 1


class _Scripted:
    """A conduct that calls one tool and then repeats what it returned."""

    def calls(self, message: str, results: list[ToolResult]) -> list[ToolCall]:
        return [] if results else [ToolCall("web_search", {"query": message})]

    async def answer(self, message: str, results: list[ToolResult]) -> AsyncIterator[str]:
        yield str([result.data for result in results])


async def test_the_model_asks_its_conduct() -> None:
    """First a tool call, then, with the tool's message behind the question, the answer; earlier exchanges do not count."""
    model = ExtractiveModel(conduct=_Scripted())
    messages = [
        Message(role="user", content="earlier"),
        Message(role="tool", tool_name="web_search", content='{"old": 1}'),
        Message(role="assistant", content="answer"),
        Message(role="user", content="What is tea?"),
    ]
    step: ModelResponse = await model.ainvoke(messages)
    assert step.tool_calls[0]["function"] == {"name": "web_search", "arguments": '{"query": "What is tea?"}'}
    messages.append(Message(role="tool", tool_name="web_search", content='{"n": 1}'))
    messages.append(Message(role="tool", tool_name="web_search", content="Could not run the tool"))
    answer = await model.ainvoke(messages)
    assert answer.content == "[{'n': 1}, {'error': 'Could not run the tool'}]"


def test_what_is_asynchronous_is_not_offered_otherwise() -> None:
    """A caller without an event loop is told so by Agno's own convention; a model without a conduct cannot work."""
    model = ExtractiveModel()
    with pytest.raises(NotImplementedError):
        model.invoke([])
    with pytest.raises(NotImplementedError):
        model.invoke_stream([])
    with pytest.raises(ValueError, match="conduct"):
        asyncio.run(model.ainvoke([Message(role="user", content="x")]))


def test_telemetry_is_off() -> None:
    """By the environment, which wins over the arguments of an agent."""
    assert os.environ["AGNO_TELEMETRY"] == "false"


@pytest.mark.parametrize("spec", AGENTS.values(), ids=list(AGENTS))
def test_every_processor_has_a_price(spec: AgentSpec) -> None:
    """What may be chosen can be charged, and never costs less than its least; the default can be chosen."""
    prices = PriceBook.load("parallel")
    for processor in spec.processors:
        assert unit_nano(prices, processor) > 0
        assert 0 < least_nano(prices, processor) <= most_nano(prices, processor)
    assert spec.processor(None) is spec.processor(spec.default) is not None
    assert spec.processor("no such processor") is None


@pytest.mark.parametrize("agent", AGENTS)
async def test_without_agno_there_is_no_answer(
    open_research: Any, monkeypatch: pytest.MonkeyPatch, agent: str
) -> None:
    """Nothing answers beside it: where its loop does nothing, the chat is a problem and nothing was bought."""

    async def nothing(*_: object, **__: object) -> AsyncIterator[object]:
        events: list[object] = []
        for event in events:
            yield event

    monkeypatch.setattr(Agent, "arun", nothing)
    async with open_research() as ada:
        answer = await ada.post(f"/v1/agents/{agent}/chat", json={"message": AGENTS[agent].example})
        usage = (await ada.get("/v1/usage")).json()
    assert answer.status_code == 502, answer.text
    assert usage["total_usd"] == "0"


@pytest.mark.parametrize(
    ("agent", "method"), [("search", "search"), ("analyst", "task_run"), ("critic", "task_run")]
)
async def test_without_the_sdk_there_is_no_answer(
    open_research: Any, monkeypatch: pytest.MonkeyPatch, agent: str, method: str
) -> None:
    """Calls go through Parallel's own client; there is no other way to the sources."""

    def gone(*_: object, **__: object) -> None:
        message = "taken away by the test"
        raise APIConnectionError(message=message, request=httpx.Request("POST", "http://127.0.0.1"))

    monkeypatch.setattr(AsyncParallel, method, property(gone) if method == "task_run" else gone)
    async with open_research() as ada:
        answer = await ada.post(f"/v1/agents/{agent}/chat", json={"message": AGENTS[agent].example})
    assert answer.status_code in {500, 502}, answer.text
    assert "citations" not in answer.json()
