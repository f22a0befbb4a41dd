"""Which of all is the most: "Which company is the oldest?" names none, so every subject that a source gives the value of is one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.text import stem, terms

from .agreement import comparable
from .asking import BY_NAME
from .comparing import best_facts, comparison_of
from .entities import Entity
from .facts import measured, related, shown_value
from .reading import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth
    from examples.research_agents.retrieval.relations import Relation

    from .asking import Ask
    from .clauses import Clause
    from .comparatives import Comparative
    from .evidence import Evidence
    from .facts import Fact
    from .results import Comparison

__all__ = ["Extreme", "extreme_of"]

_MOST = 40  # subjects that are looked at
_ADVERBS = r"(?:most\s(?:expensive|powerful)|least\s(?:expensive|powerful)|most|least|fewest|[a-z]{2,}est)"
_VERB = r"(?:is|are|was|were|has|have|had|does|did|[a-z]{2,}(?:ed|s))"
# "Which company is the oldest?", "Which of the Kestrel pumps has ...?"
_WHICH = re.compile(
    rf"^(?:which|what)\s(?:one\s)?(?:of\s(?:the|these|all)\s)?(?P<kind>(?:[\w-]+\s){{1,3}}?){_VERB}\b(?=.*\b{_ADVERBS}\b)",
    re.IGNORECASE,
)
# "What is the heaviest model?", "the cheapest Kestrel pump"
_THE = re.compile(rf"\bthe\s{_ADVERBS}\s(?P<kind>(?:[\w-]+\s?){{1,2}})", re.IGNORECASE)
_SUPERLATIVE = re.compile(rf"\b{_ADVERBS}\b", re.IGNORECASE)
_NO_SUPERLATIVE = frozenset(["test", "rest", "west", "interest", "request", "forest", "nearest", "latest", "guest", "harvest", "invest", "honest", "suggest", "contest", "protest"])  # fmt: skip
# What any subject may be called.
_ANY_KIND = frozenset(["company", "firm", "organisation", "organization", "business", "group", "person", "source", "document", "product", "item", "thing", "one"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extreme:
    """Who has most, or least.

    Attributes:
        facts: one of each subject, the winner first.
        comparison: of all of them.
    """

    facts: tuple[Fact, ...]
    comparison: Comparison


def extreme_of(ask: Ask, evidence: Evidence, depth: Depth) -> Extreme | None:
    """The subjects that the sources give the measure of, the one asked for first; None where *ask* is no such question.

    Also None where fewer than two subjects have a value: of one alone nobody knows whether it is the most.
    """
    compared = ask.comparative
    if compared is None or sum(one.proper for one in ask.entities) > 1 or not _asks(ask.text):
        return None
    kind, measure = _kind_and_measure(ask)
    family = next((one for one in ask.entities if one.proper), None)
    relations = list(ask.relations) or ([] if measure else [BY_NAME[name] for name in compared.relations])
    words = {*kind, *measure}
    queries = [ask.text, *(relation.label for relation in relations)]
    queries += [word for word in re.findall(r"[\w-]+", ask.text) if stem(word.lower()) in words]
    clauses = gather([family] if family else [], queries, evidence, depth)
    subjects = _subjects(clauses, family)
    measures: list[Relation | None] = [*relations] if relations else [None]
    for relation in measures:
        facts = _facts(ask, relation, measure, _of_kind(subjects, kind, clauses), clauses)
        if len(facts) > 1:
            return _ordered(facts, compared)
    return None


def _asks(text: str) -> bool:
    found = [match.group().lower() for match in _SUPERLATIVE.finditer(text)]
    asks = re.match(r"(?:which|what|who|name|find)\b", text.strip(), re.IGNORECASE)
    return asks is not None and any(one not in _NO_SUPERLATIVE for one in found)


def _kind_and_measure(ask: Ask) -> tuple[frozenset[str], frozenset[str]]:
    """(stems of what the subjects are called, stems of what of them is asked besides the lexicon's relations)."""
    which, the = _WHICH.match(ask.text.strip()), _THE.search(ask.text)
    found = which or the
    kind = frozenset(terms(found["kind"])) if found else frozenset[str]()
    own = frozenset(term for one in ask.entities if one.proper for term in one.stems)
    left = ask.measure | frozenset(term for one in ask.entities if not one.proper for term in one.stems)
    known = {one for relation in ask.relations for word in relation.words for one in terms(word)}
    asked = frozenset(one for one in left if one not in kind and not _SUPERLATIVE.fullmatch(one))
    return frozenset(one for one in kind - own if not one.startswith("rel_")), asked - known - _counted(ask)


def _counted(ask: Ask) -> frozenset[str]:
    """What the relation asked for counts: the "people" of "employs the most people"."""
    return frozenset(map(stem, ("people", "person", "staff", "worker"))) if ask.relations else frozenset()


def _subjects(clauses: Sequence[Clause], family: Entity | None) -> list[Entity]:
    """Whom the clauses are about, each once under its longest name; of a *family* its members."""
    names = {clause.subject.key: str(clause.subject) for clause in clauses if clause.subject is not None}
    found: list[Entity] = []
    for key, text in names.items():
        longer = [other for other in names if set(key) < set(other)]
        if longer or (family is not None and not family.stems <= set(map(stem, key))):
            continue
        found.append(Entity(text, key))
    return found[:_MOST]


def _of_kind(subjects: Sequence[Entity], kind: frozenset[str], clauses: Sequence[Clause]) -> list[Entity]:
    """Those of *subjects* that are called the *kind* by name, or by the table they stand in; all where none is."""
    if not kind - _ANY_STEMS:
        return list(subjects)
    tabled = {
        clause.subject.key
        for clause in clauses
        if clause.subject is not None and kind & clause.context and "\n" in clause.quote
    }
    called = [one for one in subjects if kind & one.stems or one.key in tabled]
    return called if len(called) > 1 else list(subjects)


_ANY_STEMS = frozenset(map(stem, _ANY_KIND))


def _facts(
    ask: Ask,
    relation: Relation | None,
    measure: frozenset[str],
    subjects: Sequence[Entity],
    clauses: Sequence[Clause],
) -> list[Fact]:
    """The best fact of each subject, all comparable with the first."""
    found: list[Fact] = []
    for one in subjects:
        asked = replace(
            ask, entities=(one,), others=(), measure=measure, wants="" if relation is None else relation.wants
        )
        told = measured(one, asked, clauses) if relation is None else related(one, relation, asked, clauses)
        found.extend(
            fact
            for fact in best_facts([fact for fact in told if not fact.planned])[:1]
            if fact.quantity is not None and fact.quantity.family != "clock"
        )
    first = found[0].quantity if found else None
    return [
        one
        for one in found
        if first is not None and one.quantity is not None and comparable(first, one.quantity)
    ]


def _ordered(facts: Sequence[Fact], compared: Comparative) -> Extreme:
    sides = sorted(facts, key=lambda one: -compared.sign * (one.quantity.value if one.quantity else 0))
    return Extreme(tuple(sides), _ranked(sides, compared))


def _ranked(ordered: Sequence[Fact], compared: Comparative) -> Comparison:
    """All of them as a comparison whose statement begins with the one asked for."""
    label = ordered[0].label
    told = comparison_of(label, [(fact.entity.text, fact) for fact in ordered])
    shown = {one.subject: shown_value(one.value, told.unit) for one in told.order}
    best, *others = (f"{fact.entity.text} ({shown[fact.entity.text]})" for fact in ordered)
    dated = ordered[0].quantity is not None and ordered[0].quantity.family == "date"
    measure = f"({label})" if dated or (compared.relations and label in _SAID_ALREADY) else label
    return replace(
        told, statement=f"{compared.word.capitalize()} {measure}: {best}; then {', '.join(others)}."
    )


# What "heaviest" and the like say already.
_SAID_ALREADY = frozenset(["weight", "depth", "height", "width", "speed", "temperature", "cost", "length"])
