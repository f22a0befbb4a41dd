"""Tables in Markdown: a row is about its first cell, and its header says what each further cell gives.

"| Kestrel 90 | 11.5 |" under "| Model | Weight (kg) |" is read as "The weight of Kestrel 90 is 11.5 kg", and quoted as the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cell", "cells_of"]

_RULE = re.compile(r"^[\s|:-]*-[\s|:-]*$")
_UNIT = re.compile(r"\s*[(\[](?P<unit>[^()\[\]]{1,20})[)\]]\s*$|\s+in\s(?P<spoken>\S{1,12})$")
_NUMBER = re.compile(r"^[-\u2212~]?\d[\d.,\u00a0 ]*$")
_DEED = re.compile(r"(?:ed|built|born)$", re.IGNORECASE)  # "Opened": a year below it says when
_MOST_ROWS = 200
_MOST_COLUMNS = 12
_LONGEST_CELL = 120  # characters; what is longer is a text that is laid out as a table


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell gives.

    Attributes:
        subject: the first cell of the row, as written.
        kind: what the header calls the rows: "Model".
        told: what the cell gives, as a sentence.
        row: the row as written.
    """

    subject: str
    kind: str
    told: str
    row: str


def cells_of(lines: Sequence[str]) -> Iterator[Cell]:
    """The cells of the table in *lines*, row by row; none when it is no table with a header and a rule below it."""
    if len(lines) < 3 or "|" not in lines[0] or not _RULE.match(lines[1]):
        return
    header = _split(lines[0])[:_MOST_COLUMNS]
    for line in lines[2 : 2 + _MOST_ROWS]:
        cells = _split(line)
        if len(cells) != len(_split(lines[0])) or not cells[0] or len(cells[0]) > _LONGEST_CELL:
            continue
        for title, cell in zip(header[1:], cells[1:], strict=False):
            if title and cell and len(cell) <= _LONGEST_CELL:
                yield Cell(cells[0], header[0], _told(cells[0], title, cell), line.strip())


def _split(line: str) -> list[str]:
    return [cell.strip(" *`\t") for cell in line.strip().strip("|").split("|")]


def _told(subject: str, title: str, cell: str) -> str:
    """What a cell says, as a sentence; the unit stands in the header or in the cell."""
    unit = _UNIT.search(title)
    measure = title[: unit.start()] if unit else title
    value = f"{cell} {unit['unit'] or unit['spoken']}" if unit and _NUMBER.match(cell) else cell
    if _DEED.search(measure):
        return f"{subject} was {measure[:1].lower()}{measure[1:]} in {value}."
    return f"The {measure[:1].lower()}{measure[1:]} of {subject} is {value}."
