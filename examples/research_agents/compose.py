"""Writing an answer from what was found: sentences of the excerpts, each with its source, and nothing else."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .marks import unmarked
from .retrieval.contexts import contexts_of, names_another
from .retrieval.names import aliases_in
from .retrieval.quoting import announces, is_fragment, names_a_kind, points_back, with_aliases
from .retrieval.ranking import Question
from .retrieval.text import sentences, terms, title_terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["answer_pieces"]

_MOST_SENTENCES = 3  # for each part of the question: a quick cited answer, not a report
_FROM_ONE = 2  # of them from the source that answers best
_OPENS = 0.25  # head start of the first sentence of an excerpt
_DEFINES = 0.6  # and where the title is all that is asked for
_RANK = (
    0.3  # what each place further down the results costs: the search saw whole passages, this sees excerpts
)
_FOLLOWS = 0.3  # head start of the sentence after the best one: "It ...", "Such a ...", "This ..."
_SECOND_VOICE = (
    0.5  # another source is heard when the best sentence holds less of the question than this, and it more
)
_ALIKE = 0.5  # share of common terms from which two sentences say the same
_MOST_DISPUTING = 2  # sentences of other sources with other numbers
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Asks for one thing; a sentence that holds all of the question has said it.
_POINTED = re.compile(
    r"^\W*(?:(?:and|so)\s+)?(?:(?:by|in|on|at|to|from|for|with)\s)?(?:how\s(?:many|much|long|old|far|large|big|tall|high|fast|often)|when|where|who|whose|which|what\stime"
    r"|(?:does|do|did|is|are|was|were|has|have|had|can|could|may|must|should|will)"
    r"|what\s(?:is|are|was|were)\sthe\s(?:[\w-]+\s){1,3}of)\b",
    re.IGNORECASE,
)
# Asks for one value, or whether one is right: sources may give several.
_VALUED = re.compile(
    r"^\W*(?:how\s(?:many|much|long|old|far|large|big|tall|high|fast|often)\b|(?:does|do|did|is|are|was|were|has|have|had)\b.*\s\d)",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_WHEN = re.compile(
    r"^\W*(?:(?:and|so)\s+)?(?:when|(?:at|in|on|since|until)?\s?(?:what|which)\s(?:time|date|day|year|month))\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b(?:1[5-9]|20)\d\d\b|\b\d{1,2}:\d\d\b|\b\d{1,2}\s[A-Z][a-z]{2,8}\b|\b[A-Z][a-z]{2,8}\s\d{1,2}\b"
)
_DATED = 0.4  # what it is worth that a sentence tells when, where that is asked
_SIGNATURE = re.compile(r"^[A-Za-z_][\w.]*\(.*\)|^[A-Za-z_]\w*\.[\w.]+$|^__\w+__$")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    n: int
    rank: int
    subject: str
    held: frozenset[str]  # terms of the question, those of the title included
    own: frozenset[str]  # terms of the question in the sentence itself
    all: frozenset[str]
    opening: bool
    titled: bool  # whether the title holds the whole question, or names the one thing it asks for
    named: bool  # whether the title holds the names asked for
    adds: bool  # whether it holds a term that the title does not, where the title does not hold all
    lent: bool  # whether a name that was asked for stands in the title only
    place: int  # among the sentences of its source


def answer_pieces(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The answer in pieces that make sense as they arrive, one for each part of the question.

    Args:
        findings: what `SearchToolkit.web_search` returned, decoded, in the order asked.
    """
    parts = [finding for finding in findings if "query" in finding]
    several = len(parts) > 1
    told: set[str] = set()
    missing: list[str] = []
    refused = [finding["query"] for finding in parts if finding.get("refused")]
    spoken = False
    for finding in parts:
        if finding.get("refused"):
            continue
        found, disputed = _choose(finding["query"], finding.get("results") or ())
        if not found:
            missing.append(finding["query"])
        chosen = [one for one in found if one.text not in told]
        told.update(one.text for one in chosen)
        subject = ""
        for position, one in enumerate(chosen):
            lead = "\n\n" if spoken and position == 0 and several else " " if spoken else ""
            disagreeing = "The sources disagree: " if position == 0 and disputed else ""
            yield f"{lead}{disagreeing}{_spoken(one, subject)} [{one.n}]"
            subject = one.subject
            spoken = True
    if missing:
        named = "; ".join(f'"{query}"' for query in missing)
        lead = "\n\n" if spoken else ""
        yield f"{lead}Not found in the corpus: no passage covers enough of {named}."
        spoken = True
    if refused:
        named = "; ".join(f'"{query}"' for query in refused)
        lead = "\n\n" if spoken else ""
        yield f"{lead}Not looked up, because max_cost_usd allows no further search: {named}."


