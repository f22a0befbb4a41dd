"""Cutting what a user writes into questions and claims."""

from __future__ import annotations

import re

from examples.research_agents.retrieval.names import names_in
from examples.research_agents.retrieval.text import sentences

__all__ = ["readable", "split_claims", "split_parts"]

_MOST_CLAIMS = 8
_LONGEST = 8000  # characters of a message that are read
_LONGEST_WORD = 200
_REPEATED = re.compile(r"([^\w\n])\1{3,}")
_ENDLESS = re.compile(rf"\S{{{_LONGEST_WORD},}}")
_ASKING = r"(?:what|which|who|whom|whose|when|where|why|how|does|do|did|is|are|was|were|has|have|can)"
_ASKS = re.compile(_ASKING, re.IGNORECASE)
# Where a question ends: at its mark, a semicolon or a line; before "and what"; before ", what", unless that is a relative
# clause ("the dam, which is").
_BOUNDARY = re.compile(
    rf"\?\s+|;\s+|\n+|,?\s+and\s+(?:also\s+)?(?={_ASKING}\s)|,\s+(?={_ASKING}\s(?!(?:is|are|was|were|has|\w+\s+(?:is|are|was))\b))",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"\b(?:it|its|they|their|them|the (?:company|firm|plant|reactor))\b", re.IGNORECASE)
# What only asks for the verification.
_THAT = r"(?:\s+(?:this|these|that|the following|whether|if))*"
_PREAMBLE = re.compile(
    "^(?:"
    + "|".join(
        (
            rf"(?:please\s+)?(?:fact-?\s?)?check{_THAT}\s*(?:claims?|statements?)?\s*[:,-]?\s+",
            rf"(?:please\s+)?verify{_THAT}\s*(?:claims?|statements?)?\s*[:,-]?\s+",
            r"is it (?:true|correct|right|the case)\s+that\s+",
            r"i(?:'ve)? (?:read|heard|think|believe)\s+that\s+",
            r"claims?\s*\d*\s*:\s+",
            r"(?:true or false|is this true)\s*[:?,-]\s+",
            r"can you (?:check|verify)\s+(?:that|whether|if)\s+",
        )
    )
    + ")",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)]|[a-h]\))\s+")


def readable(message: str) -> str:
    """*message* without what no reader needs and every pattern would stumble over: runs of one mark, endless words."""
    return _ENDLESS.sub(lambda match: match[0][:_LONGEST_WORD], _REPEATED.sub(r"\1\1\1", message))


def split_parts(message: str) -> list[str]:
    """The questions in *message*, in order, each understandable alone: "it" is replaced by the name it stands for."""
    # One blank at a time, so that no pattern tries each of a thousand blanks as a beginning.
    lines = [" ".join(line.split()) for line in message[:_LONGEST].splitlines()]
    parts: list[str] = []
    name = ""
    for piece in _BOUNDARY.split("\n".join(line for line in lines if line)):
        question = piece.strip(" \t\n;,")
        if not question:
            continue
        own = names_in(question)
        if own:
            name = str(own[0])
        elif name:
            question = _named(question, name)
        asks = _ASKS.match(question) is not None and not question.endswith("?")
        parts.append(f"{question}?" if asks else question)
    return parts or [message]


def _named(question: str, name: str) -> str:
    """*question* with *name* in place of "it" and "its"."""
    return _PRONOUN.sub(lambda match: f"{name}'s" if match[0].lower() in {"its", "their"} else name, question)


def split_claims(text: str) -> list[str]:
    """The claims in *text*, at most eight: its sentences and list items, without "Is it true that" and bullets."""
    claims: list[str] = []
    for line in text[:_LONGEST].splitlines():
        for sentence in sentences(_BULLET.sub("", line).strip()):
            claim = sentence.strip(' "\u201c\u201d')
            while (shorter := _PREAMBLE.sub("", claim, count=1)) != claim:
                claim = shorter
            claim = re.sub(r"\?+$", ".", claim).strip(' "\u201c\u201d')
            if len(re.findall(r"\w+", claim)) > 1 and not claim.endswith(":"):
                claims.append(claim[0].upper() + claim[1:])
    return list(dict.fromkeys(claims))[:_MOST_CLAIMS]
