"""Choosing the sentences of a passage that answer a question."""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from .text import sentences, terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["announces", "best_sentences", "is_fragment", "names_a_kind", "points_back", "with_aliases"]

_NO_ALIASES: Mapping[str, AbstractSet[str]] = MappingProxyType({})
_TIE = 0.4  # less than any word worth asking for
_DEFINITION = 20.0  # more than any sentence can gain by its words
_LEAST_GAIN = 0.5  # an idf of 0.5 is a word in six of ten passages
_TELLING = (
    10  # words from which a sentence before a colon says something itself: how a manual introduces grammar
)
_SAYING = 3  # words a sentence has at least; a pair ("Owner: Lind") and a number say something with two
_MOST_BACK = 2  # sentences a quotation may reach back for what it points at
_ANNOUNCING = re.compile(
    r"\b(?:as follows|here are|are listed below)\b|\bfollowing\b.*:$|\bways?:$", re.IGNORECASE
)
_POINTING_BACK = re.compile(
    # "It was agreed to ..." points at nothing before it.
    r"^\(|^(?!it (?:is|was|has been|were) (?:\w+ly )?(?:agreed|decided|resolved|proposed|recommended|planned|expected|estimated|noted"
    r"|reported|announced|(?:im)?possible|necessary|important|forbidden|allowed|known|clear)\b)[\"'*]*(?:(?:it|its|this|these|that|those|they|their|such|he|she|otherwise|however|therefore|thus|hence|instead|but|and|or|"
    r"also|then|likewise|similarly|conversely|consequently|nevertheless|again|both|neither|here)\b"
    r"|(?:in|for|by|at|to|with|because of|as|note)\s+(?:this|that|these|those|such|addition|contrast|both|either|other words|all)\b"
    r"|(?:for example|for instance|in particular|on the other hand|as a result|the (?:former|latter|above|same))\b)",
    re.IGNORECASE,
)


# "The company", "The reactor": said of what the sentence before named. Words that manuals use so are not among them.
_THING = (
    r"(?:company|firm|business|enterprise|corporation|group|manufacturer|maker|producer|start-?up|venture|organi[sz]ation|institute|"
    r"foundation|plant|reactor|facility|power station|station|factory|mill|dam|bridge|tower|vessel|ship|town|city|village|turbine|mine|"
    r"observatory|museum|university|hospital|charity|concern|outfit)"
)
_PRONOUN = rf"(?:it|its|they|their|he|she|his|her|the {_THING})"
_POINTING_LATER = re.compile(
    rf"^the {_THING}\b(?!\s+(?:of|that|which|whose|named|called|at|in)\b|\s+(?-i:[A-Z]))"
    rf"|^(?:(?:in|since|by|as of|during|until|from|after|before|at the end of|for|back in)\s(?:[a-z]+\s){{0,3}}\d{{4}}"
    rf"|today|currently|now|nowadays|at present|meanwhile|later|initially|last year|this year|every year|each year|annually|there),?\s{_PRONOUN}\b"
    rf"|^with\s[^,;]{{1,60}},\s{_PRONOUN}\b"
    # "Revenue in 2023 was ...": whose, the sentence before says.
    r"|^(?:the\s|its\s)?(?:annual\s|total\s|main\s|current\s|net\s)?(?:revenues?|turnover|sales|headquarters|head office|workforce|headcount|founders?|"
    r"chief executive|ceo|population|employees|profits?)\b(?!\s(?:of|for|at|by)\b)",
    re.IGNORECASE,
)


def points_back(sentence: str) -> bool:
    """Whether *sentence* opens with a word that only the one before it explains: "It", "This", "However", "The company"."""
    return _POINTING_BACK.match(sentence) is not None or _POINTING_LATER.match(sentence) is not None


def names_a_kind(sentence: str) -> bool:
    """Whether *sentence* points back by what kind of thing is meant ("The company", "Revenue"), which a title tells as well."""
    return _POINTING_BACK.match(sentence) is None and _POINTING_LATER.match(sentence) is not None


def announces(sentence: str) -> bool:
    """Whether *sentence* only says that something follows."""
    short = len(sentence.split()) < _TELLING
    return (short and sentence.endswith(":")) or _ANNOUNCING.search(sentence) is not None


def is_fragment(sentence: str) -> bool:
    """Whether *sentence* is a word or two that say nothing alone, as a heading does: "Opening hours."."""
    return (
        len(sentence.split()) < _SAYING
        and not points_back(sentence)
        and not re.search(r"\d|:\s?\S", sentence)
    )


def with_aliases(found: Iterable[str], aliases: Mapping[str, AbstractSet[str]]) -> set[str]:
    """The terms *found*, and those of the longer names that some of them stand for."""
    held = set(found)
    for term in aliases.keys() & held:
        held |= aliases[term]
    return held


