"""Which of the quantities in a clause is the value asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import told_relations
from examples.research_agents.retrieval.text import stem, terms

from .meant import is_part, parts_in, segment_of, with_parts
from .numbers import Quantity, quantities_in
from .ownership import names_entity
from .periods import is_earlier, period_before
from .vocabulary import content_keys, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .entities import Entity

__all__ = ["HEADS", "before_in_time", "counted_in", "distance_to", "nearest_to", "spots_of", "values_of"]

# Nouns that are counted when the relation is asked for: "340 people" are employees, "12 sites" are not.
HEADS = {
    "staff": frozenset(
        ["people", "employee", "worker", "staff", "person", "men", "women", "job", "colleague", "strong", "specialist"]
    ),
    "population": frozenset(["people", "inhabitant", "resident", "citizen", "person", "soul"]),
    "customers": frozenset(["customer", "client", "user", "subscriber"]),
}  # fmt: skip


def values_of(entity: Entity, relation: Relation, ask: Ask, clause: Clause) -> list[Quantity]:
    """The quantities in *clause* that are the value of *relation* of *entity*: those of the places and years asked, if told."""
    return _parts_asked(ask, clause) or [
        *_fitting(entity, relation, ask, clause),
        *_of_years_before(ask, relation, clause),
    ]


def _parts_asked(ask: Ask, clause: Clause) -> list[Quantity]:
    """The parts of the value that stand before a name asked for: of "960 people: 700 in Hull and 260 in Cork" those in Cork."""
    keys = content_keys(" ".join(word for name in ask.others for word in name.key))
    return [one for one in parts_in(clause.text) if keys & content_keys(segment_of(clause.text, one))]


def _of_years_before(ask: Ask, relation: Relation, clause: Clause) -> list[Quantity]:
    """The values of a year asked for that the clause gives beside those of the next: "up from 1,310 a year earlier"."""
    told = [one for one in with_parts(clause.text) if one.kind in relation.families and not one.is_moment]
    return [one for one in told if ask.years and period_before(clause, one) in ask.years]


def _fitting(entity: Entity, relation: Relation, ask: Ask, clause: Clause) -> list[Quantity]:
    """The quantities in *clause* that can be the relation's value, without those of an earlier time."""
    told = quantities_in(clause.text)
    fitting = [
        one
        for one in told
        if one.kind in relation.families and one.kind != "date" and not is_part(clause.text, one)
    ]
    if heads := HEADS.get(relation.name):
        fitting = [one for one in fitting if one.counts in heads] or [
            one for one in fitting if one.kind == "number"
        ]
    elif physical := [one for one in fitting if one.kind not in {"count", "number"}]:
        fitting = physical
    if len(fitting) > 1:
        fitting = [one for one in fitting if not is_earlier(clause.text, one)] or fitting[:1]
    if len(fitting) > 1:
        fitting = _before_words(ask, entity, clause, fitting)
    if len(fitting) > 1 and not any(one.family == "date" for one in told):
        spots = _places_of(entity, clause) or spots_of(relation, clause.text)
        fitting = [min(fitting, key=lambda one: distance_to(spots, one))]
    return fitting


def _before_words(ask: Ask, entity: Entity, clause: Clause, told: list[Quantity]) -> list[Quantity]:
    """Those before the words asked: of "2.80 euros for adults and 1.40 euros for children" those for children; else all."""
    asked = {key_of(one) for one in (ask.measure if entity.proper else ask.measure | entity.stems)}
    return [one for one in told if asked & content_keys(segment_of(clause.text, one))] or told


def _places_of(entity: Entity, clause: Clause) -> list[int]:
    """Where the clause names *entity*, if that is not its subject: "160 euros in Germany and 210 euros in Switzerland"."""
    if clause.subject is not None and names_entity(entity, clause.subject, clause):
        return []
    offset = max(clause.sentence.find(clause.text), 0)
    return [name.start - offset for name in clause.names if names_entity(entity, name, clause)]


def spots_of(relation: Relation, text: str) -> list[int]:
    """Where the words stand that tell *relation*."""
    return [
        match.start()
        for match in re.finditer(r"[a-z]+", text.lower())
        if relation.name in told_relations(match.group())
    ]


def distance_to(spots: Sequence[int], quantity: Quantity) -> int:
    """Characters between *quantity* and the nearest of *spots*."""
    return min(
        (min(abs(quantity.start - spot), abs(spot - quantity.end)) for spot in spots), default=quantity.start
    )


def counted_in(wanted: frozenset[str], text: str) -> list[Quantity]:
    """What counts the thing asked; a part of it where the question says which: "electric" of "14 vessels, of which five are"."""
    counted = [one for one in with_parts(text) if one.kind == "count" and stem(one.counts) in wanted]
    keys = {key_of(one) for one in wanted}
    parts = [one for one in counted if one in parts_in(text) and keys & content_keys(segment_of(text, one))]
    return parts or [one for one in counted if one not in parts_in(text)]


def before_in_time(clause: Clause, chosen: Sequence[Quantity]) -> list[Quantity]:
    """The values that those *chosen* are compared with: "compared with 8,105 in January of the previous year"."""
    if len(chosen) != 1:
        return []
    return [
        one
        for one in with_parts(clause.text)
        if one.family == chosen[0].family and one.start != chosen[0].start and is_earlier(clause.text, one)
    ]


def nearest_to(wanted: frozenset[str], text: str, values: Sequence[Quantity]) -> list[Quantity]:
    """The value right behind the last of the words asked, else the one before them."""
    spots = [
        match.end()
        for match in re.finditer(r"[\w'-]+", text.lower())
        if not wanted.isdisjoint(terms(match.group()))
    ]
    last = max(spots, default=0)
    return [min(values, key=lambda one: (one.start < last, abs(one.start - last)))]
