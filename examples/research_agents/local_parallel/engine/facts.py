"""Facts: the value of a relation of somebody, taken from a clause that is about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import Relation, told_relations
from examples.research_agents.retrieval.text import stem, terms

from .asking import denies
from .numbers import Quantity, plain, quantities_in
from .reading import Clause, names_entity, owned_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .asking import Ask, Entity

__all__ = ["Fact", "all_facts", "measured", "related", "shown_value"]

# Nouns that are counted when the relation is asked for: "340 people" are employees, "12 sites" are not.
_HEADS = {
    "staff": frozenset(
        ["people", "employee", "worker", "staff", "person", "men", "women", "job", "colleague", "strong", "specialist"]
    ),
    "population": frozenset(["people", "inhabitant", "resident", "citizen", "person", "soul"]),
    "customers": frozenset(["customer", "client", "user", "subscriber"]),
}
_EARLIER = re.compile(
    r"(?:\bfrom|\bcompared\s(?:with|to)|\bagainst|\bafter|\bversus|\bup\son|\bdown\son|\binstead\sof|\brather\sthan|\bnot)\s(?:about\s|around\s|just\s|roughly\s|some\s|only\s)?$",
    re.IGNORECASE,
)
_EARLIER_YEAR = re.compile(
    r"\s?(?:a\syear\s(?:earlier|before|ago)|the\s(?:year\sbefore|previous\syear)|previously|before)",
    re.IGNORECASE,
)
_PLACED = re.compile(
    r"(?:\b(?:in|at|near|from|on|outside)\s+(?:the\s+)?(?:[\w-]+\s+){0,5}?|\b(?:city|town|village|port|region|capital|headquarters|seat|office|home|base|headquarters\sis|seat\sis|home\sis)\s+(?:of\s+|is\s+|is\sin\s+|are\s+)?|:\s*|\bcalls?\s+)$",
    re.IGNORECASE,
)
_LEADING_WORDS = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)


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
    """

    entity: Entity
    label: str
    value: str
    unit: str
    period: str | None
    quantity: Quantity | None
    clause: Clause
    relation: Relation | None = None

    @property
    def told(self) -> str:
        """The value with its unit, as an answer writes it."""
        return shown_value(self.value, self.unit)


def shown_value(value: str, unit: str) -> str:
    """*value* with *unit*; thousands are separated."""
    if re.fullmatch(r"-?\d+(?:\.\d+)?", value) and not (unit == "" and len(value) == 4):
        whole, point, rest = value.partition(".")
        value = f"{int(whole):,}{point}{rest}"
    if unit == "%":
        return f"{value} %"
    return f"{value} {unit}".strip()


def related(entity: Entity, relation: Relation, ask: Ask, clauses: Sequence[Clause]) -> list[Fact]:
    """What *clauses* give as *relation* of *entity*, for the years asked; each value of each passage once."""
    found: list[Fact] = []
    for clause in clauses:
        if denies(clause.text) or not owned_by(entity, clause) or not _tells(relation, clause):
            continue
        wants = ask.wants if ask.wants in {"person", "place", "date"} else relation.wants
        if relation.wants == "number":
            found.extend(_valued(entity, relation.label, relation, clause, _fitting(relation, clause)))
        elif wants == "date":
            found.extend(_dated(entity, relation, clause))
        elif wants == "person":
            found.extend(_named(entity, relation, clause, _persons(entity, relation, clause)))
        elif wants == "place":
            found.extend(_named(entity, relation, clause, _places(entity, clause)))
        elif (thing := _thing(clause)) is not None:
            found.append(Fact(entity, relation.label, thing, "", None, None, clause, relation))
    if relation.wants == "number" and ask.years:
        found = [fact for fact in found if fact.period is not None and fact.period[:4] in ask.years]
    return _once(found)


