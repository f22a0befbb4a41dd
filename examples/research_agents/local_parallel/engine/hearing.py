"""Hearing clauses about the values, dates, persons and places that a claim states."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.text import stem

from .agreement import agree, comparable
from .attributes import attribute_in, same_value
from .entities import Entity
from .facts import Fact, of_somebody, related, shown_value
from .meant import meant_by, which_ones, with_parts
from .moments import at_its_time, holds_times
from .numbers import quantities_in
from .ownership import owned_by
from .periods import is_earlier, of_other_year, period_before
from .polarity import denies, hedges
from .roles import turned_round
from .vocabulary import content_keys, key_of
from .voices import Voice
from .wording import says_more

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.retrieval.names import Name
    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .numbers import Quantity

__all__ = ["on_attribute", "on_count", "on_names", "on_value"]

_REACH = 60  # characters before a name that say how it stands there
_PLACED = re.compile(r"\b(?:in|at|near|from|outside)\s+(?:the\s+)?$", re.IGNORECASE)
# "led by", "whose head is": what follows is who, and the name before it whose.
_OF_FIRST = re.compile(
    r"\b(?:by|is|was|are|were|named|called)\s+(?:(?:the|its|an?)\s+)?(?:[a-z]+\s+){0,2}$|:\s*$", re.IGNORECASE
)


def on_value(ask: Ask, relation: Relation, claimed: Quantity, clauses: Sequence[Clause]) -> Iterator[Voice]:
    """What the values of *relation* say to the one claimed.

    A value of another time, or of a sentence that lacks a word of the claim, is of something else: it says nothing.
    """
    part = f"{relation.name} {claimed.text}"
    for entity in ask.entities:
        for fact in related(entity, relation, _asked_for(ask, relation), clauses):
            if (
                fact.quantity is None
                or fact.planned
                or hedges(fact.clause.text)
                or not _holds_rest(ask, fact.clause)
            ):
                continue
            if not _is_meant(ask, claimed, fact):
                continue
            same = agree(claimed, fact.quantity)
            value = fact.told.removesuffix(f" {relation.label}")
            told = f'According to "{fact.clause.title}", {relation.label} of {entity.text}: {value}'
            if same:
                yield Voice(part, "supports", f"{told}.", fact.clause)
            elif same is False and not _other_time(ask, fact):
                yield Voice(
                    part,
                    "contradicts",
                    f"{told}, not {_shown(claimed)}.",
                    fact.clause,
                )


def _is_meant(ask: Ask, claimed: Quantity, fact: Fact) -> bool:
    """Whether the fact's value is the one of its sentence that the claim is about; see `meant_by`."""
    if fact.quantity is None or claimed.is_moment:
        return True
    told = [
        one
        for one in with_parts(fact.clause.text)
        if comparable(claimed, one) or one.start == fact.quantity.start
    ]
    spots = {one.start for one in meant_by(ask.text, claimed, fact.clause.text, told)}
    return fact.quantity.start in spots


def _shown(claimed: Quantity) -> str:
    return claimed.shown if claimed.is_moment else shown_value(claimed.shown, claimed.unit)


def _asked_for(ask: Ask, relation: Relation) -> Ask:
    """The claim as a question for the relation's own kind of value: the year of "founded in 1987" is no period."""
    years = () if relation.wants == "date" else ask.years
    return replace(ask, years=years, wants=relation.wants)


def _other_time(ask: Ask, fact: Fact) -> bool:
    """Whether the fact holds for another time than the claim names."""
    return fact.period is not None and bool(ask.years) and fact.period[:4] not in ask.years


def _holds_rest(ask: Ask, clause: Clause) -> bool:
    """Whether the sentence holds the words and names of the claim that neither relation nor value accounts for."""
    wanted = {key_of(one) for one in ask.measure}
    wanted |= {key_of(stem(word)) for name in ask.others for word in name.key}
    return wanted <= content_keys(clause.sentence) | content_keys(clause.title) | content_keys(clause.quote)


