"""The critic: a verdict on each claim, with what it rests on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from examples.research_agents.catalogue import MOST_CLAIMS
from examples.research_agents.claims import split_claims
from examples.research_agents.marks import unmarked
from examples.research_agents.upstream import UpstreamError
from prodkit.metering import EnvelopeExhaustedError

from .conduct import ToolCall, ToolResult, cited
from .tasks import VERDICT, Verdict, read_content, read_sources

if TYPE_CHECKING:
    from .workbench import Workbench

__all__ = ["CriticConduct", "CriticTools"]

_LONGEST_CLAIM = 600  # characters; a long sentence has 300
_SPOKEN = {"supported": "Supported", "contradicted": "Contradicted", "not_found": "Not found"}


class CriticTools(Toolkit):
    """`verify_claim` for one run.

    Args:
        bench: what it works with.
        processor: Parallel's task processor.
    """

    def __init__(self, bench: Workbench, *, processor: str) -> None:
        self._bench = bench
        self._processor = processor
        super().__init__(name="verification", tools=[self.verify_claim])

    async def verify_claim(self, claim: str) -> str:
        """Have one claim compared with the user's documents and other sources.

        Args:
            claim: one statement.

        Returns:
            JSON: {"claim", "verdict": supported, contradicted or not_found, "confidence", "reasoning", "basis": [{"n",
            "url", "title", "excerpt", "stance"}]}, cite them as [n]; or {"claim", "refused"}.
        """
        bench = self._bench
        material = bench.material
        if len(claim) > _LONGEST_CLAIM:
            # Comparing takes time that grows with it, and others wait.
            return json.dumps({"claim": claim, "refused": f"it has more than {_LONGEST_CLAIM} characters"})
        # In the order of the calls, whichever is answered first.
        place = material.expect_claim()
        documents = await bench.for_a_task(claim)
        try:
            answer = await bench.parallel.task(
                {"question": f"Is this claim true? {claim}", "claim": claim, "documents": documents},
                processor=self._processor,
                schema=VERDICT,
                on_progress=lambda message: bench.progress("verifying", message),
            )
            content = read_content(answer, Verdict)
        except EnvelopeExhaustedError:
            material.refused.append(claim)
            return json.dumps({"claim": claim, "refused": "max_cost_usd does not allow it"})
        except UpstreamError as error:
            raise bench.stop(error) from error
        read_sources(material, answer.basis)
        basis = []
        for one in content.evidence:
            source = material.cite(one.url, one.title or one.url, one.excerpt)
            basis.append({**one.model_dump(), "n": source.n})
        told = {
            "claim": claim,
            # A verdict without a passage to look at is an opinion.
            "verdict": content.verdict if basis else "not_found",
            "confidence": content.confidence,
            "reasoning": content.reasoning,
            "basis": basis,
        }
        material.judge(place, told)
        if told["verdict"] == "not_found":
            material.miss([claim])
        return json.dumps(told)


class CriticConduct:
    """A verification for each claim, then every verdict."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def calls(self, message: str, results: Sequence[ToolResult]) -> Sequence[ToolCall]:
        """One for each claim, all at once."""
        if results:
            return ()
        return [ToolCall("verify_claim", {"claim": claim}) for claim in split_claims(message)[:MOST_CLAIMS]]

    async def answer(self, message: str, results: Sequence[ToolResult]) -> AsyncIterator[str]:
        """One line for each claim."""
        lines = [_line(result.data) for result in results]
        more = split_claims(message)[MOST_CLAIMS:]
        lines += [_not_verified(claim, f"one message may hold {MOST_CLAIMS} claims") for claim in more]
        for place, line in enumerate(lines):
            yield f"\n- {line}" if place else f"- {line}"


def _line(data: dict[str, Any]) -> str:
    if data.get("refused"):
        return _not_verified(data["claim"], data["refused"])
    if "verdict" not in data:
        return "The verification failed."
    numbers = list(dict.fromkeys(one["n"] for one in data["basis"]))
    said = f"**{_SPOKEN[data['verdict']]}**: {unmarked(data['claim'])}"
    return f"{said} {cited(data['reasoning'], numbers).strip()}".rstrip()


def _not_verified(claim: str, why: str) -> str:
    return f"Not verified, because {why}: {unmarked(claim)}"
