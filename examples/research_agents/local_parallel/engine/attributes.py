"""What a clause gives as a property of something in so many words: "The license of X is MIT", "X requires Python >=3.11"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from examples.research_agents.retrieval.text import terms

from .numbers import quantities_in
from .versions import Requirement, requirement_in

__all__ = ["Attribute", "attribute_in", "same_value"]

_NO_NAMES = set(terms("license clause version"))  # in a value, they tell no one from another
_LONGEST_VALUE = 5  # words of a property that is compared with another
_LONGEST = 300  # characters of a clause that are looked at
_VERSION = frozenset(terms("version"))
_IS = r"(?:is|was|are|were)"
# "The license of the package fastapi is MIT."
_OF = re.compile(
    rf"(?:the|an?|its)\s(?P<measure>(?:[\w-]+\s){{0,3}}[\w-]+)\s(?:of|for)\s(?P<owner>[^.;:]{{1,80}}?)\s{_IS}\s(?P<value>[^;]{{1,80}})$",
    re.IGNORECASE,
)
# "Fastapi's license is MIT."
_POSSESSIVE = re.compile(
    rf"(?P<owner>[^;:]{{1,60}}?)['\u2019]s\s(?P<measure>(?:[\w-]+\s){{0,3}}[\w-]+)\s{_IS}\s(?P<value>[^;]{{1,80}})$",
    re.IGNORECASE,
)
# "fastapi is licensed under the MIT license."
_LICENSED = re.compile(
    r"(?P<owner>[^;:]{1,60}?)\s(?:is|are)\s(?:licen[cs]ed|released|published|distributed)\sunder\s(?:the\s|an?\s)?(?P<value>[\w.+ -]{1,60}?)"
    r"(?:\slicen[cs]e)?$",
    re.IGNORECASE,
)
_REQUIRES = re.compile(
    r"(?P<owner>[^;:]{1,80}?)\s(?:requires?|needs?)\s(?P<value>[^;]{1,80})$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A property of something.

    Attributes:
        measure: stems of what it is called.
        value: as written.
        requirement: of "requires Python 3.11" and versions; else None.
        owner: whose, as written; empty where only a requirement is told.
    """

    measure: frozenset[str]
    value: str
    requirement: Requirement | None = None
    owner: str = ""

    @property
    def is_number(self) -> bool:
        """Whether the value is a quantity, and not a name or a version."""
        told = quantities_in(self.value)
        return self.requirement is None and bool(told) and not self.value[: told[0].start].strip(" ~<>")


@lru_cache(maxsize=4096)
def attribute_in(text: str) -> Attribute | None:
    """The property that the sentence *text* gives; None when it is built otherwise."""
    plain = text.strip().rstrip(".!").strip()
    if not plain or len(plain) > _LONGEST:
        return None
    if match := _LICENSED.match(plain):
        return Attribute(frozenset(terms("license")), match["value"], owner=match["owner"])
    if (match := _REQUIRES.match(plain)) and (needed := requirement_in(match["value"])) is not None:
        return Attribute(frozenset(terms(f"requires {needed.name}")), match["value"], needed)
    match = _OF.match(plain) or _POSSESSIVE.match(plain)
    if match is None:
        return None
    measure = frozenset(one for one in terms(match["measure"]) if not one.startswith(("rel_", "kw_", "dot_")))
    versions = not measure.isdisjoint(_VERSION)
    needed = requirement_in(f"version {match['value']}") if versions else None
    return Attribute(measure, match["value"], needed, match["owner"]) if measure else None


def same_value(claimed: str, told: str) -> bool | None:
    """Whether two short values are the same: in all words, or the longer one adds to the shorter; None where neither is short."""
    words, digits = zip(*(_split(value) for value in (claimed, told)), strict=True)
    if not all(words) or max(map(len, words)) > _LONGEST_VALUE:
        return None
    if words[0].isdisjoint(words[1]) or (words[0] == words[1] and digits[0] != digits[1] and all(digits)):
        return False
    # "MIT or Apache" against "MIT": neither the same nor the contrary.
    return True if words[0] <= words[1] and digits[0] <= digits[1] and "or" not in told.split() else None


def _split(value: str) -> tuple[set[str], set[str]]:
    """(words, numbers) of a short value; "license" itself names none."""
    found = set(terms(value.replace("-", " "))) - _NO_NAMES
    digits = {one for one in found if one.isdigit()}
    return found - digits, digits
