"""Words, stems and sentences: the one idea of language that index, ranking and answers share."""

from __future__ import annotations

import keyword
import re
from functools import lru_cache

from .relations import INDEXED, asked_relations, told_relations

__all__ = ["STOP_WORDS", "query_terms", "sentences", "stem", "terms", "title_terms"]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")
_DOTTED = re.compile(r"(?<![\w.])[a-z_]\w+(?:\.[a-z_]\w+)+")

# Words that carry no subject. Question words and politeness are here too: they say what kind of answer is wanted, and
# would otherwise match every tutorial ("how do I ...").
_STOP_WORDS = """
a about above after again all also although am an and any anyone anything are as at be because been before
being below between both but by can cannot could did differ difference differences different do does doesn
doing don done down during each either else ever every explain few find for from further get gets give
given gives had happen happened happening happens has have having he her here hers him his how however i
if in into is isn it its itself just kind know let like made make makes making many may me mean means
meant might mine more most much must my need neither no nor not now of off often on once one only or other
our ours out over own perhaps please possible purpose quite rather really same say says she should show
since so some such tell than that the their theirs them then there these they thing things this those
through to too under until up upon us use used uses using very via was way we were what whatever when
where whether which while who whom whose why will with within without work works would yes yet you your
yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Stop words that are also Python keywords are a subject when quoted or when named as a construct: "the with statement".
_KEYWORDS = frozenset(keyword.kwlist) & STOP_WORDS
_KEYWORD = re.compile(
    rf"""["'`“](?P<quoted>{"|".join(sorted(_KEYWORDS))})["'`”]"""
    rf"""|\b(?P<named>{"|".join(sorted(_KEYWORDS))})["'`”]?\s+(?:statement|expression|keyword|operator|loop|clause)s?\b"""
)

# Tried in this order, each with the length of the stem it must leave. A stemmer only has to map the forms of one word
# to one key; the key need not be a word. Lighter than Porter on purpose: "state" and "statement" stay apart, which in
# a language reference are different subjects.
_SUFFIXES = (
    ("izations", 4),
    ("ization", 4),
    ("ations", 4),
    ("ation", 4),
    ("ators", 4),
    ("ator", 4),
    ("ables", 4),
    ("able", 4),
    ("ments", 6),
    ("ment", 6),
    ("ating", 4),
    ("ated", 4),
    ("ates", 4),
    ("ate", 4),
    ("izing", 4),
    ("ized", 4),
    ("izes", 4),
    ("ize", 4),
    ("ions", 4),
    ("ion", 4),
    ("ings", 4),
    ("ing", 3),
    ("ers", 4),
    ("er", 4),
    ("ors", 5),
    ("or", 5),
    ("edly", 4),
    ("ed", 3),
    ("ly", 4),
    ("es", 3),
    ("s", 3),
    ("e", 3),
)
_SPELLINGS = {"licence": "license", "licences": "license", "behaviour": "behavior", "colour": "color"}
# Forms that no ending tells. Those that mean something else as well ("found", "left", "bound", "felt") are not here.
_IRREGULAR_FORMS = """
rise rose risen, fall fell fallen, grow grew grown, pay paid, buy bought, sell sold, spend spent, lose lost, win won, run ran,
begin began begun, write wrote written, choose chose chosen, drive drove driven, break broke broken, take took taken,
build built, send sent, meet met, keep kept, show shown, speak spoke spoken, teach taught, fly flew flown, steal stole stolen
"""
_IRREGULAR = {
    form: base for base, *forms in (one.split() for one in _IRREGULAR_FORMS.split(",")) for form in forms
}
# "Carried", "carrier" and "carries" are "carry"; "tied" and "pies" are no "ty" and "py".
_Y_FORMS = re.compile(r"(?<=..)(?:ies?|ied|iers?|iest)$")
_VERBAL = frozenset({"ed", "ing", "ings"})  # endings that may hide another: "discovered", "discover"
_VOWEL = re.compile("[aeiouy]")


