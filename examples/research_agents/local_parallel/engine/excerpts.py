"""The best sentences of the passages that answer a question in words, in the order in which a reader wants them."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.quoting import announces, points_back, with_aliases
from examples.research_agents.retrieval.ranking import Question
from examples.research_agents.retrieval.subject import subject_of
from examples.research_agents.retrieval.text import query_terms, sentences, stem, terms, title_terms

from .asking import KINDS
from .lines import Line, reads, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from examples.research_agents.phrasing import Part
    from examples.research_agents.retrieval.ranking import Depth, Found

    from .evidence import Evidence

__all__ = ["best_lines"]

_LEAST = 0.45  # share of the best sentence's worth below which another one is not worth reading
_LEAST_FOLLOWING = 0.25  # and one of the best passage, or of those that go on about the same
_LATER = 0.15  # what each place further down the results costs
_OPENS = 0.25  # head start of the sentence that opens a passage under a title that is asked for
_GOVERNS = 0.6  # and of one whose grammatical subject is what is asked for
_GOES_ON = 0.3  # and of the one behind a sentence that was taken: a text is read in runs
_DECIDES = 0.15  # and of one with a figure or a decision: what a reader of a report looks for
_ASIDE_COSTS = 0.4  # what it costs a sentence that it tells the history of the document
_NEAR = 0.85  # share of the best passage's coverage that another one needs
_MORE = 5  # passages of one document that a text on its subject is written from
_MOST_BACK = 2  # sentences that a quotation may reach back for what it points at
_ASIDE = re.compile(r"^(?:Changed|New|Added|Deprecated|Removed)\s(?:in|since)\sversion\b")
_DECISION = re.compile(
    r"\d|\b(?:agreed|decided|resolved|approved|rejected|postponed|cancelled|never|must|may not)\b",
    re.IGNORECASE,
)
_TOPIC = re.compile(r"^(?:\d{1,2}[.)]\s)?([A-Z][\w-]*(?:\s[\w-]+){0,3})[:.]\s(?=\S+\s\S)")
_PAIR = re.compile(r"^[ *|-]*[A-Z][\w /()-]{1,40}:\s\S")


def best_lines(
    part: Part, evidence: Evidence, depth: Depth, most: int, origin: Callable[[str], str]
) -> Iterator[Line]:
    """At most *most* sentences about *part*, and those they point back at; see `selecting.tell` for the arguments."""
    choice = _Choice(part, origin, set(Question.of(part.question).terms))
    whole = bool(part.subject) and not part.aspect
    found = evidence.search([part.question], depth, limit=depth.results + _MORE * whole)
    if found:
        choice.read(found, evidence)
    if not choice.lines and part.subject:
        # No passage answers by itself. A document that bears the name is about it all the same, and may hold a sentence.
        named = evidence.search([f"Tell me about {part.subject}."], depth, limit=depth.results)
        found = [one for one in named if {*query_terms(part.subject)} <= {*title_terms(one.title)}]
        if found:
            choice.read(found, evidence)
    yield from choice.ordered(choice.chosen(most))


@dataclass(slots=True)
class _Choice:
    """The sentences to choose from.

    Attributes:
        part: what is asked.
        origin: the address of a passage outside.
        asked: terms of the question.
        lines: in the order of the passages.
        openers: passages whose first sentence is where a reader would begin.
        following: passages that go on about the subject of the best one.
        named: passages whose title names what is asked about.
    """

    part: Part
    origin: Callable[[str], str]
    asked: set[str]
    lines: list[Line] = field(default_factory=list)
    openers: set[str] = field(default_factory=set)
    following: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)

    def read(self, found: Sequence[Found], evidence: Evidence) -> None:
        """Take in the sentences of *found*, best first, and of the passages around them that are about the same."""
        best = max(one.coverage for one in found)
        near = [one for one in found if one.coverage >= _NEAR * best]
        entitled = {one.url for one in near if self.asked <= {*title_terms(one.title)}}
        self.openers = {near[0].url, *(one.url for one in near if "#" not in self.origin(one.url))}
        if self.part.subject and not self.part.aspect:
            more = list(self._around(near, evidence))
            self.following = {one.url for one in more} | self._siblings(near)
            self.openers |= self.following
            entitled |= self.following
            near = [*near, *more]
        subject = set(query_terms(self.part.subject))
        wanted = self.asked - subject if self.part.aspect else set[str]()
        question = Question.of(self.part.question)
        # What is asked of somebody, where the message was not taken apart: "Who succeeded Ada Quist?"
        beside = self.asked - question.names if question.names and not self.part.subject else set[str]()
        for rank, one in enumerate(near):
            whole = one.url in entitled or (bool(subject) and subject <= {*title_terms(one.title)})
            if whole:
                self.named.add(one.url)
            for line in _sentences_of(one, rank, evidence, whole=whole):
                told = {*terms(f"{line.topic} {line.text}"), *title_terms(line.title)}
                if wanted and not wanted & told:
                    continue
                if 2 * len(beside & with_aliases(told, question.meant)) <= len(beside) > 0:
                    continue
                # Where documents bear the name, what others say in passing has to name it as well.
                if not entitled or line.url in entitled or self.asked <= {*terms(line.text)}:
                    self.lines.append(line)

    def _siblings(self, found: Sequence[Found]) -> set[str]:
        """The passages of the best one's document among *found*, where the document as a whole is about the subject."""
        best = found[0]
        document = best.title.split(" - ")[0]
        address = self.origin(best.url).partition("#")[0]
        if not set(query_terms(self.part.subject)) <= {*title_terms(document)}:
            return set()
        return {one.url for one in found if self.origin(one.url).partition("#")[0] == address}

    def _around(self, found: Sequence[Found], evidence: Evidence) -> Iterator[Found]:
        """How the best one's document begins and goes on, as long as document or section is about the subject."""
        best = found[0]
        document = best.title.split(" - ")[0]
        about = set(query_terms(self.part.subject)) - {*map(stem, KINDS)}
        kept = document if about <= {*title_terms(document)} else best.title
        address, _, number = self.origin(best.url).partition("#")
        if number and not number.isdigit():
            return
        known = {self.origin(one.url) for one in found}
        first = int(number or 1)
        for place in (1, *range(first + 1, first + _MORE)):
            url = f"{address}#{place}" if place > 1 else address
            passage = evidence.read(url)
            if url not in known and passage is not None and passage[0].startswith(kept):
                yield replace(best, url=url, title=passage[0])

    def chosen(self, most: int) -> list[Line]:
        """The best of the lines, taken one by one; those that say the same as one that was taken are left out."""
        worths = self._worths()
        highest = max(worths.values(), default=0.0)
        by_place = {(line.url, line.place): line for line in self.lines}
        taken: dict[Line, None] = {}

        def rank(line: Line) -> tuple[float, int, int]:
            goes_on = by_place.get((line.url, line.place - 1)) in taken
            return worths[line] + _GOES_ON * goes_on, -line.rank, -line.place

        while worths and len(taken) < most:
            line = max(worths, key=rank)
            continued = line.rank == 0 or line.url in self.following
            least = _LEAST_FOLLOWING if continued else _LEAST
            if worths.pop(line) < least * highest:
                continue
            needed = _with_antecedents(line, by_place, named=line.url in self.named)
            if needed and not any(same(line.text, other.text) for other in taken):
                taken.update(dict.fromkeys(needed))
                for one in needed:
                    worths.pop(one, None)
        return list(taken)

    def _worths(self) -> dict[Line, float]:
        """What each line is worth to the reader."""
        held = {line: frozenset(terms(line.text)) & self.asked for line in self.lines}
        frequency = Counter(term for has in held.values() for term in has)
        weight = {term: math.log(1 + len(held) / (0.5 + frequency[term])) for term in self.asked}
        total = sum(weight.values()) or 1.0
        about = subject_of(self.part.question)
        worths: dict[Line, float] = {}
        for line, has in held.items():
            titled = self.asked if line.url in self.following else self.asked & set(title_terms(line.title))
            worth = sum(weight[term] for term in has) / total
            worth += 0.5 * sum(weight[term] for term in titled - has) / total
            worth += _OPENS * (line.place == 0 and bool(titled) and line.url in self.openers)
            worth += _GOVERNS * (about is not None and about.governs(line.text))
            worth += _DECIDES * (line.url in self.openers and _DECISION.search(line.text) is not None)
            worth -= _ASIDE_COSTS * (_ASIDE.match(line.text) is not None)
            # Parts of one document on the subject come in its order, none of them further down.
            worths[line] = worth - _LATER * (0 if line.url in self.following else line.rank)
        return worths

    def ordered(self, lines: Sequence[Line]) -> list[Line]:
        """*lines* as they are to be read: document by document, that of the best passage first, each from its beginning."""
        ranks: dict[str, int] = {}
        for line in sorted(lines, key=lambda line: line.rank):
            ranks.setdefault(self.origin(line.url).partition("#")[0], line.rank)

        def reading(line: Line) -> tuple[int, list[int], int]:
            address, _, number = self.origin(line.url).partition("#")
            return ranks[address], [int(part) for part in re.findall(r"\d+", number)], line.place

        return sorted(lines, key=reading)


