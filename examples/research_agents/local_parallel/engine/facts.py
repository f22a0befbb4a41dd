"""Facts: the value of a relation of somebody, taken from a clause that is about them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import Relation, told_relations
from examples.research_agents.retrieval.text import terms

from .attributes import Attribute, attribute_in
from .fitting import HEADS, before_in_time, counted_in, distance_to, nearest_to, spots_of, values_of
from .meant import with_parts
from .numbers import Quantity, plain, quantities_in
from .ownership import owned_by
from .periods import period_of
from .persons_places import persons_in, places_in, product_in
from .polarity import denies
from .roles import turned_round
from .tenses import is_planned
from .vocabulary import content_keys, key_of
from .wording import held_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .asking import Ask
    from .clauses import Clause
    from .entities import Entity

__all__ = ["Fact", "all_facts", "measured", "of_somebody", "related", "shown_value"]

_UNITS = {"staff": "employees", "population": "inhabitants", "customers": "customers"}


# What "the head of Velkor" earned is not what Velkor did.
_OF_SOMEBODY = re.compile(
    r"(?:[Tt]he\s)?(?:[a-z]+\s)?(?:head|chief|executive|founder|owner|director|president|chair\w*|mayor|subsidiary|parent|rival|supplier)\s"
    r"of\s(?:the\s)?[A-Z]\w*(?:\s[A-Z]\w*)*,?\s[a-z]"
)
_RELATIVE = re.compile(r"(?:which|who|whose|where|that)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value a clause gives.

    Attributes:
        entity: whose.
        label: of what: "employees", or the words asked.
        value: as findings carry it.
        unit: of the value.
        period: the year it holds for, or None.
        quantity: the number behind it; None for names.
        clause: which says so.
        relation: of the lexicon, if it is one of them.
        single: whether another value contradicts it.
        planned: whether somebody only plans or expects it.
    """

    entity: Entity
    label: str
    value: str
    unit: str
    period: str | None
    quantity: Quantity | None
    clause: Clause
    relation: Relation | None = None
    single: bool = True
    planned: bool = False

    @property
    def told(self) -> str:
        """The value with its unit, as an answer writes it."""
        return shown_value(self.value, self.unit)


def shown_value(value: str, unit: str) -> str:
    """*value* with *unit*; thousands are separated."""
    if re.fullmatch(r"-?\d{1,40}(?:\.\d+)?", value) and not (unit == "" and len(value) == 4):
        whole, point, rest = value.partition(".")
        # "-0.5" keeps its sign.
        sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
        value = f"{sign}{int(digits):,}{point}{rest}"
    return f"{value} {unit}".strip()


def related(entity: Entity, relation: Relation, ask: Ask, clauses: Sequence[Clause]) -> list[Fact]:
    """What *clauses* give as *relation* of *entity*, for the years asked; each value of each passage once."""
    found: list[Fact] = []
    wants = ask.wants if ask.wants in {"person", "place", "date"} else relation.wants
    for clause in clauses:
        owned = owned_by(entity, clause) or _heads(entity, relation, clause)
        if denies(clause.text) or not owned or not _tells(relation, clause):
            continue
        if relation.wants == "number":
            if of_somebody(clause):
                continue
            fitting = values_of(entity, relation, ask, clause)
            found.extend(_valued(entity, relation.label, relation, clause, fitting))
        elif wants == "date":
            found.extend(_dated(entity, relation, clause))
        else:
            named = _named_in(entity, relation, clause, wants)
            found.extend(
                Fact(entity, relation.label, name, "", None, None, clause, relation, relation.single)
                for name in named
                if not turned_round(clause.text, entity.text, name)
            )
    if relation.wants == "number" and ask.years:
        found = [fact for fact in found if fact.period is not None and fact.period[:4] in ask.years]
    return _once(found)


def measured(entity: Entity, ask: Ask, clauses: Sequence[Clause]) -> list[Fact]:
    """What *clauses* say of *entity* in the words asked, where the lexicon knows none: "the boiling point of X"."""
    named = entity.proper or entity.thing
    wanted = ask.measure - entity.stems if named else ask.words
    if not wanted or (not named and not ask.wants):
        return []
    found: list[Fact] = []
    label = " ".join(_words_of(ask.text, wanted))
    for clause in clauses:
        if denies(clause.text) or not _speaks_of(wanted, clause, named=named):
            continue
        if named and not owned_by(entity, clause):
            continue
        found.extend(_measured_in(entity, label, wanted, ask, clause))
    if ask.years and ask.wants == "number":
        found = [fact for fact in found if fact.period is not None and fact.period[:4] in ask.years]
    return _once(found)


def _measured_in(
    entity: Entity, label: str, wanted: frozenset[str], ask: Ask, clause: Clause
) -> Iterator[Fact]:
    attribute = attribute_in(clause.text)
    told = quantities_in(clause.text)
    values = [one for one in told if not one.is_moment]
    if attribute is not None and _covers(attribute, wanted) and not attribute.is_number:
        value = attribute.requirement.text if attribute.requirement else attribute.value
        yield Fact(entity, label, value.removeprefix("version "), "", None, None, clause)
    elif ask.wants == "date":
        moments = [one for one in told if one.is_moment]
        yield from (Fact(entity, label, one.shown, "", None, one, clause) for one in moments[:1])
    elif ask.wants in {"person", "place"}:
        for name in _named_in(entity, None, clause, ask.wants):
            yield Fact(entity, label, name, "", None, None, clause, single=False)
    elif values:
        chosen = counted_in(wanted, clause.text) or nearest_to(wanted, clause.text, values)
        before = [
            one
            for one in before_in_time(clause, chosen)
            if len(ask.years) > 1 or period_of(clause, one, alone=False) in ask.years
        ]
        yield from _valued(entity, label, None, clause, [*chosen, *before])