# What two or three words say that one says as well.
_PHRASES = (
    (re.compile(r"\b(?:go(?:es|ne|ing)?|went)\sup\b"), "rise"),
    (re.compile(r"\b(?:go(?:es|ne|ing)?|went)\sdown\b"), "fall"),
    (re.compile(r"\bout\sof\s(?:order|service)\b"), "broken"),
    (re.compile(r"\b(?:look(?:s|ed|ing)?\safter|tak(?:es?|ing|en)\scare\sof|took\scare\sof)\b"), "care"),
)
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split()) if number > 1}
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_DIGITS)})\b")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The key under which *word* and its inflections are found; *word* is lower case already.

    Names with an underscore or a digit (`__enter__`, `utf8`) are kept whole.
    """
    if "_" in word or not word.isalpha():
        return word
    word = _SPELLINGS.get(word, word)
    word = _Y_FORMS.sub("y", _IRREGULAR.get(word, word))
    if word.endswith(("ss", "us", "is")):
        return word
    for suffix, least in _SUFFIXES:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            if len(root) >= least and _VOWEL.search(root):
                if suffix in _VERBAL and root.endswith(("er", "or")):
                    return stem(root)
                return _undouble(root)
    return word


def _undouble(root: str) -> str:
    """Of "running" makes "run": a doubled last consonant goes, except where words really end so ("call", "pass")."""
    if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "aeioulsz":
        return root[:-1]
    return root[:-1] if root.endswith("e") and len(root) > 3 else root


def _named_keywords(lowered: str) -> list[str]:
    """The keywords *lowered* talks about, under a key of their own: `kw_with` is not the preposition."""
    return ["kw_" + (match["quoted"] or match["named"]) for match in _KEYWORD.finditer(lowered)]


def _dotted_names(lowered: str) -> list[str]:
    """Each `str.find` under a key of its own: its parts are everywhere, and may be stop words."""
    return ["dot_" + match.group().replace(".", "_") for match in _DOTTED.finditer(lowered)]


def _words(lowered: str) -> list[str]:
    """The words of *lowered* without possessives and contractions."""
    return [match.group().replace("\u2019", "'").split("'")[0] for match in _WORD.finditer(lowered)]


def terms(text: str) -> list[str]:
    """Every index term of *text*, stop words left out.

    A name such as `rate_limit` yields itself and its parts, so that it is found as written and by its words. What it
    tells of somebody or something (see `relations`) is a term too, whatever the words it is told in.
    """
    lowered = text.lower()
    found = [*_named_keywords(lowered), *_dotted_names(lowered)]
    for word in _words(_in_one_word(lowered)):
        if "_" in word:
            found.append(word)
            found.extend(stem(part) for part in word.split("_") if part and part not in STOP_WORDS)
        elif word not in STOP_WORDS:
            found.append(stem(word))
    found.extend(f"rel_{name}" for name in told_relations(_with_digits(lowered)) & INDEXED)
    return found


def _in_one_word(lowered: str) -> str:
    """*lowered* with one word for each phrase that has one: "went up" is "rise"."""
    for pattern, word in _PHRASES:
        lowered = pattern.sub(word, lowered)
    return lowered


def _with_digits(lowered: str) -> str:
    """*lowered* with its small numbers in digits: "lasted eleven days" tells how long as much as "11 days"."""
    return _NUMBER_WORD.sub(lambda match: _DIGITS[match.group()], lowered)


def title_terms(title: str) -> list[str]:
    """The terms of a title; parameters of a signature, and the word "class" before it, are not what it is about."""
    # A debugger's "j(ump)" is asked for as "jump".
    title = re.sub(
        r"(?<= - )([a-z]+)\(([a-z()]+)\)(?=\s|$)", lambda name: re.sub(r"[()]", "", name[0]), title
    )
    return terms(re.sub(r"\(.*?\)|\[.*?\]|\bclass (?=[\w.]+\()", " ", title))


def query_terms(text: str, *, limit: int = 32) -> list[str]:
    """The distinct terms a question asks for, at most *limit*, in order.

    A name with underscores asks for exactly that name, not for its parts. Words that ask for a relation ("how many people
    work") are one term, `rel_staff`.
    """
    lowered = text.lower()
    asked = {name: spans for name, spans in asked_relations(lowered).items() if name in INDEXED}
    kept = list(lowered)
    for spans in asked.values():
        for start, end in spans:
            kept[start:end] = " " * (end - start)
    chosen = [
        word if "_" in word else stem(word)
        for word in _words(_in_one_word("".join(kept)))
        if word not in STOP_WORDS
    ]
    relations = [f"rel_{name}" for name in asked]
    return list(dict.fromkeys([*_named_keywords(lowered), *_dotted_names(lowered), *chosen, *relations]))[
        :limit
    ]


_BOUNDARY = re.compile(r"(?<=[.!?])([\"'”\u2019)\]]{0,2})\s+(?=[\"'“\u2018`*(\[]{0,2}[A-Z0-9_]|[\"“`]\w)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|no|fig|sec|dr|mr|mrs|approx)\.|(?<!°)\b[A-Z]\.)[\"')\]]*$", re.IGNORECASE
)

_LONGEST_ABBREVIATION = 16  # characters, closing quotes and brackets included


def sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph of running text, each with its closing mark."""
    found: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(paragraph):
        piece = paragraph[start : match.end(1)].strip()
        # Its end is enough; over the whole of a piece that grows with each "A." this would take the square of its length.
        if _ABBREVIATION.search(piece[-_LONGEST_ABBREVIATION:]):
            continue
        if piece:
            found.append(piece)
        start = match.end()
    rest = paragraph[start:].strip()
    if rest:
        found.append(rest)
    return found
