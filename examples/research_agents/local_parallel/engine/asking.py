"""Reading a question or a claim: whom, which relation of theirs, which values, when, and whether it denies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import RELATIONS, Relation, asked_relations, told_spans
from examples.research_agents.retrieval.text import stem, terms

from .comparatives import Comparative, comparative_in
from .entities import KINDS, Entity, entities_in
from .numbers import Quantity, quantities_in
from .polarity import Direction, compares, denies, direction_of

if TYPE_CHECKING:
    from examples.research_agents.retrieval.names import Name

__all__ = [
    "BY_NAME",
    "KINDS",
    "Ask",
    "Direction",
    "Entity",
    "denies",
    "direction_of",
    "read_claim",
    "read_question",
]

BY_NAME = {one.name: one for one in RELATIONS}
_LONGEST = 4000  # characters of a question or a claim that are read
# Words of a question that say how, not what; by their stems.
_HOW_NOT_WHAT = """
high higher highest large larger largest big bigger biggest great greater greatest many more most less least
low lower lowest small smaller smallest few fewer fewest compare comparison compared comparing versus vs
difference number amount total figure figures value values annual yearly current currently today now list show
name tell give rank report write summarise summarize analyse analyze describe explain overview information
info details facts fact everything question long short old older oldest younger new newer newest fast faster
fastest tall taller tallest heavy heavier heaviest year years percentage percent much find state check verify
claim true false correct please according document documents source sources text texts brief develop developed
change changed deep deeper wide wider expensive cheaper far
"""
_GENERIC = frozenset(stem(word) for word in _HOW_NOT_WHAT.split())
_RISING_FALLING = """
grow growth grew grown growing grows rise rises risen rising rose increase increased increases increasing fall
fell falls fallen falling decrease decreased decreases decline declined declines drop dropped drops shrink
shrank shrinks reduce reduced
"""
_DIRECTIONS = frozenset(stem(word) for word in _RISING_FALLING.split())
_YES_NO = re.compile(r"^(?:is|are|was|were|does|do|did|has|have|had|can|will)\b", re.IGNORECASE)
# What kind of thing answers, by the words that ask; the first that fits.
_WANTED = (
    (
        "reason",
        re.compile(
            r"^(?:why|how come)\b|\bwhat\s(?:caused|led\sto|is\sthe\s(?:cause|reason))\b|\breasons?\b"
        ),
    ),
    (
        "person",
        re.compile(r"\b(?:who|whom|whose|by whom)\b|\bname of the (?:founder|ceo|head)|\bfounders?\b"),
    ),
    ("place", re.compile(r"\bwhere\b|\b(?:which|what) (?:city|town|country|place|village|countries)\b")),
    ("date", re.compile(r"\bwhen\b|\bsince\swhen\b|\b(?:which|what) (?:year|date|day|month)\b|\bhow old\b")),
    (
        "number",
        re.compile(
            r"\bhow (?:many|much|long|tall|high|deep|wide|heavy|large|big|fast|far|hot)\b|\bnumber of\b|\bpercent"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A question or a claim, read.

    Attributes:
        text: as asked.
        entities: what it is about; several where it compares.
        others: further names: places and persons it mentions.
        relations: which relation of the entities, from the lexicon.
        measure: stems of what else is asked, where the lexicon does not know it.
        quantities: the values it states; of a question usually none.
        years: the periods it names.
        negated: whether it denies.
        direction: whether it speaks of a rise or a fall.
        comparing: whether it compares.
        yes_no: whether yes or no would answer.
        wants: "person", "place", "date", "number", "reason" or "" by its question word.
        comparative: which of several is more of what, if it says or asks that.
        words: stems of all words that say what is asked, those of the relations too.
        opens_with: the stem of the only name, where that may be a common word that opens the sentence.
    """

    text: str
    entities: tuple[Entity, ...]
    others: tuple[Name, ...]
    relations: tuple[Relation, ...]
    measure: frozenset[str]
    quantities: tuple[Quantity, ...]
    years: tuple[str, ...]
    negated: bool
    direction: Direction | None
    comparing: bool
    yes_no: bool
    wants: str
    comparative: Comparative | None = None
    words: frozenset[str] = frozenset()
    opens_with: str = ""


@lru_cache(maxsize=512)
def read_question(text: str, common: frozenset[str] = frozenset()) -> Ask:
    """Read a question; see `entities_in` for *common*."""
    return _read(text[:_LONGEST], common, claim=False)


@lru_cache(maxsize=512)
def read_claim(text: str, common: frozenset[str] = frozenset()) -> Ask:
    """Read a claim: relations are recognised as texts tell them too."""
    return _read(text[:_LONGEST], common, claim=True)


def _read(text: str, common: frozenset[str], *, claim: bool) -> Ask:
    lowered = text.lower()
    entities, others, names = entities_in(text, common)
    quantities = quantities_in(text)
    relations = _relations(lowered, quantities, claim=claim)
    comparative = comparative_in(lowered)
    used = {stem(word) for name in names for word in name.key}
    used |= {stem(entity.kind) for entity in entities if entity.kind}
    used |= {one for entity in entities if entity.thing for one in terms(entity.text)}
    for spans in relations.values():
        used |= {term for start, end in spans for term in terms(lowered[start:end])}
    for quantity in quantities:
        used |= set(terms(quantity.text))
    if comparative is not None:
        used |= set(terms(comparative.word))
    measure = frozenset(
        one
        for one in terms(text)
        if one not in used
        and one not in _GENERIC
        and one not in _DIRECTIONS
        and not one.isdigit()
        and not one.startswith(("rel_", "kw_", "dot_"))
    )
    words = frozenset(
        one
        for one in terms(text)
        if one not in _GENERIC and not one.isdigit() and not one.startswith(("rel_", "kw_", "dot_"))
    )
    if not entities and measure:
        # No capital letters: what is left names the thing, "how many employees does velkor have".
        spelled = " ".join(_spelled(text, measure))
        entities, measure = (Entity(spelled, tuple(sorted(measure)), proper=False),), frozenset()
    first = names[0] if names else None
    opening = first is not None and len(first.key) == 1 and not text[: first.start].strip(" \"'(\u201c")
    return Ask(
        text,
        entities,
        others,
        tuple(BY_NAME[name] for name in relations),
        measure,
        quantities,
        tuple(dict.fromkeys(one.year for one in quantities if one.year)),
        denies(text),
        direction_of(text),
        len(entities) > 1 and compares(text),
        _YES_NO.match(text.strip()) is not None,
        next((name for name, pattern in _WANTED if pattern.search(lowered)), ""),
        comparative,
        words,
        stem(first.key[0]) if first is not None and opening else "",
    )


def _relations(
    lowered: str, quantities: tuple[Quantity, ...], *, claim: bool
) -> dict[str, list[tuple[int, int]]]:
    """The relations *lowered* speaks of, with the spans of the words that do."""
    relations = asked_relations(lowered)
    if claim:
        for name, spans in told_spans(lowered).items():
            relations.setdefault(name, []).extend(spans)
    asks_how_much = any(word in lowered for word in ("much", "output", "capacity"))
    if "makes" in relations and not quantities and not asks_how_much:
        relations.pop("output", None)  # "what does it produce" asks for a thing
    return relations


def _spelled(text: str, stems: frozenset[str]) -> list[str]:
    return [word for word in re.findall(r"[\w.']+", text) if stem(word.lower()) in stems]
