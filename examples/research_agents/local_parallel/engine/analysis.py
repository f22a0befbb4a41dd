"""Taking a question apart and putting the values that the sources give side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import RELATIONS

from .agreement import comparable
from .asking import BY_NAME, read_question
from .comparing import compare, conflicts_in, trends
from .evidence import Basis, Citation
from .extremes import extreme_of
from .facts import Fact, all_facts, measured, related
from .holders import holders_of
from .meant import beside_of, with_parts
from .parts import readable, split_parts
from .properties import compare_names
from .reading import common_words, gather
from .results import Analysis, Finding
from .telling import chunks_of, told_in_words, told_of_each
from .vocabulary import content_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.retrieval.ranking import Depth
    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .entities import Entity
    from .evidence import Confidence, Evidence
    from .results import Comparison, Conflict

__all__ = ["analyse", "facts_for"]

_MOST_PARTS = 6  # questions in one message that are looked into
_MOST_FINDINGS = 24
_MOST_ABOUT_TOPIC = 12
_LONGEST = 4000  # characters of a message that are read


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
    for part in split_parts(readable(question)[:_LONGEST])[:_MOST_PARTS]:
        asked = _read(part, evidence, depth)
        if owners := holders_of(part, evidence, depth):
            facts.extend(owners)
            continue
        if (extreme := extreme_of(asked.ask, evidence, depth)) is not None:
            facts.extend(extreme.facts)
            comparing.append(extreme.comparison)
            continue
        found, absent = facts_for(asked.ask, asked.clauses)
        told, absent = _in_words(part, asked, (found, absent), evidence, depth)
        facts.extend(found)
        passages.extend(told)
        missing.extend(absent)
        comparing.extend((*compare(found), *compare_names(found), *trends(found)))
    facts = facts[:_MOST_FINDINGS]
    findings = (*map(_finding, facts), *dict.fromkeys(passages))[:_MOST_FINDINGS]
    comparisons = tuple({one.statement: one for one in comparing}.values())
    conflicts = tuple({one.statement: one for one in conflicts_in(facts)}.values())
    basis = (*_bases(facts, findings, conflicts), *_compared(findings, comparisons))
    return Analysis(findings, comparisons, conflicts, tuple(dict.fromkeys(missing)), basis)


@dataclass(frozen=True, slots=True)
class _Read:
    """A question as read, with the clauses that may answer it."""

    ask: Ask
    clauses: Sequence[Clause]


def _read(part: str, evidence: Evidence, depth: Depth) -> _Read:
    """Read the question *part*, and what may answer it."""
    ask = read_question(part)
    # The chunks find what a question in other words than the passage's does not.
    chunks = () if any(one.proper or one.thing for one in ask.entities) else chunks_of(part)
    clauses = gather(ask.entities, [part], evidence, depth, chunks)
    if ask.opens_with and (common := common_words(ask.opens_with, clauses)):
        ask = read_question(part, common)
        clauses = gather(ask.entities, [part], evidence, depth, chunks_of(part))
    return _Read(ask, clauses)


def facts_for(ask: Ask, clauses: Sequence[Clause]) -> tuple[list[Fact], list[str]]:
    """The facts that answer *ask*, and what is not found, as phrases."""
    found: list[Fact] = []
    missing: list[str] = []
    for entity in ask.entities:
        told, absent = _facts_about(entity, ask, clauses)
        found.extend(told)
        missing.extend(absent)
    return found, missing


def _facts_about(entity: Entity, ask: Ask, clauses: Sequence[Clause]) -> tuple[list[Fact], list[str]]:
    relations = ask.relations or _compared_relations(ask)
    named = entity.proper or entity.thing
    if not relations and not ask.measure and (named or not ask.wants):
        # Of a thing every number in its manual would be a fact; a quotation says more.
        return ([] if entity.thing else all_facts(entity, RELATIONS, ask, clauses)[:_MOST_ABOUT_TOPIC]), []
    found: list[Fact] = []
    missing: list[str] = []
    for relation in relations:
        told = [fact for fact in related(entity, relation, ask, clauses) if _mentions(fact, ask)]
        found.extend(told)
        if not told and ask.relations:
            by_whom = relation.name == "founded" and ask.wants == "person"
            missing.append(_phrase("founder" if by_whom else relation.label, entity.text, ask))
        if told and len(ask.years) > 1 and relation.wants == "number":
            known = {(fact.period or "")[:4] for fact in told}
            missing.extend(
                f"{relation.label} of {entity.text} in {year}" for year in ask.years if year not in known
            )
    if not found and (not ask.relations or not named):
        found = [fact for fact in measured(entity, ask, clauses) if _mentions(fact, ask)]
        if found:
            missing.clear()
        elif len(ask.entities) > 1:
            missing.append(entity.text)
    return found, missing


def _compared_relations(ask: Ask) -> tuple[Relation, ...]:
    """What a word such as "larger" compares, where the question names no measure besides."""
    if ask.comparative is None or len(ask.entities) < 2:
        return ()
    return tuple(BY_NAME[name] for name in ask.comparative.relations)


def _phrase(label: str, name: str, ask: Ask) -> str:
    when = f" in {ask.years[0]}" if len(ask.years) == 1 else ""
    return f"{label} of {name}{when}"


def _mentions(fact: Fact, ask: Ask) -> bool:
    """Whether the places and persons the question names are in the sentence: "employees in Norway"."""
    said = fact.clause.sentence.lower()
    keys = content_keys(" ".join(word for name in ask.others for word in name.key))
    if fact.quantity is not None and not fact.quantity.is_moment and keys and not ask.yes_no:
        text = fact.clause.text
        told = [
            one
            for one in with_parts(text)
            if comparable(one, fact.quantity) or one.start == fact.quantity.start
        ]
        if fact.quantity.start not in {one.start for one in beside_of(keys, text, told)}:
            return False  # "960 people: 700 in Hull and 260 in Cork" are not 960 in Cork
    return ask.yes_no or all(all(word in said for word in name.key) for name in ask.others)


def _in_words(
    part: str, asked: _Read, answered: tuple[list[Fact], list[str]], evidence: Evidence, depth: Depth
) -> tuple[list[Finding], list[str]]:
    """(quotations for what has no value, what is still missing)."""
    found, absent = answered
    ask = asked.ask
    if len(ask.entities) > 1 and not (ask.relations and ask.wants):
        return _of_each(part, asked, answered, evidence, depth)
    if found:
        return [], absent
    if _wants_value(ask):
        return [], absent or [part]
    quoted = told_in_words(part, ask, asked.clauses, evidence, depth)
    return quoted, [] if quoted else absent or [part]


def _of_each(
    part: str, asked: _Read, answered: tuple[list[Fact], list[str]], evidence: Evidence, depth: Depth
) -> tuple[list[Finding], list[str]]:
    """What is said of each of several subjects that has no value, and which of them nothing is said of."""
    found, absent = answered
    entities = asked.ask.entities
    silent = [one for one in entities if not any(fact.entity == one for fact in found)]
    told = {one: told_of_each(asked.ask, one, asked.clauses, evidence, depth) for one in silent}
    quoted = [finding for several in told.values() for finding in several]
    # A phrase such as "output of X" says more than X alone, and nothing where X is quoted.
    phrases = [one for one in absent if one not in {entity.text for entity in entities}]
    phrases = [one for one in phrases if not any(told[name] and name.text in one for name in silent)]
    unnamed = [
        one.text for one in silent if not told[one] and not any(one.text in phrase for phrase in phrases)
    ]
    missing = [*phrases, *unnamed]
    return quoted, missing if quoted or found or missing else [part]


def _wants_value(ask: Ask) -> bool:
    """Whether only a value answers that was looked for and is not there: a sentence about something else would mislead."""
    if ask.wants == "reason":
        return False
    if not ask.entities:
        return False  # "How much was the loss?": the best passage says whose
    if any(relation.wants != "thing" for relation in ask.relations):
        return bool(ask.wants) or any(one.proper for one in ask.entities)
    return bool(ask.wants) and any(one.proper for one in ask.entities)


def _finding(fact: Fact) -> Finding:
    clause = fact.clause
    return Finding(
        clause.quote,
        fact.entity.text,
        fact.label,
        fact.value,
        fact.unit,
        fact.period,
        clause.url,
        clause.title,
    )


def _bases(
    facts: Sequence[Fact], findings: Sequence[Finding], conflicts: Sequence[Conflict]
) -> Iterator[Basis]:
    """Why each finding says what it says."""
    disputed = {
        (url, value)
        for conflict in conflicts
        for url, value in zip(conflict.urls, conflict.values, strict=True)
    }
    for place, one in enumerate(findings):
        citation = Citation(one.url, one.title, (one.statement,))
        if place >= len(facts):
            reason = "The passage holds the words of the question."
            yield Basis(f"findings.{place}", reason, (citation,), "medium")
            continue
        reason = f"The sentence gives {one.measure} of {one.subject}"
        confidence: Confidence = "high" if not facts[place].clause.inherited else "medium"
        if (one.url, facts[place].told) in disputed:
            confidence, reason = "low", f"{reason}; another source gives another value"
        yield Basis(f"findings.{place}", f"{reason}.", (citation,), confidence)


def _compared(findings: Sequence[Finding], comparisons: Sequence[Comparison]) -> Iterator[Basis]:
    """Which findings each comparison was made of."""
    for place, comparison in enumerate(comparisons):
        subjects = {ranked.subject for ranked in comparison.order}
        used = [
            Citation(one.url, one.title, (one.statement,))
            for one in findings
            if one.measure == comparison.measure
            and (one.subject in subjects or f"{one.subject} in {one.period}" in subjects)
        ]
        reason = "Computed from the values that these sentences give."
        yield Basis(f"comparisons.{place}", reason, tuple(used), "high" if used else "low")
