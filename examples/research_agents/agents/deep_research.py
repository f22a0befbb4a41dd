"""Deep research: a plan, and the other four agents at work on it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from examples.research_agents.catalogue import ANALYST, CRITIC, MOST_SEARCHES, SEARCH, WRITER
from examples.research_agents.outlines import topic_of
from examples.research_agents.questions import split_question
from examples.research_agents.retrieval.text import terms
from examples.research_agents.upstream import UpstreamError
from prodkit.metering import EnvelopeExhaustedError

from .conduct import ToolCall, ToolResult
from .reports import numbers_in, split_report
from .tasks import PLAN, Plan, read_content

if TYPE_CHECKING:
    from examples.research_agents.catalogue import AgentSpec

    from .workbench import Workbench

__all__ = ["DeepResearchConduct", "DeepResearchTools", "Delegate"]

Delegate = Callable[["AgentSpec", str, str], Awaitable[str]]
"""Has an agent, at a processor, answer a message, and returns its answer; raises `UpstreamError`."""

_MOST_PLANNED = 6  # sub-questions
_MOST_CHECKED = 4  # statements the critic is asked about
_MARKS = re.compile(r"(?:\s*\[\d{1,3}\])+")
_HEADING = re.compile(r"^#{1,6}\s")


class DeepResearchTools(Toolkit):
    """`make_plan`, `ask_search`, `ask_analyst`, `ask_critic` and `ask_writer` for one run.

    Args:
        bench: what they work with.
        delegate: runs another agent on the same budget and with the same material.
    """

    def __init__(self, bench: Workbench, delegate: Delegate) -> None:
        self._bench = bench
        self._delegate = delegate
        self._answered = 0
        self._failed: UpstreamError | None = None
        tools = [self.make_plan, self.ask_search, self.ask_analyst, self.ask_critic, self.ask_writer]
        super().__init__(name="research", tools=tools)

    async def make_plan(self, question: str) -> str:
        """Split a research question into sub-questions that can each be looked up.

        Args:
            question: the whole question.

        Returns:
            JSON: {"question", "sub_questions"}; or {"question", "refused"}.
        """
        bench = self._bench
        documents = await bench.for_a_task(question)
        try:
            answer = await bench.parallel.task(
                {"question": question, "documents": documents},
                processor=bench.processor.name,
                schema=PLAN,
                on_progress=lambda message: bench.progress("planning", message),
            )
            content = read_content(answer, Plan)
        except EnvelopeExhaustedError:
            bench.material.refused.append(question)
            return json.dumps({"question": question, "refused": "the run may not cost more"})
        except UpstreamError as error:
            raise bench.stop(error) from error
        found = [one.strip() for one in content.sub_questions if one.strip()][:_MOST_PLANNED]
        bench.material.plan = found or [question]
        for one in bench.material.plan:
            bench.progress("planning", one)
        return json.dumps({"question": question, "sub_questions": bench.material.plan})

    async def ask_search(self, question: str) -> str:
        """Have the search agent answer one sub-question.

        Args:
            question: the sub-question.

        Returns:
            JSON: {"question", "answer"} with [n] citations; or {"question", "failed"}.
        """
        return await self._ask(SEARCH, "fast", question)

    async def ask_analyst(self, question: str) -> str:
        """Have the analyst find and compare facts and numbers.

        Args:
            question: the whole question.

        Returns:
            JSON: {"question", "answer"} with [n] citations; or {"question", "failed"}.
        """
        return await self._ask(ANALYST, "core", question)

    async def ask_critic(self, statements: str) -> str:
        """Have the critic verify statements that were found.

        Args:
            statements: one on each line.

        Returns:
            JSON: {"question", "answer"} with [n] citations; or {"question", "failed"}.
        """
        return await self._ask(CRITIC, "core", statements)

    async def ask_writer(self, request: str) -> str:
        """Have the writer put everything that was found into a report. Call it last.

        Args:
            request: what the report is about.

        Returns:
            JSON: {"question", "answer"} in Markdown with [n] citations; or {"question", "failed"}.
        """
        return await self._ask(WRITER, "speed", request)

    async def _ask(self, spec: AgentSpec, processor: str, message: str) -> str:
        bench = self._bench
        bench.progress("delegating", f"{spec.name}: {_short(message)}")
        try:
            answer = await self._delegate(spec, processor, message)
        except UpstreamError as error:
            if error.problem is not None:
                raise bench.stop(
                    error
                ) from error  # something of ours failed: a report without it would not say so
            # One that fails must not take along what the others found, and what has been paid for.
            bench.material.miss([f"{_short(message)} ({spec.name} failed: {error.reason})"])
            bench.progress("delegating", f"{spec.name} failed: {error.reason}")
            self._failed = error
            return json.dumps({"question": message, "failed": error.reason})
        self._answered += 1
        bench.progress("delegating", f"{spec.name} has answered")
        return json.dumps({"question": message, "answer": answer})

    @property
    def failure(self) -> UpstreamError | None:
        """Why nothing came of the run, where no agent could answer."""
        return None if self._answered else self._failed


def _is_contradicted(claim: Mapping[str, Any], report: str) -> bool:
    """Whether *claim* stands in the *report*, and another sentence than itself speaks against it."""
    said = claim["claim"].strip(" .")
    against = [one for one in claim["basis"] if one["stance"] == "contradicts" and said not in one["excerpt"]]
    return claim["verdict"] == "contradicted" and said in report and bool(against)


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


class DeepResearchConduct:
    """Plan; search and analyse; verify what was found; write."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """The next stage, by which tools have answered."""
        called = {result.tool for result in results}
        if "make_plan" not in called:
            return [ToolCall("make_plan", {"question": message})]
        if "refused" in results[0].data:
            return ()
        if "ask_search" not in called:
            plan = self._bench.material.plan[: MOST_SEARCHES + 2]
            searches = [ToolCall("ask_search", {"question": one}) for one in plan]
            return [*searches, ToolCall("ask_analyst", {"question": topic_of(message)})]
        if "ask_critic" not in called and (statements := self._statements(results)):
            return [ToolCall("ask_critic", {"statements": "\n".join(statements)})]
        if "ask_writer" not in called and self._bench.material.sources:
            return [ToolCall("ask_writer", {"request": message})]
        return ()

    async def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """The report, then what the critic found, then what nobody did."""
        material = self._bench.material
        if any("refused" in result.data for result in results[:1]):
            yield "Not researched, because max_cost_usd does not allow it."
            return
        written = next(
            (result.data.get("answer", "") for result in results if result.tool == "ask_writer"), ""
        )
        body, unwritten = split_report(written)
        report = [part.strip() for part in body.split("\n\n") if part.strip()]
        if not report or not material.citations(numbers_in(body)):
            answers = (result.data.get("answer", "") for result in results if result.tool == "ask_search")
            report = [answer for answer in answers if answer] if material.sources else []
        spoken = False
        for part in report:
            yield f"\n\n{part}" if spoken else part
            spoken = True
        if doubtful := [one for one in material.claims if _is_contradicted(one, body)]:
            yield "\n\n## Contradicted\n"
            for one in doubtful:
                marks = "".join(
                    f" [{number}]" for number in dict.fromkeys(basis["n"] for basis in one["basis"])
                )
                yield f"\n- {one['claim']} {one['reasoning']}{marks}"
        self._settle(message, unwritten, written)
        if material.not_found or not spoken:
            lead = "\n\n## Not found\n" if spoken else "## Not found\n"
            yield lead + "".join(f"\n- {one}" for one in material.not_found or [message])
        if material.refused:
            yield "\n\n## Not looked up, because max_cost_usd does not allow more\n"
            yield "".join(f"\n- {_short(one)}" for one in dict.fromkeys(material.refused))

    def _settle(self, message: str, unwritten: Sequence[str], written: str) -> None:
        """Keep of what was not found what is still missing: one agent may find what another did not.

        The writer comes last and has everything that was gathered, so where there is a text it decides about the plan.
        That the critic finds no second source for a statement does not make the statement missing.
        """
        material = self._bench.material
        doubted = {one["claim"] for one in material.claims}
        whole = [message, topic_of(message), *material.plan]
        asked = {frozenset(terms(one)) for each in whole for one in [each, *split_question(each)] if written}
        left: dict[frozenset[str], str] = {frozenset(terms(one)): one for one in unwritten}
        for one in material.not_found:
            key = frozenset(terms(one))
            if key and one not in doubted and key not in asked:
                left.setdefault(key, one)
        material.not_found[:] = left.values()

    def _statements(self, results: Sequence[ToolResult]) -> list[str]:
        """What deserves a second look: findings with numbers first, then the sentences that were quoted."""
        material = self._bench.material
        numbers = [one["statement"] for one in material.findings if one.get("value")]
        quoted = [
            sentence.strip()
            for result in results
            if result.tool == "ask_search"
            for sentence in _MARKS.split(result.data.get("answer", ""))
            if len(sentence.split()) >= 4 and not _HEADING.match(sentence) and "Not found" not in sentence
        ]
        return [" ".join(one.split()) for one in dict.fromkeys([*numbers, *quoted])][:_MOST_CHECKED]