def measured(entity: Entity, ask: Ask, clauses: Sequence[Clause]) -> list[Fact]:
    """What *clauses* say of *entity* in the words asked, where the lexicon knows none: "the boiling point of X"."""
    found: list[Fact] = []
    wanted = ask.measure - entity.stems
    if not wanted:
        return []
    label = " ".join(_words_of(ask.text, wanted))
    for clause in clauses:
        if denies(clause.text) or not wanted <= clause.terms or not owned_by(entity, clause):
            continue
        quantities = [one for one in quantities_in(clause.text) if one.family != "date"]
        counted = [
            one for one in quantities if one.kind == "count" and stem(one.unit.split("/")[0]) in wanted
        ]
        if ask.wants == "date":
            dates = [one for one in quantities_in(clause.text) if one.family == "date"]
            found.extend(Fact(entity, label, one.shown, "", None, one, clause) for one in dates[:1])
        elif ask.wants == "person":
            found.extend(_named(entity, None, clause, _persons(entity, None, clause), label))
        elif ask.wants == "place":
            found.extend(_named(entity, None, clause, _places(entity, clause), label))
        elif counted or quantities:
            found.extend(_valued(entity, label, None, clause, counted or quantities[:1]))
    if ask.years and ask.wants == "number":
        found = [fact for fact in found if fact.period in ask.years]
    return _once(found)


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
        for one in quantities_in(clause.text):
            key = (clause.url, clause.place, one.shown)
            if one.family in {"date", "number"} or key in taken:
                continue
            taken.add(key)
            label = one.unit if one.kind == "count" else one.kind
            found.extend(_valued(entity, label, None, clause, [one]))
    return _once(found)


def _tells(relation: Relation, clause: Clause) -> bool:
    """Whether the clause speaks of the relation, or only adds a value to what the one before it in the sentence says."""
    if relation.name in clause.tells:
        return True
    if relation.name not in told_relations(clause.sentence.lower()) or clause.tells:
        return False
    return clause.inherited and bool(quantities_in(clause.text))


def _fitting(relation: Relation, clause: Clause) -> list[Quantity]:
    """The quantities in *clause* that can be the relation's value, without those of an earlier time."""
    told = quantities_in(clause.text)
    fitting = [one for one in told if one.kind in relation.families and one.kind != "date"]
    if heads := _HEADS.get(relation.name):
        headed = [
            one for one in fitting if one.kind == "count" and one.family.split(":")[1].split("/")[0] in heads
        ]
        plain_numbers = [one for one in fitting if one.kind == "number"]
        fitting = headed or plain_numbers
    elif physical := [one for one in fitting if one.kind not in {"count", "number"}]:
        fitting = physical
    kept: list[Quantity] = []
    for one in fitting:
        after = clause.text[one.end :]
        own_year = re.match(r"\s*(?:,\s*|\()?(?:in|for|of|during)?\s*(?:the\s+year\s+)?\d{4}\b", after)
        if (
            not own_year
            and (_EARLIER.search(clause.text[: one.start]) or _EARLIER_YEAR.match(after))
            and len(fitting) > 1
        ):
            continue
        kept.append(one)
    if len(kept) > 1 and not any(one.family == "date" for one in told):
        kept = [min(kept, key=lambda one: _distance(relation, clause.text, one))]
    return kept


def _distance(relation: Relation, text: str, quantity: Quantity) -> int:
    """Characters between *quantity* and the word that tells *relation*."""
    spots = [
        match.start()
        for match in re.finditer(r"[a-z]+", text.lower())
        if relation.name in told_relations(match.group())
    ]
    return min(
        (min(abs(quantity.start - spot), abs(spot - quantity.end)) for spot in spots), default=quantity.start
    )


def _valued(
    entity: Entity, label: str, relation: Relation | None, clause: Clause, quantities: Iterable[Quantity]
) -> Iterator[Fact]:
    chosen = list(quantities)
    for one in chosen:
        period = _period(clause, one, alone=len(chosen) == 1)
        unit = (
            label
            if relation is not None and one.kind in {"count", "number"} and relation.name in _HEADS
            else one.unit
        )
        yield Fact(entity, label, plain(one.told), unit, period, one, clause, relation)


