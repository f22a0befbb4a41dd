"""Reading passages: their sentences cut into clauses, each with what it is about, pronouns and short forms resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.names import Name, aliases_in, names_in
from examples.research_agents.retrieval.quoting import announces, points_back
from examples.research_agents.retrieval.relations import told_relations
from examples.research_agents.retrieval.text import sentences, stem, terms

from .asking import KINDS, Entity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from examples.research_agents.retrieval.ranking import Depth

    from .evidence import Evidence

__all__ = ["Clause", "gather", "names_entity", "owned_by", "read_passage"]

_MOST_PASSAGES = 24  # read for one question
_NAME = r"(?:the\s+)?[A-Z\u00c0-\u00de][\w'\u2019.&-]*(?:\s+[A-Z\u00c0-\u00de][\w'\u2019.&-]*){0,3}"
_VERBAL = r"(?:is|was|are|were|has|had|have|will|[a-z]+(?:ed|es|s))"
_CUT = re.compile(
    rf";\s+|,?\s+(?:while|whereas|but|although|though|yet)\s+|,\s+(?=(?:which|who|whose|where)\b)"
    rf"|,?\s+and\s+(?=(?:also\s+|it\s+|its\s+|the\s+company\s+)?{_VERBAL}\s)|,?\s+and\s+(?=(?:an?\s+)?\w+\s+of\s+[$€£\d])"
    rf"|,?\s+and\s+(?={_NAME}\s+{_VERBAL}\b)|,\s+(?={_NAME}\s+(?:{_VERBAL}|\d)\b)"
)
_RELATIVE = re.compile(r"^(?:which|who|whose|where)\b")
_PERSONAL = re.compile(r"^(?:he|she|his|her)\b", re.IGNORECASE)
_PREPOSED = re.compile(
    r"(?:^|[\s,(])(?P<word>in|at|near|from|since|with|for|of|to|by|on|unlike|like|than|outside|under|after|before|against|via|behind|between|among|through|"
    r"into|around|over|beside|besides|across|throughout|within|as|called|named|and|or)\s+(?:the\s+|an?\s+|nearby\s+|its\s+)?(?:(?:city|town|village|port|region|province|country|capital)\s+of\s+)?$",
    re.IGNORECASE,
)
_LIKE_TITLE = re.compile(r"\s[-\u2013\u2014]\s")


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a sentence that says one thing.

    Attributes:
        text: as written.
        sentence: the whole sentence it stands in.
        quote: that sentence behind those it points back at: what can be cited alone.
        url: of the passage.
        title: of the passage.
        subject: the name it is about, resolved; None when there is none.
        inherited: whether *subject* stands in an earlier clause, sentence or the title.
        names: its own names.
        place: of the sentence in its passage.
        aliases: short forms of longer names in the passage, see `aliases_in`.
        context: terms of the title.
    """

    text: str
    sentence: str
    quote: str
    url: str
    title: str
    subject: Name | None
    inherited: bool
    names: tuple[Name, ...]
    place: int
    aliases: Mapping[str, frozenset[str]]
    context: frozenset[str]

    @property
    def tells(self) -> frozenset[str]:
        """The relations it speaks of."""
        return told_relations(self.text.lower())

    @property
    def terms(self) -> frozenset[str]:
        """Its index terms."""
        return frozenset(terms(self.text))


def gather(
    entities: Iterable[Entity], queries: Iterable[str], evidence: Evidence, depth: Depth
) -> list[Clause]:
    """The clauses of the passages that name *entities* or answer *queries*, those of the better passages first."""
    urls: dict[str, None] = {}
    for query in (*queries, *(entity.text for entity in entities)):
        for found in evidence.search([query], depth, limit=_MOST_PASSAGES):
            urls.setdefault(found.url)
    clauses: list[Clause] = []
    for url in list(urls)[: 2 * _MOST_PASSAGES]:
        passage = evidence.read(url)
        if passage is not None:
            clauses.extend(read_passage(url, *passage))
    return clauses


def read_passage(url: str, title: str, text: str) -> Iterator[Clause]:
    """The clauses of one passage, in order."""
    told = [
        sentence
        for paragraph in text.split("\n\n")
        for line in _lines(paragraph)
        for sentence in sentences(line)
    ]
    aliases = aliases_in((title, *told))
    context = frozenset(terms(title))
    topic = _of_title(title)
    person: Name | None = None
    origin: dict[tuple[str, ...], int] = {}
    kinds: dict[str, Name] = {}
    for place, sentence in enumerate(told):
        if announces(sentence) and not names_in(sentence):
            continue
        back = points_back(sentence)
        names = names_in(sentence)
        subject = topic
        inherited = True
        if _PERSONAL.match(sentence) and person is not None:
            subject = person
        elif not back or not _pronoun_leads(sentence):
            own = _subject(sentence.split(";")[0], names)
            if own is not None:
                subject, inherited = own, False
        if inherited and (thing := re.match(r"the\s+([a-z]+)\b", sentence, re.IGNORECASE)):
            subject = kinds.get(thing[1].lower(), subject)  # "The reactor" is not the company named last
        for name in names:
            if kind := re.match(r"\s+([a-z]+)", sentence[name.end :]):
                kinds[kind[1]] = name
        quote = sentence
        if subject is not None and not inherited:
            origin[subject.key] = place
        elif subject is not None and (named := origin.get(subject.key, place)) < place:
            # "It employs 340 people" can be cited only with the sentence that says who.
            quote = f"{told[named]} {'' if named == place - 1 else '[...] '}{sentence}"
        first = subject
        for text_of, start in _clauses(sentence):
            own_names = tuple(_within(names, start, start + len(text_of)))
            if _RELATIVE.match(text_of):
                before = [name for name in names if name.end <= start]
                subject, inherited = (before[-1], True) if before else (subject, inherited)
            elif start:
                own = _subject(text_of, names_in(text_of))
                subject, inherited = (own, False) if own is not None else (first, True)
            yield Clause(
                text_of, sentence, quote, url, title, subject, inherited, own_names, place, aliases, context
            )
        if first is not None and not (_PERSONAL.match(sentence) and person is not None):
            topic = first
        others = [name for name in names if first is None or name.key != first.key]
        people = [name for name in others if len(name.key) > 1]
        person = people[-1] if people else person


