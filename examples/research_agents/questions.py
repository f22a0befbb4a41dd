"""Taking a message apart: "What do A and B do?" is two searches, "How does A work, and when is B called?" too."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from .outlines import parts_of, says_nothing, topic_of
from .phrasing import Part, about
from .retrieval.text import STOP_WORDS

__all__ = ["MOST_PARTS", "in_context", "read_parts", "split_question"]

MOST_PARTS = 4  # searches one message may cause; each is billed

_ASKING = r"(?:what|which|who|whom|whose|when|where|why|how|can|could|does|do|did|is|are|was|were|should|may|must|will)"
_ASKING_WORD = re.compile(_ASKING, re.IGNORECASE)
_ASKS = re.compile(rf"{_ASKING}\b", re.IGNORECASE)
_TELLING = (
    r"(?:say|tell|explain|describe|state|show|list|name|give|mention|compare|summari[sz]e|discuss|write)"
)
_NEW_QUESTION = re.compile(
    rf"(?:\?\s+|,?\s+and\s+(?:also\s+)?(?={_ASKING}\s)|[,;]\s+(?:and\s+)?(?={_ASKING}\s)|;\s+"
    rf"|,?\s+and\s+(?:also\s+|then\s+)?(?={_TELLING}\s)|(?<=[\w)\"'`])[.!]\s+(?=[A-Z]\w*\s)|\n+)",
    re.IGNORECASE,
)
_TERM = r"[\"'`]?[\w.]+(?:\(\))?[\"'`]?"
_PAIR = re.compile(
    rf"^(?P<head>{_ASKING}(?:\s+(?:do|does|did|is|are|was|were|can|the|a|an|mean by))*\s+)"
    rf"(?P<first>{_TERM})\s+and\s+(?:the\s+|an?\s+)?(?P<second>{_TERM})(?P<tail>\s+[\w\s]*|)\??$",
    re.IGNORECASE,
)
_POINTING_BACK = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|one|he|him|his|she|her|hers|the\s(?:company|firm))\b",
    re.IGNORECASE,
)
# Whether sources agree is told wherever they do not; it is nothing to be looked up.
_ABOUT_SOURCES = re.compile(
    r"^(?:do|does|did|whether|where|say\swhether|say\swhere|and)?\s?(?:(?:all|any|the|these|those|my|your|our|different)\s){0,2}"
    r"(?:sources?|documents?|texts?|reports?|papers?|they)\s(?:all\s)?(?:dis)?agrees?\b",
    re.IGNORECASE,
)
_SINGULAR = {"do": "does", "are": "is", "were": "was"}
_PLURAL = re.compile(r"\b(?:do|are|were)\b", re.IGNORECASE)
_LONGEST_SUBJECT = 10  # words; more of them say something, and are looked up as they stand


def split_question(message: str, most: int = MOST_PARTS) -> list[str]:
    """The questions in *message*, at most *most*, in order; what cannot be split safely stays whole.

    A comparison asks for each side, and not for both at once: a passage that holds both words need not compare them,
    and a side about which nothing is found is to be named.
    """
    return list(dict.fromkeys(part.question for part in read_parts(message, most)))


def read_parts(message: str, most: int) -> list[Part]:
    """What *message* asks for, in parts that can each be looked up; see `split_question`.

    More subjects with their aspects than *most* are looked up by subject, all its aspects at once.
    """
    # One blank at a time: the patterns would try each of a thousand blanks as the beginning of a match.
    message = "\n".join(" ".join(line.split()) for line in message.splitlines() if line.strip())
    if not re.search(r"\w", message):
        return [Part(message)]
    parts: list[Part] = []
    for piece in _pieces(message):
        several = parts_of(piece, parts)
        parts.extend(several or _pair(piece) or [_whole(piece)])
    unique = list({part.question.lower(): part for part in parts}.values())
    if len(unique) > most and all(part.subject and part.aspect for part in unique):
        unique = _by_subject(unique)
    return unique[:most] or [_whole(message)]


def _pieces(message: str) -> list[str]:
    """The sentences and questions of *message*, without those that only say what the text should look like."""
    pieces: list[str] = []
    for piece in _NEW_QUESTION.split(message):
        asked = piece.strip(" \t?;,")
        if not re.search(r"\w", asked) or (pieces and _ABOUT_SOURCES.match(asked)):
            continue
        if says_nothing(asked) and not (pieces and _ASKS.match(asked)):
            continue
        if pieces and _POINTING_BACK.search(asked):
            asked = in_context(asked, pieces)
            if _FOLLOWS_ON.search(asked):
                # "... and which Python does it need": alone, the second half asks about nothing.
                return [message]
        pieces.append(asked)
    return pieces


def _whole(piece: str) -> Part:
    """A piece that is looked up as it is: a question as asked, a request by its topic."""
    topic = topic_of(piece)
    asked = piece.strip(" .!?:;,")
    if topic != asked and _ASKS.match(topic):
        return Part(f"{topic}?")
    if topic != asked and len(topic.split()) <= _LONGEST_SUBJECT:
        return Part(about(topic), topic)
    return Part(f"{asked}?" if asked else piece)


def _pair(question: str) -> list[Part]:
    """One question about two things as one for each: "What do A and B do"; empty for any other."""
    match = _PAIR.match(question)
    if match is None or _ASKS.match(match["second"]):
        return []
    head = _PLURAL.sub(lambda verb: _SINGULAR[verb[0].lower()], match["head"])
    return [
        Part(f"{head}{match[side]}{match['tail'].rstrip()}?", match[side]) for side in ("first", "second")
    ]


def _by_subject(parts: Sequence[Part]) -> list[Part]:
    """One part for each subject, with all that is asked of it."""
    aspects: defaultdict[str, list[str]] = defaultdict(list)
    for part in parts:
        aspects[part.subject].append(part.aspect)
    return [
        Part(f"What are the {_listed(asked)} of {subject}?", subject, _listed(asked))
        for subject, asked in aspects.items()
    ]


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]


_FOLLOWS_ON = re.compile(
    r"\b(?P<own>its|their|his|her(?=\s(?!in\b|on\b|at\b|as\b|by\b|and\b|or\b|when\b|after\b|with\b|for\b)\w))\b"
    r"|\b(?P<it>it|they|them|he|she|him|her)\b|\b(?:that|this|the same|the)\s(?P<kind>one|company|package|statement"
    r"|function|reactor|plant|person|product|project|city|country)\b",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"[\"'`“](?P<quoted>[^\"'`“”]{2,60})[\"'`”]|(?<!^)(?<![.?!]\s)\b(?P<name>[A-Z][\w-]*(?:\s(?:of\s|the\s)?[A-Z0-9][\w-]*){0,4})"
    r"|\b(?P<code>\w+(?:[._]\w+)+|__\w+__)"
)
_DATE = re.compile(
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
# "What caused the payment outage on 3 May": without a name, what has the article is what "it" means.
_THING = re.compile(
    r"\bthe\s[a-z]+(?:\s(?!on\b|in\b|of\b|and\b|is\b|was\b|do\b|does\b)[a-z]+){0,2}(?:\son\s\d{1,2}\s[A-Z][a-z]+(?:\s\d{4})?)?(?!\w)"
)
_SINGLE = re.compile(r"^what\s(?:is|are)\s(?P<name>(?!an?\b|the\b)[\w.-]+)\??$", re.IGNORECASE)
_ASKED_FOR = re.compile(
    r"^(?:which|what)\s[A-Z][\w-]*\s(?=do|does|did|is|was|has|are|were|have)", re.IGNORECASE
)
_PERSON = re.compile(r"he|him|his|she|her|hers", re.IGNORECASE)
_ASKS_WHO = re.compile(r"^\W*who\s(?!is\b|was\b)", re.IGNORECASE)
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
    if pointing is None or _named(
        _ASKED_FOR.sub("", f"{message[: pointing.start()]} {message[pointing.end() :]}")
    ):
        return message
    personal = _PERSON.fullmatch(pointing.group()) is not None
    for before in reversed(earlier):
        # "Who founded the Halden lab, and when did she die?" asks about somebody whose name is asked for.
        name = "" if personal and _ASKS_WHO.match(before) else _named(before)
        if name:
            possessive = f"{name}'s" if pointing["own"] else name
            return message[: pointing.start()] + possessive + message[pointing.end() :]
    return message


def _named(message: str) -> str:
    """The first thing *message* names, or an empty string."""
    if kinded := _KINDED.search(message):
        if kinded["name"]:
            return kinded.group()
        if not _ASKING_WORD.fullmatch(kinded["after"]) and kinded["after"].lower() not in STOP_WORDS:
            # "the package fastapi": its kind is half of what finds it.
            return f"the {kinded.group()}"
    for named in _NAME.finditer(message):
        if not _DATE.match(named.group()):
            return named["quoted"] or named["name"] or named["code"]
    if single := _SINGLE.match(message):
        return single["name"]
    thing = _THING.search(message)
    return thing.group() if thing else ""
