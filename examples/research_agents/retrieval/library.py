"""A few passages, held in memory and searched: the documents that come with one task, or those of one tenant.

A handful of documents says little about which words are rare, so a word that most of ten thousand texts would not hold
weighs as in a corpus of `_USUAL_SIZE` passages, whatever the number of passages here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from .passages import Passage
from .ranking import MIN_COVERAGE, Candidate, Depth, Found, Question, best_of, judge
from .text import terms, title_terms

__all__ = ["Library"]

_USUAL_SIZE = 2000  # passages of the usual corpus
_OTHER_WORDS = 0.5  # what a word that means the same is worth, against the one asked for
_TITLE = 3.0  # what a word in the title is worth, against one in the text


class Library:
    """Searches *passages*. Immutable; safe to share between threads.

    Args:
        passages: each with a URL of its own.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages: list[Passage] = []
        self._places: dict[str, int] = {}
        self._frequency: Counter[str] = Counter()
        postings: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for place, passage in enumerate(passages):
            self._passages.append(passage)
            self._places[passage.url] = place
            heading, body = title_terms(passage.title), terms(passage.text)
            self._frequency.update(set(heading) | set(body))
            for term, times in Counter(body).items():
                postings[term][place] = times / (times + 1.0)
            for term in set(heading):
                postings[term][place] = postings[term].get(place, 0.0) + _TITLE
        self._postings = dict(postings)

    def __len__(self) -> int:
        """Number of passages."""
        return len(self._passages)

    @property
    def urls(self) -> list[str]:
        """Of the passages, in order."""
        return [passage.url for passage in self._passages]

    def weight(self, term: str) -> float:
        """Inverse document frequency of *term*, as it would be in a corpus of the usual size."""
        return math.log((max(len(self._passages), _USUAL_SIZE) + 1) / (self._frequency[term] + 0.5))

    def search(
        self,
        queries: Sequence[str],
        depth: Depth,
        *,
        limit: int,
        max_chars: int = 4000,
        least: float = MIN_COVERAGE,
    ) -> list[Found]:
        """The passages that answer one of *queries*, best first; empty when none covers enough of it.

        Args:
            queries: questions or keywords, each judged for itself.
            depth: how hard to try.
            limit: most results.
            max_chars: longest excerpt, in characters.
            least: the least coverage of a result.
        """
        return best_of(
            (found for query in queries for found in self._answer(query, depth, max_chars, least)), limit
        )

    def read(self, url: str) -> tuple[str, str] | None:
        """(title, full text) of the passage *url*, or None."""
        place = self._places.get(url)
        if place is None:
            return None
        passage = self._passages[place]
        return passage.title, passage.text

    def _answer(self, query: str, depth: Depth, max_chars: int, least: float) -> list[Found]:
        question = Question.of(query)
        weights = question.weights(self.weight)
        strengths: defaultdict[int, float] = defaultdict(float)
        for term in question.sought:
            weight = weights.get(term) or _OTHER_WORDS * self.weight(term)
            for place, times in self._postings.get(term, {}).items():
                strengths[place] += weight * times
        strongest = max(strengths.values(), default=1.0)
        chosen = sorted(strengths, key=lambda place: (-strengths[place], place))[: depth.candidates]
        judged = (
            judge(
                question,
                weights,
                _candidate(self._passages[place], strengths[place] / strongest),
                depth,
                max_chars,
            )
            for place in chosen
        )
        return [found for found in judged if found is not None and found.coverage >= least]


def _candidate(passage: Passage, strength: float) -> Candidate:
    return Candidate(passage.url, passage.title, passage.paragraphs, passage.first, passage.trusted, strength)