def _sentences_of(found: Found, rank: int, evidence: Evidence, *, whole: bool) -> Iterator[Line]:
    """The sentences of a passage: all of it where its title is what is asked for, else those that answer."""
    passage = evidence.read(found.url) if whole else None
    paragraphs = passage[1].split("\n\n") if passage is not None else found.excerpt.split("\n")
    place = 0
    for paragraph in paragraphs:
        topic = _TOPIC.match(paragraph)
        listed = paragraph.split("\n")
        if len(listed) > 1 and not all(_PAIR.match(line) for line in listed):
            place += 1  # code keeps its lines, running text does not
            continue
        for line in listed:
            for sentence in sentences(line.strip(" -*|") if len(listed) > 1 else line):
                # What ends in a colon goes on in code that is left out; only how a passage opens, it may.
                open_end = sentence.endswith(":") and place > 0
                if reads(sentence) and not announces(sentence) and not open_end:
                    yield Line(sentence, found.url, found.title, rank, place, topic[1] if topic else "")
                place += 1


def _with_antecedents(line: Line, by_place: dict[tuple[str, int], Line], *, named: bool) -> list[Line]:
    """*line* behind the sentences it points back at; empty when they are not there.

    The first sentence of a passage whose title is the thing that is asked for (*named*) points back at the title.
    """
    needed = [line]
    while points_back(needed[0].text):
        before = by_place.get((line.url, needed[0].place - 1))
        if before is None and needed[0].place == 0 and named:
            break
        if before is None or len(needed) > _MOST_BACK:
            return []
        needed.insert(0, before)
    return needed
