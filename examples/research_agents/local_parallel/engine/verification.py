"""Whether the sources bear a claim out: by its values, its places and persons, its direction, its denial, and its words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from examples.research_agents.retrieval.text import stem, terms

from .asking import Entity, denies, direction_of, read_claim
from .comparing import best_facts, trends
from .evidence import Basis, Citation
from .facts import Fact, related, shown_value
from .numbers import agree, comparable, quantities_in
from .parts import split_claims
from .reading import gather, owned_by
from .results import Verdict, Witness
from .wording import judge_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.retrieval.ranking import Depth
    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .evidence import Confidence, Evidence
    from .numbers import Quantity
    from .reading import Clause

__all__ = ["split_claims", "verify"]

_MORE = re.compile(
    r"\b(?:more|higher|larger|bigger|greater|longer|taller|heavier|faster|older|exceeds?|surpass\w*|outnumber\w*|ahead)\b",
    re.IGNORECASE,
)
_LESS = re.compile(r"\b(?:less|fewer|lower|smaller|shorter|lighter|slower|younger|behind)\b", re.IGNORECASE)
_MOST_WITNESSES = 6


@dataclass(frozen=True, slots=True)
class Voice:
    """What one clause says to a claim, or to a part of it."""

    part: str
    stance: Literal["supports", "contradicts"]
    reason: str
    clause: Clause


def verify(claim: str, evidence: Evidence, depth: Depth) -> Verdict:
    """Whether the sources support or contradict *claim*.

    Every part of the claim must be borne out to support it; one contradicted part contradicts it. Where sources disagree, the
    verdict is "contradicted" with confidence "low", and `evidence` shows both.

    Args:
        claim: one claim, as a sentence.
        evidence: what to read.
        depth: how many passages and sentences to read.
    """
    ask = read_claim(claim)
    clauses = gather(ask.entities, [claim], evidence, depth)
    parts, voices = _hear(ask, clauses)
    if not voices and not parts:
        voices = [Voice("words", *heard) for heard in judge_words(ask, clauses)]
        parts = {"words"}
    return _verdict(claim, ask, parts, voices)


def _verdict(claim: str, ask: Ask, parts: set[str], voices: Sequence[Voice]) -> Verdict:
    against = [voice for voice in voices if voice.stance == "contradicts"]
    supporting = [voice for voice in voices if voice.stance == "supports"]
    confidence: Confidence
    verdict: Literal["supported", "contradicted", "not_found"]
    heard = [*against, *supporting]
    if against:
        verdict = "contradicted"
        disputed = {voice.part for voice in against} & {voice.part for voice in supporting}
        confidence = "low" if disputed else "high" if not against[0].clause.inherited else "medium"
        reason = against[0].reason
        if disputed:
            reason = f"The sources disagree: {reason[0].lower()}{reason[1:].rstrip('.')}, but another one supports the claim."
    elif parts and parts <= {voice.part for voice in supporting}:
        verdict = "supported"
        words_only = parts == {"words"}
        confidence = "medium" if words_only or supporting[0].clause.inherited else "high"
        reason = supporting[0].reason
    else:
        verdict, confidence, heard = "not_found", "low", []
        about = ask.entities[0].text if ask.entities else "it"
        partly = "; a part of it is supported, not all" if supporting else ""
        reason = f"No passage says this about {about}, or the contrary{partly}."
    witnesses = _witnesses(heard)
    citations = tuple(Citation(one.url, one.title, (one.excerpt,)) for one in witnesses)
    return Verdict(
        claim, verdict, confidence, reason, witnesses, (Basis("verdict", reason, citations, confidence),)
    )


def _witnesses(voices: Sequence[Voice]) -> tuple[Witness, ...]:
    """One for each sentence, those that decide first."""
    kept: dict[tuple[str, str], Witness] = {}
    for voice in voices:
        clause = voice.clause
        kept.setdefault(
            (clause.url, clause.sentence), Witness(clause.url, clause.title, clause.quote, voice.stance)
        )
    return tuple(kept.values())[:_MOST_WITNESSES]


def _hear(ask: Ask, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """The parts of the claim that are values, and what the clauses say to each."""
    parts: set[str] = set()
    voices: list[Voice] = []
    if not ask.entities:
        return parts, voices
    if len(ask.entities) > 1 and (_MORE.search(ask.text) or _LESS.search(ask.text)):
        return _hear_comparison(ask, clauses)
    if ask.direction is not None:
        heard = _hear_direction(ask, clauses)
        return {"direction"}, heard
    left = [
        one
        for one in ask.quantities
        if one.family != "date" or any(relation.wants == "date" for relation in ask.relations)
    ]
    for relation in ask.relations:
        claimed = [one for one in left if one.kind in relation.families]
        for one in claimed:
            left.remove(one)
            parts.add(f"{relation.name} {one.text}")
            for entity in ask.entities:
                voices.extend(_on_value(f"{relation.name} {one.text}", ask, entity, relation, one, clauses))
    for relation in ask.relations:
        if relation.wants in {"place", "person"} or (relation.name == "founded" and ask.others):
            heard_parts, heard = _on_names(ask, relation, clauses)
            parts |= heard_parts
            voices.extend(heard)
    for one in left:
        if one.family != "date":
            parts.add(one.text)
            voices.extend(_on_count(ask, one, clauses))
    if ask.negated:
        voices = [
            Voice(
                voice.part,
                "contradicts" if voice.stance == "supports" else "supports",
                voice.reason,
                voice.clause,
            )
            for voice in voices
        ]
    return parts, voices


def _on_value(
    part: str, ask: Ask, entity: Entity, relation: Relation, claimed: Quantity, clauses: Sequence[Clause]
) -> Iterator[Voice]:
    """What the values of *relation* say to the one claimed."""
    for fact in related(entity, relation, _asked_for(ask, relation), clauses):
        if fact.quantity is None:
            continue
        same = agree(claimed, fact.quantity)
        if same is None:
            continue
        told = f"{relation.label} of {entity.text} as {fact.told}"
        if same:
            yield Voice(part, "supports", f"{fact.clause.title} gives {told}.", fact.clause)
        elif not _other_time(ask, fact):
            claimed_text = (
                claimed.shown if claimed.family == "date" else shown_value(claimed.shown, claimed.unit)
            )
            yield Voice(
                part, "contradicts", f"{fact.clause.title} gives {told}, not {claimed_text}.", fact.clause
            )


def _asked_for(ask: Ask, relation: Relation) -> Ask:
    """The claim as a question for the relation's own kind of value: the year of "founded in 1987" is no period."""
    years = () if relation.wants == "date" else ask.years
    return replace(ask, years=years, wants=relation.wants)