def _period(clause: Clause, quantity: Quantity, *, alone: bool) -> str | None:
    """The date that *quantity* holds for: the one right behind it, else one before it, else that of sentence or title."""
    dates = [one for one in quantities_in(clause.text) if one.family == "date"]
    # "since 2010" and "founded in 1987" say nothing about the time of a value beside them.
    dates = [
        one
        for one in dates
        if not re.search(
            r"\b(?:since|founded|established|opened|built|started|back to|inaugurated|commissioned|set up)\s(?:\w+\s){0,3}$",
            clause.text[: one.start].lower(),
        )
    ]
    behind = [one for one in dates if one.start >= quantity.end and one.start - quantity.end < 25]
    if behind:
        return behind[0].shown
    before = [one for one in dates if one.end <= quantity.start]
    if before:
        return before[-1].shown
    if dates and alone:
        return dates[0].shown
    lead = re.match(
        r"(?:in|during|for|as of|at the end of)\s(?:[a-z]+\s){0,3}(\d{4})\b", clause.sentence, re.IGNORECASE
    )
    if lead:
        return lead[1]
    titled = re.findall(r"\b(?:19|20)\d\d\b", clause.title)
    return titled[0] if len(titled) == 1 else None


def _dated(entity: Entity, relation: Relation, clause: Clause) -> Iterator[Fact]:
    dates = [one for one in quantities_in(clause.text) if one.family == "date"]
    if dates:
        one = min(dates, key=lambda date: _distance(relation, clause.text, date))
        yield Fact(entity, relation.label, one.shown, "", None, one, clause, relation)


def _named(
    entity: Entity, relation: Relation | None, clause: Clause, names: Iterable[str], label: str = ""
) -> Iterator[Fact]:
    for name in names:
        yield Fact(
            entity, label or (relation.label if relation else ""), name, "", None, None, clause, relation
        )


def _persons(entity: Entity, relation: Relation | None, clause: Clause) -> list[str]:
    """Names in the clause that are not the entity and not a place."""
    offset = clause.sentence.find(clause.text)
    found: list[str] = []
    for name in clause.names:
        before = clause.sentence[max(offset, 0) : name.start]
        if names_entity(entity, name, clause) or re.search(
            r"\b(?:in|at|near|from|on|of|outside|for|to)\s+(?:the\s+)?$", before, re.IGNORECASE
        ):
            continue
        found.append(str(name))
    if (
        not found
        and clause.subject is not None
        and not names_entity(entity, clause.subject, clause)
        and clause.inherited
    ):
        found.append(str(clause.subject))
    return found if relation is None or relation.name != "leader" else found[:1]


def _places(entity: Entity, clause: Clause) -> list[str]:
    """Names in the clause that stand behind a preposition of place, or like "Oslo-based"."""
    offset = clause.sentence.find(clause.text)
    found: list[str] = []
    for name in clause.names:
        before = clause.sentence[max(offset, 0) : name.start]
        based = re.match(r"([\w\u00c0-\u024f]+)-based\b", name)
        if based:
            found.append(based[1])
        elif re.match(r"-based\b", clause.sentence[name.end :]) or (not names_entity(entity, name, clause) and (
            _PLACED.search(before) or (found and re.fullmatch(r".*(?:,|and)\s*", before[-6:]))
        )):
            found.append(str(name))
    return found


_MAKES = re.compile(
    r"\b(?:makes?|builds?|produces?|manufactures?|sells?|crafts?|develops?|speciali[sz]es\sin|(?:maker|producer|manufacturer)\sof)\s+(?P<thing>[^.;]+)",
    re.IGNORECASE,
)


def _thing(clause: Clause) -> str | None:
    match = _MAKES.search(clause.text)
    if match is None:
        return None
    return re.split(r",?\s(?:in|for|at|and\s(?:is|was|has|employs|operates))\s", match["thing"])[0].strip(
        " .,"
    )


def _once(facts: Iterable[Fact]) -> list[Fact]:
    """Each value of each passage once."""
    kept: dict[tuple[str, str, str, str | None], Fact] = {}
    for fact in facts:
        kept.setdefault(
            (fact.clause.url, fact.entity.text + fact.label, fact.value + fact.unit, fact.period), fact
        )
    return list(kept.values())


def _words_of(text: str, stems: frozenset[str]) -> list[str]:
    return [word for word in re.findall(r"[\w'-]+", text) if set(terms(word)) & stems]
