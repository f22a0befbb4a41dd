"""What a question or a claim is about: whom, which relation of theirs, which values, when, and whether it denies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from examples.research_agents.retrieval.names import Name, names_in
from examples.research_agents.retrieval.relations import RELATIONS, Relation, asked_relations, told_relations
from examples.research_agents.retrieval.text import STOP_WORDS, stem, terms

from .numbers import Quantity, quantities_in

__all__ = ["BY_NAME", "Ask", "Direction", "Entity", "denies", "read_claim", "read_question"]

Direction = Literal["up", "down"]

BY_NAME = {one.name: one for one in RELATIONS}
_THING = (
    "reactor plant facility station factory mill dam bridge tower vessel ship town city village turbine mine observatory museum "
    "university hospital company firm group institute foundation laboratory lab project programme program river lake mountain "
    "island valley region province county country bank brewery airline railway airport harbour port school college team club "
    "engine satellite telescope rocket aircraft robot drone device battery cable pipeline tunnel canal road festival prize "
    "protocol standard language library package framework statement function method"
)
KINDS = frozenset(_THING.split())
# Words of a question that say how, not what.
_GENERIC = frozenset(
    ["high", "higher", "highest", "large", "larger", "largest", "big", "bigger", "biggest", "great", "greater", "greatest", "many", "more", "most", "less", "least", "low", "lower", "lowest", "small", "smaller", "smallest", "few", "fewer", "fewest", "compare", "comparison", "compared", "versus", "vs", "difference", "number", "amount", "total", "figure", "figures", "value", "values", "annual", "yearly", "current", "currently", "today", "now", "list", "show", "name", "tell", "give", "rank", "report", "write", "summarise", "summarize", "analyse", "analyze", "describe", "explain", "overview", "information", "info", "details", "facts", "fact", "everything", "question", "long", "short", "old", "older", "oldest", "younger", "new", "newer", "newest", "fast", "faster", "fastest", "tall", "taller", "tallest", "heavy", "heavier", "heaviest", "year", "years", "percentage", "percent", "much", "find", "state", "check", "verify", "claim", "true", "false", "correct", "please", "according", "document", "documents", "source", "sources", "text", "texts", "brief", "short"]
)
_ROLE = re.compile(
    r"\b(?P<word>in|near|from|into|by|with|at|for|to|on|than|outside|under|towards?)\s+(?:the\s+)?(?:[a-z]+\s+){0,2}$",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"^\s*(?:,|and|or|,\s*and|,\s*or|&|vs\.?|versus|than|with|to)\s+(?:the\s+|an?\s+|of\s+|that\s+of\s+)*$",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:not|never|no longer|neither|nor|cannot|without|none|nowhere|isn['\u2019]?t|aren['\u2019]?t|wasn['\u2019]?t|weren['\u2019]?t|"
    r"doesn['\u2019]?t|don['\u2019]?t|didn['\u2019]?t|hasn['\u2019]?t|haven['\u2019]?t|hadn['\u2019]?t|won['\u2019]?t|can['\u2019]?t|"
    r"denie[sd]|ceased to|stopped|refuses to|has no|have no|had no|no)\b(?!\s+(?:more than|less than|fewer than|later than|only))",
    re.IGNORECASE,
)
_UP = re.compile(
    r"\b(?:gr[eo]w(?:s|n|ing|th)?|ris(?:e|es|en|ing)|rose|increas\w+|climb\w*|expand\w*|gain(?:s|ed)?|up from)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:fall(?:s|en|ing)?|fell|drop(?:s|ped)?|decreas\w+|declin\w+|shr[aiu]nk\w*|sank|sinks?|reduc\w+|down from|slump\w*)\b",
    re.IGNORECASE,
)
_COMPARING = re.compile(
    r"\b(?:compar\w+|versus|vs\.?|differ\w*|rank|more|less|fewer|most|least|fewest|highest|lowest|[a-z]{2,}er\s+than|which\s+(?:of|is|has|one)"
    r"|(?:high|low|larg|bigg|great|small|long|tall|heavi|fast|old|young|new|deep|wid|strong)(?:er|est)|exceed\w*|same)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"^(?:is|are|was|were|does|do|did|has|have|had|can|will)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entity:
    """Whom or what a question asks about.

    Attributes:
        text: as asked.
        key: its words as compared; of a proper name in order, else sorted stems.
        kind: the common noun behind the name ("reactor"), or empty.
        proper: whether it is a name; else some words that must all be there.
    """

    text: str
    key: tuple[str, ...]
    kind: str = ""
    proper: bool = True

    @property
    def stems(self) -> frozenset[str]:
        """Its words as index terms."""
        return frozenset(map(stem, self.key)) - STOP_WORDS if self.proper else frozenset(self.key)


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
        wants: "person", "place", "date", "number" or "" by its question word.
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


def denies(text: str) -> bool:
    """Whether *text* holds a negation."""
    return _NOT.search(text) is not None


def direction_of(text: str) -> Direction | None:
    """Whether *text* tells a rise or a fall; None for neither, or both."""
    up, down = _UP.search(text) is not None, _DOWN.search(text) is not None
    return None if up == down else "up" if up else "down"


@lru_cache(maxsize=512)
def read_question(text: str) -> Ask:
    """Read a question."""
    return _read(text, claim=False)


@lru_cache(maxsize=512)
def read_claim(text: str) -> Ask:
    """Read a claim: relations are recognised as texts tell them too."""
    return _read(text, claim=True)


def _read(text: str, *, claim: bool) -> Ask:
    lowered = text.lower()
    names = names_in(text)
    entities, others = _roles(text, names)
    relations = asked_relations(lowered)
    if claim:
        for name in told_relations(lowered):
            relations.setdefault(name, [])
    if (
        "makes" in relations
        and "output" in relations
        and not quantities_in(text)
        and "much" not in lowered
        and "output" not in lowered
        and "capacity" not in lowered
    ):
        relations.pop("output")
    years = tuple(dict.fromkeys(one.year for one in quantities_in(text) if one.year))
    used = {stem(word) for name in names for word in name.key}
    used |= {stem(entity.kind) for entity in entities if entity.kind}
    for spans in relations.values():
        used |= {term for start, end in spans for term in terms(lowered[start:end])}
    for quantity in quantities_in(text):
        used |= set(terms(quantity.text))
    used |= {one for one in terms(text) if one.startswith("rel_")}
    generic = set(map(stem, _GENERIC))
    rest = [one for one in terms(text) if one not in used and one not in generic and not one.isdigit()]
    measure = frozenset(one for one in rest if not (_UP.fullmatch(one) or _DOWN.fullmatch(one)))
    if not entities and measure:
        # No capital letters: what is left names the thing, "how many employees does velkor have".
        entities, measure = (
            (Entity(" ".join(_spelled(text, measure)), tuple(sorted(measure)), proper=False),),
            frozenset(),
        )
    measure -= (
        {
            stem(word)
            for word in (
                "grow",
                "growth",
                "grew",
                "grown",
                "rise",
                "rose",
                "increase",
                "fall",
                "fell",
                "decrease",
                "decline",
                "drop",
                "shrink",
            )
        }
        if direction_of(text)
        else frozenset()
    )
    return Ask(
        text, entities, others, tuple(BY_NAME[name] for name in relations), measure, quantities_in(text), years,
        denies(text), direction_of(text), len(entities) > 1 and _COMPARING.search(text) is not None,
        _YES_NO.match(text.strip()) is not None, _wants(lowered),
    )  # fmt: skip


def _wants(lowered: str) -> str:
    if re.search(r"\b(?:who|whom|whose|by whom)\b|\bname of the (?:founder|ceo|head)|\bfounders?\b", lowered):
        return "person"
    if re.search(r"\bwhere\b|\b(?:which|what) (?:city|town|country|place|village|countries)\b", lowered):
        return "place"
    if re.search(r"\bwhen\b|\b(?:which|what) (?:year|date|day|month)\b|\bhow old\b", lowered):
        return "date"
    if re.search(
        r"\bhow (?:many|much|long|tall|high|deep|wide|heavy|large|big|fast|far|hot)\b|\bnumber of\b|\bpercent",
        lowered,
    ):
        return "number"
    return ""


def _roles(text: str, names: tuple[Name, ...]) -> tuple[tuple[Entity, ...], tuple[Name, ...]]:
    """Which names a text is about, and which it only mentions: "in Spain", "by Ida Holm"."""
    about: list[Entity] = []
    mentioned: list[Name] = []
    last_end, last_about = 0, True
    for name in names:
        before = text[last_end : name.start]
        role = _ROLE.search(text[: name.start])
        if last_end and _JOINED.match(before):
            is_about = last_about
        else:
            is_about = role is None or (role["word"].lower() in {"at", "for"} and not about)
            if (
                about
                and role is None
                and last_end
                and not _COMPARING.search(text)
                and not re.search(r"\b(?:and|or|,)\s*(?:the\s+)?$", before)
            ):
                is_about = False  # "Velkor is led by its founder Ida Holm", "Velkor owns Morvik"
        if is_about:
            kind = re.match(r"\s+([a-z]+)", text[name.end :])
            noun = kind[1] if kind and kind[1] in KINDS else ""
            about.append(Entity(f"{name} {noun}".strip(), name.key, noun))
        else:
            mentioned.append(name)
        last_end, last_about = name.end, is_about
    if not about and mentioned:
        first = mentioned.pop(0)
        about.append(Entity(str(first), first.key))
    return tuple({entity.key: entity for entity in about}.values()), tuple(mentioned)


def _spelled(text: str, stems: frozenset[str]) -> list[str]:
    return [word for word in re.findall(r"[\w.']+", text) if stem(word.lower()) in stems]
