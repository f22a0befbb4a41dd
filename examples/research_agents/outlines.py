"""What a message asks for, taken apart: its topic, the subjects of it, and what of them is wanted.

"Compare A and B in revenue and staff", "X: its founding, staff and revenue" and "Which of A, B and C is older?" each name
subjects and aspects; every pair of them is a question that can be looked up alone. What cannot be taken apart safely
stays whole: a wrong split asks about nothing, and is paid for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .phrasing import CLAUSE, WHEN, WITHIN, Part, bare, part_of
from .retrieval.text import STOP_WORDS, terms

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["parts_of", "says_nothing", "topic_of"]

_MOST_ITEMS = 8  # of one list
_POLITE = re.compile(
    r"^(?:please|kindly|now|then|also|and|i\s(?:want|need|would\slike|'d\slike)\s(?:you\sto|to)|(?:can|could|would|will)\syou)[\s,]+",
    re.IGNORECASE,
)
_WRITING = re.compile(
    r"^(?:write|draft|prepare|compose|give|make|create|produce|provide|i\s(?:want|need|would\slike))\s(?:(?:me|us|up)\s)?(?:an?\s|the\s|some\s|your\s)?"
    r"(?:[\w-]+\s){0,3}?(?:reports?|summary|overview|article|texts?|paragraphs?|notes?|brief|briefing|sections?|essay|introduction|page|profile"
    r"|comparison|analysis|answer|explanation|description|outline|memo|sheet|letter|handout|minutes|account|details|information|facts)\s"
    r"(?:on|about|of|for|to|between|that\scompares|comparing|describing|explaining|covering|summari[sz]ing|with)\s",
    re.IGNORECASE,
)
_TELLING = re.compile(
    r"^(?:(?:summari[sz]e|describe|explain|outline|discuss|present|research|investigate|examine|analy[sz]e|report|cover|review|introduce|document)"
    r"(?:\s(?:to|for)\s(?:me|us))?(?:\s(?:on|about|into))?|tell\s(?:me|us)\s(?:more\s)?(?:something\s|everything\s|all\s)?about|tell\s(?:me|us)|say|state|mention|look\s(?:up|into)"
    r"|find\sout(?:\sabout)?|find|write\s(?:something\s)?(?:about|on)|what\s(?:do\syou|can\syou\stell\sme|do\swe)\s(?:know\s)?about)\s",
    re.IGNORECASE,
)
_COMPARES = re.compile(r"\b(?:compar\w+|contrast|differences?|distinctions?|similarities)\b", re.IGNORECASE)
_COMPARING = re.compile(
    r"^(?:compare|contrast|distinguish)\s(?:and\s(?:compare|contrast)\s)?(?:between\s)?"
    r"|^(?:(?:what|which)\s(?:is|are)\s)?(?:the\s|an?\s)?(?:main\s|key\s)?(?:differences?|distinctions?|similarities|comparison)\s(?:between|of|in)\s",
    re.IGNORECASE,
)
_DIFFERING = re.compile(
    r"^how\s(?:does|do|is|are)\s(?P<sides>[^,]{1,200}?)\s(?:differ|different|compare)\b(?P<tail>.*)$",
    re.IGNORECASE,
)
_VERSUS = re.compile(r"\s(?:versus|vs\.?|compared\s(?:to|with)|as\sopposed\sto)\s", re.IGNORECASE)
# What introduces aspects wherever it stands, and what does so only behind a list of things to compare.
_REGARDING = re.compile(
    r",?\s(?:covering|including|regarding|concerning|focus(?:s?ing)?\son|with\s(?:a\s)?focus\son|with\s(?:respect|regard)\sto|in\sterms\sof|in\sregard\sto)\s",
    re.IGNORECASE,
)
_WEAKLY_REGARDING = re.compile(r",?\s(?:by|on|in|for)\s(?=(?:(?:their|its|the)\s)?[a-z]{3})")
_LIST = re.compile(r",?\s(?:and|or|&|as\swell\sas)\s|[,;]\s")
_SIDES = re.compile(r",?\s(?:and|or|&|with|to|from|against)\s|[,;]\s", re.IGNORECASE)
_OF = re.compile(r"\s(?:of|for)\s(?=[\w\"'`])")
_NAMED = re.compile(r"[A-Z_.(\d]|^the\s")
_SAYING = re.compile(
    r"^what\s(?:does|do|did)\s(?P<subject>.{3,120}?)\s(?:say|state|tell\sus|tell|report|mention|require|specify)\s(?:about|on|regarding)\s(?P<aspects>.+)$",
    re.IGNORECASE,
)
_OWNED = re.compile(r"^(?:what|which|who)\s(?:is|are|was|were)\s(?=the\s)", re.IGNORECASE)
_AMONG = re.compile(r"^(?:which|who|what)(?:\sone)?\sof\s(?:the\s)?(?P<sides>.{3,200}?)\s(?P<rest>(?:has|have|had|is|are|was|were|employs?|earns?|earned)\s.{1,100})$", re.IGNORECASE)  # fmt: skip
_WHICH = re.compile(
    r"^(?:which|who|what)(?:\s(?!is|are|has|have|had|was|were)[a-z]+){0,3}\s(?P<rest>(?:has|have|had|is|are|was|were|employs?|earns?|earned)\s[^,:]{1,100})"
    r"(?:[,:]\s(?P<sides>.{3,200}))?$",
    re.IGNORECASE,
)
_RANKED = re.compile(
    r"^(?P<verb>\w+)\s(?:the\s)?(?P<how>most|more|fewest|fewer|least|less|highest|higher|lowest|lower|largest|larger|biggest|bigger|greatest|greater|smallest|smaller|[a-z]+er|[a-z]+est|more\sexpensive|most\sexpensive)"
    r"(?:\s(?P<measure>[a-z][a-z -]{1,40}?))?(?P<when>\sin\s\d{4})?$",
    re.IGNORECASE,
)
_ADJECTIVES = {"older": "founding", "oldest": "founding", "younger": "founding", "youngest": "founding", "newer": "founding", "newest": "founding",
    "heavier": "weight", "heaviest": "weight", "taller": "height", "tallest": "height", "longer": "length", "longest": "length", "deeper": "depth",
    "deepest": "depth", "faster": "speed", "fastest": "speed", "cheaper": "price", "cheapest": "price", "hotter": "temperature", "hottest": "temperature",
    "bigger": "size", "biggest": "size", "larger": "size", "largest": "size"}  # fmt: skip
_OWN = re.compile(r"^(?:of\s)?(?:its|their|his|her|each\sone's|each's|the|an?|both)\s", re.IGNORECASE)
_ITS_OWN = re.compile(r"^(?:its|their|his|her)\s", re.IGNORECASE)
_KIND = re.compile(
    r"^(?:the\s)?(?P<name>.+)\s(?P<kind>statement|keyword|clause|expression|operator|function|method|command|package|exception|object|type|module|class|loop|project|library)(?:e?s)$",
    re.IGNORECASE,
)
_KINDS_FIRST = re.compile(
    r"^(?:the\s)?(?P<kind>package|function|method|module|command|exception|statement|project|reactor|plant)s\s(?P<name>\S.*)$", re.IGNORECASE
)  # fmt: skip
_KINDED = re.compile(
    r"^(?:companies|firms|countries|cities|libraries|packages|projects|products)\s(?=[A-Z])", re.IGNORECASE
)
# What a message says about the text it wants, and not about its topic.
_ABOUT_FORM_WORDS = (
    "brief short concise bullet bullets point points cite cited source sources citation citations thank thanks markdown word words sentence sentences paragraph paragraphs "
    "detail details detailed long keep answer answers report list heading headings text english plain structured table careful precise include reference references important "
    "hello hi hey hallo greetings good morning afternoon evening goodbye bye welcome ok okay test testing most least exactly fewer limit "
    "german english french agree agrees disagree disagreement "
    "page number numbers conclusion summary compare differ order clear format write add one two three four five"
)  # fmt: skip
_ABOUT_FORM = frozenset(_ABOUT_FORM_WORDS.split())


def topic_of(message: str) -> str:
    """What *message* wants a text about, without the request for one: "Write a short report on X." is about X."""
    line = " ".join(message.split())
    topic = _stripped(line)
    return topic.strip(" .?!:;,") or line


def says_nothing(piece: str) -> bool:
    """Whether *piece* names nothing that could be looked up: "Be brief", "say what each is for"."""
    return not any(
        word not in STOP_WORDS and word not in _ABOUT_FORM and not word.isdigit()
        for word in re.findall(r"[\w'-]+", piece.lower())
    )


def parts_of(piece: str, before: Sequence[Part] = ()) -> list[Part]:
    """The parts of one question or request that names several things; empty when it is to be looked up as it is.

    Args:
        piece: one line without doubled blanks.
        before: the parts of what the same message said before it: "... and say which is older" is about their subjects.
    """
    asked = piece.strip(" .?!")
    request = _stripped(asked)
    removed = asked[: len(asked) - len(request)]
    if saying := _SAYING.match(request):
        side = saying["subject"]
        return [
            Part(f"Tell me about {one} in {side}.", bare(side), one) for one in _aspects(saying["aspects"])
        ]
    known = list(dict.fromkeys(part.subject for part in before if part.subject))
    sides, aspects = _ranked(request, known) or ([], [])
    if not sides:
        sides, aspects = _read(request, told=bool(removed), comparing=_COMPARES.search(removed) is not None)
    sides = [side for side in sides if terms(side)]
    if not sides or (len(sides) < 2 and not aspects):
        return []
    return [part_of(aspect, side) for aspect in aspects or [""] for side in sides]


def _stripped(line: str) -> str:
    """*line* without what only asks for a text."""
    before = None
    while before != line:
        before = line
        for pattern in (_POLITE, _WRITING, _TELLING):
            line = pattern.sub("", line, count=1)
    return line


_Read = tuple[list[str], list[str]]  # subjects, aspects


def _read(request: str, *, told: bool, comparing: bool) -> _Read:
    """The subjects and aspects in *request*.

    Args:
        request: what is left without the words that ask for a text.
        told: whether there were such words: then a list is one of topics.
        comparing: whether they asked for a comparison.
    """
    if differing := _DIFFERING.match(request):
        request, comparing = differing["sides"] + differing["tail"], True
    plain = _COMPARING.sub("", request, count=1)
    comparing = comparing or plain != request or _VERSUS.search(plain) is not None
    plain = _VERSUS.sub(" and ", plain)
    head, colon, tail = plain.partition(": ")
    if colon and not CLAUSE.match(head):
        aspects = _aspects(tail)
        subjects = _items(head, _SIDES if comparing else _LIST)
        return (subjects, aspects) if len(aspects) > 1 or len(subjects) > 1 else ([], [])
    if comparing or told:
        listed, aspects = _regarding(plain, weakly=comparing)
        if aspects:
            return _items(listed, _SIDES if comparing else _LIST), aspects
    owned = _OWNED.match(plain)
    if comparing or told or owned:
        sides, aspects = _aspects_of(plain[owned.end() :] if owned else plain)
        if sides and (comparing or told or all(_NAMED.search(side) for side in sides)):
            return sides, aspects
    if not (comparing or told):
        return [], []
    items = _items(plain, _SIDES if comparing else _LIST)
    owned_by_first = [item for item in items[1:] if _ITS_OWN.match(item)]
    if owned_by_first and len(owned_by_first) == len(items) - 1:
        # "The pumps and their prices": the second is asked of the first, which is wanted as a whole too.
        return items[:1], ["", *(aspect for item in owned_by_first for aspect in _aspects(item))]
    return items, []


def _regarding(text: str, *, weakly: bool) -> tuple[str, list[str]]:
    """(what stands before "in terms of", "covering" and the like, the aspects behind it)."""
    found = _REGARDING.search(text)
    if found is None and weakly:
        # "Compare A and B in price": behind a list, and not "the trade in wool of A and B".
        found = next(
            (one for one in _WEAKLY_REGARDING.finditer(text) if _SIDES.search(text[: one.start()])), None
        )
    if found is None:
        return text, []
    return text[: found.start()], _aspects(text[found.end() :])


def _aspects_of(text: str) -> _Read:
    """Of "the revenue and staff of A and B", if there are several of either."""
    for match in reversed(list(_OF.finditer(text))[:_MOST_ITEMS]):
        before = text[: match.start()]
        aspects, subjects = _aspects(before), _items(text[match.end() :].removeprefix("both "), _LIST)
        if subjects and len(aspects) + len(subjects) > 2 and not re.search(r"[A-Z_(`]", before[1:]):
            return subjects, aspects
    return [], []


def _ranked(request: str, known: list[str]) -> _Read | None:
    """Of "which of A and B has more X", "which has more X, A or B", and "which is older" behind A and B."""
    match = _AMONG.match(request) or _WHICH.match(request)
    ranked = _RANKED.match(match["rest"]) if match else None
    if match is None or ranked is None:
        return None
    sides = _items(_KINDED.sub("", match["sides"]), _LIST) if match["sides"] else known
    if len(sides) < 2:
        return None
    measure, how = (ranked["measure"] or "").lower(), ranked["how"].lower()
    if not measure and ranked["verb"].lower().startswith("earn"):
        measure = "revenue"
    elif not measure and ranked["verb"].lower().startswith("employ"):
        measure = "employees"
    elif not measure or measure == "expensive":
        measure = "price" if measure else _ADJECTIVES.get(how, "")
    if not measure:
        return None
    return sides, [f"{measure}{ranked['when'] or ''}"]


def _items(text: str, separator: re.Pattern[str]) -> list[str]:
    """The items of a list, with the kind or the place that the last of them has for all."""
    text = text.strip(" .,?!")
    kind = leading = ""
    if when := WHEN.search(text):
        return [f"{item}{when.group()}" for item in _items(text[: when.start()], separator)]
    if (match := _KIND.match(text)) and separator.search(match["name"]):
        text, kind = match["name"], match["kind"]
    elif (match := _KINDS_FIRST.match(text)) and separator.search(match["name"]):
        text, leading = match["name"], match["kind"]
    items = [item.strip(" \"'`.,?") for item in separator.split(text)]
    items = [item for item in items if item]
    if len(items) > _MOST_ITEMS:
        return []
    if len(items) < 2:
        return items
    if kind:
        bare = [item.removeprefix("the ") for item in items]
        return [f"the {item}" if " " in item else f"the {item} {kind}" for item in bare]
    if leading:
        return [f"the {leading} {item}" for item in items]
    return _shared(items)


def _shared(items: list[str]) -> list[str]:
    """*items* with what only the last of them says for all: "local and global variables", "limits and probes in prodkit"."""
    place = WITHIN.search(items[-1])
    if place and not any(re.search(r"\s(?:in|at|on|within|during)\s", item) for item in items[:-1]):
        items = [*(f"{item}{place.group()}" for item in items[:-1]), items[-1]]
    first, last = items[0], items[-1].split()
    adjective = re.fullmatch(r"[a-z-]+", first) and not first.endswith("s")
    if (
        len(items) == 2
        and adjective
        and len(last) == 2
        and re.fullmatch(r"[a-z]+[^s]s", last[1])
        and last[0].islower()
    ):
        items = [f"{first} {last[1]}", items[1]]
    return items


def _aspects(text: str) -> list[str]:
    """The aspects listed in *text*, as nouns: "its staff" is "staff", "the number of employees" is "employees"."""
    found: list[str] = []
    for item in _items(text, _LIST):
        aspect = item
        while (shorter := _OWN.sub("", aspect, count=1)) != aspect:
            aspect = shorter
        found.append(re.sub(r"^(?:number|amount)\sof\s", "", aspect))
    return [aspect for aspect in found if aspect]
