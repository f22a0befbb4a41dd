"""Reported speech: what a source only says that somebody says, and what somebody denies right behind it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .voices import Voice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .clauses import Clause

__all__ = ["denials_of", "is_reported"]

_VERB = r"(?:claim|sa(?:y|id)|allege|insist|assert|argue|believe|contend|maintain|suspect|report|state|den(?:y|ie)|dispute)"
# "claims" and "reports" can be nouns: they report only with what is said behind them, or at the end of the sentence.
_REPORTED = re.compile(
    rf"\b[Aa]ccording\sto\b|\b(?:[Aa]llegedly|[Rr]eportedly|[Ss]upposedly|[Pp]urportedly|rumou?red)\b"
    rf"|\b{_VERB}(?:s|d|ed)?,?\s(?:that|it|its|they|he|she|the|this|to\shave|to\sbe|[A-Z])"
    rf"|,\s[^,;]{{1,60}}\s{_VERB}(?:s|d|ed)?(?:[.,;]|$)|\b(?:say|says|said|claim|claims)\s[A-Z]"
    r"|\b(?:is|are|was|were)\s(?:said|alleged|believed|rumou?red|claimed|reported|thought)\sto\b"
)
_DENIAL = re.compile(
    r"\b(?:den(?:y|ies|ied)|disput(?:e|es|ed)|reject(?:s|ed)?|refut(?:e|es|ed)|contradict(?:s|ed)?|contest(?:s|ed)?)\s"
    r"(?:this|that|it|these|those|them|such|(?:the|any|all|every)\s(?:\w+\s)?(?:claim|report|allegation|accusation|figure|charge|rumou?r|"
    r"statement)s?)\b"
    r"|\b(?:this|that|the\s(?:claim|report|allegation|rumou?r))\s(?:is|was)\s(?:denied|disputed|false|untrue|not\strue|wrong)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def is_reported(sentence: str) -> bool:
    """Whether *sentence* only reports what somebody says."""
    return _REPORTED.search(sentence) is not None


def denials_of(voices: Sequence[Voice], clauses: Sequence[Clause]) -> Iterator[Voice]:
    """The contrary of each supporting voice whose next sentence denies it: "Pellan Bank denies this."."""
    denying = {
        (clause.url, clause.before[-1]): clause
        for clause in clauses
        if clause.before and _DENIAL.search(clause.sentence)
    }
    for voice in voices:
        denial = denying.get((voice.clause.url, voice.clause.sentence))
        if denial is None or voice.stance != "supports":
            continue
        quote = f"{voice.clause.quote} {denial.sentence}"
        reason = f'"{denial.title}" goes on: {denial.sentence}'
        yield Voice(voice.part, "contradicts", reason, replace(denial, quote=quote))
