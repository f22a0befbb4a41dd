"""Whom a sentence without a name is about: the one that was named before it, until somebody else is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .names import names_in
from .quoting import with_aliases
from .text import sentences, stem, terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["contexts_of", "names_another"]

_OPENS = 30  # characters within which a name is what its sentence is about: "Its rival Sundline has ..."
# Alone at the beginning, a capital tells little: "Passengers complained" names nobody, and neither does "Nobody".
_COMMON = re.compile(r"\w+s|(?:No|Every|Some|Any)(?:body|one|thing)")
_BESIDE = re.compile(
    r"\b(?:in|at|on|near|from|by|to|for|since|until|with|is|was|are|were)\s+(?:the\s+)?$", re.IGNORECASE
)


def contexts_of(
    paragraphs: Sequence[str], wanted: frozenset[str], aliases: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """For each sentence of a passage that names nobody itself: the terms *wanted* of the name that it goes on about.

    A sentence that opens with another name changes whom the next ones are about.

    Args:
        paragraphs: the running text of the passage.
        wanted: the terms of the names that are asked for.
        aliases: see `names.aliases_in`.
    """
    found: dict[str, frozenset[str]] = {}
    context: frozenset[str] = frozenset()
    for paragraph in paragraphs:
        for sentence in sentences(paragraph):
            named = wanted & with_aliases(terms(sentence), aliases)
            if named:
                context = frozenset(named)
            elif names_another(sentence):
                context = frozenset()
            elif context:
                found[sentence] = context
    return found


def names_another(sentence: str, asked: AbstractSet[str] = frozenset()) -> bool:
    """Whether *sentence* opens with a name, and not with one that tells where, or who holds an office of it; "TLS" is no name of anybody.

    A word that is *asked* for ("Net profit was ...") is nobody else.
    """
    return any(
        name.start < _OPENS
        and not name.isupper()
        and not (name.start == 0 and _COMMON.fullmatch(name))
        and not {stem(word) for word in name.key} <= asked
        and not _BESIDE.search(sentence[: name.start])
        for name in names_in(sentence)
    )