def best_sentences(
    paragraphs: Sequence[str],
    weights: dict[str, float],
    titled: AbstractSet[str],
    most: int,
    max_chars: int,
    *,
    leads: Callable[[str], bool] | None = None,
    named: bool = False,
    known: AbstractSet[str] = frozenset(),
    aliases: Mapping[str, AbstractSet[str]] = _NO_ALIASES,
) -> tuple[str, set[str]]:
    """The excerpt made of at most *most* sentences, and the query terms they hold.

    Sentences are chosen greedily by the weight they add; what the title already says counts a third, and long sentences
    pay a little. The sentence after the best one comes along when it goes on about it, and one that points back only
    together with those it points at. Paragraphs stay apart.

    Args:
        paragraphs: the running text.
        weights: what each term of the question is worth.
        titled: the terms of the question that the title holds.
        most: sentences to choose at most; those pointed at count.
        max_chars: longest excerpt.
        leads: which sentences may be chosen; others only follow or explain one that is. None: all.
        named: whether the title names what an opening "It" or "This" is.
        known: the terms of the names asked for, where the title holds them: who is meant is told already.
        aliases: for a word that stands for a longer name in this passage, the terms of the rest.
    """
    pool = [(number, sentence) for number, text in enumerate(paragraphs) for sentence in sentences(text)]
    held = [weights.keys() & with_aliases(terms(sentence), aliases) for _, sentence in pool]
    chosen: set[int] = set()
    said: set[str] = set()
    room = max_chars
    # Where the title is what is asked for, the passage defines it, and the definition is how it opens.
    opening = _DEFINITION if weights and weights.keys() <= titled else _TIE
    opener = next((place for place, (_, text) in enumerate(pool) if not announces(text)), 0)
    open_to = {
        place: needed
        for place, (_, sentence) in enumerate(pool)
        if not is_fragment(sentence)
        and (leads is None or leads(sentence))
        and (needed := _with_antecedents(pool, held, place, named=named, known=known))
    }

    def fits(wanted: AbstractSet[int]) -> bool:
        new = wanted - chosen
        # A blank or a line break goes between any two.
        return len(chosen) + len(new) <= most and sum(len(pool[place][1]) + 1 for place in new) <= room + 1

    def take(wanted: AbstractSet[int]) -> None:
        nonlocal room
        for place in wanted - chosen:
            chosen.add(place)
            said.update(held[place])
            room -= len(pool[place][1]) + 1

    while len(chosen) < most:
        ranked = [
            (
                _gain(held[place], said, titled, weights) * _ease(pool[place][1])
                + (opening if place == opener else 0.0),
                -place,
            )
            for place, needed in open_to.items()
            if place not in chosen and fits(needed)
        ]
        if not ranked or (chosen and max(ranked)[0] <= _LEAST_GAIN):
            break
        place = -max(ranked)[1]
        single = not chosen
        take(open_to[place])
        if single and _continues(pool, place) and fits({place + 1}):
            take({place + 1})
    kept = [pool[place] for place in sorted(chosen)]
    return "\n".join(
        " ".join(text for _, text in group) for _, group in groupby(kept, key=itemgetter(0))
    ), said


def _with_antecedents(
    pool: Sequence[tuple[int, str]],
    held: Sequence[AbstractSet[str]],
    place: int,
    *,
    named: bool,
    known: AbstractSet[str],
) -> set[int]:
    """*place* and the places before it that its sentence needs to be understood; empty when they are not there.

    Where the title says who is meant, a sentence that does not name them explains nothing.
    """
    needed = {place}
    while points_back(pool[place][1]):
        if place == 0:
            # How a passage opens, its title explains: whose sales "Sales rose" tells of.
            return needed if named or known or names_a_kind(pool[0][1]) else set()
        told = known and (names_a_kind(pool[place][1]) or not held[place - 1] & known)
        if told or is_fragment(pool[place - 1][1]):
            return needed if known else set()
        place -= 1
        needed.add(place)
        if len(needed) > _MOST_BACK + 1:
            return set()
    return needed


def _continues(pool: Sequence[tuple[int, str]], place: int) -> bool:
    """Whether there is a sentence after the one at *place* that goes on about it."""
    after = place + 1
    return after < len(pool) and (pool[after][0] == pool[place][0] or points_back(pool[after][1]))


def _ease(sentence: str) -> float:
    """Less for long sentences, and much less for one that only announces what follows it."""
    return (0.4 if announces(sentence) else 1.0) / (1 + len(sentence) / 400)


def _gain(held: set[str], said: set[str], titled: AbstractSet[str], weights: dict[str, float]) -> float:
    """Weight a sentence adds: full for new terms, a third for those of the title, a fifth for those said already."""
    return sum(weights[term] * (0.2 if term in said else 0.34 if term in titled else 1.0) for term in held)
