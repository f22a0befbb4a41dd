"""Cutting a document into passages: one per section, definition or about 900 characters, with a title that places it.

Reads what reStructuredText (as `pydoc` renders it) and Markdown have in common, and keeps running text apart from code,
because answers quote sentences.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import dropwhile

__all__ = ["Passage", "passages_of"]

_TARGET = 900  # characters a passage may hold before the next paragraph opens another
_UNDERLINE = re.compile(r"^([=\-~^*\"'#+`])\1{2,}\s*$")
_MARKDOWN_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
# A line of its own in front of text, as people type headings: "Timeline", "Next steps". A signature looks otherwise.
_BARE_HEADING = re.compile(r"^[A-Z][a-z'\u2019-]+(?: (?:[A-Za-z][\w'\u2019-]*|&)){0,4}$")
# An item that opens with its title: "4. Meals. The daily allowance is ...".
_TITLED_ITEM = re.compile(
    r"^\s*\d{1,2}[.)]\s+(?P<title>[A-Z][\w'\u2019-]*(?: [a-z][\w'\u2019-]*){0,3})\.\s+(?P<text>[A-Z].*)$"
)
_NUMBERED = re.compile(r"^\s*\d{1,2}[.)]\s+[A-Z]")
_BEGINS = re.compile(r"^\s*(?:[A-Z0-9\"'(\u201c]|[*\-+\u2022] )")
_SIGNATURE = re.compile(
    r"^(?:class |exception |async |classmethod |staticmethod )?[A-Za-z_]\w*(?:\.\w+)*(?:\(.*\)?|)\s*(?:->.*)?$"
)
_IDENTIFIER = re.compile(
    r"^(?:class |exception |async )|\(.*$", re.DOTALL
)  # all but the name of the first signature
_BINDING = re.compile(
    r"^(?:classmethod|staticmethod) "
)  # says how, not what: `dict.fromkeys` is what one asks for
# What a command takes, as a debugger's manual writes it: "tbreak [lineno]", "ll | longlist", "p expression".
_COMMAND = re.compile(
    r"^[a-z]+(?:\([a-z()]+\))?(?: \| [a-z]+)?(?: \[.*| \(.*| [a-z]+| [a-z]+ \[.*| [a-z]+ [a-z]+)?$"
)
_LIST_ITEM = re.compile(r"^\s*(?:[*\-+•]|\d+[.)])\s+")
_BADGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)|!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]\n]{1,200})\]\([^)\n]*\)|`([^`<\n]{1,200}?)\s*<[^>\n]*>`_+")
_MARKUP = re.compile(r"<[^<>\n]{1,300}>|^\.\. .*$|^\s+:\w+:.*$|:\w+:(?=`)", re.MULTILINE)
_FOOTNOTE = re.compile(r"(?:(?<=\s)|^)\[\d{1,2}\](?=[\s.,;:)]|$)\.?\s?")
_TABLE_RULE = re.compile(r"^[\s|:-]+$")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_BORING = re.compile(
    r"licen[cs]e|copyright|contribut|sponsor|backers|credits|acknowledg|change ?log|release notes|badges?|table of contents|donat"
    r"|breaking changes|what.s new|unreleased|deprecations|^\W*v?\d+\.\d+",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Passage:
    """A piece of a document that can be cited.

    Attributes:
        url: the document's, with `#N` for the N-th passage.
        title: document, section and definition, joined by " - ".
        paragraphs: running text, one string each, lines joined.
        code: what is not running text: examples, grammar, tables.
        first: whether it opens its section; definitions usually stand there.
        trusted: see `Document`.
    """

    url: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    first: bool = False
    trusted: bool = True

    @property
    def text(self) -> str:
        """Running text and code, for full-text matching and for `extract`."""
        return "\n\n".join([*self.paragraphs, *self.code])

    @property
    def length(self) -> int:
        """Characters held so far."""
        return sum(map(len, self.paragraphs)) + sum(map(len, self.code))


def passages_of(
    url: str, title: str, text: str, *, trusted: bool = True, markup: bool = False
) -> Iterator[Passage]:
    """The passages of *text* in order.

    Args:
        url: the document's.
        title: the document's.
        text: what it says.
        trusted: see `Document`; of others, sections about licences, sponsors and the like are left out, and of lists
            only what reads like sentences is kept. Ours are read to the last cell: defaults stand in lists and tables.
        markup: whether links, tags and emphasis are markup to take away. In plain text they are what the author wrote:
            `<2,>` is a version and `**kwargs` a name, and a quotation that loses them is false.
    """
    number = 0
    for heading, body in _sections(_unmarked(text) if markup else text.expandtabs(4)):
        if not trusted and _BORING.search(heading):
            continue
        full = f"{title} - {heading}" if heading and heading.lower() not in title.lower() else title
        for passage in _cut(full, body, markup=markup, trusted=trusted):
            number += 1
            passage.url = url if number == 1 else f"{url}{'.' if '#' in url else '#'}{number}"
            passage.trusted = trusted
            yield passage


def _unmarked(text: str) -> str:
    """Indent fenced code, so that one rule recognises code everywhere, and drop badges, links and tags outside it."""
    lines: list[str] = []
    fenced = False
    for line in text.expandtabs(4).splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            lines.append("")
        else:
            lines.append("        " + line if fenced else _unmarked_line(line))
    return "\n".join(lines)


def _unmarked_line(line: str) -> str:
    """One line with the text of its links and without badges, tags and directives."""
    return _MARKUP.sub(
        " ", _LINK.sub(lambda match: match[1] or match[2], _BADGE.sub("", html.unescape(line)))
    )


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, lines) for each section; text before the first heading has an empty heading."""
    lines = text.splitlines()
    heading, body = "", list[str]()
    position = 0
    enumerated = False
    while position < len(lines):
        line = lines[position]
        following = lines[position + 1] if position + 1 < len(lines) else ""
        markdown = _MARKDOWN_HEADING.match(line)
        underlined = (
            bool(line.strip())
            and not line.startswith(" ")
            and _UNDERLINE.match(following)
            and len(following.strip()) >= len(line.strip()) - 2
        )
        item = _TITLED_ITEM.match(line)
        if enumerated and not item and _NUMBERED.match(line):
            # An item without a title behind those that have one is no part of the last of them.
            if any(part.strip() for part in body):
                yield heading, body
            heading, body = "", []
        bare = not item and _is_bare_heading(lines, position)
        if markdown or underlined or bare or item:
            if any(part.strip() for part in body):
                yield heading, body
            heading, body = _plain(markdown[2] if markdown else item["title"] if item else line), []
            enumerated = item is not None
            if item:
                # The number stays: the next item is one of the same list, and not the text of this one.
                body.append(f"{line[: item.start('title')]}{item['text']}")
            position += 2 if underlined else 1
            continue
        if not _UNDERLINE.match(line):
            body.append(line)
        position += 1
    if any(part.strip() for part in body):
        yield heading, body


