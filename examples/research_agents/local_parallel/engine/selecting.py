"""Choosing sentences for a text: those that tell what one part of a request asks, each understandable where it stands.

A part that names somebody takes what is said of them, found by `facts` where a value is asked; any other takes the
sentences of the passages that the search puts first. What repeats a sentence that was taken is left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.quoting import announces, points_back
from examples.research_agents.retrieval.subject import subject_of
from examples.research_agents.retrieval.text import query_terms, sentences, stem, terms, title_terms

from .analysis import facts_for
from .asking import KINDS, Entity, read_question
from .reading import gather, names_entity, owned_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from examples.research_agents.outlines import Part
    from examples.research_agents.retrieval.ranking import Depth, Found

    from .asking import Ask
    from .evidence import Evidence
    from .facts import Fact
    from .reading import Clause

__all__ = ["Line", "Told", "entity_of", "reads", "tell"]

_ALIKE = 0.6  # share of common terms from which two sentences say the same
_LEAST = 0.3  # share of the best sentence's worth below which another one is not worth reading
_LATER = 0.15  # what each place further down the results costs
_OPENS = 0.25  # head start of the sentence that opens a passage under a title that is asked for
_GOVERNS = 0.6  # and of one whose grammatical subject is what is asked for
_NEAR = 0.85  # share of the best passage's coverage that another one needs
_TELLING = 10  # words from which a sentence that ends in a colon says something by itself
_MORE = 5  # passages of one document that a text on its subject is written from
_LONGEST = 600  # characters of a sentence; a longer one is a list without full stops
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f][\w'\u2019-]*")
_PAIR = re.compile(r"^[A-Z][\w /()-]{1,40}:\s\S")  # "Employees: 340", a line of a listing
_CODE = re.compile(r"::=|>>>|^\s*[#$>|@{}<]|[{};]\s*$|=\s*\S+\(|\w\(\w*,\s*\w+\)\s*$|\[\d{1,3}\]|^\W*PEP\s\d+\W+-\s")


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of a passage.

    Attributes:
        text: word for word.
        url: of the passage.
        title: of the passage.
        rank: of the passage among those that answer; 0 is the best.
        place: among the sentences of its passage.
    """

    text: str
    url: str
    title: str
    rank: int
    place: int


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
        return Told(tuple(_from_passages(part, evidence, depth, most, origin)))
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
    return Told(lines or () if valued else lines or tuple(_from_passages(part, evidence, depth, most, origin)))


def entity_of(subject: str) -> Entity | None:
    """*subject* as somebody or something with a name; None for a common thing, which is found by its words."""
    names = names_in(subject)
    if not names or re.search(r"[_()`]", subject):
        return None
    entity = next(iter(read_question(f"Tell me about {subject}.").entities), None)
    # A name is letters: of "Norlux 400" it would be "Norlux", which "Norlux 500" is as well.
    numbered = entity is not None and set(re.findall(r"\d+", subject)) - set(entity.key)
    return None if numbered else entity


def _ask(part: Part) -> Ask:
    """The question of *part*, about its subject: "the Python version of fastapi" is not about Python."""
    ask = read_question(part.question)
    if not part.subject:
        return ask
    entity = entity_of(part.subject)
    if entity is None:
        return replace(ask, entities=())
    return replace(ask, entities=(entity,), others=()) if part.aspect else ask


