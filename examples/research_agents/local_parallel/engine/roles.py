"""Who is whose in a sentence: "A acquired B" names the owner of B, and nobody who owns A."""

from __future__ import annotations

import re

__all__ = ["turned_round"]

# Between two names: the first one does it to the second, or is it of the second.
_DOES = re.compile(
    r"\s(?:(?!(?:was|were|been|be|is|are|which|who)\b)\w+\s){0,3}?(?:owns|owned|acquired|acquires|bought|buys|purchased|took\sover|takes\sover|founded|co-?founded|established|"
    r"built|leads|led|heads|headed|runs|ran|designed|invented|wrote)\s(?!by\b)",
    re.IGNORECASE,
)
_IS_IT_OF = re.compile(
    r"\b(?:owner|parent(?:\scompany)?|holder|buyer|founder|head|director|president|chief\sexecutive)s?\sof\s(?:the\s)?$",
    re.IGNORECASE,
)
# The second one does it to the first, or has the first.
_DONE_BY = re.compile(r"\b(?:[a-z]+ed|bought|built|led|run|taken\sover|held)\sby\b", re.IGNORECASE)
_BELONGS = re.compile(
    r"\b(?:subsidiary|unit|division|arm|daughter(?:\scompany)?|affiliate|branch|part)\sof\s(?:the\s)?$|\bbelongs?\sto\s(?:the\s)?$",
    re.IGNORECASE,
)


def turned_round(text: str, whose: str, who: str) -> bool:
    """Whether *text* says the reverse: that *whose* is the owner, founder or head of *who*.

    Only what stands between the two names is looked at; where it says neither, this is False.
    """
    one, other = text.find(whose), text.find(who)
    if one < 0 or other < 0:
        return False
    if one < other:
        between = text[one + len(whose) : other]
        if _DONE_BY.search(between) or _BELONGS.search(between):
            return False
        return bool(_DOES.match(between) or _IS_IT_OF.search(between))
    between = text[other + len(who) : one]
    return bool(_DONE_BY.search(between) or _BELONGS.search(between))
