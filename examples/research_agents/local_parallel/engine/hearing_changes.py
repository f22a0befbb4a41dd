"""Hearing clauses about claims that compare two subjects, or tell a rise or a fall."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from .agreement import comparable
from .asking import BY_NAME
from .comparing import best_facts, trends
from .facts import related
from .ownership import owned_by
from .polarity import denies, direction_of
from .vocabulary import content_keys, key_of
from .voices import Voice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .polarity import Direction

__all__ = ["hear_comparison", "hear_direction"]


def hear_comparison(ask: Ask, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """(the part, what the values of both say) for "A has a higher output than B", "A is deeper than B"."""
    compared = ask.comparative
    if compared is None:
        return {"comparison"}, []
    named = [BY_NAME[name] for name in compared.relations]
    for relation in dict.fromkeys([*ask.relations, *named]):
        voices = list(_compared(ask, relation, compared.sign, clauses))
        if voices:
            return {"comparison"}, voices
    return {"comparison"}, []


def _compared(ask: Ask, relation: Relation, sign: int, clauses: Sequence[Clause]) -> Iterator[Voice]:
    told = [related(entity, relation, ask, clauses) for entity in ask.entities[:2]]
    sides = [best_facts([fact for fact in facts if not fact.planned]) for facts in told]
    if not all(sides):
        return
    one, other = sides[0][0], sides[1][0]
    if one.quantity is None or other.quantity is None or not comparable(one.quantity, other.quantity):
        return
    if one.period and other.period and one.period[:4] != other.period[:4]:
        return  # values of different times do not tell who has more
    apart = one.quantity.value - other.quantity.value
    if apart == 0:
        return  # what one measure leaves even, another may decide: "larger" has several
    right = (apart * sign > 0) is not ask.negated
    reason = f"{relation.label.capitalize()}: {one.entity.text} {one.told}, {other.entity.text} {other.told}."
    for fact in (one, other):
        yield Voice("comparison", "supports" if right else "contradicts", reason, fact.clause)


def hear_direction(ask: Ask, clauses: Sequence[Clause]) -> list[Voice]:
    """A rise or a fall: by the values of two times, else by the word."""
    voices: list[Voice] = []
    for entity in ask.entities:
        for relation in ask.relations:
            facts = related(entity, relation, ask, clauses)
            for trend in trends(facts):
                told = _told({ranked.subject: ranked.value for ranked in trend.order})
                right = (told == ask.direction) is not ask.negated
                told_by = [
                    fact
                    for fact in facts
                    if f"{entity.text} in {fact.period}" in {one.subject for one in trend.order}
                ]
                voices.extend(
                    Voice("direction", "supports" if right else "contradicts", trend.statement, fact.clause)
                    for fact in told_by
                )
    return voices or list(_by_word(ask, clauses))


def _told(values: dict[str, str]) -> Direction | None:
    """Which way the values go, from the earliest subject, which ends in its date, to the latest."""
    ordered = [Decimal(values[subject]) for subject in sorted(values)]
    return None if ordered[-1] == ordered[0] else "up" if ordered[-1] > ordered[0] else "down"


def _by_word(ask: Ask, clauses: Sequence[Clause]) -> Iterator[Voice]:
    shared = {relation.name for relation in ask.relations}
    wanted = {key_of(one) for one in ask.measure}
    for clause in clauses:
        said = direction_of(clause.text)
        if said is None or not all(year in clause.sentence for year in ask.years):
            continue
        if shared and not shared & clause.tells:
            continue
        if not wanted <= content_keys(clause.text) or not any(owned_by(one, clause) for one in ask.entities):
            continue
        same = (said == ask.direction) is (denies(clause.text) == ask.negated)
        reason = f'"{clause.title}" says that it went {said}.'
        yield Voice("direction", "supports" if same else "contradicts", reason, clause)
