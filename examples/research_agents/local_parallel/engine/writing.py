"""Writing a report: sentences of the sources under a heading for each part of the request, each with its number.

Nothing is said that no source says, except what is computed from two values that stand cited beside it. What nothing was
found for is listed at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from examples.research_agents.marks import unmarked
from examples.research_agents.outlines import topic_of
from examples.research_agents.questions import in_context, read_parts

from .comparing import best_facts, compare, conflicts_in, trends
from .evidence import Basis, Citation, Combined
from .given import Given
from .results import Draft, Source
from .selecting import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.research_agents.phrasing import Part
    from examples.research_agents.retrieval.ranking import Depth

    from .evidence import Evidence
    from .facts import Fact
    from .lines import Line
    from .results import Ranked
    from .selecting import Told

__all__ = ["write"]

_MOST_PARTS = 8
_LEAST_LINES = 3  # for each part, however many there are
_LONG = 4  # sentences from which a text on one subject gets headings
_OWN = "document:"  # how the address of a document of the user's begins
_LONGEST_TITLE = 120


@dataclass(slots=True)
class _Section:
    """What stands under one heading.

    Attributes:
        heading: without marks; empty for none.
        told: of each part in it.
        subjects: of each part, where the section compares several; else empty.
    """

    heading: str
    told: list[Told] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)


class _Numbers:
    """Gives each source its number when it is first cited, and notes what is cited of it."""

    def __init__(self, draft: Draft, given: Given, sources: Sequence[Source]) -> None:
        self._draft = draft
        self._given = given
        self._known = {source.url: source for source in sources}
        self._following = max((source.n for source in sources), default=0)
        self._places: dict[int, int] = {}

    def mark(self, url: str, title: str, sentence: str) -> str:
        """`[n]` for the passage *url*, which says *sentence*."""
        source = self._given.source(url) or self._known.get(url)
        if source is None:
            self._following += 1
            source = self._known[url] = Source(self._following, url, title, sentence)
        place = self._places.get(source.n)
        if place is None:
            self._places[source.n] = len(self._draft.sources)
            self._draft.sources.append(source)
            citation = Citation(source.url, source.title, (sentence,))
            self._draft.basis.append(Basis(f"[{source.n}]", "Quoted word for word.", (citation,), "high"))
        elif sentence not in self._draft.basis[place].citations[0].excerpts:
            said = (*self._draft.basis[place].citations[0].excerpts, sentence)
            citation = Citation(source.url, source.title, said)
            self._draft.basis[place] = Basis(f"[{source.n}]", "Quoted word for word.", (citation,), "high")
        return f"[{source.n}]"

    def address(self, url: str) -> str:
        """Where the passage *url* is outside of this text."""
        source = self._given.source(url)
        return source.url if source is not None else url

    def marks(self, facts: Sequence[Fact]) -> str:
        """The numbers of the passages that give *facts*, each once."""
        return " ".join(
            dict.fromkeys(self.mark(one.clause.url, one.clause.title, one.clause.sentence) for one in facts)
        )


def write(
    request: str,
    sources: Sequence[Source],
    evidence: Evidence,
    depth: Depth,
    *,
    history: Sequence[tuple[str, str]] = (),
) -> Draft:
    """A report on *request*.

    Args:
        request: as the user put it: a question, or "Write a short report on ...".
        sources: to be written from, before everything else; they keep their numbers.
        evidence: where to look for more.
        depth: how hard, and how long the text becomes.
        history: the exchanges before, oldest first: (asked, answered).
    """
    draft = Draft(iter(()))
    request = in_context(request, [asked for asked, _ in history])
    draft.pieces = _pieces(request, sources, evidence, depth, draft)
    return draft


def _pieces(
    request: str, sources: Sequence[Source], evidence: Evidence, depth: Depth, draft: Draft
) -> Iterator[str]:
    given = Given(sources, evidence)
    numbers = _Numbers(draft, given, sources)
    everything = Combined(given, evidence)
    parts = read_parts(request, _MOST_PARTS)
    longest = 4 + 2 * depth.results
    most = max(_LEAST_LINES, min(longest, 2 * longest // len(parts)))
    # What the user's own documents answer is told from them alone: a corpus has something on every word.
    own = Given([one for one in sources if one.url.startswith(_OWN)], evidence)
    told = [
        tell(
            part,
            own if own.answers(part.question, depth) else everything,
            depth,
            most,
            origin=numbers.address,
        )
        for part in parts
    ]
    yield f"# {unmarked(_title(request, parts))}"
    for section in _sections(parts, told):
        yield from _section(section, numbers)
    facts = list(
        {
            (one.clause.url, one.clause.place, one.label, one.value): one
            for each in told
            for one in each.facts
        }.values()
    )
    if not any(part.aspect for part in parts) and (compared := list(_compared(facts, numbers))):
        yield "\n\n## Numbers compared\n"
        yield from (f"\n- {one}" for one in compared)
    if disputed := list(conflicts_in(facts)):
        yield "\n\n## Where sources disagree\n"
        for one in disputed:
            saying = [fact for fact in facts if fact.told in one.values and fact.clause.url in one.urls]
            yield f"\n- {one.statement} {numbers.marks(saying)}"
    if missing := [part.phrase for part, each in zip(parts, told, strict=True) if not each.lines]:
        yield "\n\n## Not found\n"
        yield from (f"\n- {unmarked(one)}" for one in dict.fromkeys(missing))
    yield "\n"


def _title(request: str, parts: Sequence[Part]) -> str:
    """What the text is about, in the words of the request."""
    subjects = list(dict.fromkeys(part.subject for part in parts if part.subject))
    aspects = list(dict.fromkeys(part.aspect for part in parts if part.aspect))
    if subjects and all(part.subject for part in parts):
        # "A in 2024 and B in 2024" is "A and B in 2024".
        ends = {re.sub(r"^.*?(?=\sin\s|$)", "", subject) for subject in subjects}
        end = ends.pop() if len(ends) == 1 else ""
        title = _listed([subject.removesuffix(end) for subject in subjects]) + end
        title += f": {_listed(aspects)}" if aspects else ""
    elif len(parts) == 1 and request.rstrip().endswith("?"):
        title = parts[0].question
    else:
        title = topic_of(request.splitlines()[0]) + "?" * request.rstrip().endswith("?")
    title = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 3].rsplit(' ', 1)[0]} ..."
    return _capital(title)


def _sections(parts: Sequence[Part], told: Sequence[Told]) -> list[_Section]:
    """Under one heading stands what is to be compared: an aspect of all subjects; else each part has its own."""
    sections: dict[str, _Section] = {}
    compared = len({part.subject for part in parts if part.aspect}) > 1
    for part, each in zip(parts, told, strict=True):
        if not each.lines:
            continue
        if len(parts) == 1:
            return _by_passage(each)
        heading = part.aspect if part.aspect and (compared or part.subject) else part.subject or part.question
        section = sections.setdefault(heading, _Section(heading))
        section.told.append(each)
        if compared and part.aspect:
            section.subjects.append(part.subject)
    return list(sections.values())


def _by_passage(told: Told) -> list[_Section]:
    """A text on one thing: under the headings of the passages, where it is long enough to need some."""
    headings = dict.fromkeys(_heading_of(line) for line in told.lines)
    if len(told.lines) < _LONG or len(headings) < 2:
        return [_Section("", [told])]
    return [
        _Section(
            heading,
            [type(told)(tuple(line for line in told.lines if _heading_of(line) == heading), told.facts)],
        )
        for heading in headings
    ]


def _heading_of(line: Line) -> str:
    """What the passage calls itself, without the document around it."""
    return re.sub(r"\s*\(.*\)$", "", line.title.rsplit(" - ", 1)[-1]).strip() or line.title


def _section(section: _Section, numbers: _Numbers) -> Iterator[str]:
    """The pieces of one section: a paragraph for each source, then how its numbers compare."""
    if section.heading:
        yield f"\n\n## {unmarked(_capital(section.heading))}\n\n"
    else:
        yield "\n\n"
    said: set[str] = set()
    for place, told in enumerate(section.told):
        before = ""
        for line in told.lines:
            if line.text in said:
                continue
            said.add(line.text)
            lead = "\n\n" if (place or before) and before != line.url else " " if before else ""
            # "Price: 289 euros" says of what only beside a name.
            subject = section.subjects[place] if section.subjects and not before else ""
            label = "" if subject.lower() in line.text.lower() else f"**{subject}:** "
            before = line.url
            yield f"{lead}{label}{unmarked(line.text)} {numbers.mark(line.url, line.title, line.text)}"
    if len(section.told) > 1:
        for statement in _compared([fact for told in section.told for fact in told.facts], numbers):
            yield f"\n\n{statement}"


def _compared(facts: Sequence[Fact], numbers: _Numbers) -> Iterator[str]:
    """How the values of several subjects compare, each statement with the sources of its values."""
    if len({fact.entity.key for fact in facts}) < 2:
        shown: set[tuple[Ranked, ...]] = set()
        for trend in trends(facts):
            # The same values may be known under two names: "revenue", and just "money".
            if trend.order in shown:
                continue
            shown.add(trend.order)
            subjects = {ranked.subject for ranked in trend.order}
            used = [
                fact
                for fact in facts
                if fact.label == trend.measure and f"{fact.entity.text} in {fact.period}" in subjects
            ]
            yield f"{trend.statement} {numbers.marks(used)}"
        return
    best = best_facts([fact for fact in facts if fact.quantity is not None])
    for one in compare(facts):
        subjects = {ranked.subject for ranked in one.order}
        used = [fact for fact in best if fact.label == one.measure and fact.entity.text in subjects]
        yield f"{one.statement} {numbers.marks(used)}"


def _capital(text: str) -> str:
    """*text* with a capital, unless it opens with a name that has none: "httpx and redis"."""
    first = text.split(maxsplit=1)[0].strip(",:") if text else ""
    named = re.search(r"[\d_.()`]", first) or (
        len(text.split()) > 1 and text.startswith(f"{first} and ") and not first.endswith("s")
    )
    return text if named else text[:1].upper() + text[1:]


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]
