"""Reading what people paste: which markup it has, and where a wall of text is divided.

`passages_of` cuts between paragraphs. A text pasted from elsewhere often has none, or one line of a hundred thousand
characters; a passage that long is no citation, and regular expressions over one line take the square of its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from examples.research_agents.retrieval.passages import Passage, passages_of

__all__ = ["cut"]

_LONGEST = 1200  # characters of a paragraph; a page of a book has two or three of them
_PIECE = 700  # characters of whole sentences together, where a longer paragraph is divided
_SENTENCE = 500  # running text has the end of a sentence that often; a table or a log has not
_MARKDOWN = re.compile(r"^#{1,6} \S|^(?:```|~~~)|\]\(https?://|^\|(?: ?:?-+:? ?\|)+\s*$", re.MULTILINE)
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_OPENING = re.compile(r"^(?:#{1,6} |\s*(?:[*\-+•]|\d+[.)])\s)")  # a heading, an item of a list
_INDENTED = re.compile(r"^(?: {4}|\t)")
_TABLE_RULE = re.compile(r"^\|[\s|:-]+$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)")


def cut(document_id: str, title: str, text: str) -> list[Passage]:
    """The passages of a document, each with a URL that names it: `document:doc_x`, `document:doc_x#2`, ...

    Takes a few hundred milliseconds for 200,000 characters, whatever they are; call it in a thread.
    """
    divided = "\n".join(_divided(text.replace("\r\n", "\n").replace("\r", "\n")))
    markup = _MARKDOWN.search(text) is not None
    return list(passages_of(f"document:{document_id}", title, divided, markup=markup))


def _divided(text: str) -> Iterator[str]:
    """The lines of *text*, with blank ones where a paragraph is too long for one passage."""
    fenced = False
    for block in _blocks(text.split("\n")):
        fences = sum(1 for line in block if _FENCE.match(line))
        if sum(map(len, block)) <= _LONGEST:
            yield from block
        elif fenced or fences:
            yield from _parted(block)
        elif block[0].startswith("|"):
            ruled = _TABLE_RULE.match(block[1]) if len(block) > 1 else None
            yield from _parted(block, heading=block[:2] if ruled else ())
        elif _is_running_text(block):
            # Sentences go on from line to line.
            yield from _apart(_pieces(" ".join(line.strip() for line in block)))
        else:
            yield from _parted(block)
        fenced ^= fences % 2 == 1


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Runs of lines that belong together, and blank lines one by one; all in order."""
    block: list[str] = []
    for line in lines:
        blank = not line.strip()
        if block and (blank or _OPENING.match(line) or block[0].startswith("#")):
            yield block
            block = []
        if blank:
            yield [""]
        else:
            block.append(line)
    if block:
        yield block


def _is_running_text(block: list[str]) -> bool:
    """Whether *block* is made of sentences, and stands where text stands."""
    if any(_INDENTED.match(line) for line in block):
        return False
    ends = sum(len(_SENTENCE_END.findall(line + " ")) for line in block)
    return ends * _SENTENCE >= sum(map(len, block))


def _parted(block: list[str], heading: Iterable[str] = ()) -> Iterator[str]:
    """*block* with a blank line, and *heading* repeated, wherever it would become too long."""
    length = 0
    for line in block:
        for piece in _pieces(line) if len(line) > _LONGEST else (line,):
            if length and length + len(piece) > _LONGEST:
                yield ""
                yield from heading
                length = 0
            length += len(piece)
            yield piece


def _pieces(line: str) -> Iterator[str]:
    """*line* in pieces of whole sentences; a sentence that is too long itself is cut between words, or anywhere."""
    held = ""
    for whole in _SENTENCE_END.split(line):
        sentence = whole
        if held and len(held) + len(sentence) > _PIECE:
            yield held
            held = ""
        while len(sentence) > _LONGEST:
            at = sentence.rfind(" ", 1, _LONGEST)
            at = at if at > 0 else _LONGEST
            yield sentence[:at]
            sentence = sentence[at:].lstrip()
        held = f"{held} {sentence}" if held else sentence
    if held:
        yield held


def _apart(paragraphs: Iterable[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield paragraph
        yield ""
