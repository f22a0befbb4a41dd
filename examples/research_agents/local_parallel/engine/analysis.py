"""Taking a question apart and putting the values that the sources give side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import RELATIONS

from .asking import read_question
from .comparing import compare, conflicts_in, trends
from .evidence import Basis, Citation
from .facts import Fact, all_facts, measured, related
from .parts import split_parts
from .reading import gather
from .results import Analysis, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth

    from .asking import Ask
    from .evidence import Confidence, Evidence
    from .reading import Clause
    from .results import Comparison, Conflict

__all__ = ["analyse", "facts_for"]

_MOST_FINDINGS = 24
_MOST_ABOUT_TOPIC = 12


def analyse(question: str, evidence: Evidence, depth: Depth) -> Analysis:
    """What the sources say about *question*: values, how they compare, where sources disagree, and what is missing.

    Args:
        question: may have several parts and several subjects.
        evidence: what to read.
        depth: how many passages and sentences to read.
    """
    facts: list[Fact] = []
    missing: list[str] = []
    passages: list[Finding] = []
    comparing: list[Comparison] = []
    for part in split_parts(question):
        ask = read_question(part)
        found, absent = facts_for(ask, gather(ask.entities, [part], evidence, depth))
        if not found:
            quoted = _quoted(part, ask, evidence, depth)
            passages.extend(quoted)
            absent = [] if quoted else absent or [part]
        facts.extend(found)
        missing.extend(absent)
        comparing.extend(compare(found))
        comparing.extend(trends(found))
    facts = facts[:_MOST_FINDINGS]
    findings = (*map(_finding, facts), *passages[: _MOST_FINDINGS - len(facts)])
    comparisons = tuple({one.statement: one for one in comparing}.values())
    conflicts = tuple(conflicts_in(facts))
    basis = _bases(facts, findings, comparisons, conflicts)
    return Analysis(findings, comparisons, conflicts, tuple(dict.fromkeys(missing)), basis)


def facts_for(ask: Ask, clauses: Sequence[Clause]) -> tuple[list[Fact], list[str]]:
    """The facts that answer *ask*, and what is not found, as phrases."""
    found: list[Fact] = []
    missing: list[str] = []
    for entity in ask.entities:
        if not ask.relations and not ask.measure:
            topical = all_facts(entity, RELATIONS, ask, clauses)[:_MOST_ABOUT_TOPIC]
            found.extend(topical)
            continue
        for relation in ask.relations:
            told = [fact for fact in related(entity, relation, ask, clauses) if _mentions(fact, ask)]
            found.extend(told)
            if not told:
                missing.append(_phrase(relation.label, entity.text, ask))
            for year in ask.years if told and len(ask.years) > 1 else ():
                if relation.wants == "number" and not any((fact.period or "")[:4] == year for fact in told):
                    missing.append(f"{relation.label} of {entity.text} in {year}")
        if not ask.relations:
            told = [fact for fact in measured(entity, ask, clauses) if _mentions(fact, ask)]
            found.extend(told)
            if not told and len(ask.entities) > 1:
                missing.append(entity.text)
    return found, missing


def _phrase(label: str, name: str, ask: Ask) -> str:
    when = f" in {ask.years[0]}" if len(ask.years) == 1 else ""
    return f"{label} of {name}{when}"


def _mentions(fact: Fact, ask: Ask) -> bool:
    """Whether the places and persons the question names are in the sentence: "employees in Norway"."""
    said = fact.clause.sentence.lower()
    return ask.yes_no or all(all(word in said for word in name.key) for name in ask.others)


def _quoted(part: str, ask: Ask, evidence: Evidence, depth: Depth) -> list[Finding]:
    """Where no value was asked or found: the passages that answer in words.

    None when the question asks for a value of a kind that was looked for and is not there.
    """
    if ask.relations and any(relation.wants != "thing" for relation in ask.relations):
        return []
    if ask.wants and ask.entities and ask.entities[0].proper:
        return []
    subject = " and ".join(entity.text for entity in ask.entities) or part
    return [
        Finding(one.excerpt, subject, "", "", "", None, one.url, one.title)
        for one in evidence.search([part], depth, limit=depth.results)
    ]


def _finding(fact: Fact) -> Finding:
    return Finding(
        fact.clause.quote,
        fact.entity.text,
        fact.label,
        fact.value,
        fact.unit,
        fact.period,
        fact.clause.url,
        fact.clause.title,
    )


def _bases(
    facts: Sequence[Fact],
    findings: Sequence[Finding],
    comparisons: Sequence[Comparison],
    conflicts: Sequence[Conflict],
) -> tuple[Basis, ...]:
    made: list[Basis] = []
    disputed = {url for conflict in conflicts for url in conflict.urls}
    for place, one in enumerate(findings):
        citation = Citation(one.url, one.title, (one.statement,))
        if place >= len(facts):
            made.append(
                Basis(
                    f"findings.{place}", "The passage holds the words of the question.", (citation,), "medium"
                )
            )
            continue
        confidence: Confidence = "high" if not facts[place].clause.inherited else "medium"
        reason = f"The sentence gives {one.measure} of {one.subject}."
        if one.url in disputed:
            confidence, reason = (
                "low",
                f"The sentence gives {one.measure} of {one.subject}; another source gives another value.",
            )
        made.append(Basis(f"findings.{place}", reason, (citation,), confidence))
    for place, comparison in enumerate(comparisons):
        subjects = {ranked.subject for ranked in comparison.order}
        used = [
            Citation(one.url, one.title, (one.statement,))
            for one in findings
            if one.measure == comparison.measure
            and (one.subject in subjects or f"{one.subject} in {one.period}" in subjects)
        ]
        made.append(
            Basis(
                f"comparisons.{place}",
                "Computed from the values that these sentences give.",
                tuple(used),
                "high" if used else "low",
            )
        )
    return tuple(made)
