"""The marks `[n]` that an answer puts behind what it quotes."""

from __future__ import annotations

import re

__all__ = ["CITED", "unmarked"]

CITED = re.compile(r"\[(\d{1,3})\]")
"""One mark; its group is the number of the source."""


def unmarked(text: str) -> str:
    """*text* without anything that a reader could take for a mark of ours.

    A source may hold `[2]` itself, as a footnote, an index or in order to be believed: it becomes `[ 2 ]`.
    """
    return CITED.sub(r"[ \1 ]", text)
