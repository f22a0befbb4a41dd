"""The analyst: findings with numbers, compared, from one task run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from examples.research_agents.marks import unmarked
from examples.research_agents.upstream import UpstreamError
from prodkit.metering import EnvelopeExhaustedError

from .conduct import ToolCall, ToolResult, cited
from .tasks import ANALYSIS, Analysis, read_content, read_sources

if TYPE_CHECKING:
    from examples.research_agents.material import Material

    from .workbench import Workbench

__all__ = ["AnalystConduct", "AnalystTools"]


class AnalystTools(Toolkit):
    """`analyse` for one run.

    Args:
        bench: what it works with.
        processor: Parallel's task processor.
    """

    def __init__(self, bench: Workbench, *, processor: str) -> None:
        self._bench = bench
        self._processor = processor
        super().__init__(name="analysis", tools=[self.analyse])

    async def analyse(self, question: str) -> str:
        """Have the question analysed over the user's documents and other sources.

        Args:
            question: the whole question.

        Returns:
            JSON: {"question", "findings", "comparisons", "conflicts", "not_found"}, where each has the numbers `n` of its
            sources, to be cited as [n]; or {"question", "refused"}.
        """
        bench = self._bench
        material = bench.material
        documents = await bench.for_a_task(question)
        try:
            answer = await bench.parallel.task(
                {"question": question, "documents": documents},
                processor=self._processor,
                schema=ANALYSIS,
                on_progress=lambda message: bench.progress("analysing", message),
            )
            content = read_content(answer, Analysis)
        except EnvelopeExhaustedError:
            material.refused.append(question)
            return json.dumps({"question": question, "refused": "the run may not cost more"})
        except UpstreamError as error:
            raise bench.stop(error) from error
        read_sources(material, answer.basis)
        findings = [_numbered(material, one.model_dump(), [one.url]) for one in content.findings]
        comparisons = [
            _numbered(material, one.model_dump(exclude={"urls"}), one.urls) for one in content.comparisons
        ]
        conflicts = [
            _numbered(material, one.model_dump(exclude={"urls"}), one.urls) for one in content.conflicts
        ]
        missing = content.not_found
        material.findings += findings
        material.comparisons += comparisons
        material.conflicts += conflicts
        material.miss(missing)
        told = {
            "findings": findings,
            "comparisons": comparisons,
            "conflicts": conflicts,
            "not_found": missing,
        }
        return json.dumps({"question": question, **told})


def _numbered(
    material: Material, one: dict[str, Any], urls: list[str]
) -> dict[str, Any]:  # Any: see Material
    """*one* with the numbers of its sources; one that was not named as a basis is cited with what it is said to state."""
    for url in urls:
        if url and url not in material.sources:
            material.cite(url, url, one["statement"])
    return {**one, "n": material.numbers(urls)}


def _disagreement(one: dict[str, Any]) -> str:
    told = cited(one["statement"], one["n"])
    return told if "disagree" in one["statement"] else f"Sources disagree: {told}"


class AnalystConduct:
    """One analysis, then its findings, comparisons and disagreements as a list."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """The whole question at once: what is compared has to be seen together."""
        return () if results else [ToolCall("analyse", {"question": message})]

    async def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """What the analysis returned, in sentences."""
        spoken = False
        for result in results:
            data = result.data
            lines = [
                *(cited(one["statement"], one["n"]) for one in data.get("findings", ())),
                *(cited(one["statement"], one["n"]) for one in data.get("comparisons", ())),
                *(_disagreement(one) for one in data.get("conflicts", ())),
                *(f"Not found: {unmarked(one)}" for one in data.get("not_found", ())),
            ]
            if data.get("refused"):
                lines.append(f"Not analysed, because max_cost_usd does not allow it: {data['question']}")
            elif "error" in data:
                lines.append("The analysis failed.")
            elif not lines:
                lines.append(f'Not found in the corpus: nothing about "{data["question"]}".')
                self._bench.material.miss([data["question"]])
            for line in lines:
                yield f"\n- {line}" if spoken else f"- {line}"
                spoken = True
