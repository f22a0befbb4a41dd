"""Choosing sentences for a text: those that tell what one part of a request asks, each understandable where it stands.

A part that names somebody takes what is said of them, found by `facts` where a value is asked; any other takes the
sentences of the passages that the search puts first. What repeats a sentence that was taken is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.research_agents.phrasing import WHEN
from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.text import query_terms, stem

from .analysis import facts_for
from .asking import KINDS, Entity, read_question
from .excerpts import best_lines
from .lines import Line, reads, same
from .reading import gather, names_entity, owned_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from examples.research_agents.phrasing import Part
    from examples.research_agents.retrieval.ranking import Depth

    from .asking import Ask
    from .evidence import Evidence
    from .facts import Fact
    from .reading import Clause

__all__ = ["Told", "entity_of", "tell"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the sources tell about one part of a request.

    Attributes:
        lines: in the order in which they are to be read.
        facts: the values in them, to be compared.
    """

    lines: tuple[Line, ...] = ()
    facts: tuple[Fact, ...] = ()


def tell(
    part: Part, evidence: Evidence, depth: Depth, most: int, *, origin: Callable[[str], str] = str
) -> Told:
    """What *evidence* tells about *part*.

    Args:
        part: what is asked.
        evidence: where to look.
        depth: how hard.
        most: sentences at most; those that another one points back at are not counted.
        origin: the address that a passage has outside, where it has another one here.
    """
    ask = _ask(part)
    if not (ask.entities and ask.entities[0].proper):
        return Told(tuple(best_lines(part, evidence, depth, most, origin)))
    clauses = gather(ask.entities, [part.question], evidence, depth)
    facts, _ = facts_for(ask, clauses)
    if not ask.relations and not ask.measure:
        owned = [one for one in clauses if any(owned_by(entity, one) for entity in ask.entities)]
        # What a document that bears the name says besides: "The largest customer is Tampere".
        titled = [one for one in clauses if any(entity.stems <= one.context for entity in ask.entities)]
        told = [*owned, *(one for one in titled if one not in owned)]
        return Told(tuple(_of_clauses(_best(told, facts, most), clauses)), tuple(facts))
    if facts:
        return Told(tuple(_of_clauses([fact.clause for fact in facts][:most], clauses)), tuple(facts))
    lines = tuple(_of_clauses(_speaking(ask, clauses)[:most], clauses))
    valued = any(relation.wants != "thing" for relation in ask.relations) or ask.wants in {"number", "date"}
    return Told(lines or () if valued else lines or tuple(best_lines(part, evidence, depth, most, origin)))


def entity_of(subject: str) -> Entity | None:
    """*subject* as somebody or something with a name; None for a common thing, which is found by its words."""
    subject = WHEN.sub("", subject)
    names = names_in(subject)
    if not names or re.search(r"[_()`]", subject):
        return None
    entity = next(iter(read_question(f"Tell me about {subject}.").entities), None)
    if entity is None:
        return None
    # A name is all there is: of "Norlux 400" it would be "Norlux", which "Norlux 500" is as well, and "CORS in prodkit" is no CORS.
    kinds = {*map(stem, KINDS)}
    return (
        None
        if {*query_terms(subject)} - entity.stems - kinds - {stem(word) for word in entity.key}
        else entity
    )


def _ask(part: Part) -> Ask:
    """The question of *part*, about its subject: "the Python version of fastapi" is not about Python."""
    ask = read_question(part.question)
    if not part.subject:
        return ask
    entity = entity_of(part.subject)
    if entity is None:
        return replace(ask, entities=())
    return replace(ask, entities=(entity,), others=()) if part.aspect else ask


def _speaking(ask: Ask, clauses: Sequence[Clause]) -> list[Clause]:
    """The clauses about whom is asked that speak of what is asked, where no value could be taken from them."""
    wanted = {relation.name for relation in ask.relations}
    found = []
    for clause in clauses:
        about = any(
            owned_by(entity, clause) or _named_in(entity, clause) or entity.stems <= clause.context
            for entity in ask.entities
        )
        if not about or not (
            wanted & clause.tells if wanted else ask.measure <= clause.terms | clause.context
        ):
            continue
        if all(year in clause.sentence for year in ask.years):
            found.append(clause)
    return found


def _named_in(entity: Entity, clause: Clause) -> bool:
    """Whether *clause* names *entity*, whatever it is about: a quotation shows what is said of whom."""
    return any(names_entity(entity, name, clause) for name in names_in(clause.sentence))


def _best(clauses: Sequence[Clause], facts: Sequence[Fact], most: int) -> list[Clause]:
    """Of what is said about somebody: first the sentences with values, then as they stand, none twice."""
    valued = Counter((fact.clause.url, fact.clause.place) for fact in facts)
    ordered = sorted(clauses, key=lambda one: -min(valued[one.url, one.place], 2))
    chosen: list[Clause] = []
    for clause in ordered:
        if len(chosen) == most:
            break
        if reads(clause.sentence) and not any(same(clause.sentence, other.sentence) for other in chosen):
            chosen.append(clause)
    return chosen


def _of_clauses(chosen: Iterable[Clause], everything: Sequence[Clause]) -> list[Line]:
    """The sentences of *chosen* as lines, each behind those of its passage that it needs to be understood."""
    ranks = {url: rank for rank, url in enumerate(dict.fromkeys(clause.url for clause in everything))}
    passages: dict[tuple[str, int], str] = {(one.url, one.place): one.sentence for one in everything}
    lines: dict[tuple[str, int], Line] = {}
    seen: set[str] = set()
    for clause in chosen:
        for place in sorted(_needed(clause, passages)):
            sentence = passages[clause.url, place]
            if sentence not in seen and reads(sentence):
                seen.add(sentence)
                lines[clause.url, place] = Line(sentence, clause.url, clause.title, ranks[clause.url], place)
    return sorted(lines.values(), key=lambda line: (line.rank, line.place))


def _needed(clause: Clause, passages: dict[tuple[str, int], str]) -> set[int]:
    """The places of the sentence and, where it opens with "It", of the one that names whom it means."""
    needed = {clause.place}
    if clause.inherited and clause.quote != clause.sentence:
        head = clause.quote.removesuffix(clause.sentence).removesuffix("[...] ").strip()
        needed |= {place for (url, place), text in passages.items() if url == clause.url and text == head}
    return needed
