"""What a question is about, and whether a title or a sentence is about just that.

"What does the switch statement do?" shares a word with "it switches the optimisation off", and is not answered by it.
For questions of this kind sharing words is not enough: the thing asked for has to be what a heading names, or the
grammatical subject of a sentence. It is compared as written, never by its stem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Subject", "subject_of"]

_ARTICLE = r"(?:an?|the)\s+"
_QUESTIONS = (
    re.compile(
        rf"^what\s+(?:does|do|did|can|is|are)\s+(?P<article>{_ARTICLE})?(?P<thing>.+?)\s+"
        r"(?P<verb>do|mean|return|compute|show|hold|remove|raise|specify|accept|(?:used\s+|good\s+)?for$)\b(?P<tail>.*)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^what(?:\s+(?:is|are|was|were)|['\u2019]s)\s+(?P<article>{_ARTICLE})?(?P<thing>.+)$", re.IGNORECASE
    ),
    re.compile(rf"^(?:define|explain|describe)\s+(?P<article>{_ARTICLE})?(?P<thing>.+)$", re.IGNORECASE),
    re.compile(
        rf"^what\s+(?:does|do)\s+(?P<article>{_ARTICLE})?(?P<thing>(?:(?:package|function|method)\s+)?\S+)\s+(?P<tail>\w.*)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^when\s+(?:is|are)\s+(?P<article>{_ARTICLE})?(?P<thing>.+?)\s+(?P<verb>called|invoked|used|run|executed|raised)$",
        re.IGNORECASE,
    ),
)
# "the licence OF the package x", "a slice WITH a step": a property of something, which no heading has to name.
_RELATION = re.compile(
    r"\b(?:of|in|for|from|with|without|to|on|at|by|as|between|when|if|that|which|used|called|and|or|not|than|is|are)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.]*\w")
_FAMILIES = (
    {"statement", "keyword", "clause", "expression", "operator", "loop"},
    {"function", "method", "callable"},
    {"class", "type", "object", "exception"},
    {"command"},
    {"attribute", "variable", "constant"},
    {"package", "library", "module", "distribution"},
)
_FAMILY = {kind: place for place, family in enumerate(_FAMILIES) for kind in family}
_LEADING = {"package", "library", "module", "function", "method", "class", "command", "exception"}
_STATEMENT, _CALLABLE, _OBJECT, _COMMAND, _PACKAGE = 0, 1, 2, 3, 5
_PREFIX = re.compile(
    r"^(?:Python help: |README of |Installed package |prodkit docs: (?:[\w-]+/)*)|^(?:class|exception|async) ",
    re.IGNORECASE,
)
_DEBUGGER = re.compile(
    r"\s*\b(?:(?:of|in)\s+)?(?:the\s+)?(?:python\s+)?(?:pdb|debugger)(?:['\u2019]s)?\s+(?=\w)"
    r"|\s+(?:of|in)\s+(?:the\s+)?(?:python\s+)?(?:pdb|debugger)$",
    re.IGNORECASE,
)
_CALL = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)\s*\(")
_OPTIONAL_END = re.compile(r"^(?P<short>[a-z]+)(?P<rest>(?:\([a-z()]+\))?)(?:\s.*)?$")
_VERB = (
    r"(?:(?:is|are|was|were)(?!\s+(?:not|also|only|often|usually|still|now)\b)"
    # "An iterator is created for it" tells what is done with one, not what it is.
    r"(?!\s+(?!used|defined|called|considered|intended|known)\w+(?:ed|en)\b)|means?|refers?|denotes?|describes?|represents?|returns?|provides?|allows?|lets?|gives?|makes?|"
    r"causes?|specif(?:y|ies)|defines?|binds?|executes?|evaluates?|raises?|creates?|"
    r"turns?|indicates?|consists?|contains?|holds?|marks?|declares?|suspends?|terminates?|continues?|serves?|supports?|"
    r"implements?|accepts?|takes?|yields?|behaves?|works|introduces?|removes?|computes?|shows?|stands?|adds?|enables?)\b"
)
_SEVERAL = re.compile(r",\s+|\s+and\s+|\s+or\s+|\s*/\s*|:\s+|\s+[\u2013\u2014]\s+|\s+\|\s+")
# Nothing has a name of so many; the expression that looks for it takes as long to compile as it has words.
_MAX_WORDS = 30
_MARKS = re.compile(r"[\"'`*\u201c\u201d]")


@dataclass(frozen=True, slots=True)
class Subject:
    """The thing a question of the kind "what is X" or "what does X do" asks for.

    Attributes:
        words: X in lower case, in the singular, without article and kind.
        kind: "statement", "function" and the like, where the question names it; else empty.
        phrase: X with its kind, as asked.
        filler: words of the question that a text about X need not hold: its kind, and what is done ("called", "return").
        common: whether an indefinite article shows it to be a common noun: `dict.list` is not what "a list" is.
        naming: whether only a definition answers ("what is X"), or the question goes on ("what does X return when ...").
    """

    words: tuple[str, ...]
    kind: str
    phrase: str
    filler: frozenset[str]
    common: bool
    naming: bool

    def entitles(self, title: str) -> bool:
        """Whether the last part of *title* (document, section and definition, joined by " - ") names exactly this thing."""
        parts = title.split(" - ")
        return self._is_named(parts[-1], parts[0])

    def governs(self, sentence: str) -> bool:
        """Whether this thing is the grammatical subject of *sentence*, or what the sentence gives a name to."""
        if len(self.words) > _MAX_WORDS:
            return False
        plain = _MARKS.sub("", sentence.strip())
        thing = self._pattern()
        kind = rf"(?:\s+(?:{self.kind}s?|{'|'.join(sorted(self._kinds()))}))?"
        other = r"(?:[\w-]+\s+){1,4}or\s+"
        subject = rf"(?:the\s+|an?\s+|all\s+|every\s+|each\s+)?(?:package\s+)?(?:{other})?{thing}(?:\(\))?{kind}(?:\s+\([^)]*\))?,?\s+{_VERB}"
        naming = rf"\b(?:is|are)\s+(?:also\s+)?(?:called|said\s+to\s+be|known\s+as|named|referred\s+to\s+as)\s+(?:the\s+|an?\s+)?{thing}{kind}(?!\s*\w)"
        return bool(
            re.match(subject, plain, re.IGNORECASE)
            or (self.naming and re.search(naming, plain, re.IGNORECASE))
        )

    def _kinds(self) -> set[str]:
        """The kinds a text may add to the thing without making another one of it."""
        return (
            _FAMILIES[_FAMILY[self.kind]]
            if self.kind
            else {"statement", "keyword", "function", "method", "package"}
        )

    def _pattern(self) -> str:
        body = r"[\s-]+".join(re.escape(word) for word in self.words)
        return (
            rf"(?<![\w.]){body}(?:e?s)?(?![\w.]*\w)"
            if self.words[-1].isalpha()
            else rf"(?<![\w.]){body}(?!\w)"
        )

    def _is_named(self, part: str, document: str) -> bool:
        is_code = "(" in part or "." in part
        names = part.split(", ") if is_code else _SEVERAL.split(_PREFIX.sub("", part))
        return any(self._is_one(name, part, document) for name in names)

    def _is_one(self, name: str, part: str, document: str) -> bool:
        """Whether *name*, one of those that *part* of a title gives, is this thing's, and of its kind."""
        name = _MARKS.sub("", _PREFIX.sub("", name.strip())).strip()
        family = _FAMILY.get(self.kind)
        if document == "Python help: debugger" and (short := _OPTIONAL_END.match(name)):
            spelled = {short["short"], short["short"] + re.sub(r"[()]", "", short["rest"])}
            return family == _COMMAND and self.words[-1] in spelled
        call = _CALL.match(name)
        if call or ("." in name and " " not in name):
            dotted = (call["name"] if call else name).lower()
            names_code = family not in {_STATEMENT, _COMMAND, _PACKAGE} and len(self.words) == 1
            return names_code and self.words[0] in {
                dotted,
                dotted if self.common else dotted.rsplit(".", 1)[-1],
            }
        if family == _PACKAGE and not part.startswith(("README of ", "Installed package ")):
            return False
        if _named(name, whole=True)[0] == self.words:
            return True
        words, kind = _named(name)
        return words == self.words and (not kind or not self.kind or _FAMILY[kind] == family)


