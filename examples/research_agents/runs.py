"""One run of an agent, from a question to a stream of events. Chat and stream are two readings of it."""

from __future__ import annotations

import re
import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog
from agno.agent import Agent
from agno.run.agent import RunEvent as AgnoEvent

from prodkit import Problem

from .extractive import ExtractiveModel
from .metering import RunMeter
from prodkit.core.money import format_usd
from .toolkit import SearchToolkit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from parallel import AsyncParallel

    from .catalogue import AgentSpec, Processor
    from .prices import PriceTable
    from .upstream import UpstreamError

__all__ = ["Run", "RunEvent"]

_log = structlog.get_logger("research")
# What the run is doing when one of these happens, as `progress` tells it.
_STAGES = {"tool.started": "searching", "tool.completed": "searching", "token": "answering"}
_CITED = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened in a run: `run.started`, `progress`, `tool.started`, `tool.completed`, `token`, `usage`,
    `run.completed`.
    """

    name: str
    data: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Run:
    """A question on its way to an answer.

    Attributes:
        spec: the agent asked.
        processor: how deep it may go.
        message: the question.
        session_id: the conversation it belongs to.
        run_id: names this run.
        engine: what answers, said in every result.
        client: reaches the sources.
        prices: what calls cost.
        meter: counts; readable at any time, also after a failure.
    """

    spec: AgentSpec
    processor: Processor
    message: str
    session_id: str
    engine: str
    client: AsyncParallel
    prices: PriceTable
    meter: RunMeter
    run_id: str = ""

    def __post_init__(self) -> None:
        """Name the run and refuse what can never fit.

        Raises:
            Problem: 422, `max_cost_usd` is below the price of a single search.
        """
        self.run_id = self.run_id or f"run_{uuid.uuid4().hex}"
        least = self.prices.search(self.processor.name)
        if not self.meter.fits(least):
            raise Problem(
                422,
                detail=f"max_cost_usd is below the price of one search with the processor {self.processor.name}.",
                least_cost_usd=format_usd(least),
            )

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Run the agent. Closing the iterator, or cancelling its task, cancels the call that is under way.

        Raises:
            Problem: 502, 503 or 504 when the sources could not be searched. What was spent until then is in `meter`.
        """
        tools = SearchToolkit(
            self.client,
            mode=self.processor.name,
            session_id=self.session_id,
            meter=self.meter,
            prices=self.prices,
        )
        agent = Agent(
            id=self.spec.id,
            name=self.spec.name,
            model=ExtractiveModel(),
            tools=[tools],
            instructions=self.spec.instructions,
            telemetry=False,
        )
        yield RunEvent("run.started", self._identity())
        yield RunEvent("progress", {"stage": "planning"})
        answer: list[str] = []
        stream = cast(
            "AsyncGenerator[Any, None]",  # an async generator, typed by Agno as the iterator it also is
            agent.arun(
                self.message, session_id=self.session_id, run_id=self.run_id, stream=True, stream_events=True
            ),
        )
        finished, stage = False, "planning"
        async with aclosing(stream):
            async for event in stream:
                if tools.failure is not None:
                    break
                finished = finished or event.event == AgnoEvent.run_completed.value
                failed = event.event in {AgnoEvent.run_error.value, AgnoEvent.run_cancelled.value}
                if failed:
                    _log.error("agent_run_failed", agent=self.spec.id, run_id=self.run_id, event=event.event)
                    raise Problem(502, detail="The agent could not finish its run.", run_id=self.run_id)
                ours = self._translate(event)
                if ours is None:
                    continue
                if _STAGES[ours.name] != stage:
                    stage = _STAGES[ours.name]
                    yield RunEvent("progress", {"stage": stage})
                if ours.name == "token":
                    answer.append(ours.data["text"])
                yield ours
        if tools.failure is not None:
            raise self._problem(tools.failure)
        if not finished:
            # Agno ends some broken runs without an error; an answer that was cut off must not look complete.
            raise Problem(502, detail="The agent stopped before it had finished.", run_id=self.run_id)
        usage = self._usage()
        yield RunEvent("usage", {**usage, "cost_usd": self.meter.cost_usd})
        yield RunEvent("run.completed", self._result("".join(answer), usage))

    def _translate(
        self, event: Any
    ) -> RunEvent | None:  # Any: a union of thirty Agno classes told apart by `.event`
        """Our event for one of Agno's; most of Agno's concern nobody outside."""
        if event.event == AgnoEvent.run_content.value and event.content:
            return RunEvent("token", {"text": str(event.content)})
        if event.event == AgnoEvent.tool_call_started.value:
            tool = event.tool
            data = {"tool_call_id": tool.tool_call_id, "tool": tool.tool_name, "arguments": tool.tool_args}
            return RunEvent("tool.started", data)
        if event.event == AgnoEvent.tool_call_completed.value:
            tool = event.tool
            data = {
                "tool_call_id": tool.tool_call_id,
                "tool": tool.tool_name,
                "sources": len(self.meter.sources),
            }
            return RunEvent("tool.completed", data)
        return None

    def _identity(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "session_id": self.session_id,
            "agent": self.spec.id,
            "processor": self.processor.name,
            "engine": self.engine,
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "searches": self.meter.searches,
            "units": dict(sorted(self.meter.skus.items())),
            "price_table": self.prices.version,
            "estimated": self.meter.presumed_nano > 0,
            "simulated": self.engine == "local-extractive",
        }

    def _result(self, answer: str, usage: dict[str, Any]) -> dict[str, Any]:
        """The body of a chat; citations are the sources that the answer really names."""
        named = list(dict.fromkeys(int(match) for match in _CITED.findall(answer)))
        by_number = {source.n: source for source in self.meter.sources.values()}
        citations = [
            {"n": source.n, "url": source.url, "title": source.title, "excerpt": source.excerpt}
            for number in named
            if (source := by_number.get(number)) is not None
        ]
        return {
            "session_id": self.session_id,
            "run_id": self.run_id,
            "agent": self.spec.id,
            "answer": answer,
            "citations": citations,
            "usage": usage,
            "cost_usd": self.meter.cost_usd,
            "engine": self.engine,
        }

    def _problem(self, failure: UpstreamError) -> Problem:
        """What the client is told; with the cost, because a call that failed may still be billed."""
        wait = failure.retry_after_seconds
        headers = None if wait is None else {"Retry-After": str(wait)}
        _log.warning(
            "upstream_failed",
            agent=self.spec.id,
            run_id=self.run_id,
            status=failure.status,
            reason=failure.reason,
        )
        return Problem(
            failure.status,
            detail=failure.reason,
            headers=headers,
            run_id=self.run_id,
            cost_usd=self.meter.cost_usd,
        )