def _speaks_of(wanted: frozenset[str], clause: Clause, *, named: bool) -> bool:
    """Whether the clause holds the words asked; of what has no name, its title may hold some: "Travel policy"."""
    if named or held_by(wanted, clause.text):
        return held_by(wanted, clause.text)
    own = {key_of(one) for one in wanted} & content_keys(clause.text)
    return 2 * len(own) > len(wanted) and held_by(wanted, f"{clause.text} {clause.title}")


def _covers(attribute: Attribute, wanted: frozenset[str]) -> bool:
    return {key_of(one) for one in wanted} <= {key_of(one) for one in attribute.measure}


def all_facts(
    entity: Entity, relations: Iterable[Relation], ask: Ask, clauses: Sequence[Clause]
) -> list[Fact]:
    """Every fact about *entity* that the lexicon knows, and every other number said of it."""
    found = [
        fact for relation in relations if relation.single for fact in related(entity, relation, ask, clauses)
    ]
    taken = {(fact.clause.url, fact.clause.place, fact.value) for fact in found}
    for clause in clauses:
        if not owned_by(entity, clause) or denies(clause.text):
            continue
        for one in with_parts(clause.text):
            key = (clause.url, clause.place, one.shown)
            if one.is_moment or one.family == "number" or key in taken:
                continue
            taken.add(key)
            label = one.unit if one.kind == "count" else one.kind
            found.extend(_valued(entity, label, None, clause, [one]))
    return _once(found)


def of_somebody(clause: Clause) -> bool:
    """Whether the clause tells of somebody of its subject: "the head of Velkor earned"."""
    return _OF_SOMEBODY.match(clause.text) is not None


def _heads(entity: Entity, relation: Relation, clause: Clause) -> bool:
    """Whether the clause gives the head of what the title names: "Ute Harms has been chief executive since 2021"."""
    named = entity.proper and relation.name == "leader" and relation.name in clause.tells
    known = clause.context.union(*(clause.aliases.get(one, frozenset()) for one in clause.context))
    return (
        named
        and bool(clause.names)
        and entity.stems <= known
        and all(len(one.key) == 2 for one in clause.names)
    )


def _tells(relation: Relation, clause: Clause) -> bool:
    """Whether the clause speaks of the relation, or only adds a value to what the one before it in the sentence says."""
    if relation.name in clause.tells:
        return True
    if relation.name not in told_relations(clause.sentence.lower()) or clause.tells:
        return False
    # "..., who ran it until 1994" says something of its own.
    return clause.inherited and not _RELATIVE.match(clause.text) and bool(quantities_in(clause.text))


def _valued(
    entity: Entity, label: str, relation: Relation | None, clause: Clause, quantities: Sequence[Quantity]
) -> Iterator[Fact]:
    for one in quantities:
        period = period_of(clause, one, alone=len(quantities) == 1)
        counted = relation is not None and one.kind in {"count", "number"}
        unit = _UNITS.get(relation.name, one.unit) if relation is not None and counted else one.unit
        if relation is not None and counted and relation.name in HEADS and "/" not in one.family:
            # "340 people", "340 employees", "a workforce of 340" are told of the same.
            one = replace(one, family="number")  # noqa: PLW2901
        planned = is_planned(clause.text, one.start)
        told = f"planned {label}" if planned else label
        yield Fact(entity, told, plain(one.told), unit, period, one, clause, relation, planned=planned)


def _dated(entity: Entity, relation: Relation, clause: Clause) -> Iterator[Fact]:
    dates = [one for one in quantities_in(clause.text) if one.family == "date"]
    if dates:
        spots = spots_of(relation, clause.text)
        one = min(dates, key=lambda date: distance_to(spots, date))
        yield Fact(entity, relation.label, one.shown, "", None, one, clause, relation)


def _named_in(entity: Entity, relation: Relation | None, clause: Clause, wants: str) -> list[str]:
    """The names that the clause gives where a person, a place or a thing is wanted."""
    if wants == "person":
        return persons_in(entity, clause, one=relation is not None and relation.name == "leader")
    if wants == "place":
        return places_in(entity, clause)
    thing = product_in(clause)
    return [] if thing is None else [thing]


def _once(facts: Iterable[Fact]) -> list[Fact]:
    """Each value of each passage once."""
    kept: dict[tuple[str, str, str, str | None], Fact] = {}
    for fact in facts:
        key = (fact.clause.url, fact.entity.text + fact.label, fact.value + fact.unit, fact.period)
        kept.setdefault(key, fact)
    return list(kept.values())


def _words_of(text: str, stems: frozenset[str]) -> list[str]:
    return [word for word in re.findall(r"[\w'-]+", text) if not stems.isdisjoint(terms(word))]
