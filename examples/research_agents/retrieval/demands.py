"""What a question demands of a sentence beyond its words: the month it names, the office, a person where it asks who.

"In January the library counted 9,412 visitors" shares every word with a question about February but one. What is here are
the cases in which such a neighbour is no answer. Only questions demand: a claim is compared by whoever verifies it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .names import names_in

__all__ = ["Demands", "is_question"]

_MONTH = re.compile(
    r"\b(?:January|February|March|April|June|July|August|September|October|November|December)\b"
    r"|(?:(?<=[Ii]n )|(?<=[Oo]n )|(?<=of )|(?<=[Ss]ince )|(?<=until )|(?<=before )|(?<=after )|(?<=\d ))May\b|\bMay(?= \d{4})"
)
_ASKS = re.compile(
    r"^\W*(?:(?:and|so|but)\s+)?(?:what|which|who|whom|whose|when|where|why|how|can|could|does|do|did|is|are|was|were|has|have|had|"
    r"should|may|must|will)\b",
    re.IGNORECASE,
)
# Who holds one of these offices need not hold another one. The first group is the head of the daily business.
_OFFICES = tuple(
    re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for words in (
        "ceo|chief executive|managing director",
        r"chair(?:man|woman|person|s|ed)?",
        "president",
        "treasurer|chief financial officer|cfo|finance director",
        "secretary",
        "mayor",
    )
)
_CHAIR = 1
_LEADS = re.compile(r"\b(?:led|leads|headed|heads|run|runs|managed|manages)\b", re.IGNORECASE)
_WHO_MADE = re.compile(
    r"^\W*who(?:m)?\s(?:\w+\s){0,2}?(?:founded|established|set\sup|started|created|invented|designed|wrote|built|discovered)\b",
    re.IGNORECASE,
)
_MAKER = re.compile(
    r"\bby\s+(?!\d)|\b(?:founders?|inventors?|authors?|designers?|architects?|creators?)\b", re.IGNORECASE
)
_AT = re.compile(r"\b(?:in|at|on|near|from|of|to|for|since|until)\s+(?:the\s+)?$", re.IGNORECASE)
_PACKAGE_DOCUMENT = re.compile(r"^(?P<kind>README of|Installed package) (?P<name>\S+)$")
_TOKEN = re.compile(r"[a-z0-9]+")


def is_question(text: str) -> bool:
    """Whether *text* asks, by its first word or its mark."""
    return text.rstrip().endswith("?") or _ASKS.match(text) is not None


@dataclass(frozen=True, slots=True)
class Demands:
    """What *question* demands.

    Attributes:
        months: those it names; a sentence that names months has to name one of them.
        offices: places in the list of offices that it names.
        leader: whether whoever leads is asked for, without an office: that is not who chairs the board.
        maker: whether a person or a body is asked for, by what they made.
        words: all of its words, in lower case.
        named: its proper names, in lower case.
    """

    months: frozenset[str]
    offices: frozenset[int]
    leader: bool
    maker: bool
    words: frozenset[str]
    named: frozenset[str]

    @classmethod
    def of(cls, question: str) -> Demands:
        """Read *question*."""
        words = frozenset(_TOKEN.findall(question.lower()))
        if not is_question(question):
            return cls(frozenset(), frozenset(), leader=False, maker=False, words=words, named=frozenset())
        offices = frozenset(place for place, office in enumerate(_OFFICES) if office.search(question))
        named = frozenset(word for name in names_in(question) for word in name.key)
        return cls(
            frozenset(_MONTH.findall(question)),
            offices if len(offices) == 1 else frozenset(),
            leader=not offices and _LEADS.search(question) is not None,
            maker=_WHO_MADE.match(question) is not None,
            words=words,
            named=named,
        )

    def met_by(self, sentence: str) -> bool:
        """Whether *sentence* may answer."""
        return self._month_agrees(sentence) and self._office_agrees(sentence) and self._names_maker(sentence)

    def open_to(self, title: str) -> bool:
        """Whether a passage with *title* may answer: what a package's page says in passing of other things is no reference.

        One whose name the question gives in part is another package: "pydantic-settings" is not "pydantic".
        """
        match = _PACKAGE_DOCUMENT.match(title.split(" - ", maxsplit=1)[0])
        if match is None:
            return True
        name = {*_TOKEN.findall(match["name"].lower())}
        return name <= self.words or (match["kind"] != "README of" and not name & self.words)

    def _month_agrees(self, sentence: str) -> bool:
        if not self.months:
            return True
        said = set(_MONTH.findall(sentence))
        return not said or bool(said & self.months)

    def _office_agrees(self, sentence: str) -> bool:
        if self.leader and _OFFICES[_CHAIR].search(sentence):
            return bool(_LEADS.search(sentence) or _OFFICES[0].search(sentence))
        for asked in self.offices:
            if _OFFICES[asked].search(sentence) or (asked == 0 and _LEADS.search(sentence)):
                return True
            # Of what asks for no leader at all ("the chair of Velkor" may be furniture) nothing is demanded.
            return not any(office.search(sentence) for office in _OFFICES) and not _LEADS.search(sentence)
        return True

    def _names_maker(self, sentence: str) -> bool:
        if not self.maker or _MAKER.search(sentence):
            return True
        return any(
            not self.named.issuperset(name.key) and not _AT.search(sentence[: name.start])
            for name in names_in(sentence)
        )
