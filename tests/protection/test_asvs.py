"""The page about OWASP's lists promises a test for each line: it is there, or the line says that it is somebody else's."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.house.test_threat_model import NODE, missing
from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "explanation" / "asvs.md"

# How many lines each section has. Source: OWASP ASVS 5.0.0; API Security Top 10 2023, "Is the API vulnerable?".
SIZES = {
    "3.4": 8,
    "3.5": 8,
    "4.1": 5,
    "4.2": 5,
    "4.3": 2,
    "4.4": 4,
    "13.4": 7,
    "15.2": 5,
    "API4": 8,
    "API8": 8,
}
COLUMNS = ["requirement", "what it asks", "what prodkit does", "what stays with you", "the test"]


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        requirement, asks, does, stays, proof: its cells.
    """

    requirement: str
    asks: str
    does: str
    stays: str
    proof: str


def rows_of(text: str) -> dict[str, list[Row]]:
    """By the section that its heading begins with, the rows of each table."""
    found: dict[str, list[Row]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = re.split(r"[:,]", line[3:].removeprefix("V"))[0]
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        assert len(cells) == len(COLUMNS), f"{cells[0]} has {len(cells)} cells"
        if cells == COLUMNS or not set("".join(cells)) - set("-: "):
            continue
        found.setdefault(section, []).append(Row(*cells))
    return found


def names_in(section: str) -> list[str]:
    """The numbers of the lines of *section*, in order."""
    separator = "-" if section.startswith("API") else "."
    return [f"{section}{separator}{number + 1}" for number in range(SIZES[section])]


def faults(rows: list[Row]) -> list[str]:
    """The lines that have neither a test nor the words "out of scope", or that lack a cell."""
    return [
        row.requirement
        for row in rows
        if not row.asks
        or not row.does
        or NODE.sub("", row.proof).strip(" ,")
        or (not NODE.search(row.proof) and "out of scope" not in row.does + row.stays)
    ]


TEXT = PAGE.read_text(encoding="utf-8")
ROWS = rows_of(TEXT)


@pytest.mark.parametrize("section", SIZES)
def test_every_line_of_the_lists_has_its_row(section: str) -> None:
    """Each once and in order, none made up, each with a test or the word that it is somebody else's."""
    assert [row.requirement for row in ROWS[section]] == names_in(section)
    assert faults(ROWS[section]) == []


def test_there_is_no_other_table() -> None:
    """What is not in the lists is not on the page."""
    assert ROWS.keys() == SIZES.keys()


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or removed takes the promise along; and each names a function, not a whole file."""
    assert len(NODE.findall(TEXT)) > 100
    assert missing(TEXT) == []


def test_faults_of_a_page_are_found() -> None:
    """The checks above fail where they should."""
    here = "tests/protection/test_asvs.py"
    page = f"""
## V9.9: a table

| requirement | what it asks | what prodkit does | what stays with you | the test |
|---|---|---|---|---|
| 9.9.1 | a | b | | `{here}::test_faults_of_a_page_are_found` |
| 9.9.2 | a | b | c | |
| 9.9.3 | a | out of scope | | |
| 9.9.4 | a | b | | see `{here}::test_nowhere` |
"""
    rows = rows_of(page)["9.9"]
    assert [row.requirement for row in rows] == ["9.9.1", "9.9.2", "9.9.3", "9.9.4"]
    assert faults(rows) == ["9.9.2", "9.9.4"]
    assert missing(page) == [f"{here}::test_nowhere"]
    with pytest.raises(AssertionError, match="2 cells"):
        rows_of("| 9.9.5 | a |")
