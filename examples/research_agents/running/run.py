"""One run of an agent, from a message to an answer. Chat and stream are two ways of watching it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import structlog
from agno.models.message import Message
from agno.run.agent import RunEvent as AgnoEvent

from examples.research_agents.agents.deep_research import DeepResearchTools
from examples.research_agents.agents.team import assemble
from examples.research_agents.agents.workbench import Workbench
from examples.research_agents.marks import CITED
from examples.research_agents.material import Material
from examples.research_agents.questions import in_context
from examples.research_agents.upstream import UpstreamError
from prodkit import Problem
from prodkit.core.money import format_usd

if TYPE_CHECKING:
    from examples.research_agents.agents.team import Member
    from examples.research_agents.catalogue import AgentSpec, Processor
    from examples.research_agents.services import Services
    from prodkit.core.identity import Principal
    from prodkit.metering import Envelope

__all__ = ["Emit", "Run"]

Emit = Callable[[str, dict[str, Any]], None]
"""Tells an event: its name and its data."""

_log = structlog.get_logger("research")


@dataclass(slots=True, kw_only=True)
class Run:
    """A message on its way to an answer.

    Attributes:
        run_id: names this run.
        spec: the agent asked.
        processor: how deep it may go.
        degraded_from: the processor that was not taken because a budget is nearly spent.
        message: what was asked.
        session_id: the conversation it belongs to.
        tenant: whose documents are searched.
        principal: who asked.
        history: earlier exchanges of the conversation, oldest first.
        interaction_id: what Parallel calls the conversation, if it does.
        envelope: what may be spent; closed at the end, however it ends.
        services: what the application has.
        material: what is gathered; readable at any time.
    """

    run_id: str
    spec: AgentSpec
    processor: Processor
    message: str
    session_id: str
    tenant: str
    principal: Principal
    history: Sequence[tuple[str, str]]
    interaction_id: str | None
    envelope: Envelope
    services: Services
    degraded_from: str | None = None
    material: Material = field(default_factory=Material)

    @property
    def cost_usd(self) -> str:
        """What it has cost so far, as a decimal string."""
        return format_usd(self.envelope.charged_nano)

    async def abandon(self) -> None:
        """Give back what was set aside; instead of `execute`."""
        await self.envelope.aclose()

    async def execute(self, emit: Emit) -> dict[str, Any]:
        """Run the agent and return the body of a chat. Cancelling it cancels the calls that are under way.

        Raises:
            Problem: 502, 503 or 504 when a call of the run failed, 402 when a language model could not go on with what was
                left. What was spent until then stands in the problem.
        """
        try:
            async with self.envelope:
                emit("run.started", self._identity())
                emit("progress", {"stage": "planning"})
                bench = self._bench(self.processor, emit)
                bench.interaction_id = self.interaction_id
                answer = await self._root(bench, emit)
        except UpstreamError as error:
            raise self._problem(error) from error
        except Problem as problem:
            problem.extensions.setdefault("run_id", self.run_id)
            problem.extensions.setdefault("cost_usd", self.cost_usd)
            raise
        usage = self._usage()
        emit("usage", {**usage, "cost_usd": self.cost_usd})
        return self._result(answer, usage, bench.interaction_id)

    async def _root(self, bench: Workbench, emit: Emit) -> str:
        member = self._member(self.spec, bench)
        answer = await self._drive(member, bench, self._input(), emit)
        if isinstance(member.tools, DeepResearchTools) and member.tools.failure is not None:
            raise member.tools.failure
        return answer

    def _member(self, spec: AgentSpec, bench: Workbench) -> Member:
        def failed(failure: UpstreamError) -> None:
            bench.failure = failure

        model = self.services.models.for_run(self.envelope, failed)
        if spec is not self.spec:
            return assemble(spec, bench, model=model, gathered=True)

        async def delegate(other: AgentSpec, processor: str, message: str) -> str:
            return await self._delegated(other, processor, message, bench.progress)

        return assemble(spec, bench, model=model, delegate=delegate)

    async def _delegated(
        self, spec: AgentSpec, processor: str, message: str, progress: Callable[[str, str], None]
    ) -> str:
        """Another agent's answer to *message*, out of the same envelope and into the same material."""
        chosen = spec.processor(processor)
        if chosen is None:
            detail = f"{spec.id} has no processor {processor}"
            raise ValueError(detail)

        def told(name: str, data: dict[str, Any]) -> None:
            if name == "tool.started":
                progress(spec.searching, f"{spec.name} calls {data['tool']}")

        bench = self._bench(chosen, told, attributes={"tag": spec.id})
        return await self._drive(self._member(spec, bench), bench, message, told)

    def _bench(
        self, processor: Processor, emit: Emit, *, attributes: Mapping[str, str] | None = None
    ) -> Workbench:
        services = self.services

        def progress(stage: str, message: str) -> None:
            emit("progress", {"stage": stage, "message": message})

        return Workbench(
            parallel=services.upstream.for_caller(self.envelope, self.principal, attributes=attributes),
            library=lambda: services.documents.library(self.tenant),
            material=self.material,
            processor=processor,
            session_id=self.session_id,
            progress=progress,
        )

    def _input(self) -> str | list[Message]:
        """The conversation so far and the message, as a model reads them; for the extractive one, a message that stands alone."""
        if not self.services.models.configured:
            return in_context(self.message, [asked for asked, _ in self.history])
        earlier = [
            Message(role=role, content=text, from_history=True)
            for asked, answered in self.history
            for role, text in (("user", asked), ("assistant", answered))
        ]
        return [*earlier, Message(role="user", content=self.message)]

    async def _drive(self, member: Member, bench: Workbench, given: str | list[Message], emit: Emit) -> str:
        """Have Agno run the agent; tell its events and return its answer.

        Raises:
            UpstreamError: a call failed that the run cannot do without.
            Problem: 502, the agent broke off.
        """
        stream = cast(
            "AsyncGenerator[Any, None]",  # an async generator, typed by Agno as the iterator it also is
            member.agent.arun(given, session_id=self.session_id, stream=True, stream_events=True),
        )
        answer: list[str] = []
        finished, stage = False, "planning"
        async with aclosing(stream):
            async for event in stream:
                if bench.failure is not None:
                    break
                finished = finished or event.event == AgnoEvent.run_completed.value
                if event.event in {AgnoEvent.run_error.value, AgnoEvent.run_cancelled.value}:
                    _log.error(
                        "agent_run_failed", agent=member.agent.id, run_id=self.run_id, kind=event.event
                    )
                    raise Problem(502, detail="The agent could not finish its run.")
                told = self._translated(event)
                if told is None:
                    continue
                name, data = told
                now = "answering" if name == "token" else self.spec.searching
                if now != stage:
                    stage = now
                    emit("progress", {"stage": stage})
                if name == "token":
                    answer.append(data["text"])
                emit(name, data)
        if bench.failure is not None:
            raise bench.failure
        if not finished:
            # Agno ends some broken runs without an error; an answer that was cut off must not look complete.
            raise Problem(502, detail="The agent stopped before it had finished.")
        return "".join(answer)

    def _translated(
        self, event: Any
    ) -> tuple[str, dict[str, Any]] | None:  # Any: a union of thirty Agno classes told apart by `.event`
        """Our event for one of Agno's; most of Agno's concern nobody outside."""
        if event.event == AgnoEvent.run_content.value and event.content:
            return "token", {"text": str(event.content)}
        if event.event == AgnoEvent.tool_call_started.value:
            tool = event.tool
            data = {"tool_call_id": tool.tool_call_id, "tool": tool.tool_name, "arguments": tool.tool_args}
            return "tool.started", data
        if event.event == AgnoEvent.tool_call_completed.value:
            tool = event.tool
            data = {"tool_call_id": tool.tool_call_id, "tool": tool.tool_name}
            return "tool.completed", {**data, "sources": len(self.material.sources)}
        return None

    def _identity(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "session_id": self.session_id,
            "agent": self.spec.id,
            "processor": self.processor.name,
            **({} if self.degraded_from is None else {"degraded_from": self.degraded_from}),
            "engine": self.services.settings.engine,
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "calls": self.envelope.calls,
            "units": dict(sorted(self.envelope.units.items())),
            "saved_usd": format_usd(self.envelope.saved_nano),
            "price_book": self.services.prices.version,
            "estimated": self.envelope.presumed_nano > 0,
            "simulated": self.services.settings.local,
        }

    def _result(self, answer: str, usage: dict[str, Any], interaction_id: str | None) -> dict[str, Any]:
        """The body of a chat; citations are the sources that the answer really names."""
        material = self.material
        named = [int(match) for match in CITED.findall(answer)]
        for one in (*material.findings, *material.comparisons, *material.conflicts):
            named += one["n"]
        for claim in material.claims:
            named += [basis["n"] for basis in claim["basis"]]
        return {
            "session_id": self.session_id,
            "run_id": self.run_id,
            "agent": self.spec.id,
            "processor": self.processor.name,
            "degraded_from": self.degraded_from,
            "answer": answer,
            "citations": material.citations(sorted(set(named))),
            "findings": material.findings,
            "comparisons": material.comparisons,
            "conflicts": material.conflicts,
            "claims": material.claims,
            "plan": material.plan,
            "not_found": material.missing(),
            "usage": usage,
            "cost_usd": self.cost_usd,
            "engine": self.services.settings.engine,
            "interaction_id": interaction_id,
        }

    def _problem(self, failure: UpstreamError) -> Problem:
        """What the client is told; with the cost, because a call that failed may still be billed."""
        wait = failure.retry_after_seconds
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
            headers=None if wait is None else {"Retry-After": str(wait)},
            run_id=self.run_id,
            cost_usd=self.cost_usd,
        )
