"""Sentences that answer a question in words, where no value was asked or found."""

from __future__ import annotations

import re
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.text import stem

from .ownership import owned_by
from .results import Finding
from .vocabulary import content_keys, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth

    from .asking import Ask
    from .clauses import Clause
    from .entities import Entity
    from .evidence import Evidence

__all__ = ["chunks_of", "told_in_words", "told_of_each"]

_MOST = 3  # sentences quoted where no passage answers as a whole
_MOST_CHUNKS = 6
_LITTLE = """
what which who whom why when where how many much long often is are was were be been do does did has have had to of the a an in on at by
for with from and or between during about after before under its their there that than can must will
"""
_LITTLE_WORDS = frozenset(_LITTLE.split())
_TOKEN = re.compile(r"[\w][\w.'-]*|[,;:?!]")
_MOST_TOKENS = 200


def chunks_of(question: str) -> list[str]:
    """The parts of *question* between its little words: "outage", "payment service"; each finds passages of its own.

    Of a part of more than two words each pair of neighbours is one too: "approve business class" is told in other words.
    """
    runs: list[list[str]] = [[]]
    for match in islice(_TOKEN.finditer(question), _MOST_TOKENS):
        word = match.group().rstrip(".'-")
        if word.lower() in _LITTLE_WORDS or not word[:1].isalnum():
            runs.append([])
        else:
            runs[-1].append(word)
    found: list[str] = []
    for run in runs:
        found.append(" ".join(run))
        if len(run) > 2:
            found.extend(f"{one} {other}" for one, other in pairwise(run[:_MOST_CHUNKS]))
    return [piece for piece in dict.fromkeys(found) if len(piece) > 2][:_MOST_CHUNKS]


def told_in_words(
    part: str, ask: Ask, clauses: Sequence[Clause], evidence: Evidence, depth: Depth
) -> list[Finding]:
    """What the passages say that answer *part*; else sentences that hold its words together with those before them."""
    subject = " and ".join(entity.text for entity in ask.entities) or part
    answers = evidence.search([part], depth, limit=depth.results)
    if answers:
        return [Finding(one.excerpt, subject, "", "", "", None, one.url, one.title) for one in answers]
    return _together(ask, None, clauses, subject)[:_MOST]


def told_of_each(
    ask: Ask, entity: Entity, clauses: Sequence[Clause], evidence: Evidence, depth: Depth
) -> list[Finding]:
    """What is said of one of several subjects: of a thing its definition, of others what holds the words asked."""
    wanted = {key_of(one) for one in ask.measure}
    if entity.thing and not wanted:
        answers = evidence.search([entity.query], depth, limit=1)
        return [Finding(one.excerpt, entity.text, "", "", "", None, one.url, one.title) for one in answers]
    return _together(ask, entity, clauses, entity.text)[:1] if wanted else []


def _together(ask: Ask, entity: Entity | None, clauses: Sequence[Clause], subject: str) -> list[Finding]:
    """The sentences that hold what is asked, where they, the sentence before and the title hold all of the question.

    Args:
        ask: the question.
        entity: the one subject meant; None for all of them.
        clauses: what was read.
        subject: how the finding calls it.
    """
    meant = [entity] if entity is not None else list(ask.entities)
    named = [one for one in meant if one.proper or one.thing]
    asked = {key_of(one) for one in ask.measure}
    asked |= {key_of(stem(word)) for name in ask.others for word in name.key}
    if not named:
        asked |= {key_of(term) for one in meant for term in one.stems}
    asked |= content_keys(" ".join(_spelled_relations(ask)))
    if not asked:
        return []
    found: dict[tuple[str, int], tuple[int, Finding]] = {}
    for clause in clauses:
        if named and not any(owned_by(one, clause) for one in named):
            continue
        own = content_keys(clause.sentence) & asked
        around = content_keys(" ".join((*clause.before, clause.title, clause.quote)))
        if asked <= own | around and 3 * len(own) >= len(asked):
            finding = Finding(
                _quoted(clause, asked - own), subject, "", "", "", None, clause.url, clause.title
            )
            found.setdefault((clause.url, clause.place), (len(own), finding))
    return [finding for _, finding in sorted(found.values(), key=lambda one: -one[0])]


def _quoted(clause: Clause, lacking: set[str]) -> str:
    """The sentence, behind those before it that hold what it lacks."""
    if clause.quote != clause.sentence or not lacking:
        return clause.quote
    needed = [one for one in clause.before if content_keys(one) & lacking]
    gap = "[...] " if needed and needed[-1] != clause.before[-1] else ""
    return f"{' '.join(needed)} {gap}{clause.sentence}".strip()


def _spelled_relations(ask: Ask) -> list[str]:
    """The words of the question that the lexicon took for a relation: they have to be told as well."""
    taken = {stem(word) for relation in ask.relations for word in relation.words}
    return [word for word in re.findall(r"[a-z]+", ask.text.lower()) if stem(word) in taken]
