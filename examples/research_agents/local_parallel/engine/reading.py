"""Reading passages: their sentences cut into clauses, each with what it is about, pronouns and short forms resolved."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.names import Name, aliases_in, names_in
from examples.research_agents.retrieval.quoting import announces, points_back
from examples.research_agents.retrieval.text import sentences, stem, terms

from .clauses import Clause
from .cutting import cut_clauses, embedded_in
from .ownership import names_entity, owned_by
from .tables import cells_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from examples.research_agents.retrieval.ranking import Depth

    from .entities import Entity
    from .evidence import Evidence
    from .tables import Cell

__all__ = ["Clause", "common_words", "gather", "names_entity", "owned_by", "read_passage"]

_MOST_PASSAGES = 24  # read for one query
_MOST_PARTS = 6  # words of names that are searched for one by one
_MOST_QUERIES = 12  # searches for one question
_MOST_CLAUSES = 1500  # read for one question
_LONGEST_QUERY = 400  # characters
_LONGEST_SENTENCE = 1500  # characters of a sentence that are read; what is longer is a table or worse
_LONGEST_PASSAGE = 40_000  # characters of a passage that are read
_IN_TABLE = 100_000  # the place of what stands in a table: behind all sentences
_BACK = 2  # sentences before one that it may go on about
_REACH = 120  # characters before a name that say how it stands there
_RELATIVE = re.compile(r"^(?:which|who|whose|where)\b")
_PERSONAL = re.compile(r"^(?:he|she|his|her)\b", re.IGNORECASE)
_LEADING = re.compile(r"(?:it|its|they|their|he|she|his|her|the\s+[a-z]+|this\s[a-z]+)\b", re.IGNORECASE)
# A preposition right before a name: the name is no subject then. "The city of" may stand between them.
_PREPOSED = re.compile(
    r"(?:^|[\s,(])(?P<word>in|at|near|from|since|with|for|of|to|by|on|unlike|like|than|outside|under|after|before|against|via|behind|"
    r"between|among|them|including|namely|through|into|around|over|beside|besides|across|throughout|within|as|called|named|and|or)"
    r"\s+(?:the\s+|an?\s+|nearby\s+|its\s+)?(?:(?:city|town|village|port|region|province|country|capital)\s+of\s+)?$",
    re.IGNORECASE,
)
_LIKE_TITLE = re.compile(r"\s[-\u2013\u2014]\s|:\s")
_TITLE_OF = re.compile(r"\s(?:of|on|about|for|from)\b", re.IGNORECASE)
# Of whom "its rival X" goes on, it is X.
_RIVAL = re.compile(
    r"^(?:its|their|his|her)\s(?:[a-z-]+\s){0,3}?(?:rivals?|competitors?|subsidiary|parent|owner|partner|neighbou?r|supplier|customer|"
    r"predecessor|successor|sister|affiliate|daughter)(?:\s(?:company|firm|group))?,?\s$",
    re.IGNORECASE,
)
_THE_KIND = re.compile(r"The\s([a-z]+)\s(?:is|was|has|had|will|does|did|[a-z]+(?:ed|es|s))\s")
_ITEM = re.compile(r"[\w /()-]{1,40}:\s")
_TOLD_ITEM = re.compile(r"\w:\s+\S|^\s*[-*]\s")


def gather(
    entities: Iterable[Entity],
    queries: Iterable[str],
    evidence: Evidence,
    depth: Depth,
    more: Iterable[str] = (),
) -> list[Clause]:
    """The clauses of the passages that answer *queries* or name *entities*, those of the better passages first.

    Args:
        entities: what is asked about.
        queries: what is asked.
        evidence: what is searched.
        depth: how hard.
        more: queries of which each is only a part of the question; what they find comes last.
    """
    entities = tuple(entities)
    families = (entity.family for entity in entities if entity.family)
    asked = dict.fromkeys((*queries, *(entity.query for entity in entities), *families, *more))
    urls = _found(list(asked)[:_MOST_QUERIES], evidence, depth)
    clauses = _read(urls, evidence)
    # A name that stands in a table only is found by a part of it, where a sentence has that part.
    unseen = [
        one
        for one in entities
        if one.proper and len(one.key) > 1 and not any(one.stems <= clause.terms for clause in clauses)
    ]
    parts = [word for one in unseen for word in one.text.split() if word[0].isalpha()]
    further = [url for url in _found(parts[:_MOST_PARTS], evidence, depth) if url not in urls]
    return [*clauses, *_read(further, evidence)][:_MOST_CLAUSES]


def _found(queries: Iterable[str], evidence: Evidence, depth: Depth) -> dict[str, None]:
    """The URLs of what answers one of *queries*, those of the first query first."""
    urls: dict[str, None] = {}
    for query in queries:
        for found in evidence.search([query[:_LONGEST_QUERY]], depth, limit=_MOST_PASSAGES):
            urls.setdefault(found.url)
    return urls


def _read(urls: Iterable[str], evidence: Evidence) -> list[Clause]:
    """The clauses of the passages, in their order."""
    clauses: list[Clause] = []
    for url in list(urls)[: 2 * _MOST_PASSAGES]:
        passage = evidence.read(url)
        if passage is not None:
            clauses.extend(read_passage(url, *passage))
        if len(clauses) >= _MOST_CLAUSES:
            break
    return clauses[:_MOST_CLAUSES]


def common_words(word: str, clauses: Sequence[Clause]) -> frozenset[str]:
    """The stem *word* when the clauses write it without a capital within a sentence: it is no name then."""
    for clause in clauses:
        if word in clause.terms and any(
            stem(one) == word for one in re.findall(r"(?<=[a-z,;] )[a-z]+", clause.sentence)
        ):
            return frozenset([word])
    return frozenset()


def read_passage(url: str, title: str, text: str) -> Iterator[Clause]:
    """The clauses of one passage, in order."""
    paragraphs = text[:_LONGEST_PASSAGE].split("\n\n")
    told = [
        sentence[:_LONGEST_SENTENCE]
        for paragraph in paragraphs
        for line in _lines(paragraph)
        for sentence in sentences(line)
    ]
    yield from _Reader(url, title, told).clauses()
    context = frozenset(terms(title))
    for paragraph in paragraphs:
        lines = paragraph.split("\n")
        for cell in cells_of(lines):
            yield _of_cell(url, title, context, cell, lines[0].strip())


def _of_cell(url: str, title: str, context: frozenset[str], cell: Cell, header: str) -> Clause:
    """A cell of a table as a clause, which is quoted as its row below the header."""
    subject = Name(cell.subject, cell.row.find(cell.subject))
    quote = f"{header}\n{cell.row}"
    context |= frozenset(terms(cell.kind))
    return Clause(
        cell.told, cell.row, quote, url, title, subject, False, (subject,), _IN_TABLE, {}, context
    )  # fmt: skip


class _Reader:
    """Reads one passage sentence by sentence, and remembers what was named."""

    def __init__(self, url: str, title: str, told: list[str]) -> None:
        self._url = url
        self._title = title
        self._told = told
        self._aliases = aliases_in((title, *told))
        self._context = frozenset(terms(title))
        self._common = {
            stem(word) for sentence in told for word in re.findall(r"(?<=[a-z,;] )[a-z]+", sentence)
        }
        self._topic = _of_title(title)
        self._person: Name | None = None
        self._origin: dict[tuple[str, ...], int] = {}
        self._kinds: dict[str, Name] = {}

    def clauses(self) -> Iterator[Clause]:
        """Every clause of every sentence that says something."""
        for place, sentence in enumerate(self._told):
            names = self._names(sentence)
            if announces(sentence) and not names:
                continue
            subject, inherited = self._subject(sentence, names)
            for name in names:
                self._kinds[name.key[-1]] = name  # "Alder Clinic", later "the clinic"
                if kind := re.match(r"\s+([a-z]+)", sentence[name.end : name.end + _REACH]):
                    self._kinds[kind[1]] = name
            quote = self._quote(place, sentence, subject, inherited=inherited)
            yield from self._parts(place, sentence, names, subject, quote, inherited=inherited)
            self._remember(sentence, names, subject)

    def _names(self, text: str) -> tuple[Name, ...]:
        """The names of a sentence, without a common word that opens it with a capital."""
        return tuple(
            name
            for name in names_in(text)
            if not (
                name.start <= 1
                and len(name.key) == 1
                # "Price: 289 euros" is about what the passage is about
                and (stem(name.key[0]) in self._common or text.startswith(":", name.end))
            )
        )

    def _subject(self, sentence: str, names: tuple[Name, ...]) -> tuple[Name | None, bool]:
        """What a sentence is about, and whether that is named before it."""
        if _PERSONAL.match(sentence) and self._person is not None:
            return self._person, True
        if names and _RIVAL.match(sentence[: names[0].start]):
            return names[0], False  # "Its rival Sundline has ..."
        known = _THE_KIND.match(sentence)
        if known and known[1].lower() in self._kinds:
            return self._kinds[known[1].lower()], True
        if not points_back(sentence) or not _pronoun_leads(sentence, names):
            own = _subject(sentence.split(";", maxsplit=1)[0], names)
            if own is not None:
                return own, False
        if thing := re.match(r"the\s+([a-z]+)\b", sentence, re.IGNORECASE):
            return self._kinds.get(
                thing[1].lower(), self._topic
            ), True  # "The reactor" is not the company named last
        return self._topic, True

    def _quote(self, place: int, sentence: str, subject: Name | None, *, inherited: bool) -> str:
        """The sentence, behind the one that says who "it" is: "It employs 340 people" can be cited only with that."""
        if subject is None:
            return sentence
        if not inherited:
            self._origin[subject.key] = place
            return sentence
        named = self._origin.get(subject.key, place)
        # A line of a listing is about the title, whatever was said before it.
        if named >= place or _ITEM.match(sentence):
            return sentence
        return f"{self._told[named]} {'' if named == place - 1 else '[...] '}{sentence}"

    def _parts(
        self,
        place: int,
        sentence: str,
        names: tuple[Name, ...],
        first: Name | None,
        quote: str,
        *,
        inherited: bool,
    ) -> Iterator[Clause]:
        subject = first
        before = tuple(self._told[max(0, place - _BACK) : place])

        def clause(text: str, about: Name | None, own: tuple[Name, ...], *, behind: bool) -> Clause:
            return Clause(
                text, sentence, quote, self._url, self._title, about, behind, own, place, self._aliases, self._context, before, apart
            )  # fmt: skip

        left, skipped = names, (len(sentence), 0)
        embedded = None
        if first is not None and not inherited and not _preposed(sentence, first):
            embedded = embedded_in(sentence, first.end)
        pieces = list(cut_clauses(sentence))
        apart = embedded is not None or any(_RELATIVE.match(text) for text, _ in pieces)
        if first is not None and embedded is not None:
            inner, start, rest = embedded
            inside = tuple(name for name in names if start <= name.start < rest)
            relative = _RELATIVE.match(inner) is not None
            text = inner if relative else sentence[first.start : start + len(inner)]
            yield clause(text, first, inside if relative else (first, *inside), behind=relative)
            whole = f"{sentence[: first.end]} {sentence[rest:]}"
            left = tuple(name for name in names if name not in inside)
            skipped = (first.end, rest - first.end - 1)
            pieces = list(cut_clauses(whole))
        for text, at in pieces:
            start = at + skipped[1] if at > skipped[0] else at
            end = at + len(text) + (skipped[1] if at + len(text) > skipped[0] else 0)
            own_names = tuple(name for name in left if start <= name.start < end)
            if _RELATIVE.match(text):
                named = [name for name in left if name.end <= start]
                subject, inherited = (named[-1], True) if named else (subject, inherited)
            elif start:
                own = _subject(text, self._names(text))
                subject, inherited = (own, False) if own is not None else (first, True)
            yield clause(text, subject, own_names, behind=inherited)

    def _remember(self, sentence: str, names: tuple[Name, ...], subject: Name | None) -> None:
        if subject is not None and not (_PERSONAL.match(sentence) and self._person is not None):
            self._topic = subject
        people = [
            name for name in names if len(name.key) > 1 and (subject is None or name.key != subject.key)
        ]
        self._person = people[-1] if people else self._person


def _lines(paragraph: str) -> list[str]:
    """The lines of a paragraph; only a listing has several, and each of its "key: value" lines says something."""
    lines = paragraph.split("\n")
    return (
        lines
        if len(lines) == 1
        else [line.strip(" -*|") for line in lines if _TOLD_ITEM.search(line[:_REACH])]
    )


def _pronoun_leads(sentence: str, names: tuple[Name, ...]) -> bool:
    """Whether the pronoun that points back is the subject, not "In this case Velkor ..."."""
    return (
        not names or _LEADING.match(sentence) is not None or all(_preposed(sentence, name) for name in names)
    )


def _preposed(text: str, name: Name) -> re.Match[str] | None:
    return _PREPOSED.search(text[max(0, name.start - _REACH) : name.start])


def _subject(text: str, names: tuple[Name, ...]) -> Name | None:
    """The name a clause is about: the first one not behind a preposition, else the one "of" which it speaks."""
    owner: Name | None = None
    for place, name in enumerate(names):
        possessive = re.match(r"['\u2019]s?\s+(?:[a-z-]+\s+){1,3}", text[name.end : name.end + _REACH])
        if possessive and place + 1 < len(names) and name.end + possessive.end() == names[place + 1].start:
            continue  # "Velkor's rival Morvik"
        behind = _preposed(text, name)
        if behind is None:
            return name
        if owner is None and behind["word"].lower() in {"of", "at", "for"}:
            owner = name
    return owner


def _of_title(title: str) -> Name | None:
    """What the title names, its last part first; "Notes on X" and "Report of X" name X."""
    for part in reversed(_LIKE_TITLE.split(title)):
        for name in names_in(part):
            if not _TITLE_OF.match(part, name.end):
                return name
    return None