def _is_bare_heading(lines: list[str], position: int) -> bool:
    """Whether the line at *position* is a heading without any mark: a few words alone, with sentences below them."""
    if not _BARE_HEADING.match(lines[position]) or (position and lines[position - 1].strip()):
        return False
    below = list(dropwhile(lambda line: not line.strip(), lines[position + 1 : position + 3]))
    return bool(below) and _BEGINS.match(below[0]) is not None and re.search(r"[.!?:;]", below[0]) is not None


def _plain(text: str) -> str:
    """A heading without its markup; quotes stay, they mark keywords."""
    return re.sub(r"[*`]|\[|\]", "", text).strip()


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines between blank lines; each list item is a run of its own."""
    block: list[str] = []
    for line in lines:
        if not line.strip():
            if block:
                yield block
            block = []
        elif block and _LIST_ITEM.match(line):
            yield block
            block = [line]
        else:
            block.append(line)
    if block:
        yield block


def _cut(title: str, lines: list[str], *, markup: bool, trusted: bool) -> Iterator[Passage]:
    """The passages of one section: a definition with its indented body is one, other text is cut by length.

    Definitions nest: the methods of a class stand indented in its body, and their titles name it as code would: `dict.get(key)`.
    """
    current = Passage("", title, first=True)
    nesting: list[tuple[int, str]] = []  # indent and names of the definitions that the text stands in
    blocks = list(_blocks(lines))
    for position, block in enumerate(blocks):
        indent = _indent(block)
        outside = [definition for definition in nesting if definition[0] < indent]
        left = len(outside) < len(nesting)
        nesting = outside
        names = _is_signature(block, blocks[position + 1] if position + 1 < len(blocks) else None)
        if names is not None and indent <= _deepest(nesting):
            nesting.append((indent, names))
        else:
            names = None
        if names is not None or left or current.length > _TARGET:
            if current.paragraphs or current.code:
                yield current
            outer = "".join(f"{_IDENTIFIER.sub('', name)}." for _, name in nesting[:-1])
            place = f"{title} - {outer}{_BINDING.sub('', nesting[-1][1])}" if nesting else title
            current = Passage("", place, first=names is not None)
        if names is None:
            _add(current, block, base=_deepest(nesting), markup=markup, trusted=trusted)
    if current.paragraphs or current.code:
        yield current


def _deepest(nesting: list[tuple[int, str]]) -> int:
    """The indent of running text in the innermost definition: pydoc indents by three."""
    return nesting[-1][0] + 3 if nesting else 0


def _add(passage: Passage, block: list[str], *, base: int, markup: bool, trusted: bool) -> None:
    """Add *block* to the running text or the code of *passage*."""
    if markup and trusted and len(block) > 2 and all(line.lstrip().startswith("|") for line in block):
        passage.paragraphs.extend(_spoken(row) for row in _rows(block))
        return
    joined = _joined(block)
    listed = trusted and _LIST_ITEM.match(block[0]) is not None
    if _is_prose(joined, _indent(block), base=base, listed=listed):
        # A footnote's mark looks like a citation of ours, and would lead to another source.
        text = _FOOTNOTE.sub("", _LIST_ITEM.sub("", joined)).strip()
        passage.paragraphs.append(_spoken(text) if markup else text)
    else:
        passage.code.append("\n".join(block))


def _rows(table: list[str]) -> Iterator[str]:
    """Each row of a Markdown table as a sentence: its first cell, then the others behind their headings."""
    told_lines = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for line in table
        if not _TABLE_RULE.match(line)
    ]
    # An empty row looks like a rule; a table may consist of nothing else.
    heads, rows = (told_lines[0], told_lines[1:]) if told_lines else ([], [])
    for name, *cells in rows:
        told = [
            f"{head}: {cell}" if head else cell for head, cell in zip(heads[1:], cells, strict=False) if cell
        ]
        if told:
            yield f"{name}: {'; '.join(told)}".rstrip(".") + "."


def _joined(block: list[str]) -> str:
    """The lines of a paragraph as one; a word broken at its own hyphen ("pre-" / "existing") is mended."""
    return re.sub(r"(?<=[a-z]-) (?=[a-z])", "", " ".join(" ".join(block).split()))


_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(\w(?:[^*\n]*\w)?)\*{1,2}(?![\w*])")
_REFERENCE = re.compile(r"(?<=[A-Za-z0-9])_(?=[\s.,;:)]|$)")


def _spoken(text: str) -> str:
    """Text of a README without emphasis and reference marks, and with literals in plain quotes."""
    return _REFERENCE.sub("", _EMPHASIS.sub(r"\1", text)).replace("**", "").replace("``", '"')


def _indent(block: list[str]) -> int:
    """Spaces before the first line."""
    return len(block[0]) - len(block[0].lstrip())


def _is_signature(block: list[str], following: list[str] | None) -> str | None:
    """The names that *block* defines, if it is the head of a definition: signatures with a body indented below them."""
    if following is None or _indent(following) <= _indent(block):
        return None
    if not all(_SIGNATURE.match(line.strip()) or _COMMAND.match(line.strip()) for line in block):
        return None
    return ", ".join(part.strip() for part in block)[:160]


def _is_prose(joined: str, indent: int, *, base: int, listed: bool) -> bool:
    """Whether a block is running text: words that end like a sentence, and not indented like an example.

    An item of a list need not end like one.
    """
    if "::=" in joined or joined.startswith((">>>", "...", "$ ", "|", "from ", "import ")):
        return False
    if indent > base + 3 and not _LIST_ITEM.match(" " * indent + joined):
        return False
    words = re.findall(r"[A-Za-z][a-z\u2019']+", joined)
    if listed:
        return len(words) >= 2
    return len(words) >= 3 and joined.rstrip("\"'”)*`]0123456789[ ").endswith((".", ":", "?", "!", ";"))
