"""Taking a question apart: "What do A and B do?" is two searches, "How does A work, and when is B called?" too."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["MOST_PARTS", "in_context", "split_question"]

MOST_PARTS = 4  # searches one message may cause; each is billed

_ASKING = r"(?:what|which|who|whom|whose|when|where|why|how|can|could|does|do|did|is|are|was|were|should|may|must|will)"
_ASKING_WORD = re.compile(_ASKING, re.IGNORECASE)
_NEW_QUESTION = re.compile(rf"(?:\?\s+|[,;]?\s+and\s+(?={_ASKING}\s)|;\s+(?={_ASKING}\s)|\n+)", re.IGNORECASE)
_TERM = r"[\"'`]?[\w.]+(?:\(\))?[\"'`]?"
_PAIR = re.compile(
    rf"^(?P<head>{_ASKING}(?:\s+(?:do|does|did|is|are|was|were|can|the|a|an|mean by))*\s+)"
    rf"(?P<first>{_TERM})\s+and\s+(?:the\s+|an?\s+)?(?P<second>{_TERM})(?P<tail>\s+[\w\s]*|)\??$",
    re.IGNORECASE,
)
_SIDE = rf"{_TERM}(?:\s{_TERM}){{0,3}}?"
_ARTICLE = r"(?:(?:the|an?)\s)?"
_COMPARISON = re.compile(
    rf"\b(?:differences?|compare|distinction|distinguish)\b(?:\sbetween)?\s(?P<first>{_ARTICLE}{_SIDE})\s"
    rf"(?:and|with|to|from|versus|vs\.?)\s(?P<second>{_ARTICLE}{_SIDE})\s*$"
    rf"|^how\s(?:does|do|is|are)\s(?P<one>{_ARTICLE}{_SIDE})\s(?:differ|different)\sfrom\s(?P<other>{_ARTICLE}{_SIDE})\s*$",
    re.IGNORECASE,
)
_KIND = re.compile(
    r"(?P<name>.+)\s(?P<kind>statement|keyword|clause|expression|operator|function|method|command|package|exception|object)s$",
    re.IGNORECASE,
)
_POINTING_BACK = re.compile(r"\b(?:it|its|they|them|their|this|that|these|those|one)\b", re.IGNORECASE)
_SINGULAR = {"do": "does", "are": "is", "were": "was"}
_PLURAL = re.compile(r"\b(?:do|are|were)\b", re.IGNORECASE)


def split_question(message: str) -> list[str]:
    """The questions in *message*, at most `MOST_PARTS`, in order; what cannot be split safely stays whole.

    A comparison asks for each side, and not for both at once: a passage that holds both words need not compare them,
    and a side about which nothing is found is to be named.
    """
    parts: list[str] = []
    # One blank at a time: the patterns below would try each of a thousand blanks as the beginning of a match.
    message = "\n".join(" ".join(line.split()) for line in message.splitlines() if line.strip())
    pieces = _NEW_QUESTION.split(message)
    if any(_POINTING_BACK.search(piece) for piece in pieces[1:]):
        # "... and which Python does it need": alone, the second half asks about nothing.
        pieces = [message]
    for piece in pieces:
        question = piece.strip(" \t?;,")
        if question:
            parts.extend(_expand(question))
    unique = list(dict.fromkeys(f"{part}?" for part in parts))
    return unique[:MOST_PARTS] or [message]


_FOLLOWS_ON = re.compile(
    r"\b(?P<own>its|their|his|her)\b|\b(?P<it>it|they|them|he|she|him)\b|\b(?:that|this|the same|the)\s(?P<kind>one|company|package|statement"
    r"|function|reactor|plant|person|product|project|city|country)\b",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"[\"'`“](?P<quoted>[^\"'`“”]{2,60})[\"'`”]|(?<!^)(?<![.?!]\s)\b(?P<name>[A-Z][\w-]*(?:\s(?:of\s|the\s)?[A-Z0-9][\w-]*){0,4})"
    r"|\b(?P<code>\w+(?:[._]\w+)+|__\w+__)"
)
_ASKED_FOR = re.compile(
    r"^(?:which|what)\s[A-Z][\w-]*\s(?=do|does|did|is|was|has|are|were|have)", re.IGNORECASE
)
_KINDS = r"statement|keyword|expression|function|method|package|module|class|company|reactor|plant"
_KINDED = re.compile(
    rf"\bthe\s(?P<name>[\w.-]+)\s(?:{_KINDS})\b|\b(?:{_KINDS})\s(?P<after>[\w.-]+)\b", re.IGNORECASE
)


def in_context(message: str, earlier: Sequence[str]) -> str:
    """*message* with what it points back at named: "When was it founded?" asks about what the question before was about.

    A message that names something itself stays as it is, and so does one to which nothing earlier gives a name.

    Args:
        message: the present one.
        earlier: the messages of the same user before it, oldest first.
    """
    pointing = _FOLLOWS_ON.search(message)
    # "Which Python does it require" asks for a Python, and not about Python.
    if pointing is None or _named(_ASKED_FOR.sub("", message)):
        return message
    for before in reversed(earlier):
        name = _named(before)
        if name:
            possessive = f"{name}'s" if pointing["own"] else name
            return message[: pointing.start()] + possessive + message[pointing.end() :]
    return message


def _named(message: str) -> str:
    """The first thing *message* names, or an empty string."""
    if kinded := _KINDED.search(message):
        if kinded["name"]:
            return kinded.group()
        if not _ASKING_WORD.fullmatch(kinded["after"]):
            return kinded["after"]
    if named := _NAME.search(message):
        return named["quoted"] or named["name"] or named["code"]
    return ""


def _expand(question: str) -> list[str]:
    """One question, or one for each of the two things it asks about."""
    if match := _COMPARISON.search(question):
        sides = [match["first"] or match["one"], match["second"] or match["other"]]
        if shared := _KIND.match(sides[1]):  # "the break and continue statements"
            names = [side.removeprefix("the ") for side in (sides[0], shared["name"])]
            sides = [f"the {name}" if " " in name else f"the {name} {shared['kind']}" for name in names]
        return [f"What is {side}" for side in sides]
    if match := _PAIR.match(question):
        head = _PLURAL.sub(lambda verb: _SINGULAR[verb[0].lower()], match["head"])
        return [f"{head}{match[side]}{match['tail'].rstrip()}" for side in ("first", "second")]
    return [question]
