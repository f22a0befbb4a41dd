"""Judging a claim by its words, where it states no value: whether a sentence says the same, or denies it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from examples.research_agents.retrieval.relations import told_relations
from examples.research_agents.retrieval.text import STOP_WORDS, stem, terms

from .asking import denies
from .reading import owned_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .asking import Ask
    from .reading import Clause

__all__ = ["judge_words"]

# Words for the same deed, beyond those of the lexicon of relations.
_SAME = (
    "make makes made build builds built produce produces produced manufacture manufactures manufactured craft crafts develops develop maker producer manufacturer",
    "operate operates operated active present operating operations business",
    "sell sells sold offer offers offered market markets",
    "buy buys bought acquire acquires acquired purchase purchased takeover",
    "supply supplies supplied deliver delivers delivered provide provides provided",
    "use uses used employ apply applies",
    "begin begins began start starts started",
    "end ends ended stop stops stopped cease ceased",
    "big large",
    "reject rejects rejected refuse refuses refused",
    "allow allows permit permits let lets",
    "return returns give gives yield yields",
    "causes cause make makes",
)
_OPPOSITE = (
    ("open", "closed"), ("public", "private"), ("first", "last"), ("mutable", "immutable"), ("local", "global"),
    ("always", "never"), ("before", "after"), ("accept", "reject"), ("allow", "forbid"), ("import", "export"),
    ("true", "false"), ("left", "right"), ("maximum", "minimum"), ("synchronous", "asynchronous"), ("include", "exclude"),
    ("active", "inactive"), ("profitable", "unprofitable"), ("independent", "dependent"), ("renewable", "fossil"),
)  # fmt: skip
_EXCEPTING = re.compile(
    r"\b(?:not|never|no|without|excluding|excludes?|except(?:\sfor)?|other\sthan|rather\sthan|instead\sof|but\snot|neither|nor|outside)\s+(?:\w+\s+){0,2}?$",
    re.IGNORECASE,
)
_CANON = {form: forms.split()[0] for forms in _SAME for form in forms.split()}
_WEAK = frozenset(
    ["make", "operate", "sell", "buy", "supply", "use", "begin", "end"]
)  # the deed alone is not what is claimed
_MOST = 12


def judge_words(
    ask: Ask, clauses: Sequence[Clause]
) -> Iterator[tuple[Literal["supports", "contradicts"], str, Clause]]:
    """What the sentences say to a claim that holds no value: (stance, reason, clause).

    A sentence supports it when it is about the same thing, holds every word of the claim that carries meaning, or another
    word for the same deed, and denies as much as the claim does. It contradicts it when only the denial differs, or one
    word is the opposite.
    """
    names = {stem(word) for name in ask.others for word in name.key}
    entity = frozenset().union(*(one.stems for one in ask.entities)) if ask.entities else frozenset()
    kinds = {stem(one.kind) for one in ask.entities if one.kind}
    wanted = (_content(ask.text) | names) - entity - kinds
    if not wanted:
        return
    heard = 0
    for clause in clauses:
        if ask.entities and ask.entities[0].proper and not owned_by(ask.entities[0], clause):
            continue
        told = _content(clause.text) | (
            _content(clause.sentence) if _content(clause.text) & wanted else set()
        )
        if ask.entities and not ask.entities[0].proper and not entity <= told | _context(clause):
            continue
        missing = (
            wanted
            - told
            - ({term for term in _context(clause)} if clause.inherited or not ask.entities else set())
        )
        if missing:
            if (pair := _opposite(missing, told)) is not None and not denies(clause.text):
                yield "contradicts", f'{clause.title} says "{pair[1]}", not "{pair[0]}".', clause
            continue
        excepted = _excepted(clause.text, wanted)
        if (denies(clause.text) or excepted) is ask.negated:
            yield "supports", f"{clause.title} says so.", clause
        else:
            yield "contradicts", f"{clause.title} says the contrary.", clause
        heard += 1
        if heard >= _MOST:
            return


def _content(text: str) -> set[str]:
    """What *text* says, as keys: stems, and one key for all words of the same deed."""
    found: set[str] = set()
    for word in re.findall(r"[\w']+", text.lower()):
        if word in _CANON:
            found.add(f"={_CANON[word]}")
        elif word not in STOP_WORDS:
            found.update(term for term in terms(word) if not term.startswith(("rel_", "kw_", "dot_")))
    found.update(
        f"rel_{name}"
        for name in told_relations(text.lower())
        if name not in {"makes", "active", "output", "seat"}
    )
    return found


def _context(clause: Clause) -> set[str]:
    return set(clause.context) | (_content(clause.quote) if clause.inherited else set())


def _opposite(missing: set[str], told: set[str]) -> tuple[str, str] | None:
    """A pair of opposites of which the claim has one and the sentence the other; only if nothing else is missing."""
    if len(missing) != 1:
        return None
    lacking = next(iter(missing))
    for pair in _OPPOSITE:
        for one, other in (pair, pair[::-1]):
            if lacking == stem(one) and stem(other) in told:
                return one, other
    return None


def _excepted(text: str, wanted: set[str]) -> bool:
    """Whether a word of the claim stands behind "excluding", "other than" and the like."""
    return any(
        _EXCEPTING.search(text[: match.start()]) and _content(match.group()) & wanted
        for match in re.finditer(r"[\w']+", text)
    )
