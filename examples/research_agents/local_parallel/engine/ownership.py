"""Whether a clause is about what a question asks about."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from examples.research_agents.retrieval.relations import told_relations
from examples.research_agents.retrieval.subject import Subject
from examples.research_agents.retrieval.text import stem

from .entities import KINDS, Entity

if TYPE_CHECKING:
    from examples.research_agents.retrieval.names import Name

    from .clauses import Clause

__all__ = ["names_entity", "owned_by"]

_REACH = 120  # characters before a name that say how it stands there
_ALIKE = (
    frozenset(["plant", "facility", "station", "factory", "mill", "reactor"]),
    frozenset(["company", "firm", "group"]),
    frozenset(["lab", "laboratory", "institute"]),
    frozenset(["ship", "vessel"]),
)
# What may follow a name in a title or a sentence without making another name of it.
_OF_IT = frozenset(["report", "annual", "profile", "note"])
_DOING = re.compile(
    r"(?:led|leads|heads|headed|runs|ran|built|owns|created|started|formed|launched|opened|up|operates)"
)
_WORD_BEFORE = re.compile(r"([a-z-]+)\s+(?:the\s+|an?\s+)?(?:company\s+|firm\s+)?$")
_ROLE_BEFORE = re.compile(r"\b[a-z-]+\s(?:of|at|for|by|behind)\s+(?:the\s+)?$")
# "340 people live in X": of whom a place is the home is told of the place.
_LIVING = re.compile(
    r"\b(?:live|lived|living|inhabitants|residents|people)\s(?:\w+\s)?in\s+(?:the\s+)?(?:(?:town|city|village)\s+of\s+)?$"
)


def names_entity(entity: Entity, name: Name, clause: Clause, after: str = "") -> bool:
    """Whether *name* in *clause* is *entity*: the same words, or its short form where the passage has the long one.

    Args:
        entity: which is asked for.
        name: as the clause has it.
        clause: where it stands.
        after: the text behind it.
    """
    asked, said = entity.stems, frozenset(map(stem, name.key))
    if not asked <= said:
        rest = clause.aliases.get(stem(name.key[0]), frozenset())
        if len(name.key) != 1 or not asked <= said | rest:
            return False
    elif entity.proper and len(name.key) > len(entity.key) > 1 and name.key[: len(entity.key)] == entity.key:
        # "Velkor Dynamics Foundation" is not "Velkor Dynamics".
        return not name.key[len(entity.key)].isalpha() or name.key[len(entity.key)] in _OF_IT
    kind = re.match(r"\s+([a-z]+)", after[:_REACH])
    return not (
        entity.kind and kind and kind[1] in KINDS and kind[1] != entity.kind and _differ(kind[1], entity.kind)
    )


def _differ(one: str, other: str) -> bool:
    return not any({one, other} <= family for family in _ALIKE)


def owned_by(entity: Entity, clause: Clause) -> bool:
    """Whether *clause* is about *entity*: as its subject, or as what its verb or noun goes to ("founded X", "head of X")."""
    if entity.thing:
        return _about_thing(entity, clause)
    if not entity.proper:
        # Written without capitals: where the passage has a name of these words, that is who is meant.
        for name in (*clause.names, *((clause.subject,) if clause.subject is not None else ())):
            if entity.stems <= frozenset(map(stem, name.key)):
                return owned_by(Entity(str(name), name.key), clause)
        return entity.stems <= clause.terms | clause.context
    if clause.subject is not None and names_entity(
        entity, clause.subject, clause, _after(clause.subject, clause)
    ):
        return True
    return any(
        names_entity(entity, name, clause, clause.sentence[name.end :])
        and (entity.placed or _is_object(name, clause))
        for name in clause.names
    )


def _after(name: Name, clause: Clause) -> str:
    return clause.sentence[name.end :] if clause.sentence[name.start : name.end] == name else ""


def _is_object(name: Name, clause: Clause) -> bool:
    """Whether *name* is what the clause tells a relation of: "Ida Holm founded X", "the head of X is Ida Holm"."""
    offset = max(clause.sentence.find(clause.text), name.start - _REACH, 0)
    before = clause.sentence[offset : name.start]
    word = _WORD_BEFORE.search(before)
    if word and (told_relations(word[1]) or _DOING.fullmatch(word[1])):
        return True
    if _LIVING.search(before):
        return True
    return _ROLE_BEFORE.search(before) is not None and bool(told_relations(before.lower()))


def _about_thing(entity: Entity, clause: Clause) -> bool:
    """Whether the passage is entitled by just this thing, or the sentence opens with it."""
    other = _OTHER_PACKAGE.match(clause.text)
    if other and entity.kind == "package":
        return other["name"].lower() == entity.key[0]
    return _subject(entity).entitles(clause.title) or _opening(entity).match(clause.text) is not None


_OTHER_PACKAGE = re.compile(
    r"[\"'`*]*(?:the\s)?(?:[a-z]+\s){0,3}(?:of\s)?(?:the\s)?package\s(?P<name>[\w.-]+)", re.IGNORECASE
)


@lru_cache(maxsize=256)
def _subject(entity: Entity) -> Subject:
    return Subject(entity.key, entity.kind, entity.text.lower(), frozenset(), common=False, naming=True)


@lru_cache(maxsize=256)
def _opening(entity: Entity) -> re.Pattern[str]:
    """Sentences that are about the thing: "The license of X is", "X requires", 'The "X" statement causes'."""
    name = r"\s".join(map(re.escape, entity.key))
    kind = rf"(?:{re.escape(entity.kind)}\s)?" if entity.kind else ""
    behind = rf"(?:\s{re.escape(entity.kind)}\b)?" if entity.kind else ""
    return re.compile(
        rf"[\"'`*]*(?:(?:the|an?)\s)?(?:(?:[\w-]+\s){{1,4}}(?:of|for)\s(?:the\s)?)?{kind}[\"'`*]*{name}(?:\(\))?[\"'`*]*{behind}(?![\w.-]*\w)",
        re.IGNORECASE,
    )
