"""Choosing the sentences of a passage that answer a question."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from .text import sentences, terms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["best_sentences"]

_TIE = 0.4  # less than any word worth asking for
_DEFINITION = 20.0  # more than any sentence can gain by its words
_POINTING_BACK = ("It ", "This ", "Such ", "These ", "They ")
_LEAST_GAIN = 0.5  # an idf of 0.5 is a word in six of ten passages


def best_sentences(
    paragraphs: Sequence[str],
    weights: dict[str, float],
    titled: AbstractSet[str],
    most: int,
    max_chars: int,
) -> tuple[str, set[str]]:
    """The excerpt made of at most *most* sentences, and the query terms they hold.

    Sentences are chosen greedily by the weight they add; what the title already says counts a third, and long sentences
    pay a little. The sentence after the best one comes along
    when it goes on about it. Paragraphs stay apart.
    """
    pool = [(number, sentence) for number, text in enumerate(paragraphs) for sentence in sentences(text)]
    held = [weights.keys() & set(terms(sentence)) for _, sentence in pool]
    chosen: list[int] = []
    said: set[str] = set()
    room = max_chars
    # Where the title is what is asked for, the passage defines it, and the definition is how it opens.
    opening = _DEFINITION if weights and weights.keys() <= titled else _TIE
    while len(chosen) < most:
        ranked = [
            (
                _gain(held[place], said, titled, weights) * _ease(sentence)
                + (opening if place == 0 else 0.0),
                -place,
            )
            for place, (_, sentence) in enumerate(pool)
            if place not in chosen and len(sentence) <= room
        ]
        if not ranked or (chosen and max(ranked)[0] <= _LEAST_GAIN):
            break
        place = -max(ranked)[1]
        chosen.append(place)
        said |= held[place]
        room -= len(pool[place][1])
        if len(chosen) == 1 and most > 1 and (after := _follower(pool, place, room)):
            chosen.append(after)
            said |= held[after]
            room -= len(pool[after][1])
    kept = [pool[place] for place in sorted(chosen)]
    return "\n".join(
        " ".join(text for _, text in group) for _, group in groupby(kept, key=itemgetter(0))
    ), said


def _follower(pool: Sequence[tuple[int, str]], place: int, room: int) -> int | None:
    """The place of the sentence that continues the one at *place*, if there is one and it fits."""
    after = place + 1
    if after >= len(pool) or len(pool[after][1]) > room:
        return None
    continues = pool[after][0] == pool[place][0] or pool[after][1].startswith(_POINTING_BACK)
    return after if continues else None


def _ease(sentence: str) -> float:
    """Less for long sentences, and much less for one that only announces what follows it."""
    return (0.4 if sentence.endswith(":") else 1.0) / (1 + len(sentence) / 400)


def _gain(held: set[str], said: set[str], titled: AbstractSet[str], weights: dict[str, float]) -> float:
    """Weight a sentence adds: full for new terms, a third for those of the title, a fifth for those said already."""
    return sum(weights[term] * (0.2 if term in said else 0.34 if term in titled else 1.0) for term in held)
