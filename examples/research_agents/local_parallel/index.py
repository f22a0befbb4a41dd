"""The full-text index of the local server: SQLite FTS5 proposes passages, `retrieval.ranking` judges them."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections import Counter
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.quoting import best_sentences
from examples.research_agents.retrieval.ranking import (
    DEPTHS,
    MIN_COVERAGE,
    Candidate,
    Depth,
    Found,
    Question,
    best_of,
    judge,
)
from examples.research_agents.retrieval.text import query_terms, terms, title_terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from examples.research_agents.retrieval.passages import Passage

__all__ = ["CorpusIndex"]

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
        return best_of((found for query in queries for found in self._answer(query, depth, max_chars)), limit)

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
        question = Question.of(query)
        weights = question.weights(self.weight)
        known = [term for term in question.sought if self._frequency[term]]
        if not known:
            return []
        expression = " OR ".join(f'"{term}"' for term in known)
        rows = self._connection().execute(_CANDIDATES, (expression, depth.candidates)).fetchall()
        strongest = rows[0][-1] if rows else 1.0
        judged = (
            judge(
                question,
                weights,
                Candidate(
                    url, title, json.loads(paragraphs), bool(first), bool(trusted), strength / strongest
                ),
                depth,
                max_chars,
            )
            for url, title, paragraphs, first, trusted, strength in rows
        )
        return [found for found in judged if found is not None and found.coverage >= least]

    def _connection(self) -> sqlite3.Connection:
        """This thread's read-only connection. They close with their threads."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            self._local.connection = connection
        return connection
