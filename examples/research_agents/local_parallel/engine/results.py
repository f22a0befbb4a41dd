"""What the engine answers with. Every value has `document()`, its JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .evidence import Basis, Confidence

__all__ = ["Analysis", "Comparison", "Conflict", "Draft", "Finding", "Ranked", "Source", "Verdict", "Witness"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a source says.

    Attributes:
        statement: the sentence, word for word.
        subject: what it is about.
        measure: what of it is told ("employees", "revenue").
        value: a decimal in plain digits, a date (`1987`, `1987-05`, `1987-05-12`), or a name.
        unit: of the value; empty for dates and names.
        period: the year or date it holds for, or None.
        url: of the passage.
        title: of the passage.
    """

    statement: str
    subject: str
    measure: str
    value: str
    unit: str
    period: str | None
    url: str
    title: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "statement": self.statement,
            "subject": self.subject,
            "measure": self.measure,
            "value": self.value,
            "unit": self.unit,
            "period": self.period,
            "url": self.url,
            "title": self.title,
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """One side of a comparison.

    Attributes:
        subject: who or what, with the period where that is what differs.
        value: in the unit of the comparison, as decimal digits.
    """

    subject: str
    value: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Values of one measure, in one unit.

    Attributes:
        measure: what is compared.
        unit: common to all values.
        order: highest first; as asked where the values have no order.
        statement: the comparison as a sentence.
        lowest: the subject with the least value; empty where the values have no order.
        highest: the subject with the greatest; likewise.
        urls: who gives the values.
    """

    measure: str
    unit: str
    order: tuple[Ranked, ...]
    statement: str
    lowest: str
    highest: str
    urls: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "measure": self.measure,
            "unit": self.unit,
            "order": [{"subject": one.subject, "value": one.value} for one in self.order],
            "statement": self.statement,
            "lowest": self.lowest,
            "highest": self.highest,
            "urls": list(self.urls),
        }


@dataclass(frozen=True, slots=True)
class Conflict:
    """Sources that give different values for the same thing.

    Attributes:
        statement: which, as a sentence.
        values: as told, in the order of `urls`.
        urls: who says which.
    """

    statement: str
    values: tuple[str, ...]
    urls: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"statement": self.statement, "values": list(self.values), "urls": list(self.urls)}


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the sources say about a question, taken apart.

    Attributes:
        findings: the values, best first.
        comparisons: of those that can be compared.
        conflicts: between sources.
        not_found: the parts of the question that no source answers.
        basis: one entry for each finding, `findings.N`, and each comparison, `comparisons.N`.
    """

    findings: tuple[Finding, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    not_found: tuple[str, ...] = ()
    basis: tuple[Basis, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON, without the basis, which Parallel returns beside the content."""
        return {
            "findings": [one.document() for one in self.findings],
            "comparisons": [one.document() for one in self.comparisons],
            "conflicts": [one.document() for one in self.conflicts],
            "not_found": list(self.not_found),
        }


@dataclass(frozen=True, slots=True)
class Witness:
    """A passage heard about a claim.

    Attributes:
        url: of the passage.
        title: of the passage.
        excerpt: what it says, word for word.
        stance: towards the claim.
    """

    url: str
    title: str
    excerpt: str
    stance: Literal["supports", "contradicts"]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"url": self.url, "title": self.title, "excerpt": self.excerpt, "stance": self.stance}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the sources bear a claim out.

    Attributes:
        claim: as asked.
        verdict: "contradicted" where one source contradicts and another supports; `reasoning` says so then.
        confidence: "high" when a source says it, or the contrary, in so many words.
        reasoning: one sentence.
        evidence: who said what; empty when nothing was found.
        basis: for the field `verdict`.
    """

    claim: str
    verdict: Literal["supported", "contradicted", "not_found"]
    confidence: Confidence
    reasoning: str
    evidence: tuple[Witness, ...] = ()
    basis: tuple[Basis, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON, without the basis, which Parallel returns beside the content."""
        return {
            "claim": self.claim,
            "verdict": self.verdict,
            "confidence": self.confidence,
            "reasoning": self.reasoning,
            "evidence": [one.document() for one in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered source of a text.

    Attributes:
        n: what `[n]` in the text refers to.
        url: where it is.
        title: what it is called.
        text: what it says.
    """

    n: int
    url: str
    title: str
    text: str


@dataclass(slots=True)
class Draft:
    """A text with citations.

    Attributes:
        pieces: Markdown, one sentence or heading each, made as it is read; joined they are the text.
        sources: those cited so far: given ones keep their number, others follow. Complete when `pieces` is exhausted.
        basis: one entry `[n]` for each of them. Complete when `pieces` is exhausted.
    """

    pieces: Iterator[str]
    sources: list[Source] = field(default_factory=list)
    basis: list[Basis] = field(default_factory=list)