def subject_of(question: str) -> Subject | None:
    """What *question* is about, if it is of the kind that only a text about that thing answers; else None."""
    asked = " ".join(question.split()).rstrip(" ?.!")
    for pattern in _QUESTIONS:
        match = pattern.match(asked)
        if match is None:
            continue
        thing = match["thing"]
        in_debugger = bool(_DEBUGGER.search(thing))
        thing = _DEBUGGER.sub(" ", thing).strip()
        quoted = _MARKS.sub("", thing)
        # A keyword is a thing, not a relation, where it is quoted or its kind is named.
        if quoted == thing and _RELATION.search(thing) and not _is_keyword_named(thing):
            return None
        article = (match["article"] or "").strip().lower()
        # "A class variable" is no class: only "the class x" and "the x statement" name a kind beside the thing.
        words, kind = _named(quoted, whole=article in {"a", "an"})
        if in_debugger:
            kind = kind or "command"
        if not words:
            return None
        said = match.groupdict()
        verb = (said.get("verb") or "").lower()
        filler = {verb, kind, *(("pdb", "debugger", "command") if in_debugger else ())} - {"", *words}
        return Subject(
            words,
            kind,
            quoted.lower(),
            frozenset(filler),
            common=article in {"a", "an"},
            naming="verb" not in said and not said.get("tail"),
        )
    return None


def _is_keyword_named(thing: str) -> bool:
    """Whether *thing* is like "with statement": at most two words, then a kind."""
    words = thing.lower().split()
    return 2 <= len(words) <= 3 and words[-1].removesuffix("s") in _FAMILIES[_STATEMENT]


def _named(text: str, *, whole: bool = False) -> tuple[tuple[str, ...], str]:
    """The words of a name, in lower case, the last in the singular, and its kind, apart unless *whole*."""
    words = [word.lower() for word in _WORD.findall(text)]
    if words and words[0] in {"a", "an", "the"}:
        words = words[1:]
    if words and words[-1] in {"definition", "definitions", "basics", "overview"}:
        words = words[:-1]
    kind = ""
    if len(words) > 1 and not whole:
        last = words[-1]
        single = last if last in _FAMILY else "class" if last == "classes" else last.removesuffix("s")
        plural_of_others = last != single and _FAMILY.get(single) == _CALLABLE
        if single in _FAMILY and not plural_of_others:
            kind, words = single, words[:-1]
        elif words[0] in _LEADING:  # "the package x", "the function f"
            kind, words = words[0], words[1:]
    if words:
        words[-1] = _singular(words[-1])
    return tuple(words), kind


def _singular(word: str) -> str:
    """*word* without its plural ending; names with dots or underscores, and short ones, are kept as they are."""
    if not word.isalpha() or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")
