"""Taking a message apart into claims that can each be true or false."""

from __future__ import annotations

import re

from .retrieval.text import sentences

__all__ = ["split_claims"]

# "... or newer. fastapi depends ...": a name that is written small begins a sentence as well; "approx. three" does not.
_SMALL_BEGINNING = re.compile(
    r"(?<=[a-z0-9]{4}[.!?])\s+(?=[a-z][\w.-]*\s+(?:is|are|was|has|have|does|did|[a-z]+s)\s)"
)

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
    """The claims in *text*, in order, each once; the whole text when nothing can be split.

    There may be more than `MOST_CLAIMS`: who verifies no more of them has to say so.
    """
    found: list[str] = []
    for line in text.splitlines():
        whole = sentences(_BULLET.sub("", line).strip())
        for sentence in (part for one in whole for part in _SMALL_BEGINNING.split(one)):
            claim = sentence.strip(" \t\"'“”")
            if _ONLY_ASKING.match(claim):
                continue
            asked = _ASKING.sub("", claim)
            if asked != claim:
                asked = asked.rstrip("?").strip()
            if asked:
                found.append(asked[:1].upper() + asked[1:])
    return list(dict.fromkeys(found)) or [text.strip()]
