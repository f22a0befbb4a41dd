"""Judging a claim by its words: whether a sentence says the same of the same thing, or denies it.

A wrong verdict is worse than none. A sentence bears a claim out only when it holds every word of the claim that carries
meaning, or another word for it; says it as strongly; and names no condition and no mere possibility that the claim leaves
out. It contradicts a claim only when nothing but the denial differs, or one word is the opposite.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from .agreement import agree
from .meant import meant_by
from .numbers import quantities_in
from .ownership import names_entity, owned_by
from .polarity import denies, hedges, intended_in, is_conditional, is_still_to_come, strength_of
from .vocabulary import DEEDS, content_keys, key_of, opposed, ordered_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .asking import Ask
    from .clauses import Clause
    from .entities import Entity

__all__ = ["Stance", "held_by", "judge_words", "says_more"]

Stance = Literal["supports", "contradicts"]

_MOST = 12  # sentences heard
_LEAST_SHARE = 0.6  # of the claim's words that the sentence itself must hold; the rest may stand in its title
_EXCEPTING = re.compile(
    r"\b(?:not|never|no|without|excluding|excludes?|except(?:\sfor)?|other\sthan|rather\sthan|instead\sof|but\snot|neither|nor|outside)"
    r"\s+(?:\w+\s+){0,2}?$",
    re.IGNORECASE,
)
_REACH = 60  # characters before a word in which an exception is looked for
# Words the index does not hold, of which one must not stand for the other.
_SIDES = (
        ("before", "after"), ("after", "before"), ("above", "below"), ("below", "above"), ("with", "without"),
        ("without", "with"), ("inside", "outside"), ("outside", "inside"), ("more", "less"), ("less", "more"),
        ("most", "least"), ("least", "most"), ("shorter", "longer"), ("longer", "shorter"), ("within", "after"),
        ("higher", "lower"), ("lower", "higher"), ("larger", "smaller"), ("smaller", "larger"), ("earlier", "later"),
        ("later", "earlier"), ("faster", "slower"), ("slower", "faster"), ("heavier", "lighter"), ("lighter", "heavier"),
        ("fewer", "more"), ("more", "fewer"), ("better", "worse"), ("worse", "better"),
)  # fmt: skip
_ANY_SIDE = re.compile(rf"\b(?:{'|'.join(dict.fromkeys(one for one, _ in _SIDES))})\b", re.IGNORECASE)
_CONTRAST = re.compile(r"\b(?:while|whereas|although|but)\b|;", re.IGNORECASE)
_OF_ANOTHER = r"\b(?P<head>[a-z]+)\s(?:of|for|at|from)\s(?:the\s|an?\s|its\s|their\s)?(?:[a-z-]+\s)?"
_OPENING = re.compile(r"(?:the\s|an?\s)?(?P<word>[a-z]+)\s[a-z]", re.IGNORECASE)
_ONLY = re.compile(r"\b(?:may|can|must|is|are|was|were)\sonly\b", re.IGNORECASE)
_NOUN_PHRASE = re.compile(
    r"(?P<noun>(?:[\w-]+\s){1,4}?)(?:is|was|are|were|has|had|[a-z]{2,}(?:ed|es|s))\s", re.IGNORECASE
)
_ADDING = re.compile(r",\s+(?=[a-z]+ing\b)")
_ALL = re.compile(r"\b(?:all|every|each)\b(?P<rest>[^.;]{1,60})", re.IGNORECASE)
_BY = re.compile(r"\bby\b", re.IGNORECASE)
_DOER = re.compile(r"\bby\s(?:the\s)?([A-Z][\w-]+)")


def held_by(wanted: Iterable[str], text: str) -> bool:
    """Whether *text* holds each of the stems *wanted*, or another word for it."""
    return {key_of(one) for one in wanted} <= content_keys(text)


def judge_words(ask: Ask, clauses: Sequence[Clause]) -> Iterator[tuple[Stance, str, Clause]]:
    """What the sentences say to a claim by its words: (stance, reason, clause)."""
    wanted = _wanted(ask)
    if not wanted:
        return
    heard = 0
    for clause in clauses:
        if not _is_about(ask, clause):
            continue
        judged = _judge(ask, wanted, clause)
        if judged is not None:
            yield (*judged, clause)
            heard += 1
            if heard >= _MOST:
                return


def _wanted(ask: Ask) -> frozenset[str]:
    """The keys of the claim, without those of a named subject."""
    subject = ask.entities[0] if ask.entities else None
    if subject is None or not (subject.proper or subject.thing):
        return content_keys(ask.text)
    known = {key_of(one) for one in subject.stems} | content_keys(subject.kind)
    return content_keys(ask.text) - known


def _is_about(ask: Ask, clause: Clause) -> bool:
    subject = ask.entities[0] if ask.entities else None
    if subject is not None and (subject.proper or subject.thing):
        return owned_by(subject, clause) and not _is_done_to(ask.text, subject, clause)
    return not _is_of_another(ask.text, clause.sentence)


def _is_done_to(claim: str, subject: Entity, clause: Clause) -> bool:
    """Whether *subject* is only the object of the sentence, and of the claim its subject: who did it to whom is turned round."""
    doer = clause.subject
    passive = bool(_BY.search(claim)) is not bool(_BY.search(clause.text))
    if doer is None:
        return False
    if names_entity(subject, doer, clause):
        # "Kestrel, owned by Norvane" does not say that Kestrel owns Norvane.
        doers = _DOER.findall(claim) + _DOER.findall(clause.text)
        return passive and any(one in claim and one in clause.text for one in doers)
    return str(doer).lower() in claim.lower() and not passive


def _is_of_another(claim: str, sentence: str) -> bool:
    """Whether what opens the claim only says whose in the sentence: "the board" in "the chairman of the board resigned"."""
    opening = _OPENING.match(claim)
    if opening is None:
        return False
    word, lowered = re.escape(opening["word"].lower()), sentence.lower()
    told = len(re.findall(rf"\b{word}\b", lowered))
    heads = re.findall(rf"{_OF_ANOTHER}{word}\b", lowered)
    return 0 < told <= len(heads) and content_keys(" ".join(heads)).isdisjoint(content_keys(claim))


def _judge(ask: Ask, wanted: frozenset[str], clause: Clause) -> tuple[Stance, str] | None:
    own = content_keys(clause.text)
    told = own | _shared_with(ask, clause)
    # The opposite of a word is told of the same: of "tuples are mutable" half stands in "tuples are immutable".
    held = len(wanted & told) + any(opposed(one, told) is not None for one in wanted - told)
    if not own & wanted or held < _LEAST_SHARE * len(wanted) or says_more(ask, clause):
        return None
    if not _holds_values(ask, clause):
        return None
    led_by = clause.quote.removesuffix(clause.sentence) if clause.inherited else ""
    around = content_keys(clause.title) | content_keys(led_by)
    missing = wanted - told - around
    if missing:
        return _by_opposite(ask, missing, told, clause)
    near = own | content_keys(clause.title) | content_keys(str(clause.subject or ""))
    return _by_denial(ask, wanted, near, clause) if _same_roles(ask.text, clause.sentence) else None


def _shared_with(ask: Ask, clause: Clause) -> frozenset[str]:
    """What of the rest of its sentence a clause may be read with: not the other side of "while", nor what has its own value.

    "The contract begins on 1 April and ends on 31 March" does not say that it begins on 31 March.
    """
    sentence = clause.sentence
    if clause.text == sentence or clause.apart:
        return frozenset()
    rest = sentence.replace(clause.text, " ")
    kinds = {one.kind for one in ask.quantities}
    apart = (
        kinds & {one.kind for one in quantities_in(clause.text)} & {one.kind for one in quantities_in(rest)}
    )
    if apart or _CONTRAST.search(sentence):
        opening = _NOUN_PHRASE.match(sentence)
        return content_keys(opening["noun"]) if opening and apart else frozenset()
    return content_keys(sentence)


def _holds_values(ask: Ask, clause: Clause) -> bool:
    """Whether the sentence gives every quantity of the claim: words do not judge numbers."""
    told = quantities_in(clause.text if clause.apart else clause.sentence)
    for claimed in ask.quantities:
        alike = [one for one in told if one.kind == claimed.kind]
        if not any(agree(claimed, one) for one in meant_by(ask.text, claimed, clause.sentence, alike)):
            return False
    return True


def _by_opposite(
    ask: Ask, missing: frozenset[str], told: frozenset[str], clause: Clause
) -> tuple[Stance, str] | None:
    """What a sentence says that has the opposite of the one word it lacks."""
    pair = opposed(next(iter(missing)), told) if len(missing) == 1 else None
    if pair is None or denies(clause.sentence) or ask.negated:
        return None
    return "contradicts", f'"{clause.title}" says "{pair[1]}", not "{pair[0]}".'


def _by_denial(
    ask: Ask, wanted: frozenset[str], near: frozenset[str], clause: Clause
) -> tuple[Stance, str] | None:
    """What a sentence says that holds every word, by whether it denies as the claim does."""
    # Where only a part of the sentence denies, the claim has to stand in that part.
    inside = wanted <= near
    if not inside and denies(clause.sentence):
        return None
    denied = denies(clause.text)
    if (denied or _excepted(clause.text, wanted)) is ask.negated:
        return "supports", f'"{clause.title}" says so.'
    if inside and denied is not ask.negated:
        return "contradicts", f'"{clause.title}" says the contrary.'
    return None


def says_more(ask: Ask, clause: Clause) -> bool:
    """Whether the claim says more than the sentence can bear out: all for some, must for may, without its condition."""
    sentence, claim = clause.sentence, ask.text
    if not strength_of(claim) <= strength_of(sentence):
        return True
    if (hedges(sentence) and not hedges(claim)) or is_still_to_come(claim, sentence):
        return True
    if _narrower(claim, sentence) or _only_so(claim, sentence) or _only_intended(claim, sentence):
        return True
    if is_conditional(_main_part(clause.text, ask)) and not is_conditional(claim):
        return True
    told = _sides_of(sentence)
    return any(one in _sides_of(claim) and one not in told and other in told for one, other in _SIDES)


@lru_cache(maxsize=8192)
def _sides_of(text: str) -> frozenset[str]:
    """Which words of `_SIDES` *text* holds: asked of one claim beside every sentence."""
    return frozenset(match.group().lower() for match in _ANY_SIDE.finditer(text))


def _narrower(claim: str, sentence: str) -> bool:
    """Whether the sentence does not say "all" of what the claim does: "some", or "all internal ones"."""
    return not _all_of(claim) <= _all_of(sentence)


@lru_cache(maxsize=8192)
def _all_of(text: str) -> frozenset[tuple[str, ...]]:
    """Of what *text* says "all", "every" or "each"."""
    return frozenset(ordered_keys(match["rest"])[:1] for match in _ALL.finditer(text))


def _only_so(claim: str, sentence: str) -> bool:
    """Whether the sentence allows it only so, and the claim leaves that out: "may only visit with an adult"."""
    found = _ONLY.search(sentence)
    return (
        found is not None
        and not _ONLY.search(claim)
        and not content_keys(sentence[found.end() :]) <= content_keys(claim)
    )


def _only_intended(claim: str, sentence: str) -> bool:
    """Whether a word of the claim stands only behind "expects to" and the like, and the claim says it as a fact."""
    behind = intended_in(sentence)
    if not behind or intended_in(claim) or hedges(claim):
        return False
    said = content_keys(sentence[: len(sentence) - len(behind)])
    return bool((content_keys(claim) & content_keys(behind)) - said)


def _main_part(text: str, ask: Ask) -> str:
    """*text* up to a participle that adds to it (", skipping the rest if there is one"), where that holds what is claimed."""
    head = _ADDING.split(text, maxsplit=1)[0]
    claimed = content_keys(ask.text) & content_keys(text)
    return head if claimed <= content_keys(head) else text


def _same_roles(claim: str, sentence: str) -> bool:
    """Whether who does it and whom it is done to are the same, as far as the order of words tells."""
    claimed, told = ordered_keys(claim), ordered_keys(sentence)
    turned = bool(_BY.search(claim)) is not bool(_BY.search(sentence))
    for deed in DEEDS.intersection(claimed).intersection(told):
        before = set(claimed[: claimed.index(deed)])
        after = set(claimed[claimed.index(deed) + 1 :])
        place = told.index(deed)
        other = set(told[place + 1 :] if turned else told[:place])
        rest = set(told[:place] if turned else told[place + 1 :])
        if before & rest and not before & other and after & other:
            return False
    return True


def _excepted(text: str, wanted: frozenset[str]) -> bool:
    """Whether a word of the claim stands behind "excluding", "other than" and the like."""
    return any(
        content_keys(match.group()) & wanted
        and _EXCEPTING.search(text[max(0, match.start() - _REACH) : match.start()])
        for match in re.finditer(r"[\w']+", text)
    )
