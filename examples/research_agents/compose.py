"""Writing an answer from what was found: sentences of the excerpts, each with its source, and nothing else."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .retrieval.quoting import announces, points_back
from .retrieval.subject import subject_of
from .retrieval.text import query_terms, sentences, terms, title_terms

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
    r"^\W*(?:(?:and|so)\s+)?(?:how\s(?:many|much|long|old|far|large|big|tall|high|fast|often)|when|where|who|whose|which"
    r"|what\s(?:is|are|was|were)\sthe\s(?:[\w-]+\s){1,3}of)\b",
    re.IGNORECASE,
)
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
        found = _choose(finding["query"], finding.get("results") or ())
        if not found:
            missing.append(finding["query"])
        chosen = [one for one in found if one.text not in told]
        told.update(one.text for one in chosen)
        subject = ""
        for position, one in enumerate(chosen):
            lead = "\n\n" if spoken and position == 0 and several else " " if spoken else ""
            yield f"{lead}{_spoken(one, subject)} [{one.n}]"
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
    text = sentence.text.strip()
    name = sentence.subject.split("(")[0].split(".")[-1]
    if sentence.subject and sentence.subject != before and name.lower() not in text.lower():
        return f"{sentence.subject}: {text}"
    return text


def _choose(query: str, results: Sequence[Mapping[str, Any]]) -> list[_Sentence]:
    """At most three sentences: the best of the best source, then what other sources add."""
    everything = [
        sentence for rank, result in enumerate(results) for sentence in _sentences_of(query, rank, result)
    ]
    found = {(sentence.rank, sentence.place): sentence for sentence in everything}
    # What only announces something is no answer, and neither is what points at a sentence that is not there.
    pool = [one for one in everything if not announces(one.text) and _with_antecedents(one, found)]
    if not pool:
        return []
    frequency = Counter(term for sentence in pool for term in sentence.held)
    weight = {term: math.log(1 + len(pool) / (0.5 + frequency[term])) for term in query_terms(query)}
    total = sum(weight.values()) or 1.0

    def share(held: frozenset[str]) -> float:
        return sum(weight[term] for term in held) / total

    def value(sentence: _Sentence) -> float:
        opening = 0.0 if not sentence.opening else _DEFINES if sentence.titled else _OPENS
        return share(sentence.held) + opening - _RANK * sentence.rank

    asked = frozenset(query_terms(query))
    whole = [one for one in pool if asked <= one.own] if _POINTED.match(query) else []
    best = max(whole or pool, key=value)
    chosen = _with_antecedents(best, found)
    after = pool.index(best) + 1
    others = [] if whole else pool
    for sentence in sorted(
        others, key=lambda one: value(one) + _FOLLOWS * (pool.index(one) == after), reverse=True
    ):
        new = [one for one in _with_antecedents(sentence, found) if one not in chosen]
        if len(chosen) + len(new) > _MOST_SENTENCES or any(_alike(sentence, other) for other in chosen):
            continue
        if sentence.rank == best.rank:
            wanted = sum(other.rank == best.rank for other in chosen) + len(new) <= _FROM_ONE
        else:
            # By its own words: what its title says was enough to be found, and is not enough to join in.
            wanted = not best.titled and share(best.own) < _SECOND_VOICE <= share(sentence.own)
        if wanted:
            chosen.extend(new)
    disputed = [
        one
        for one in pool
        if one.n != best.n
        and (any(_disputes(one, other) for other in chosen) or _answers_otherwise(one, best, asked))
    ]
    chosen.extend(one for one in disputed[:_MOST_DISPUTING] if one not in chosen)
    return sorted(chosen, key=lambda sentence: (sentence.rank != best.rank, sentence.rank, sentence.place))


def _with_antecedents(sentence: _Sentence, found: Mapping[tuple[int, int], _Sentence]) -> list[_Sentence]:
    """*sentence* behind those of its source that it points back at; empty when they are not there."""
    needed = [sentence]
    while points_back(needed[0].text):
        before = found.get((sentence.rank, needed[0].place - 1))
        if before is None:
            return needed if needed[0].subject else []  # the title says what an opening "It" is
        needed.insert(0, before)
        if len(needed) > _MOST_SENTENCES:
            return []
    return needed


def _sentences_of(query: str, rank: int, result: Mapping[str, Any]) -> Iterator[_Sentence]:
    """The sentences of one result; what its title says counts for each of them."""
    asked = set(query_terms(query))
    title = str(result["title"])
    tail = title.rsplit(" - ", 1)[-1]
    subject = tail if _SIGNATURE.match(tail) and len(tail) < 80 else ""  # longer ones hide the answer
    titled = asked & set(title_terms(title))
    about = subject_of(query)
    whole = titled == asked or (about is not None and about.entitles(title))
    place = 0
    opening = True
    for excerpt in result["excerpts"]:
        for paragraph in str(excerpt).split("\n"):
            for text in sentences(paragraph):
                found = frozenset(terms(text))
                yield _Sentence(
                    text,
                    result["n"],
                    rank,
                    subject,
                    frozenset(asked & (found | titled)),
                    found & asked,
                    found,
                    opening,
                    whole,
                    place,
                )
                place += 1
                opening = False


def _disputes(one: _Sentence, other: _Sentence) -> bool:
    """Whether two sentences say the same of other numbers: whoever reads only one of them would take it for settled."""
    numbers, others = set(_NUMBER.findall(one.text)), set(_NUMBER.findall(other.text))
    words, same = one.all - numbers, other.all - others
    return (
        bool(numbers and others)
        and not numbers & others
        and one.held >= other.held
        and len(words & same) >= _ALIKE * len(words | same)
    )


def _answers_otherwise(one: _Sentence, best: _Sentence, asked: frozenset[str]) -> bool:
    """Whether *one* gives a number as well, in full words, where one value is asked of somebody: "how many employees"."""
    numbers, others = set(_NUMBER.findall(one.text)), set(_NUMBER.findall(best.text))
    valued = any(term.startswith("rel_") for term in asked)
    return valued and asked <= one.own and bool(numbers and others) and not numbers & others


def _alike(one: _Sentence, other: _Sentence) -> bool:
    """Whether two sentences share most of their terms."""
    union = one.all | other.all
    return not union or len(one.all & other.all) / len(union) >= _ALIKE
