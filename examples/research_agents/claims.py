"""Taking a message apart into claims that can each be true or false."""

from __future__ import annotations

import re

from .catalogue import MOST_CLAIMS
from .retrieval.text import sentences

__all__ = ["split_claims"]

_BULLET = re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)])\s+")
# What only asks for the verification; what is left is the claim.
_ASKING = re.compile(
    r"^(?:please\s+)?(?:(?:fact[- ]?)?check(?:\s+(?:this|these|the following|whether|that|if|the claims?(?:\s+that)?))?"
    r"|verify(?:\s+(?:this|these|the following|whether|that|if|the claims?(?:\s+that)?))?"
    r"|is it (?:true|correct|right)(?:\s+that)?|true or false|can you (?:confirm|verify|check)(?:\s+(?:that|whether|if))?"
    r"|confirm(?:\s+that)?|i (?:read|heard|think|believe)(?:\s+that)?)\s*[:,]?\s+",
    re.IGNORECASE,
)
_ONLY_ASKING = re.compile(
    r"^(?:please\s+)?(?:(?:fact[- ]?)?check|verify|is (?:this|that) (?:true|correct|right))\b.{0,40}[:?]$",
    re.IGNORECASE,
)


def split_claims(text: str) -> list[str]:
    """The claims in *text*, in order, each once and at most `MOST_CLAIMS`; the whole text when nothing can be split."""
    found: list[str] = []
    for line in text.splitlines():
        for sentence in sentences(_BULLET.sub("", line).strip()):
            claim = sentence.strip(" \t\"'“”")
            if _ONLY_ASKING.match(claim):
                continue
            asked = _ASKING.sub("", claim)
            if asked != claim:
                asked = asked.rstrip("?").strip()
            if asked:
                found.append(asked[:1].upper() + asked[1:])
    return list(dict.fromkeys(found))[:MOST_CLAIMS] or [text.strip()]