def reads(text: str) -> bool:
    """Whether *text* is a whole sentence, or a line of a listing, and no code."""
    if _CODE.search(text) or len(text) > _LONGEST:
        return False
    words = _WORD.findall(text)
    if _PAIR.match(text) and not text.endswith((":", ".")):
        return len(words) >= 2
    if text.endswith(":"):
        return not announces(text) and len(words) >= _TELLING
    # "Every setting: reference." is what is left of a list of links.
    return len(words) >= 2 and len(text.split()) >= (_TELLING // 2 if ": " in text else 3) and re.search(r"[.!?][\"'\u201d\u2019)\]*`]{0,3}$", text) is not None


def _speaking(ask: Ask, clauses: Sequence[Clause]) -> list[Clause]:
    """The clauses about whom is asked that speak of what is asked, where no value could be taken from them."""
    wanted = {relation.name for relation in ask.relations}
    found = []
    for clause in clauses:
        about = any(owned_by(entity, clause) or _named_in(entity, clause) for entity in ask.entities)
        if not about or not (wanted & clause.tells if wanted else ask.measure <= clause.terms | clause.context):
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
        if reads(clause.sentence) and not any(_same(clause.sentence, other.sentence) for other in chosen):
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
                lines[clause.url, place] = Line(
                    sentence, clause.url, clause.title, ranks[clause.url], place
                )
    return sorted(lines.values(), key=lambda line: (line.rank, line.place))


def _needed(clause: Clause, passages: dict[tuple[str, int], str]) -> set[int]:
    """The places of the sentence and, where it opens with "It", of the one that names whom it means."""
    needed = {clause.place}
    if clause.inherited and clause.quote != clause.sentence:
        head = clause.quote.removesuffix(clause.sentence).removesuffix("[...] ").strip()
        needed |= {place for (url, place), text in passages.items() if url == clause.url and text == head}
    return needed


def _from_passages(
    part: Part, evidence: Evidence, depth: Depth, most: int, origin: Callable[[str], str]
) -> Iterator[Line]:
    """The best sentences of the passages that answer."""
    found = evidence.search([part.question], depth, limit=depth.results)
    if not found and part.subject and not part.aspect:
        # Nothing says what it is. A document that bears its name is about it all the same.
        named = evidence.search([f"Tell me about {part.subject}."], depth, limit=depth.results)
        found = [one for one in named if {*query_terms(part.subject)} <= {*title_terms(one.title)}]
    asked = set(query_terms(part.question))
    best = max((one.coverage for one in found), default=0.0)
    found = [one for one in found if one.coverage >= _NEAR * best]
    if found and part.subject and not part.aspect:
        found = [*found, *_following(found, set(query_terms(part.subject)), evidence, origin)]
    wanted = asked - set(query_terms(part.subject)) if part.aspect else set()
    entitled = any(asked <= {*title_terms(one.title)} for one in found)
    pool = [
        line
        for rank, one in enumerate(found)
        if not wanted or wanted & {*terms(one.excerpt), *title_terms(one.title)}
        for line in _lines(one, rank, asked, evidence)
        # Where documents bear the name, what others say in passing has to name it as well.
        if not entitled or asked <= {*title_terms(line.title)} or asked <= {*terms(line.text)}
    ]
    if not pool:
        return
    held = {line: frozenset(terms(line.text)) for line in pool}
    frequency = Counter(term for line in pool for term in held[line] & asked)
    weight = {term: math.log(1 + len(pool) / (0.5 + frequency[term])) for term in asked}
    total = sum(weight.values()) or 1.0
    about = subject_of(part.question)

    def worth(line: Line) -> float:
        titled = asked & set(title_terms(line.title))
        own = sum(weight[term] for term in held[line] & asked) / total
        heading = sum(weight[term] for term in titled - held[line]) / total
        opening = _OPENS if line.place == 0 and titled and (line.rank == 0 or "#" not in origin(line.url)) else 0.0
        governing = _GOVERNS if about is not None and about.governs(line.text) else 0.0
        return own + 0.5 * heading + opening + governing - _LATER * line.rank

    by_place = {(line.url, line.place): line for line in pool}
    chosen: dict[Line, None] = {}
    ranked = sorted(pool, key=lambda line: (-worth(line), line.rank, line.place))
    for line in ranked:
        if len(chosen) >= most or worth(line) < _LEAST * worth(ranked[0]):
            break
        needed = _with_antecedents(line, by_place)
        if needed and not any(_same(line.text, other.text) for other in chosen):
            chosen.update(dict.fromkeys(needed))
    ranks: dict[str, int] = {}
    for line in sorted(chosen, key=lambda line: line.rank):
        ranks.setdefault(origin(line.url).partition("#")[0], line.rank)

    def reading(line: Line) -> tuple[int, list[int], int]:
        """A document is read from its beginning, and that of the best passage first."""
        address, _, number = origin(line.url).partition("#")
        return ranks[address], [int(part) for part in re.findall(r"\d+", number)], line.place

    yield from sorted(chosen, key=reading)


def _following(
    found: Sequence[Found], about: set[str], evidence: Evidence, origin: Callable[[str], str]
) -> Iterator[Found]:
    """The passages behind the best one, as long as they belong to a document or a section that is *about* the same."""
    best = found[0]
    document = best.title.split(" - ")[0]
    kept = document if about - {*map(stem, KINDS)} <= {*title_terms(document)} else best.title
    address, _, number = origin(best.url).partition("#")
    known = {origin(one.url) for one in found}
    following = range(int(number or 1) + 1, int(number or 1) + _MORE) if (number or "1").isdigit() else ()
    for place in following:
        url = f"{address}#{place}"
        passage = evidence.read(url)
        if passage is None or not passage[0].startswith(kept):
            return
        if url not in known:
            yield replace(best, url=url, title=passage[0])


def _lines(found: Found, rank: int, asked: set[str], evidence: Evidence) -> Iterator[Line]:
    """The sentences of a passage: all of it where its title is what is asked for, else those that answer."""
    passage = evidence.read(found.url) if asked <= set(title_terms(found.title)) else None
    text = passage[1] if passage is not None else found.excerpt
    paragraphs = text.split("\n\n") if passage is not None else text.split("\n")
    place = 0
    for paragraph in paragraphs:
        listed = paragraph.split("\n")
        if len(listed) > 1 and not all(_PAIR.match(line.strip(" -*|")) for line in listed):
            place += 1
            continue  # code keeps its lines, running text does not
        for line in listed:
            for sentence in sentences(line.strip(" -*|") if len(listed) > 1 else line):
                if reads(sentence) and not announces(sentence):
                    yield Line(sentence, found.url, found.title, rank, place)
                place += 1


def _with_antecedents(line: Line, by_place: dict[tuple[str, int], Line]) -> list[Line]:
    """*line* behind the sentences it points back at; empty when they are not there."""
    needed = [line]
    while points_back(needed[0].text):
        before = by_place.get((line.url, needed[0].place - 1))
        if before is None or len(needed) > 2:
            return []
        needed.insert(0, before)
    return needed


def _same(one: str, other: str) -> bool:
    """Whether two sentences share most of their terms, their numbers included."""
    left, right = set(terms(one)), set(terms(other))
    if {word for word in left if word.isdigit()} != {word for word in right if word.isdigit()}:
        return False
    union = left | right
    return not union or len(left & right) / len(union) >= _ALIKE
