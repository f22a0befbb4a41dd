"""Whether a passage answers a question, and which one answers it best.

Full-text search is good at ordering and says nothing about whether the best is any good, so what it proposes is judged
again: *coverage* is the share of the question's weight (the sum of the idf of its terms) that one passage holds. A term
found nowhere weighs most, so that a question about something that is never mentioned cannot be covered. What stays under
`MIN_COVERAGE` is not returned: "not found" is an answer. `local_parallel.threshold` holds the measurement behind the
number. Where one thing is asked for ("what is X"), its words are not enough: a heading or a sentence must be about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .contexts import contexts_of, names_another
from .demands import Demands, is_question
from .names import aliases_in, required_terms
from .quoting import best_sentences, points_back, with_aliases
from .subject import Subject, subject_of
from .synonyms import meanings, synonyms
from .text import query_terms, sentences, stem, terms, title_terms

__all__ = ["DEPTHS", "MIN_COVERAGE", "Candidate", "Depth", "Found", "Question", "best_of", "judge"]

MIN_COVERAGE = 0.8  # see `local_parallel.threshold`
_MEANT = 0.75  # what a word is worth that means the one asked for; less than `MIN_COVERAGE`, so that it answers nothing alone
_KIND_WEIGHS = 0.3
_KIND_WORDS = "rate amount figure total level date time year day name percentage fully completely entirely"
_KINDS_OF_VALUE = frozenset(map(stem, _KIND_WORDS.split()))
_DAY_WORDS = "mondays tuesdays wednesdays thursdays fridays saturdays sundays"
_DAYS = frozenset(map(stem, _DAY_WORDS.split()))
# "What went wrong at X" asks for whatever is told of X.
_WHATEVER = re.compile(r"\b(?:went|go(?:es|ne|ing)?)\swrong\b", re.IGNORECASE)
_CHECKING = re.compile(
    r"^\W*(?:does|do|did|is|are|was|were|has|have|had|can|could|must|will)\b", re.IGNORECASE
)
# A number that is no year and no part of a name ("the Norlux 400").
_AMOUNT = re.compile(r"(?<![\w.,])(?!(?:1[5-9]|20)\d\d\b)\d[\d.,]*(?![\w-])")
_NAMING = re.compile(r"\b[A-Z][\w-]*\s$")
_PACKAGE = re.compile(r"\b(?:package|library|module)\s+([A-Za-z][\w.-]*\w)", re.IGNORECASE)
_ENTITLED = 0.5  # what it is worth that a section opens under the name asked for, or a sentence with it


@dataclass(frozen=True, slots=True)
class Depth:
    """How hard a search mode tries.

    Attributes:
        candidates: passages judged for each query.
        sentences: sentences an excerpt may hold.
        results: results returned when the request names no `max_results`.
    """

    candidates: int
    sentences: int
    results: int


# The modes of Parallel's Search, from quickest to deepest; the deeper read more candidates and quote more.
DEPTHS = {
    "turbo": Depth(candidates=12, sentences=2, results=3),
    "fast": Depth(candidates=30, sentences=3, results=5),
    "basic": Depth(candidates=60, sentences=4, results=8),
    "advanced": Depth(candidates=150, sentences=6, results=10),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that shares words with a question.

    Attributes:
        url: identifies it.
        title: places it.
        paragraphs: its running text.
        first: whether it opens its section.
        trusted: whether it is preferred to one that is not.
        strength: how strongly full-text search proposes it, 0 to 1, 1 being the strongest of its search.
    """

    url: str
    title: str
    paragraphs: Sequence[str]
    first: bool
    trusted: bool
    strength: float


@dataclass(frozen=True, slots=True)
class Found:
    """A passage judged against a question.

    Attributes:
        url: identifies the passage.
        title: places it.
        excerpt: the sentences that answer, in the order of the text.
        coverage: share of the question's weight the passage holds, 0 to 1.
        score: what results are ordered by; only comparable within one search.
    """

    url: str
    title: str
    excerpt: str
    coverage: float
    score: float


@dataclass(frozen=True, slots=True)
class Question:
    """What a query asks for, as terms.

    Attributes:
        terms: the distinct terms, in order; what only says which kind of thing is asked for is left out.
        subject: the one thing asked for, where there is one.
        required: the terms without which nothing answers: names, years, and what is asked of them (see `relations`).
        demands: what else a sentence has to meet.
        names: those of `required` that are proper names; a sentence may leave them to the ones before it.
        meant: for a term that a text may hold instead, the terms it stands for (see `synonyms`).
    """

    terms: tuple[str, ...]
    subject: Subject | None
    required: frozenset[str] = frozenset()
    demands: Demands = field(default_factory=lambda: Demands.of(""))
    names: frozenset[str] = frozenset()
    meant: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, query: str) -> Question:
        """Read *query*."""
        subject = subject_of(query)
        asked = query_terms(_WHATEVER.sub(" ", _without_amounts(query)))
        if subject is not None:
            # "the lambda keyword": a text about lambda need not say that it is a keyword.
            filler = set(map(stem, subject.filler))
            asked = [term for term in asked if term not in filler] or asked
        needed = (
            required_terms(query) - _DAYS
        )  # "on Sundays" is no name, and may stand in the sentence before
        names = {term for term in needed if not term.isdigit()}
        required = needed | {term for term in asked if term.startswith("rel_")}
        if is_question(query):
            required |= {stem(one.lower()) for one in _PACKAGE.findall(query)}
        named = {stem(word) for word in Demands.of(query).named}
        meant = meanings(term for term in asked if term not in named)
        return cls(
            tuple(asked),
            subject,
            frozenset(required & set(asked)),
            Demands.of(query),
            frozenset(names & set(asked)),
            meant,
        )

    def weights(self, weight: Callable[[str], float]) -> dict[str, float]:
        """Each term with its inverse document frequency, as *weight* tells it; the commonest of those that mean the same."""
        meant = {term for several in self.meant.values() for term in several}
        weights = {
            term: min(weight(one) for one in {term, *(synonyms(term) if term in meant else ())})
            for term in self.terms
        }
        # "The mileage rate", "what time": the kind of value asked for, which the value itself shows.
        kinds = weights.keys() & _KINDS_OF_VALUE
        if len(weights) - len(kinds) > 1:
            weights.update({kind: _KIND_WEIGHS * weights[kind] for kind in kinds})
        return weights

    @property
    def core(self) -> frozenset[str]:
        """The terms that an answer has to hold: without the kind of value, which the value itself shows."""
        return frozenset(self.terms) - _KINDS_OF_VALUE or frozenset(self.terms)

    @property
    def sought(self) -> list[str]:
        """The terms that a passage may be found by: those asked for, then what means the same."""
        return [*self.terms, *(one for one in self.meant if one not in self.terms)]


