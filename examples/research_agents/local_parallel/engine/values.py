"""Values for the fields of a schema, each with the sentence it was taken from."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from examples.research_agents.phrasing import Part, about
from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.text import terms

from .analysis import facts_for
from .asking import KINDS, denies
from .comparing import conflicts_in
from .evidence import Citation
from .reading import gather, names_entity, owned_by
from .selecting import tell
from .verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.retrieval.ranking import Depth

    from .asking import Ask, Entity
    from .evidence import Confidence, Evidence
    from .facts import Fact
    from .fields import Field, Json
    from .reading import Clause

__all__ = ["Value", "find_value", "found_values", "split_value"]

_NAMING = frozenset(
    [
        "name",
        "title",
        "company",
        "subject",
        "entity",
        "organisation",
        "organization",
        "company name",
        "full name",
    ]
)
_TELLING = frozenset(
    ["summary", "description", "overview", "about", "definition", "purpose", "profile", "abstract"]
)
_WHETHER = re.compile(
    r"^(?:whether|if|true\sif)\s+(?:or\snot\s)?(?:(?:it|they|the\s\w+|he|she)\s)?", re.IGNORECASE
)
_STATE = re.compile(r"^(?:is|has|had|was|does|can|supports|makes|sells|owns|operates|requires|uses)\b")
_COPULA = re.compile(r"\b(?:is|are|was|were|reads|amounts\sto)\s+(?P<value>.+)$")
_PAIR = re.compile(r"^(?P<key>[^:]{1,50}):\s+(?P<value>\S.*)$")
_SEPARATOR = re.compile(r",\s+(?:and\s+)?|\s+and\s+")
_AKIN = 5  # letters that two forms of one word begin with


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it is from.

    Attributes:
        value: JSON.
        citations: of the sentences.
        confidence: "high" where the sentence names the subject itself.
        reason: one sentence.
        fact: behind it, if it is one.
    """

    value: Json
    citations: tuple[Citation, ...]
    confidence: Confidence
    reason: str
    fact: Fact | None = None

    def part(self, field: Field) -> Json:
        """What this value gives for one *field* of an object that describes it: its year, its unit, its number, its source."""
        fact, words = self.fact, set(field.words.split())
        if fact is None:
            return self.value if field.type == "string" and words & (_NAMING | {"value"}) else None
        told: Json = fact.told if field.type == "string" else None
        if words & {"year", "period", "date", "when"}:
            dated = fact.quantity is not None and fact.quantity.kind == "date"
            told = fact.period or (fact.value if dated else None)
            told = int(told[:4]) if told and field.type in {"integer", "number"} else told
        elif words & {"unit", "currency"}:
            told = fact.unit or None
        elif words & {"url", "source"}:
            told = fact.clause.url
        elif words & {"statement", "sentence", "quote", "excerpt"}:
            told = fact.clause.quote
        elif field.type in {"integer", "number"}:
            told = None if fact.quantity is None else field.number(fact.quantity)
        return told


def split_value(found: Sequence[Value]) -> list[Value]:
    """For a list of strings: what one sentence lists, item by item, where it is all that was found."""
    if len(found) != 1 or not isinstance(found[0].value, str):
        return list(found)
    items = [item.strip() for item in _SEPARATOR.split(found[0].value) if item.strip()]
    return [replace(found[0], value=item) for item in items]


def find_value(field: Field, subject: Entity, evidence: Evidence, depth: Depth) -> Value | None:
    """The value of *field* for *subject*; None where no source gives one, or several choices fit."""
    if field.type == "boolean":
        return _judged(field, subject, evidence, depth)
    clauses = _clauses(field, subject, evidence, depth)
    if field.choices:
        return _chosen(field, subject, clauses)
    if field.type == "string" and field.words in _NAMING:
        return _name(subject, clauses)
    if field.type == "string" and set(field.words.split()) & _TELLING:
        told = tell(Part(about(subject.text), subject.text), evidence, depth, 2).lines
        quoted = tuple(Citation(line.url, line.title, (line.text,)) for line in told[:2])
        text = " ".join(line.text for line in told[:2])
        return Value(text, quoted, "medium", "Quoted from the passage that answers best.") if told else None
    return next(iter(found_values(field, subject, evidence, depth, clauses)), None)


def found_values(
    field: Field, subject: Entity, evidence: Evidence, depth: Depth, clauses: Sequence[Clause] | None = None
) -> list[Value]:
    """Every value of *field* that the sources give for *subject*, best first, each once."""
    clauses = _clauses(field, subject, evidence, depth) if clauses is None else clauses
    ask = field.asked_of(subject)
    facts, _ = facts_for(ask, clauses)
    disputed = {url for one in conflicts_in(facts) if len(set(one.urls)) > 1 for url in one.urls}
    # Without a year asked for, the latest is meant.
    facts = sorted(facts, key=lambda fact: fact.period or "", reverse=not ask.years)
    found = [value for fact in facts if (value := _of_fact(field, fact, disputed)) is not None]
    if field.type == "string" and not (found and subject.proper):
        # Of a thing without a name, what is said in the very words of the field is surer than what a relation gives.
        found = [*_said(ask, clauses), *found]
    return list({str(one.value): one for one in reversed(found)}.values())[::-1]


def _clauses(field: Field, subject: Entity, evidence: Evidence, depth: Depth) -> list[Clause]:
    found = gather([subject], [f"What is the {field.words} of {subject.text}?"], evidence, depth)
    if subject.proper:
        return found
    words = [
        re.escape(word)
        for word in re.findall(r"[\w.-]+", subject.text)
        if terms(word) and word.lower() not in KINDS
    ]
    # "fastapi" is not what "prometheus-fastapi-instrumentator" is called.
    named = [re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE) for word in words]
    return [
        one for one in found if all(each.search(one.sentence) or each.search(one.title) for each in named)
    ]