def _other_time(ask: Ask, fact: Fact) -> bool:
    """Whether the fact holds for a time of its own, and the claim for none or another: no contradiction, unless it is the only one."""
    return fact.period is not None and bool(ask.years) and fact.period[:4] not in ask.years


def _on_names(ask: Ask, relation: Relation, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """What the places and persons told say to those claimed."""
    wanted = "place" if relation.wants == "place" else "person"
    claimed = (
        [name for name in ask.others if _role(ask.text, name.start) == wanted]
        if relation.name == "founded"
        else list(ask.others)
    )
    entities = ask.entities
    if not claimed and len(entities) > 1:
        # "Ida Holm founded Velkor Dynamics", "Per Lund leads Morvik": who is whose, the sources tell.
        claimed_texts = [
            (entities[1], entities[0].text, entities[0].key),
            (entities[0], entities[1].text, entities[1].key),
        ]
    else:
        claimed_texts = [(entities[0], str(name), name.key) for name in claimed]
        if relation.wants == "person":
            claimed_texts.extend(
                (Entity(str(name), name.key), entities[0].text, entities[0].key) for name in claimed
            )
    parts = {f"{relation.name} {text}" for entity, text, _ in claimed_texts if entity == entities[0]} or {
        f"{relation.name} {text}" for _, text, _ in claimed_texts
    }
    if not parts:
        return set(), []
    part = next(iter(parts))
    voices: list[Voice] = []
    for entity, text, key in claimed_texts:
        asked = replace(ask, years=(), wants=wanted)
        by_sentence: dict[tuple[str, int], list[Fact]] = {}
        for fact in related(entity, relation, asked, clauses):
            by_sentence.setdefault((fact.clause.url, fact.clause.place), []).append(fact)
        for told in by_sentence.values():
            said = {stem(word) for fact in told for word in re.findall(r"\w+", fact.value.lower())}
            names = " and ".join(fact.value for fact in told)
            if {stem(word) for word in key} <= said:
                voices.append(
                    Voice(
                        f"{relation.name} {text}",
                        "supports",
                        f"{told[0].clause.title} names {names} as {relation.label} of {entity.text}.",
                        told[0].clause,
                    )
                )
            elif relation.single:
                voices.append(
                    Voice(
                        f"{relation.name} {text}",
                        "contradicts",
                        f"{told[0].clause.title} names {names} as {relation.label} of {entity.text}, not {text}.",
                        told[0].clause,
                    )
                )
    for clause in clauses:
        # "X does not operate in Spain": a denial of just this.
        if denies(clause.text) and relation.name in clause.tells and owned_by(entities[0], clause):
            for entity, text, key in claimed_texts:
                if entity == entities[0] and {stem(word) for word in key} <= clause.terms:
                    voices.append(
                        Voice(f"{relation.name} {text}", "contradicts", f"{clause.title} denies it.", clause)
                    )
    if len(parts) > 1 or any(voice.part not in parts for voice in voices):
        # Either reading of who is whose will do.
        supported = [voice for voice in voices if voice.stance == "supports"]
        voices = [Voice(part, voice.stance, voice.reason, voice.clause) for voice in (supported or voices)]
        if len(claimed) <= 1:
            parts = {part}
    return parts, voices


def _role(text: str, start: int) -> str:
    return (
        "place"
        if re.search(r"\b(?:in|at|near|from|outside)\s+(?:the\s+)?$", text[:start], re.IGNORECASE)
        else "person"
    )


def _on_count(ask: Ask, claimed: Quantity, clauses: Sequence[Clause]) -> Iterator[Voice]:
    """A quantity that no relation of the lexicon takes: "has 12 turbines", "boils at 80 °C"."""
    wanted = ask.measure - set(terms(claimed.text))
    for clause in clauses:
        if denies(clause.text) or not any(owned_by(entity, clause) for entity in ask.entities):
            continue
        if not wanted <= clause.terms | {term for term in terms(clause.quote) if clause.inherited}:
            continue
        fitting = [
            one
            for one in quantities_in(clause.text)
            if one.family != "date" and comparable(claimed, one) and (one.kind == claimed.kind)
        ]
        if not fitting:
            continue
        if any(agree(claimed, one) for one in fitting):
            yield Voice(claimed.text, "supports", f"{clause.title} gives the same value.", clause)
        else:
            told = " and ".join(shown_value(one.shown, one.unit) for one in fitting)
            yield Voice(
                claimed.text,
                "contradicts",
                f"{clause.title} says {told}, not {shown_value(claimed.shown, claimed.unit)}.",
                clause,
            )


def _hear_comparison(ask: Ask, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """ "A has a higher output than B": by their values."""
    voices: list[Voice] = []
    for relation in ask.relations:
        sides = [best_facts(related(entity, relation, ask, clauses)) for entity in ask.entities[:2]]
        if not all(sides):
            continue
        one, other = sides[0][0], sides[1][0]
        if one.quantity is None or other.quantity is None or not comparable(one.quantity, other.quantity):
            continue
        more = one.quantity.value > other.quantity.value
        equal = one.quantity.value == other.quantity.value
        right = not equal and (more is (_MORE.search(ask.text) is not None)) is not ask.negated
        reason = (
            f"{relation.label.capitalize()}: {one.entity.text} {one.told}, {other.entity.text} {other.told}."
        )
        voices.extend(
            Voice("comparison", "supports" if right else "contradicts", reason, fact.clause)
            for fact in (one, other)
        )
    return {"comparison"}, voices


def _hear_direction(ask: Ask, clauses: Sequence[Clause]) -> list[Voice]:
    """A rise or a fall: by the values of two times, else by the word."""
    voices: list[Voice] = []
    for entity in ask.entities:
        for relation in ask.relations:
            facts = related(entity, relation, ask, clauses)
            for trend in trends(facts):
                earlier, later = sorted(trend.order, key=lambda ranked: ranked.subject)[
                    :: max(len(trend.order) - 1, 1)
                ][:2]
                told = (
                    "up"
                    if float(later.value) > float(earlier.value)
                    else "down"
                    if float(later.value) < float(earlier.value)
                    else None
                )
                stance: Literal["supports", "contradicts"] = (
                    "supports" if (told == ask.direction) is not ask.negated else "contradicts"
                )
                voices.extend(Voice("direction", stance, trend.statement, fact.clause) for fact in facts)
        if voices:
            continue
        shared = {relation.name for relation in ask.relations}
        for clause in clauses:
            said = direction_of(clause.text)
            timely = all(year in clause.sentence for year in ask.years)
            if (
                said
                and timely
                and owned_by(entity, clause)
                and (not shared or shared & clause.tells)
                and ask.measure <= clause.terms
            ):
                same = (said == ask.direction) is (denies(clause.text) == ask.negated)
                voices.append(
                    Voice(
                        "direction",
                        "supports" if same else "contradicts",
                        f"{clause.title} says that it went {said}.",
                        clause,
                    )
                )
    return voices