def judge(
    question: Question, weights: Mapping[str, float], candidate: Candidate, depth: Depth, max_chars: int
) -> Found | None:
    """Judge one candidate; None when it has no running text to quote, or none about the thing asked for."""
    subject = question.subject
    demands = question.demands
    total = sum(weights.values())
    heading = set(title_terms(candidate.title))
    titled = weights.keys() & heading
    entitled = subject is not None and subject.entitles(candidate.title)
    aliases = aliases_in((candidate.title, *candidate.paragraphs)) if question.required else {}
    contexts = contexts_of(candidate.paragraphs, question.names, aliases) if question.names else {}

    def leads(sentence: str) -> bool:
        about = subject is None or entitled or subject.governs(sentence)
        return about and demands.met_by(sentence)

    excerpt, said = best_sentences(
        candidate.paragraphs,
        dict(weights),
        titled,
        depth.sentences,
        max_chars,
        leads=leads,
        named=candidate.title.endswith(")"),
        known=question.names if question.names <= with_aliases(heading, aliases) else frozenset(),
        aliases={**question.meant, **aliases},
    )
    if not excerpt or total <= 0:
        return None
    governed = subject is not None and subject.governs(excerpt)
    if not demands.open_to(candidate.title) and not entitled and not governed:
        return None
    # What counts is what can be shown together: the title and one sentence with the next. Words that are scattered
    # over the passage make no answer.
    held = list(_together(excerpt, question, aliases, contexts, pairs=subject is not None or bool(titled)))
    covered = max(_share(together | heading, weights, question) for together in held) / total
    in_title = sum(weights[term] for term in titled) / total
    in_text = sum(weights[term] for term in said) / total
    precise = len(titled) / len(heading) if heading else 0.0
    score = (
        covered
        + 0.5 * in_text
        + 0.4 * in_title
        + 0.4 * precise
        + 0.3 * candidate.strength
        + 0.1 * candidate.first
        + 0.15 * candidate.trusted
        + _ENTITLED * (entitled and candidate.first)
        + _ENTITLED * governed
    )
    return Found(candidate.url, candidate.title, excerpt, covered, score)


def best_of(found: Iterable[Found], limit: int) -> list[Found]:
    """The best of *found*, each URL once, best first."""
    best: dict[str, Found] = {}
    for one in found:
        if one.url not in best or best[one.url].score < one.score:
            best[one.url] = one
    return sorted(best.values(), key=lambda one: (-one.score, one.url))[:limit]


def _without_amounts(query: str) -> str:
    """*query* without the amounts in it, where it only asks whether they are right: what says otherwise answers as well."""
    if not _CHECKING.match(query):
        return query
    return _AMOUNT.sub(lambda match: match.group() if _NAMING.search(query[: match.start()]) else " ", query)


def _share(held: set[str], weights: Mapping[str, float], question: Question) -> float:
    """The weight of the terms *held*, also in other words; half of it where a required one is missing: never enough."""
    exact = held & weights.keys()
    meant = {term for one in held & question.meant.keys() for term in question.meant[one]} - exact
    weight = sum(weights[term] for term in exact) + _MEANT * sum(weights[term] for term in meant)
    return weight if question.required <= held else weight / 2


def _together(
    excerpt: str,
    question: Question,
    aliases: Mapping[str, frozenset[str]],
    contexts: Mapping[str, frozenset[str]],
    *,
    pairs: bool,
) -> Iterator[set[str]]:
    """The terms in each sentence of *excerpt* and in those it points back at, with *pairs* also in the one after.

    Where no heading holds a word of the question, two sentences in a row meet its words by chance too often.
    """
    held: list[set[str]] = [set()]
    joins: list[bool] = []
    naming = set[str]()
    for line in excerpt.split("\n"):
        for sentence in sentences(line):
            own = with_aliases(terms(sentence), aliases) | contexts.get(sentence, frozenset())
            own = own if question.demands.met_by(sentence) else set()
            # What is said of somebody else is not said of whom the sentence before names.
            same = bool(own & question.names) or not (
                question.names and names_another(sentence, set(question.terms))
            )
            if sentence in contexts:
                own |= naming  # it goes on about what the sentence with the name tells
            elif own & question.names:
                naming = own
            held.append(own | held[-1] if same and points_back(sentence) else own)
            joins.append(pairs and same)
    del held[0]
    following = [after if joined else set[str]() for after, joined in zip(held, joins, strict=True)][1:]
    yield from (one | after for one, after in zip(held, [*following, set[str]()], strict=True))
