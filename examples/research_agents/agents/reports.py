"""Reading a written report again: what it tells, and what it says it did not find."""

from __future__ import annotations

import re

__all__ = ["numbers_in", "split_report"]

_MISSING = re.compile(r"^#{1,6}\s+(?:what was\s+)?not found\s*$", re.IGNORECASE | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)
_MARK = re.compile(r"\[(\d{1,3})\]")
_ITEM = re.compile(r"^\s*[-*]\s+(.+?)\s*$", re.MULTILINE)


def split_report(text: str) -> tuple[str, list[str]]:
    """(the report without its section on what was not found, the items of that section).

    Whoever writes is told to say under a heading of its own what was not found; a text without one misses nothing.
    """
    heading = _MISSING.search(text)
    if heading is None:
        return text.strip(), []
    following = _HEADING.search(text, heading.end())
    end = following.start() if following else len(text)
    body = f"{text[: heading.start()].rstrip()}\n\n{text[end:]}".strip()
    return body, _ITEM.findall(text[heading.end() : end])


def numbers_in(text: str) -> list[int]:
    """The numbers of the sources that *text* cites, in order, each once."""
    return [int(number) for number in dict.fromkeys(_MARK.findall(text))]
