"""What a question or a claim is about: proper names ("Velkor Dynamics"), named things ("the nonlocal statement"), or words."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.names import Name, names_in
from examples.research_agents.retrieval.text import STOP_WORDS, stem

from .polarity import compares

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KINDS", "THING_KINDS", "Entity", "entities_in", "things_in"]

_COMMON_NOUNS = """
reactor plant facility station factory mill dam bridge tower vessel ship town city village turbine mine
observatory museum university hospital company firm group institute foundation laboratory lab project
programme program river lake mountain island valley region province county country bank brewery airline
railway airport harbour port school college team club engine satellite telescope rocket aircraft robot drone
device battery cable pipeline tunnel canal road festival prize protocol standard language library package
framework statement function method
"""
KINDS = frozenset(_COMMON_NOUNS.split())
# Kinds whose members are written in lower case, and are told by this word beside them.
THING_KINDS = frozenset(
    ["package", "library", "module", "statement", "keyword", "expression", "operator", "function", "method", "exception", "command"]
)  # fmt: skip
# Kinds that are also places and institutions, which do things.
_BUILDINGS = frozenset(["library", "module", "function", "method", "command", "package"])
_BEHIND_VERB = re.compile(r"\s(?:the|an?|its|their|that|to|up|down|\d[\d,.]*)\b", re.IGNORECASE)
_MOST = 12  # things and names read in one question
_KIND = "|".join(
    f"{kind[:-1]}(?:y|ies)" if kind.endswith("y") else f"{kind}s?" for kind in sorted(THING_KINDS)
)
_WORD = r"[\"'`\u201c]?[A-Za-z_][\w.-]{0,60}(?:\(\))?[\"'`\u201d]?"
_JOIN = r"\s{0,2}(?:,\s?and\s|,\s?|\sand\s|\sor\s|\swith\s|\sfrom\s|\sto\s|\sversus\s|\svs\.?\s|&)\s?"
_BETWEEN = rf"(?:of\s)?(?:the\s|an?\s)?(?:(?:{_KIND})\s)?"
# "the packages fastapi and redis", "the license of fastapi": the kind or the property leads.
_LED = re.compile(
    rf"\b(?P<kind>{_KIND})\s(?P<list>{_WORD}(?:{_JOIN}{_BETWEEN}{_WORD}){{0,5}})", re.IGNORECASE
)
_OWNED = re.compile(
    rf"\b(?:licen[cs]es?|(?:installed\s)?versions?|dependencies)\s(?:of|for)\s(?P<list>[a-z_][\w.-]{{0,60}}(?:{_JOIN}[a-z_][\w.-]{{0,60}}){{0,5}})"
)
# "the global and nonlocal statements", "break and continue statements": the kind follows.
_FOLLOWED = re.compile(
    rf"(?P<list>{_WORD}(?:{_JOIN}{_BETWEEN}{_WORD}){{0,3}})\s(?P<kind>{_KIND})\b", re.IGNORECASE
)
_ALONE = re.compile(r"^(?P<list>[a-z][\w.-]{1,60})\s(?:requires|depends\son|needs\sPython|is\slicen[cs]ed)\b")
_QUOTED = re.compile(r"[\"`\u201c](?P<list>[A-Za-z_][\w .()-]{1,40}?)[\"`\u201d]")
_CODE = re.compile(
    r"(?<![\w./@-])(?P<list>[a-z_]\w*(?:\.[a-z_]\w*)+|__\w+__|[a-z]\w*_\w+|[a-z]\w*(?=\(\)))(?![\w@/])"
)
_SPLIT = re.compile(rf"{_JOIN}", re.IGNORECASE)
_BARE = re.compile(rf"^(?:of\s)?(?:the\s|an?\s)?(?:(?P<kind>{_KIND})\s)?", re.IGNORECASE)
# Before or behind the name of a kind they say which, and name nothing: "the following statement".
_NAMING_NOTHING = """
following first last second next new simple compound other whole requires require required needs need depends
depend called named written compare comparing difference license licence version python statement statements
package packages main public official annual financial bank true false standard external internal installed
special common single
"""
_NO_THINGS = STOP_WORDS | frozenset(_NAMING_NOTHING.split())
_ROLE = re.compile(
    r"\b(?P<word>in|near|from|into|by|with|at|for|to|on|than|outside|under|towards?)\s+(?:the\s+)?(?:[a-z]+\s+){0,2}$",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"^\s*(?:,|and|or|,\s*and|,\s*or|&|vs\.?|versus|than|with|to)\s+(?:the\s+|an?\s+|of\s+|that\s+of\s+)*$",
    re.IGNORECASE,
)
_LONGEST_LEAD = 80  # characters before a name in which its preposition is looked for


@dataclass(frozen=True, slots=True)
class Entity:
    """Whom or what a question asks about.

    Attributes:
        text: as asked.
        key: its words as compared; of a proper name or a thing in order, else sorted stems.
        kind: the common noun behind the name ("reactor"), or empty.
        proper: whether it is a name with a capital; else a thing, or some words that must all be there.
        thing: whether it is something written in lower case and named by its kind, a quotation or its dots.
        placed: whether only a preposition led to it: "costs in Switzerland".
    """

    text: str
    key: tuple[str, ...]
    kind: str = ""
    proper: bool = True
    thing: bool = False
    placed: bool = False

    @property
    def stems(self) -> frozenset[str]:
        """Its words as index terms."""
        if self.thing:
            return frozenset(map(stem, self.key))
        return frozenset(map(stem, self.key)) - STOP_WORDS if self.proper else frozenset(self.key)

    @property
    def family(self) -> str:
        """The name without the number of a model, by which a table of all models is found; empty without such a number."""
        return (
            self.text.rsplit(" ", 1)[0]
            if self.proper and len(self.key) > 1 and self.key[-1].isdigit()
            else ""
        )

    @property
    def query(self) -> str:
        """What a search for it asks."""
        if not self.thing:
            return self.text
        name = " ".join(self.key)
        if not self.kind:
            return f"What is {name}?"
        # A package's facts do not open with it, and a definition does.
        leads = self.kind in {"package", "library", "module"}
        return f"{self.kind} {name}" if leads else f"What is the {name} {self.kind}?"


def things_in(text: str) -> tuple[tuple[Entity, int, int], ...]:
    """The named things in *text*, in order, each with the span of the words that name it."""
    found: dict[tuple[str, ...], tuple[Entity, int, int]] = {}
    for pattern in (_LED, _OWNED, _FOLLOWED, _ALONE, _QUOTED, _CODE):
        for match in pattern.finditer(text):
            kind = _single(
                match.groupdict().get("kind") or ("package" if pattern in {_OWNED, _ALONE} else "")
            )
            strict = pattern is _FOLLOWED
            for entity, start, end in _listed(match["list"], match.start("list"), kind, strict=strict):
                if _is_verb(text, entity, start, end):
                    continue
                if not any(start < until and since < end for _, since, until in found.values()):
                    found.setdefault(entity.key, (entity, start, end))
    return tuple(sorted(found.values(), key=lambda one: one[1])[:_MOST])


def _is_verb(text: str, entity: Entity, start: int, end: int) -> bool:
    """Whether the word behind a kind is what that does, and no name: "the library counted 9,412 visitors"."""
    if text[start - 1 : start] in {'"', "'", "`", "\u201c"} or entity.kind not in _BUILDINGS:
        return False
    name = entity.key[0]
    asked = re.search(
        rf"\b(?:did|does|do|has|have|can|will|must|may)\s(?:the\s|an?\s)?{entity.kind}\s$",
        text[:start],
        re.IGNORECASE,
    )
    return bool(name.endswith("ed") or keyword.iskeyword(name) or asked or _BEHIND_VERB.match(text, end))


def _listed(names: str, offset: int, kind: str, *, strict: bool) -> Iterator[tuple[Entity, int, int]]:
    """Each thing of a list such as "fastapi and the package redis".

    Args:
        names: the list.
        offset: where it starts.
        kind: of all of them.
        strict: whether the kind follows, so that what comes before the last name may be no name of the list at all.
    """
    places: list[tuple[int, str]] = []
    start = 0
    for match in _SPLIT.finditer(names):
        places.append((start, names[start : match.start()]))
        start = match.end()
    places.append((start, names[start:]))
    made: list[tuple[Entity, int, int]] = []
    for start, piece in places:
        lead = _BARE.match(piece)
        bare = piece[lead.end() :] if lead else piece
        name = bare.strip(" \"'`\u201c\u201d,.").removesuffix("()")
        own = _single(lead["kind"] or "") if lead else ""
        if not name or (name.lower() in _NO_THINGS and not keyword.iskeyword(name)):
            if strict:
                made.clear()
                continue
            break
        entity = Entity(
            f"{name} {own or kind}".strip() if strict else name,
            (name.lower(),),
            own or kind,
            proper=False,
            thing=True,
        )
        begin = offset + start + piece.index(name)
        made.append((entity, begin, begin + len(name)))
    yield from made


def _single(kind: str) -> str:
    lowered = kind.lower()
    return f"{lowered[:-3]}y" if lowered.endswith("ies") else lowered.removesuffix("s")


def entities_in(
    text: str, common: frozenset[str] = frozenset()
) -> tuple[tuple[Entity, ...], tuple[Name, ...], tuple[Name, ...]]:
    """(what *text* is about, names it only mentions: "in Spain", "by Ida Holm", all its names).

    Args:
        text: a question or a claim.
        common: stems of words that open it with a capital and are no names.
    """
    things = things_in(text)
    names = tuple(
        name
        for name in names_in(text)
        if not (len(name.key) == 1 and stem(name.key[0]) in common)
        and not any(start < name.end and name.start < end for _, start, end in things)
    )[:_MOST]
    if things:
        return tuple(one for one, _, _ in things), names, names
    about, mentioned = _roles(text, names)
    return about, mentioned, names


def _roles(text: str, names: tuple[Name, ...]) -> tuple[tuple[Entity, ...], tuple[Name, ...]]:
    """Which names a text is about, and which it only mentions."""
    about: list[Entity] = []
    mentioned: list[Name] = []
    last_end, last_about = 0, True
    comparing = compares(text)
    for name in names:
        before = text[max(last_end, name.start - _LONGEST_LEAD) : name.start]
        role = _ROLE.search(text[max(0, name.start - _LONGEST_LEAD) : name.start])
        if last_end and _JOINED.match(before):
            is_about = last_about
        elif comparing and role is not None and role["word"].lower() == "than":
            is_about = True  # "heavier than the Halden H2"
        else:
            is_about = role is None or (role["word"].lower() in {"at", "for"} and not about)
            if (
                about
                and role is None
                and not comparing
                and not re.search(r"\b(?:and|or|,)\s*(?:the\s+)?$", before)
            ):
                is_about = False  # "Velkor is led by its founder Ida Holm", "Velkor owns Morvik"
        if is_about:
            kind = re.match(r"\s+([a-z]+)", text[name.end : name.end + _LONGEST_LEAD])
            noun = kind[1] if kind and kind[1] in KINDS else ""
            about.append(Entity(f"{name} {noun}".strip(), name.key, noun))
        else:
            mentioned.append(name)
        last_end, last_about = name.end, is_about
    if not about and mentioned:
        first = mentioned.pop(0)
        about.append(Entity(str(first), first.key, placed=True))
    return tuple({entity.key: entity for entity in about}.values()), tuple(mentioned)