def _spoken(sentence: _Sentence, before: str) -> str:
    """The sentence, with what it is about in front when neither it nor the one before says so ("Return a copy ...")."""
    text = unmarked(sentence.text.strip())
    name = sentence.subject.split("(")[0].split(".")[-1]
    if sentence.subject and sentence.subject != before and name.lower() not in text.lower():
        return f"{sentence.subject}: {text}"
    return text


def _choose(query: str, results: Sequence[Mapping[str, Any]]) -> tuple[list[_Sentence], bool]:
    """(at most three sentences: the best of the best source, then what other sources add; whether they disagree)."""
    question = Question.of(query)
    everything = [
        sentence for rank, result in enumerate(results) for sentence in _sentences_of(question, rank, result)
    ]
    found = {(sentence.rank, sentence.place): sentence for sentence in everything}
    # What only announces something is no answer, and neither is what points at a sentence that is not there.
    pool = [
        one
        for one in everything
        if not announces(one.text)
        and not is_fragment(one.text)
        and question.demands.met_by(one.text)
        and _with_antecedents(one, found, question.names)
    ]
    if not pool:
        return [], False
    frequency = Counter(term for sentence in pool for term in sentence.held)
    weight = {term: math.log(1 + len(pool) / (0.5 + frequency[term])) for term in question.terms}
    total = sum(weight.values()) or 1.0

    def share(held: frozenset[str]) -> float:
        return sum(weight[term] for term in held) / total

    def value(sentence: _Sentence) -> float:
        opening = 0.0 if not sentence.opening else _DEFINES if sentence.titled else _OPENS
        dated = _DATED * (_WHEN.match(query) is not None and _DATE.search(sentence.text) is not None)
        return share(sentence.held) + opening + dated - _RANK * sentence.rank

    asked = question.core
    pointed = _POINTED.match(query) is not None
    whole = [one for one in pool if _says_all(one, asked)] if pointed else []
    best = max(whole or pool, key=value)
    chosen = _with_antecedents(best, found, question.names)
    after = pool.index(best) + 1
    others = [] if whole else pool
    for sentence in sorted(
        others, key=lambda one: value(one) + _FOLLOWS * (pool.index(one) == after), reverse=True
    ):
        new = [one for one in _with_antecedents(sentence, found, question.names) if one not in chosen]
        if len(chosen) + len(new) > _MOST_SENTENCES or any(_alike(sentence, other) for other in chosen):
            continue
        # One who asks for one thing is told no more than what the question holds.
        if pointed and sentence.own <= frozenset[str]().union(*(one.own for one in chosen)):
            continue
        if sentence.rank == best.rank:
            wanted = sum(other.rank == best.rank for other in chosen) + len(new) <= _FROM_ONE
        else:
            # By its own words: what its title says was enough to be found, and is not enough to join in.
            wanted = not best.titled and share(best.own) < _SECOND_VOICE <= share(sentence.own)
        if wanted:
            chosen.extend(new)
    valued = any(term.startswith("rel_") for term in asked) or _VALUED.match(query) is not None
    disputed = [
        one
        for one in pool
        if one.n != best.n
        and (
            any(_disputes(one, other) for other in chosen)
            or (valued and _answers_otherwise(one, best, asked, question))
        )
    ][:_MOST_DISPUTING]
    chosen.extend(one for one in disputed if one not in chosen)
    ordered = sorted(chosen, key=lambda sentence: (sentence.rank != best.rank, sentence.rank, sentence.place))
    # Without a name two passages may speak of two things.
    return ordered, bool(disputed and question.names)