def _lines(paragraph: str) -> list[str]:
    """The lines of a paragraph; only a listing has several, and each of its "key: value" lines says something."""
    lines = paragraph.split("\n")
    return (
        lines
        if len(lines) == 1
        else [line.strip(" -*|") for line in lines if re.search(r"\w:\s+\S|^\s*[-*]\s", line)]
    )


def _clauses(sentence: str) -> Iterator[tuple[str, int]]:
    """(text, where it starts) of each clause."""
    start = 0
    for match in _CUT.finditer(sentence):
        if match.start() > start:
            yield sentence[start : match.start()], start
            start = match.end()
    yield sentence[start:], start


def _within(names: tuple[Name, ...], start: int, end: int) -> Iterator[Name]:
    return (name for name in names if start <= name.start < end)


def _pronoun_leads(sentence: str) -> bool:
    """Whether the pronoun that points back is the subject, not "In this case Velkor ..."."""
    names = names_in(sentence)
    return (
        not names
        or re.match(
            r"(?:it|its|they|their|he|she|his|her|the\s+[a-z]+|this\s[a-z]+)\b", sentence, re.IGNORECASE
        )
        is not None
        or not any(_PREPOSED.search(sentence[: name.start]) is None for name in names)
    )


def _subject(text: str, names: tuple[Name, ...]) -> Name | None:
    """The name a clause is about: the first one not behind a preposition, else the one "of" which it speaks."""
    owner: Name | None = None
    for place, name in enumerate(names):
        behind = _PREPOSED.search(text[: name.start])
        possessive = re.match(r"['\u2019]s?\s+(?:[a-z-]+\s+){1,3}", text[name.end :])
        if possessive and place + 1 < len(names) and name.end + possessive.end() == names[place + 1].start:
            continue  # "Velkor's rival Morvik"
        if behind is None:
            return name
        if owner is None and behind["word"].lower() in {"of", "at", "for"}:
            owner = name
    return owner


def _of_title(title: str) -> Name | None:
    """What the title names, its last part first."""
    for part in reversed(_LIKE_TITLE.split(title)):
        for name in names_in(part):
            return name
    return None


def names_entity(entity: Entity, name: Name, clause: Clause, after: str = "") -> bool:
    """Whether *name* in *clause* is *entity*: the same words, or its short form where the passage has the long one."""
    asked, said = entity.stems, frozenset(map(stem, name.key))
    if not asked <= said:
        rest = clause.aliases.get(stem(name.key[0]), frozenset())
        if len(name.key) != 1 or not asked <= said | rest:
            return False
    elif entity.proper and len(name.key) > len(entity.key) > 1 and name.key[: len(entity.key)] == entity.key:
        # "Velkor Dynamics Foundation" is not "Velkor Dynamics".
        return not name.key[len(entity.key)].isalpha() or name.key[len(entity.key)] in KINDS | {
            "report",
            "annual",
            "profile",
            "note",
        }
    kind = re.match(r"\s+([a-z]+)", after)
    return not (
        entity.kind and kind and kind[1] in KINDS and kind[1] != entity.kind and _differ(kind[1], entity.kind)
    )


_ALIKE = (
    frozenset(["plant", "facility", "station", "factory", "mill", "reactor"]),
    frozenset(["company", "firm", "group"]),
    frozenset(["lab", "laboratory", "institute"]),
    frozenset(["ship", "vessel"]),
)


def _differ(one: str, other: str) -> bool:
    return not any({one, other} <= family for family in _ALIKE)


def owned_by(entity: Entity, clause: Clause) -> bool:
    """Whether *clause* is about *entity*: as its subject, or as what its verb or noun goes to ("founded X", "head of X")."""
    if not entity.proper:
        # Written without capitals: where the passage has a name of these words, that is who is meant.
        for name in (*clause.names, *((clause.subject,) if clause.subject is not None else ())):
            if entity.stems <= frozenset(map(stem, name.key)):
                return owned_by(Entity(str(name), name.key), clause)
        return entity.stems <= clause.terms | clause.context
    if clause.subject is not None and names_entity(
        entity, clause.subject, clause, _after(clause.subject, clause)
    ):
        return True
    offset = clause.sentence.find(clause.text)
    for name in clause.names:
        if not names_entity(entity, name, clause, clause.sentence[name.end :]):
            continue
        before = clause.sentence[offset : name.start]
        word = re.search(r"([a-z-]+)\s+(?:the\s+|an?\s+)?(?:company\s+|firm\s+)?$", before)
        if word and (
            told_relations(word[1])
            or re.fullmatch(
                r"(?:led|leads|heads|headed|runs|ran|built|owns|created|started|formed|launched|opened|up|operates)",
                word[1],
            )
        ):
            return True
        if re.search(r"\b(?:[a-z-]+)\s(?:of|at|for|by|behind|in)\s+(?:the\s+)?$", before) and (
            clause.inherited is False and clause.subject is not None and told_relations(before.lower())
        ):
            return True
    return False


def _after(name: Name, clause: Clause) -> str:
    return clause.sentence[name.end :] if clause.sentence[name.start : name.end] == name else ""
