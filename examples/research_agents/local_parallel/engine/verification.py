"""Whether the sources bear a claim out: by its values, its places and persons, its direction, its denial, and its words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from .asking import read_claim
from .attributes import attribute_in
from .evidence import Basis, Citation
from .hearing import on_attribute, on_count, on_names, on_value
from .hearing_changes import hear_comparison, hear_direction
from .parts import readable, split_claims
from .polarity import turns
from .reading import common_words, gather
from .reporting import denials_of, is_reported
from .results import Verdict, Witness
from .telling import chunks_of
from .tenses import of_its_time
from .verbatim import WHOLE, kind_named, nobody_named, verbatim
from .voices import Voice
from .wording import judge_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.research_agents.retrieval.ranking import Depth

    from .asking import Ask
    from .clauses import Clause
    from .evidence import Confidence, Evidence

__all__ = ["split_claims", "verify"]

_MOST_WITNESSES = 6
_MOST_VALUES = 6  # values of one claim that are looked up; a claim with more is no single claim
_MOST_OTHERS = 2  # names besides the subject that are searched for
_LONGEST = 2000  # characters of a claim that are read
_LONG = 600  # a claim of more characters is no single claim: it is heard by
_FEW = 200  # clauses only, because the work grows with both


def verify(claim: str, evidence: Evidence, depth: Depth) -> Verdict:
    """Whether the sources support or contradict *claim*.

    Every part of the claim must be borne out to support it; one contradicted part contradicts it. Where sources disagree, the
    verdict is "contradicted" with confidence "low", and `evidence` shows both.

    Args:
        claim: one claim, as a sentence.
        evidence: what to read.
        depth: how many passages and sentences to read.
    """
    text = readable(claim)[:_LONGEST]
    ask = read_claim(text)
    clauses = _gathered(text, ask, evidence, depth)
    if ask.opens_with and (common := common_words(ask.opens_with, clauses)):
        # "Receipts must be kept": a capital for the sentence, not for a name.
        ask = read_claim(text, common)
        clauses = _gathered(text, ask, evidence, depth)
    same = list(verbatim(text, clauses))
    if not same and nobody_named(ask):
        reason = "The claim does not say whom it is about."
        return Verdict(claim, "not_found", "low", reason, (), (Basis("verdict", reason, (), "low"),))
    clauses = of_its_time(ask, clauses)
    if len(text) > _LONG:
        clauses = clauses[:_FEW]  # the better passages come first
    if kind_named(ask):
        ask = replace(ask, entities=())  # "the company" of a claim that names only a place is not that place
    parts, voices = _hear(ask, clauses)
    if same:
        # What seems to contradict in the very sentence is misread, and nothing but the words can be trusted then.
        misread = {
            one.part
            for one in voices
            if one.stance == "contradicts"
            and one.clause.sentence in {heard.clause.sentence for heard in same}
        }
        against = [
            one
            for one in voices
            if one.stance == "contradicts" and one.part not in misread and not _from_one_of(same, one)
        ]
        parts, voices = {WHOLE}, [*same, *(replace(one, part=WHOLE) for one in against)]
    if not voices:
        by_words = [Voice("words", *heard) for heard in judge_words(ask, clauses)]
        # What only words can tell of a value is that the sentence holds it.
        if not parts or all(one.stance == "supports" for one in by_words):
            parts, voices = {"words"}, by_words
    if not is_reported(text):
        voices = [*voices, *denials_of(voices, clauses)]
    return _verdict(claim, ask, parts, voices)


def _from_one_of(same: Sequence[Voice], other: Voice) -> bool:
    """Whether *other* is of a document that says the claim word for word."""
    return other.clause.url.partition("#")[0] in {one.clause.url.partition("#")[0] for one in same}


def _gathered(text: str, ask: Ask, evidence: Evidence, depth: Depth) -> list[Clause]:
    """The clauses that may say something to the claim: found by it, by its subject, and by it without its values."""
    bare = text
    for one in reversed(ask.quantities):
        bare = f"{bare[: one.start]}{bare[one.end :]}"  # another source may give another value
    if (attribute := attribute_in(text)) is not None:
        bare = text[: text.rfind(attribute.value)]
    named = any(one.proper or one.thing for one in ask.entities)
    others = [str(name) for name in ask.others[:_MOST_OTHERS]]
    return gather(ask.entities, [text, bare, *others], evidence, depth, () if named else chunks_of(bare))


def _verdict(claim: str, ask: Ask, parts: set[str], voices: Sequence[Voice]) -> Verdict:
    against = [voice for voice in voices if voice.stance == "contradicts"]
    supporting = [voice for voice in voices if voice.stance == "supports"]
    confidence: Confidence
    verdict: Literal["supported", "contradicted", "not_found"]
    heard = [*against, *supporting]
    if against:
        verdict = "contradicted"
        disputed = {voice.part for voice in against} & {voice.part for voice in supporting}
        confidence = "low" if disputed else "high" if not against[0].clause.inherited else "medium"
        reason = against[0].reason
        if disputed:
            said = f"{reason[0].lower()}{reason[1:].rstrip('.')}"
            reason = f"The sources disagree: {said}, but another one supports the claim."
    elif parts and parts <= {voice.part for voice in supporting}:
        verdict = "supported"
        confidence = "medium" if parts == {"words"} or supporting[0].clause.inherited else "high"
        reason = supporting[0].reason
    else:
        verdict, confidence, heard = "not_found", "low", []
        subject = ask.entities[0] if ask.entities else None
        # A common word that opens the sentence, or what is left of it, is no subject to speak about.
        named = subject is not None and (
            subject.thing or (subject.proper and not subject.placed and not ask.opens_with)
        )
        about = f" about {subject.text[:80]}" if subject is not None and named else ""
        partly = "; a part of it is supported, not all" if supporting else ""
        reason = f"No passage says this{about}, or the contrary{partly}."
    deciding = against or supporting
    if heard and not is_reported(claim) and all(is_reported(one.clause.quote) for one in deciding):
        confidence, reason = "low", f"{reason} The source only reports what somebody says."
    witnesses = _witnesses(heard)
    citations = tuple(Citation(one.url, one.title, (one.excerpt,)) for one in witnesses)
    basis = (Basis("verdict", reason, citations, confidence),)
    return Verdict(claim, verdict, confidence, reason, witnesses, basis)


def _witnesses(voices: Sequence[Voice]) -> tuple[Witness, ...]:
    """One for each sentence, those that decide first."""
    kept: dict[tuple[str, str], Witness] = {}
    for voice in voices:
        clause = voice.clause
        kept.setdefault(
            (clause.url, clause.sentence), Witness(clause.url, clause.title, clause.quote, voice.stance)
        )
    return tuple(kept.values())[:_MOST_WITNESSES]


def _hear(ask: Ask, clauses: Sequence[Clause]) -> tuple[set[str], list[Voice]]:
    """The parts of the claim that are values, and what the clauses say to each."""
    if len(ask.entities) > 1 and ask.comparative is not None:
        return hear_comparison(ask, clauses)
    parts, voices = on_attribute(ask, clauses)
    if voices:
        return parts, voices
    if ask.direction is not None and ask.entities:
        parts, voices = {"direction"}, hear_direction(ask, clauses)
    numbers = [one for one in ask.quantities if one.family != "date"]
    dated = any(relation.wants == "date" for relation in ask.relations)
    told = {one.text: one for one in reversed(ask.quantities) if dated or one.family != "date"}
    left = sorted(told.values(), key=lambda one: one.start)[:_MOST_VALUES]
    for relation in ask.relations if ask.entities else ():
        for one in [claimed for claimed in left if claimed.kind in relation.families]:
            heard = list(on_value(ask, relation, one, clauses))
            if not heard and len(ask.relations) > 1:
                continue  # another relation may take it
            left.remove(one)
            part = f"{relation.name} {one.text}"
            parts.add(part)
            # A part of the relation's value is told in other words: "700 in Hull" of "960 people".
            voices.extend(heard or (replace(voice, part=part) for voice in on_count(ask, one, clauses)))
        if not numbers and (
            relation.wants in {"place", "person"} or (relation.wants == "date" and ask.others)
        ):
            named, heard = on_names(ask, relation, clauses)
            parts |= named
            voices.extend(heard)
    for one in left:
        parts.add(one.text)
        voices.extend(on_count(ask, one, clauses))
    if turns(ask.text):
        voices = [voice if voice.part == "direction" else voice.turned() for voice in voices]
    return parts, voices