def _says_all(sentence: _Sentence, asked: frozenset[str]) -> bool:
    """Whether *sentence* answers under its title, and adds something to it."""
    return (
        asked <= sentence.held
        and bool(sentence.adds)
        and not (sentence.lent and names_another(sentence.text, asked))
    )


def _with_antecedents(
    sentence: _Sentence, found: Mapping[tuple[int, int], _Sentence], names: frozenset[str]
) -> list[_Sentence]:
    """*sentence* behind those of its source that it points back at; empty when they are not there.

    Where the title says who is meant, a sentence before it that does not name them explains nothing.
    """
    needed = [sentence]
    while points_back(needed[0].text):
        before = found.get((sentence.rank, needed[0].place - 1))
        if before is None or is_fragment(before.text):
            # The title says what an opening "It" is, or whose sales "Sales rose" tells of.
            explained = needed[0].subject or needed[0].named or names_a_kind(needed[0].text)
            return needed if explained else []
        if sentence.named and (names_a_kind(needed[0].text) or not before.own & names):
            return needed
        needed.insert(0, before)
        if len(needed) > _MOST_SENTENCES:
            return []
    return needed


def _sentences_of(question: Question, rank: int, result: Mapping[str, Any]) -> Iterator[_Sentence]:
    """The sentences of one result; what its title says counts for each of them."""
    asked = set(question.terms)
    title = str(result["title"])
    tail = title.rsplit(" - ", 1)[-1]
    subject = tail if _SIGNATURE.match(tail) and len(tail) < 80 else ""  # longer ones hide the answer
    paragraphs = [line for excerpt in result["excerpts"] for line in str(excerpt).split("\n")]
    aliases = aliases_in((title, *paragraphs)) if question.required else {}
    contexts = contexts_of(paragraphs, question.names, aliases) if question.names else {}
    titled = asked & with_aliases(title_terms(title), aliases)
    about = question.subject
    whole = titled == asked or (about is not None and about.naming and about.entitles(title))
    place = 0
    opening = True
    for paragraph in paragraphs:
        for text in sentences(paragraph):
            found = frozenset(terms(text))
            own = asked & with_aliases(found, {**question.meant, **aliases}) | contexts.get(text, frozenset())
            yield _Sentence(
                text,
                result["n"],
                rank,
                subject,
                frozenset(own | titled),
                frozenset(own),
                found,
                opening,
                whole,
                bool(question.names) and question.names <= titled,
                titled == asked or not own <= titled,
                not question.names <= own,
                place,
            )
            place += 1
            opening = False


def _disputes(one: _Sentence, other: _Sentence) -> bool:
    """Whether two sentences say the same of other numbers: whoever reads only one of them would take it for settled."""
    numbers, others = _numbers(one), _numbers(other)
    words, same = one.all - numbers, other.all - others
    return (
        bool(numbers and others)
        and not numbers & others
        and one.held >= other.held
        and len(words & same) >= _ALIKE * len(words | same)
    )


def _numbers(sentence: _Sentence) -> set[str]:
    """The numbers a sentence gives; years say when, and are only what is told where there is nothing else."""
    found = set(_NUMBER.findall(sentence.text))
    return {one for one in found if not _YEAR.fullmatch(one)} or found


def _answers_otherwise(one: _Sentence, best: _Sentence, asked: frozenset[str], question: Question) -> bool:
    """Whether *one* gives another number for all that is asked, in whatever words: "how many employees"."""
    numbers, others = _numbers(one), _numbers(best)
    return (
        bool(question.names) and _says_all(one, asked) and bool(numbers and others) and not numbers & others
    )


def _alike(one: _Sentence, other: _Sentence) -> bool:
    """Whether two sentences share most of their terms."""
    union = one.all | other.all
    return not union or len(one.all & other.all) / len(union) >= _ALIKE
