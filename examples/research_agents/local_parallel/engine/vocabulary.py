"""Words that say the same, words that say the opposite, and words that say nothing: small lists, by stems."""

from __future__ import annotations

import re
from functools import lru_cache

from examples.research_agents.retrieval.text import STOP_WORDS, stem, terms

__all__ = ["DEEDS", "content_keys", "key_of", "opposed", "ordered_keys"]

# Each line is one meaning.
_SAME = """
make build produce manufacture craft develop maker producer manufacturer construct
operate present operation
sell offer market
buy acquire purchase takeover
supply deliver provide provision
employ apply
begin start commence
end stop cease terminate finish
big large
reject refuse decline
allow permit
return yield
cause trigger
near nearest closest innermost
price cost
reimburse refund repay
forbid prohibit ban disallow
mandatory compulsory obligatory
approve authorise authorize
postpone defer
examine study investigate
repair fix mend
remove delete
receive obtain
error mistake
reference refer
submit hand
"""
_OPPOSITE = """
open closed
public private
first last
mutable immutable
local global
always never
accept reject
approve reject
allow forbid
import export
true false
left right
maximum minimum
synchronous asynchronous
include exclude
active inactive
profitable unprofitable
independent dependent
renewable fossil
freshwater saltwater
inhabited uninhabited
mandatory optional
nearest farthest
increase decrease
rise fall
succeed fail
available unavailable
cold hot
northern southern
eastern western
"""
# What a claim may add without saying more.
_SAYING_NOTHING = """
basically simply certain given particular currently actually really namely already respectively effectively
differed differs various officially approximately roughly around total altogether called fact
"""
_LIGHT = frozenset(stem(word) for word in _SAYING_NOTHING.split())
# Endings that make a noun or an adjective of a verb: "approval" of "approve", "expiry" of "expire".
_DERIVED = ("ance", "ence", "ancy", "ency", "ity", "ive", "ness", "ful", "al", "y")
_LEAST = 5  # characters that must be left
_WORD = re.compile(r"\d[\d.,:]*\d|[\w']+")  # a number is one word: 3.5 holds no 5


def _deep(found: str) -> str:
    for ending in _DERIVED:
        if found.endswith(ending) and len(found) - len(ending) >= _LEAST:
            return found[: -len(ending)]
    return found


_CANON = {
    _deep(stem(stem(form))): f"={line.split()[0]}"
    for line in _SAME.strip().splitlines()
    for form in line.split()
}
# The keys of verbs whose subject and object must not change places.
DEEDS = frozenset(_CANON.values())


@lru_cache(maxsize=16_384)
def key_of(found: str) -> str:
    """The key of a stem: one for all words of the same meaning."""
    deep = _deep(stem(found))  # twice: "recovered" is "recover" and then "recov"
    return _CANON.get(deep, deep)


@lru_cache(maxsize=8192)
def ordered_keys(text: str) -> tuple[str, ...]:
    """What *text* says, word by word, without words that carry no meaning."""
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word[0].isdigit() and len(word) > 1:
            found.append(word.replace(",", ""))
        elif word not in STOP_WORDS:
            found.extend(
                key_of(term)
                for term in terms(word)
                if term not in _LIGHT and not term.startswith(("rel_", "kw_", "dot_"))
            )
    return tuple(found)


@lru_cache(maxsize=8192)
def content_keys(text: str) -> frozenset[str]:
    """What *text* says, as a set; see `ordered_keys`."""
    return frozenset(ordered_keys(text))


_PAIRS = tuple(
    (one, other)
    for line in _OPPOSITE.strip().splitlines()
    for one, other in (tuple(line.split()), tuple(line.split())[::-1])
)


def opposed(lacking: str, told: frozenset[str]) -> tuple[str, str] | None:
    """(the word of the claim, its opposite) where *told* holds the opposite of the key *lacking*; else None."""
    for one, other in _PAIRS:
        if lacking == key_of(stem(one)) and key_of(stem(other)) in told:
            return one, other
    return None
