"""Proper names: what a text or a question is about, as far as capital letters tell."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from .text import STOP_WORDS, stem

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Name", "aliases_in", "names_in", "required_terms"]

_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
# Written with a capital, and still no name of anything.
_NO_NAMES = frozenset(
    f"{_MONTHS} {_DAYS} ceo cto cfo hq mw gw kw tw mwh gwh kwh twh wh usd eur gbp chf jpy sek nok dkk us$ ii iii iv "
    "compare list name tell give show describe explain analyse analyze summarise summarize check verify write report rank "
    "please what which who when where why how many much true false yes yet according today currently nowadays annual "
    "total employees revenue turnover sales headquarters workforce headcount staff output capacity founder founders founded "
    "established unlike besides meanwhile together since despite although though while whereas as by with in at on from "
    "last next this that these those both neither either another other several some most all each every no one two three "
    "there here during until before after under over near within without between across its their his her it he she they "
    "based located built opened annually yearly overall roughly around approximately only about company plant reactor".split()
)
_CONNECTOR = r"(?:\s+(?:of|de|da|di|du|del|la|le|van|von|der|den|zu|y|&)){0,2}"
_CAPITAL = (
    r"(?:[A-Z\u00c0-\u00de][\w\u00c0-\u024f]*(?:[-'\u2019&.](?=[\w])[\w\u00c0-\u024f]+)*|\d+[A-Z][A-Za-z]*)"
)
_RUN = re.compile(rf"(?<![\w$€£@./°-]){_CAPITAL}(?:{_CONNECTOR}\s+{_CAPITAL})*")
_TOKEN = re.compile(r"[\w\u00c0-\u024f]+")
# "the Kestrel 90 weighs": a number that is part of a name. Not a year, no decimals, and nothing counted or measured behind.
_MODEL = re.compile(
    r"\s(?!(?:1[5-9]|20|21)\d\d\b)\d{2,4}(?![\w%.,:/-]*\d|\s?[%°$€£])"
    r"(?=['\u2019]|\s?[|)\]?!;:]|[,.](?:\s|$)|\s*$|\s(?:is|are|was|were|has|had|have|can|will|may|and|or|with|in|from|for|by|at|to|"
    r"than|versus|vs|pumps?|models?|does|do|cost|weigh|deliver|produce|hold|last|use|draw|reach|require|need|run|come|offer|lift|"
    r"costs|weighs|delivers|produces|holds|lasts|uses|draws|reaches|requires|needs|runs|comes|offers|lifts|supports?|consumes?|fits?)\b)"
)
# What stands behind a company's name on its letters, and is left out everywhere else.
_LEGAL = frozenset(
    [
        "ag",
        "inc",
        "ltd",
        "llc",
        "gmbh",
        "plc",
        "sa",
        "corp",
        "co",
        "corporation",
        "limited",
        "incorporated",
        "kg",
        "oy",
        "ab",
        "as",
        "asa",
        "bv",
        "nv",
        "spa",
        "the",
    ]
)


class Name(str):
    """A proper name as written, and where.

    Attributes:
        start: of the first character in the text.
        end: behind the last one.
        key: its words as they are compared: lower case, without legal form.
    """

    __slots__ = ("end", "key", "start")

    start: int
    end: int
    key: tuple[str, ...]

    def __new__(cls, text: str, start: int) -> Self:
        """The name *text*, which begins at *start*."""
        made = super().__new__(cls, text)
        made.start = start
        made.end = start + len(text)
        words = [word.lower() for word in _TOKEN.findall(re.sub(r"['\u2019]s\b", "", text))]
        made.key = tuple(word for word in words if word not in _LEGAL) or tuple(words)
        return made


@lru_cache(maxsize=8192)
def names_in(text: str) -> tuple[Name, ...]:
    """The proper names in *text*, in order. A common word that opens a sentence is none, unless it goes on like one."""
    found: list[Name] = []
    for match in _RUN.finditer(text):
        start, words = match.start(), match.group()
        # "In Oslo", "Revenue of Velkor": what opens a sentence with a capital may be no part of the name behind it.
        while words:
            head = _TOKEN.match(words)
            if head is None or not (
                _is_common(head.group()) or (_opens(text, start) and head.group().lower() in STOP_WORDS)
            ):
                break
            rest = re.match(rf"{_CAPITAL}(?:{_CONNECTOR}\s+|$)", words)
            cut = rest.end() if rest else len(words)
            words, start = words[cut:], start + cut
        while words and _is_common(words.rsplit(None, 1)[-1]):
            words = re.sub(rf"{_CONNECTOR}\s*\S+$", "", words) if " " in words else ""
        if words:
            model = (
                _MODEL.match(text, match.end())
                if _may_go_on(text, start, start + len(words), match.end())
                else None
            )
            words = re.sub(r"['\u2019]s$", "", words)
            found.append(Name(f"{words}{model.group()}" if model else words, start))
    return tuple(found)


def _may_go_on(text: str, start: int, end: int, whole: int) -> bool:
    """Whether a number behind can be part of the name: not where the name is cut, or a place ("in Graz 20 and in Brno 30")."""
    return end == whole and not text[:start].lower().endswith(("in ", "at "))


def _is_common(word: str) -> bool:
    return word.lower().rstrip(".") in _NO_NAMES or (len(word) == 1 and word in "AI")


def _opens(text: str, start: int) -> bool:
    """Whether the word at *start* opens a sentence."""
    before = text[:start].rstrip(" \"'(*-\u201c\u2018")
    return not before or before[-1] in ".!?:;\n"


def required_terms(question: str) -> frozenset[str]:
    """The terms of *question* without which nothing answers it: names within its sentences, and years."""
    found = {
        stem(word) for name in names_in(question) if not _opens(question, name.start) for word in name.key
    }
    found.update(re.findall(r"\b(?:1[5-9]|20)\d\d\b", question))
    return frozenset(found - STOP_WORDS)


def aliases_in(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """For the first word of each longer name in *texts*, the terms of the rest, where only one name begins with it.

    Later sentences call "Velkor Dynamics" just "Velkor", and "Halden H2" just "H2": likewise for a last word with a digit.
    """
    rests: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for text in texts:
        for name in names_in(text):
            if len(name.key) > 1:
                rests[stem(name.key[0])].add(name.key[1:])
                if any(sign.isdigit() for sign in name.key[-1]):
                    rests[stem(name.key[-1])].add(name.key[:-1])
    return {
        head: frozenset(map(stem, next(iter(several))))
        for head, several in rests.items()
        if len(several) == 1
    }
