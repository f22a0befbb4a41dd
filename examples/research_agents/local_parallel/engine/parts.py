"""Cutting what a user writes into questions and claims."""

from __future__ import annotations

import re

from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.text import sentences

__all__ = ["split_claims", "split_parts"]

_MOST_CLAIMS = 8
_ASKING = r"(?:what|which|who|whom|whose|when|where|why|how|does|do|did|is|are|was|were|has|have|can)"
_BOUNDARY = re.compile(
    rf"\?\s+|;\s+|\n+|,?\s+and\s+(?:also\s+)?(?={_ASKING}\s)|,\s+(?={_ASKING}\s(?!\w+\s+(?:is|are|was)\b))",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?P<word>it|its|they|their|them|the (?:company|firm|plant|reactor))\b", re.IGNORECASE
)
_PREAMBLE = re.compile(
    r"^(?:(?:please\s+)?(?:fact-?\s?)?check(?:\s+(?:this|the following|these|whether|if|that))*\s*(?:claims?|statements?)?\s*[:,-]?\s+|(?:please\s+)?verify(?:\s+(?:this|that|whether|if|the following))*\s*(?:claims?|statements?)?\s*[:,-]?\s+"
    r"|is it (?:true|correct|right|the case)\s+that\s+|i(?:'ve)? (?:read|heard|think|believe)\s+that\s+|claims?\s*\d*\s*:\s+|(?:true or false|is this true)\s*[:?,-]\s+|can you (?:check|verify)\s+(?:that|whether|if)\s+)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)]|[a-h]\))\s+")


def split_parts(message: str) -> list[str]:
    """The questions in *message*, in order, each understandable alone: "it" is replaced by the name it stands for."""
    parts: list[str] = []
    name = ""
    for piece in _BOUNDARY.split(" ".join(message.split()) if "\n" not in message else message):
        question = piece.strip(" \t\n;,")
        if not question:
            continue
        own = names_in(question)
        if name and not own:
            question = _PRONOUN.sub(
                lambda match: f"{name}'s" if match[0].lower() in {"its", "their"} else name, question
            )
        elif own:
            name = str(own[0])
        parts.append(
            question
            if question.endswith("?")
            else f"{question}?"
            if re.match(_ASKING, question, re.IGNORECASE)
            else question
        )
    return parts or [message]


def split_claims(text: str) -> list[str]:
    """The claims in *text*, at most eight: its sentences and list items, without "Is it true that" and bullets."""
    claims: list[str] = []
    for line in text.splitlines():
        for sentence in sentences(_BULLET.sub("", line).strip()):
            claim = sentence.strip(' "\u201c\u201d')
            while (shorter := _PREAMBLE.sub("", claim, count=1)) != claim:
                claim = shorter
            claim = re.sub(r"\?+$", ".", claim).strip(' "\u201c\u201d')
            if len(re.findall(r"\w+", claim)) > 1 and not claim.endswith(":"):
                claims.append(claim[0].upper() + claim[1:])
    return list(dict.fromkeys(claims))[:_MOST_CLAIMS]