def on_names(ask: Ask, relation: Relation, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """(the parts that are names, what the places and persons told say to them)."""
    wanted = "place" if relation.wants == "place" else "person"
    claimed = [
        name for name in ask.others if relation.wants != "date" or _role(ask.text, name.start) == wanted
    ]
    whose = _whose(ask, relation, claimed)
    if whose is None:
        return set(), []
    entity, text, key = whose
    part = f"{relation.name} {text}"
    asked = replace(ask, years=(), wants=wanted)
    by_sentence: dict[tuple[str, int], list[Fact]] = {}
    for fact in related(entity, relation, asked, clauses):
        if not hedges(fact.clause.text):
            by_sentence.setdefault((fact.clause.url, fact.clause.place), []).append(fact)
    heard = (_on_name(part, relation, told, text, key) for told in by_sentence.values())
    timed = (at_its_time(ask, relation, voice) for voice in heard if voice is not None)
    voices = [voice for voice in timed if voice is not None]
    return {part}, [*voices, *_denials(part, relation, entity, key, clauses)]


def _whose(
    ask: Ask, relation: Relation, claimed: Sequence[Name]
) -> tuple[Entity, str, tuple[str, ...]] | None:
    """(whose, who or where, that name's words): "Ida Holm founded Velkor" and "Velkor was founded by Ida Holm" say the same."""
    entities = ask.entities
    if not claimed:
        # Both names are subjects: "Ida Holm and Velkor ..."; nothing tells who is whose.
        return None
    first, other = entities[0], claimed[0]
    before = ask.text[max(0, other.start - _REACH) : other.start]
    # "Velkor is a subsidiary of Morvik": Morvik is whose owner.
    if (
        relation.wants == "place"
        or _OF_FIRST.search(before)
        or turned_round(ask.text, str(other), first.text)
    ):
        return first, str(other), other.key
    # "Ida Holm leads Velkor", "Ida Holm is the head of Velkor".
    return Entity(str(other), other.key), first.text, first.key


def _on_name(
    part: str, relation: Relation, told: Sequence[Fact], text: str, key: tuple[str, ...]
) -> Voice | None:
    """What the names of one sentence say to the one claimed."""
    clause = told[0].clause
    said = {stem(word) for fact in told for word in re.findall(r"\w+", fact.value.lower())}
    names = " and ".join(fact.value for fact in told)
    given = f'"{clause.title}" names {names} as {relation.label} of {told[0].entity.text}'
    if {stem(word) for word in key} <= said:
        return Voice(part, "supports", f"{given}.", clause)
    # Of what there can be several, another one refutes nothing.
    return Voice(part, "contradicts", f"{given}, not {text}.", clause) if relation.single else None


def _denials(
    part: str, relation: Relation, entity: Entity, key: tuple[str, ...], clauses: Sequence[Clause]
) -> Iterator[Voice]:
    """Denials of just this: "X does not operate in Spain"."""
    wanted = {stem(word) for word in key}
    for clause in clauses:
        if (
            denies(clause.text)
            and relation.name in clause.tells
            and wanted <= clause.terms
            and owned_by(entity, clause)
        ):
            yield Voice(part, "contradicts", f'"{clause.title}" denies it.', clause)


def _role(text: str, start: int) -> str:
    return "place" if _PLACED.search(text[max(0, start - _REACH) : start]) else "person"


def on_count(ask: Ask, claimed: Quantity, clauses: Sequence[Clause]) -> Iterator[Voice]:
    """A quantity that no relation of the lexicon takes: "has 12 turbines", "boils at 80 °C"."""
    wanted = {key_of(one) for one in ask.measure} - content_keys(claimed.text)
    wanted |= which_ones(claimed)
    names = {key_of(stem(word)) for name in ask.others for word in name.key}
    if not ask.entities and not wanted and not claimed.counts:
        return
    for clause in clauses:
        if ask.entities and not any(owned_by(entity, clause) for entity in ask.entities):
            continue
        if (
            of_somebody(clause)
            or denies(clause.text)
            or says_more(ask, clause)
            or not holds_times(ask.text, clause)
        ):
            continue
        around = content_keys(clause.quote) if clause.inherited else content_keys(clause.sentence)
        if (
            not wanted <= content_keys(clause.text) | around
            or not names <= content_keys(clause.sentence) | around
        ):
            continue
        yield from _on_numbers(ask, claimed, clause)


def _on_numbers(ask: Ask, claimed: Quantity, clause: Clause) -> Iterator[Voice]:
    told = with_parts(clause.text)
    before = [
        one for one in told if ask.years and (earlier := period_before(clause, one)) and earlier in ask.years
    ]
    if before:
        told = tuple(replace(one, family=claimed.family) if one.kind == "number" else one for one in before)
        if any(comparable(claimed, one) and agree(claimed, one) for one in told):
            yield Voice(claimed.text, "supports", f'"{clause.title}" gives the same value.', clause)
        return
    years = {one.year for one in told if one.year} or {
        one.year for one in quantities_in(clause.sentence) if one.year
    }
    if ask.years and claimed.family != "date" and not set(ask.years) <= years:
        return
    fitting = [
        one
        for one in told
        if comparable(claimed, one)
        and one.kind == claimed.kind
        and not is_earlier(clause.text, one)
        and not of_other_year(clause.text, one, ask.years)
    ]
    fitting = meant_by(ask.text, claimed, clause.text, fitting)
    verdicts = [agree(claimed, one) for one in fitting]
    if any(verdicts):
        yield Voice(claimed.text, "supports", f'"{clause.title}" gives the same value.', clause)
    elif fitting and all(verdict is False for verdict in verdicts) and _is_alone(claimed, fitting, ask):
        values = " and ".join(_shown(one) for one in fitting)
        yield Voice(
            claimed.text, "contradicts", f'"{clause.title}" says {values}, not {_shown(claimed)}.', clause
        )


def _is_alone(claimed: Quantity, fitting: Sequence[Quantity], ask: Ask) -> bool:
    """Whether the only value of its kind is told, so that another one contradicts it, and the claim says of what it is."""
    named = (
        bool(ask.measure)
        or bool(claimed.counts)
        or any(not one.proper and not one.thing for one in ask.entities)
    )
    return len(fitting) == 1 and named


def on_attribute(ask: Ask, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """(the part that is a property, what the same property in the sources says to it): "The license of X is MIT"."""
    claimed = attribute_in(ask.text)
    if claimed is None or claimed.is_number or not ask.entities or ask.negated:
        return set(), []
    measure = {key_of(one) for one in claimed.measure}
    voices: list[Voice] = []
    for clause in clauses:
        told = attribute_in(clause.text)
        if (
            told is None
            or not owned_by(ask.entities[0], clause)
            or denies(clause.text)
            or hedges(clause.text)
        ):
            continue
        if {key_of(one) for one in told.measure} != measure:
            continue
        if claimed.requirement is not None and told.requirement is not None:
            same = told.requirement.bears_out(claimed.requirement)
        else:
            same = same_value(claimed.value, told.value)
        if same is not None:
            reason = f'"{clause.title}" says "{told.value}"' + ("." if same else f', not "{claimed.value}".')
            voices.append(Voice("attribute", "supports" if same else "contradicts", reason, clause))
    return ({"attribute"}, voices) if voices else (set(), [])
