"""The full-text index of the local server: SQLite FTS5 for candidates, inverse document frequency for judgement.

BM25 is good at ordering and says nothing about whether the best is any good, so what FTS5 proposes is judged again:
*coverage* is the share of the question's weight (the sum of the idf of its terms) that one passage holds. A term found
nowhere weighs most, so that a question about something the corpus never mentions cannot be covered. What stays under
`MIN_COVERAGE` is not returned: "not found" is an answer. `threshold.py` holds the measurement behind the number. Where
one thing is asked for ("what is X"), its words are not enough: a heading or a sentence must be about it (`subject.py`).
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .quoting import best_sentences
from .subject import Subject, subject_of
from .text import query_terms, sentences, stem, terms, title_terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .passages import Passage

__all__ = ["DEPTHS", "MIN_COVERAGE", "CorpusIndex", "Depth", "Found"]

MIN_COVERAGE = 0.8  # see `threshold.py`
_ENTITLED = 0.5  # what it is worth that a section opens under the name asked for, or a sentence with it

_SCHEMA = """
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, url TEXT UNIQUE, title TEXT, paragraphs TEXT, code TEXT, first INTEGER, trusted INTEGER
);
CREATE VIRTUAL TABLE words USING fts5(title, body, content='', tokenize="unicode61 remove_diacritics 0 tokenchars '_'");
"""
_CANDIDATES = """
SELECT p.url, p.title, p.paragraphs, p.first, p.trusted, -bm25(words, 6.0, 1.0) AS strength
FROM words JOIN passages p ON p.id = words.rowid WHERE words MATCH ? ORDER BY strength DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Depth:
    """How hard a search mode tries.

    Attributes:
        candidates: passages FTS5 proposes for each query.
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


class CorpusIndex:
    """An index in one SQLite file. `build` once, then search from any thread.

    Args:
        path: a file that does not exist yet; the caller removes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frequency: Counter[str] = Counter()
        self._size = 0
        self._local = threading.local()

    @property
    def size(self) -> int:
        """Number of passages."""
        return self._size

    def build(self, passages: Iterable[Passage]) -> None:
        """Index *passages*. Blocks (about a second for the usual corpus): call it in a thread, once."""
        connection = sqlite3.connect(self._path)
        try:
            connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
            for number, passage in enumerate(passages, start=1):
                title, body = title_terms(passage.title), terms(passage.text)
                self._frequency.update({*title, *body})
                self._size = number
                connection.execute(
                    "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        number,
                        passage.url,
                        passage.title,
                        json.dumps(passage.paragraphs),
                        "\n\n".join(passage.code),
                        passage.first,
                        passage.trusted,
                    ),
                )
                connection.execute(
                    "INSERT INTO words(rowid, title, body) VALUES (?, ?, ?)",
                    (number, " ".join(title), " ".join(body)),
                )
            connection.execute("INSERT INTO words(words) VALUES ('optimize')")
            connection.commit()
        finally:
            connection.close()

    def weight(self, term: str) -> float:
        """Inverse document frequency of *term*; one found nowhere weighs most."""
        return math.log((self._size + 1) / (self._frequency[term] + 0.5))

    def search(
        self, queries: Sequence[str], depth: Depth, *, limit: int, max_chars: int = 4000
    ) -> list[Found]:
        """The passages that answer one of *queries*, best first; empty when none covers enough of it.

        Args:
            queries: questions or keywords, each judged for itself.
            depth: how hard to try.
            limit: most results.
            max_chars: longest excerpt, in characters.
        """
        best: dict[str, Found] = {}
        for query in queries:
            for found in self._answer(query, depth, max_chars):
                if found.url not in best or best[found.url].score < found.score:
                    best[found.url] = found
        return sorted(best.values(), key=lambda found: (-found.score, found.url))[:limit]

    def read(self, url: str) -> tuple[str, str] | None:
        """(title, full text) of the passage *url*, or None."""
        row = (
            self._connection()
            .execute("SELECT title, paragraphs, code FROM passages WHERE url = ?", (url,))
            .fetchone()
        )
        if row is None:
            return None
        return row[0], "\n\n".join([*json.loads(row[1]), *([row[2]] if row[2] else [])])

    def excerpt(self, url: str, queries: Sequence[str], depth: Depth) -> str:
        """The sentences of the passage *url* that answer *queries* best, or its beginning; empty when unknown."""
        row = self._connection().execute("SELECT paragraphs FROM passages WHERE url = ?", (url,)).fetchone()
        if row is None:
            return ""
        weights = {term: self.weight(term) for query in queries for term in query_terms(query)}
        return best_sentences(json.loads(row[0]), weights, frozenset(), depth.sentences, 4000)[0]

    def coverage(self, query: str) -> float:
        """The best coverage any candidate reaches for *query*; what the threshold is measured on."""
        return max(
            (found.coverage for found in self._answer(query, DEPTHS["advanced"], 4000, least=0.0)),
            default=0.0,
        )

    def _answer(
        self, query: str, depth: Depth, max_chars: int, *, least: float = MIN_COVERAGE
    ) -> list[Found]:
        subject = subject_of(query)
        asked = query_terms(query)
        if subject is not None:
            # "the lambda keyword": a text about lambda need not say that it is a keyword.
            filler = set(map(stem, subject.filler))
            asked = [term for term in asked if term not in filler] or asked
        weights = {term: self.weight(term) for term in asked}
        known = [term for term in weights if self._frequency[term]]
        if not known:
            return []
        expression = " OR ".join(f'"{term}"' for term in known)
        rows = self._connection().execute(_CANDIDATES, (expression, depth.candidates)).fetchall()
        strongest = rows[0][-1] if rows else 1.0
        judged = [self._judge(row, weights, depth, max_chars, strongest, subject=subject) for row in rows]
        return [found for found in judged if found is not None and found.coverage >= least]

    @staticmethod
    def _judge(
        row: tuple[str, str, str, int, int, float],
        weights: dict[str, float],
        depth: Depth,
        max_chars: int,
        strongest: float,
        *,
        subject: Subject | None,
    ) -> Found | None:
        """Judge one candidate; None when it has no running text to quote, or none about the thing asked for."""
        url, title, paragraphs, first, trusted, strength = row
        total = sum(weights.values())
        heading = set(title_terms(title))
        titled = weights.keys() & heading
        entitled = subject is not None and subject.entitles(title)
        excerpt, said = best_sentences(
            json.loads(paragraphs),
            weights,
            titled,
            depth.sentences,
            max_chars,
            leads=None if subject is None or entitled else subject.governs,
            named=title.endswith(")"),
        )
        if not excerpt or total <= 0:
            return None
        # What counts is what can be shown together: the title and one sentence with the next. Words that are scattered
        # over the passage make no answer.
        held = _together(excerpt, weights, pairs=subject is not None or bool(titled))
        covered = max(sum(weights[term] for term in together | titled) for together in held) / total
        in_title = sum(weights[term] for term in titled) / total
        in_text = sum(weights[term] for term in said) / total
        precise = len(titled) / len(heading) if heading else 0.0
        score = (
            covered
            + 0.5 * in_text
            + 0.4 * in_title
            + 0.4 * precise
            + 0.3 * strength / strongest
            + 0.1 * first
            + 0.15 * trusted
            + _ENTITLED * (entitled and bool(first))
            + _ENTITLED * (subject is not None and subject.governs(excerpt))
        )
        return Found(url, title, excerpt, covered, score)

    def _connection(self) -> sqlite3.Connection:
        """This thread's read-only connection. They close with their threads."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            self._local.connection = connection
        return connection


def _together(excerpt: str, weights: Mapping[str, float], *, pairs: bool) -> Iterator[set[str]]:
    """The terms of the question in each sentence of *excerpt*, with *pairs* and the one after it.

    Where no heading holds a word of the question, two sentences in a row meet its words by chance too often.
    """
    held = [
        weights.keys() & set(terms(sentence)) for line in excerpt.split("\n") for sentence in sentences(line)
    ]
    if not pairs:
        yield from held
        return
    yield from (one | after for one, after in zip(held, [*held[1:], set[str]()], strict=True))