def _of_fact(field: Field, fact: Fact, disputed: set[str]) -> Value | None:
    """A fact in the form that *field* takes."""
    value: Json = fact.value
    if field.type in {"integer", "number"}:
        value = None if fact.quantity is None else field.number(fact.quantity)
    elif fact.quantity is not None and fact.quantity.kind != "date":
        value = fact.told
    if str(field.schema.get("format")) == "date" and not re.fullmatch(r"\d{4}-\d\d-\d\d", fact.value):
        value = None
    if value is None:
        return None
    citation = Citation(fact.clause.url, fact.clause.title, (fact.clause.quote,))
    if fact.clause.url in disputed:
        return Value(value, (citation,), "low", "Another source gives another value.", fact)
    confidence: Confidence = "medium" if fact.clause.inherited else "high"
    return Value(
        value, (citation,), confidence, f"The sentence gives {fact.label} of {fact.entity.text}.", fact
    )


def _said(ask: Ask, clauses: Sequence[Clause]) -> Iterator[Value]:
    """What sentences about the subject say in the words of the field: "Price: 289 euros", "The license of X is MIT"."""
    wanted = ask.measure - ask.entities[0].stems
    names = {relation.name for relation in ask.relations}
    for clause in clauses:
        if not owned_by(ask.entities[0], clause) or denies(clause.text):
            continue
        if not (names & clause.tells if names else wanted and _holds(wanted, clause.terms)):
            continue
        text = clause.text.strip().rstrip(".")
        pair, value = _PAIR.match(text), ""
        if pair and (wanted <= set(terms(pair["key"])) if wanted else names & _told(pair["key"])):
            value = pair["value"]
        elif wanted and (copula := _COPULA.search(text)) and wanted <= set(terms(text[: copula.start()])):
            value = copula["value"]
        elif wanted:
            value = _behind(text, wanted, ask.entities[0])
        if value:
            citation = Citation(clause.url, clause.title, (clause.quote,))
            yield Value(value, (citation,), "medium", f"The sentence gives {ask.text} in these words.")


def _told(text: str) -> set[str]:
    return {term.removeprefix("rel_") for term in terms(text) if term.startswith("rel_")}


def _holds(wanted: frozenset[str], told: frozenset[str]) -> bool:
    """Whether each of the *wanted* words is *told*, or another form of it: "dependencies", "depends"."""
    return all(one in told or any(_akin(one, other) for other in told) for one in wanted)


def _akin(one: str, other: str) -> bool:
    shared = next(
        (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )
    return shared >= _AKIN and shared * 2 > max(len(one), len(other))


def _behind(text: str, wanted: frozenset[str], subject: Entity) -> str:
    """What stands behind the last of the *wanted* words, where they stand side by side: "requires Python >=3.10"."""
    places = [
        match
        for match in re.finditer(r"[\w'-]+", text)
        if any(_holds(wanted & {one}, frozenset(terms(match.group()))) for one in wanted)
    ]
    if not places or any(text[one.end() : other.start()].strip() for one, other in pairwise(places)):
        return ""
    before = text[: places[0].start()].rstrip().lower()
    if len(places) < 2 and not any(before.endswith(word) for word in subject.text.lower().split()):
        return ""
    return re.sub(r"^(?:on|of|from|for|to|with|in|by)\s", "", text[places[-1].end() :].strip(" :,"))


def _name(subject: Entity, clauses: Sequence[Clause]) -> Value | None:
    """The name under which the sources know the subject, in full."""
    named = [
        (str(name), clause)
        for clause in clauses
        for name in names_in(clause.sentence)
        if subject.proper and names_entity(subject, name, clause)
    ] or [(subject.text, clause) for clause in clauses if not subject.proper and owned_by(subject, clause)]
    if not named:
        return None
    name, clause = max(named, key=lambda one: len(one[0]))
    return Value(
        name, (Citation(clause.url, clause.title, (clause.sentence,)),), "high", "The source has this name."
    )


def _chosen(field: Field, subject: Entity, clauses: Sequence[Clause]) -> Value | None:
    """The choice whose words are said of the subject; None where several are, or none."""
    heard: dict[str, Clause] = {}
    for clause in clauses:
        if not owned_by(subject, clause) or denies(clause.text):
            continue
        for choice in field.choices:
            wanted = set(terms(choice.replace("_", " ")))
            if wanted and wanted <= clause.terms:
                heard.setdefault(choice, clause)
    if len(heard) != 1:
        return None
    [(choice, clause)] = heard.items()
    citation = Citation(clause.url, clause.title, (clause.quote,))
    return Value(choice, (citation,), "medium", "The only choice whose words a source has about it.")


def _judged(field: Field, subject: Entity, evidence: Evidence, depth: Depth) -> Value | None:
    """Yes or no, by checking the claim that the field makes about the subject."""
    words = field.named
    if _WHETHER.match(field.description):
        words = _WHETHER.sub("", field.description).strip(" .?")
    state = words if _STATE.match(words) else f"is {words}"
    verdict = verify(f"{subject.text} {state}.", evidence, depth)
    if verdict.verdict == "not_found":
        return None
    citations = tuple(citation for one in verdict.basis for citation in one.citations)
    return Value(verdict.verdict == "supported", citations, verdict.confidence, verdict.reasoning)
