"""The threat model promises a test for each line: there it is, or it says that the line is somebody else's."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
NODE = re.compile(r"`(tests/[^`\s]+)`")
REQUIREMENT = re.compile(r"(?P<chapter>[1-9][0-9]?)\.[1-9][0-9]?\.[1-9][0-9]?|API([1-9]|10)")
NUMBERS = re.compile(r"\b(\d+\.\d+(?:\.\d+)?)(?: to (\d+\.\d+(?:\.\d+)?))?")
SECTIONS = ("V6", "V7", "V8", "V9", "V10", "V3.3", "V4", "V11", "V13.3", "V16", "API Security Top 10")

# How many requirements the sections of a chapter have, from the first section on. Source: OWASP ASVS 5.0.0.
CHAPTERS = {
    "6": (3, 12, 8, 6, 8, 4, 2, 4),
    "7": (3, 4, 2, 5, 3, 2),
    "8": (4, 4, 3, 2),
    "9": (3, 4),
    "11": (4, 5, 5, 4, 2, 2, 2),
    "16": (1, 5, 4, 3, 4),
}
SIZES = {
    f"{chapter}.{number}": size
    for chapter, sizes in CHAPTERS.items()
    for number, size in enumerate(sizes, start=1)
}
# Of other chapters only what concerns identity.
SIZES |= {"3.3": 5, "3.5": 8, "4.4": 4, "10.3": 5, "13.3": 4, "13.4": 7}
# Beyond those sections: identity depends on it.
BESIDE = {"4.1.3"}


class Row(NamedTuple):
    """A line of a table of requirements.

    Attributes:
        line: of the page.
        requirement, asks, does, proof: its cells.
    """

    line: int
    requirement: str
    asks: str
    does: str
    proof: str


def tables(text: str) -> dict[str, list[Row]]:
    """By heading, the rows of every table whose last column is "the test"."""
    found: dict[str, list[Row]] = {}
    heading, inside = "", False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if cells[-1] == "the test":
            inside = True
            assert heading not in found, f"two tables under {heading}"
            found[heading] = []
        elif inside and set(line) - set("|-: "):
            assert len(cells) == 4, f"line {number} has {len(cells)} cells"
            found[heading].append(Row(number, *cells))
    return found


@cache
def known_in(file: str) -> frozenset[str]:
    """What pytest would call the test functions and methods of *file*, without parameters; none where there is no file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        owner = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {
            owner + one.name
            for one in inner
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test")
        }
    return frozenset(names)


def missing(text: str) -> list[str]:
    """The node ids in *text* that lead to no test."""
    found = []
    for node in NODE.findall(text):
        file, _, name = node.partition("::")
        if name not in known_in(file):
            found.append(node)
    return sorted(set(found))


def unproved(rows: list[Row]) -> list[str]:
    """The requirements that have neither a test nor the words "out of scope"."""
    return [row.requirement for row in rows if not NODE.search(row.proof) and "out of scope" not in row.does]


def twice(rows: list[Row]) -> list[str]:
    """The requirements that stand in more than one row."""
    names = [row.requirement for row in rows]
    return sorted({name for name in names if names.count(name) > 1})


def introduction(text: str, heading: str) -> str:
    """What stands between *heading* and its table."""
    return text.partition(f" {heading}\n")[2].partition("\n|")[0]


def requirements_in(prose: str) -> set[str]:
    """The requirements that *prose* names: one, a whole section, or "from to" of the same section."""
    found = set()
    for first, last in NUMBERS.findall(prose):
        if first.count(".") == 1:
            found |= {f"{first}.{number + 1}" for number in range(SIZES.get(first, 0))}
            continue
        section, _, begin = first.rpartition(".")
        end = last.rpartition(".")[2] or begin
        found |= {f"{section}.{number}" for number in range(int(begin), int(end) + 1)}
    return found


TEXT = PAGE.read_text(encoding="utf-8")
TABLES = tables(TEXT)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_list_has_its_table(section: str) -> None:
    """Nothing below holds of a table that is not found: each part of OWASP's lists has one, with rows."""
    (heading,) = [heading for heading in TABLES if re.search(rf"\b{re.escape(section)}(?![.\d])", heading)]
    assert len(TABLES[heading]) >= 5


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or removed takes the promise along, so the page has to change as well."""
    assert len(NODE.findall(TEXT)) > 150
    assert missing(TEXT) == []


@pytest.mark.parametrize("heading", TABLES)
def test_every_line_is_proved_or_somebody_elses(heading: str) -> None:
    """A row has a test, or says "out of scope"; what stands in its last cell is node ids and nothing else."""
    rows = TABLES[heading]
    assert unproved(rows) == []
    assert [row.line for row in rows if NODE.sub("", row.proof).strip(" ,")] == []
    assert [row.line for row in rows if not row.asks or not row.does] == []


@pytest.mark.parametrize("heading", TABLES)
def test_every_requirement_stands_once(heading: str) -> None:
    """Under its number in the list, in the table of its chapter, and in no second row."""
    rows = TABLES[heading]
    assert twice(rows) == []
    for row in rows:
        found = REQUIREMENT.fullmatch(row.requirement)
        assert found is not None, row.requirement
        chapter = "Top 10" if found["chapter"] is None else f"V{found['chapter']}"
        assert re.search(rf"\b{chapter}\b", heading), f"{row.requirement} stands under {heading}"


def test_every_requirement_is_accounted_for() -> None:
    """It has its row, or it is named in the sentence about what is not listed; never both, and nothing is made up."""
    listed = {row.requirement for rows in TABLES.values() for row in rows}
    left_out = {number for heading in TABLES for number in requirements_in(introduction(TEXT, heading))}
    assert listed & left_out == set()
    standard = {f"{section}.{number + 1}" for section, size in SIZES.items() for number in range(size)}
    risks = {f"API{number}" for number in range(1, 11)}
    assert listed | left_out == standard | risks | BESIDE


def test_no_line_is_too_long_to_be_read() -> None:
    """120 characters for prose; the rows of tables cannot be broken."""
    long = [
        number
        for number, line in enumerate(TEXT.splitlines(), start=1)
        if len(line) > 120 and not line.startswith("|")
    ]
    assert long == []


def test_faults_of_a_page_are_found() -> None:
    """The checks above fail where they should: a broken page has each fault once."""
    here = "tests/house/test_threat_model.py"
    page = f"""
## V1: a table
| requirement | what it asks | what prodkit does | the test |
|---|---|---|---|
| 1.1.1 | a | b | `{here}::test_faults_of_a_page_are_found` |
| 1.1.2 | a | b | |
| 1.1.3 | a | out of scope | |
| 1.1.3 | a | b | `{here}::TestNothing::test_x`, `{here}::test_x[a]`, `tests/nowhere.py::test_x`, `{here}` |

| another | table |
|---|---|
| 1.1.4 | a |
"""
    ((heading, rows),) = tables(page).items()
    assert (heading, [row.line for row in rows]) == ("V1: a table", [5, 6, 7, 8])
    assert unproved(rows) == ["1.1.2"]
    assert twice(rows) == ["1.1.3"]
    assert missing(page) == [
        here,
        f"{here}::TestNothing::test_x",
        f"{here}::test_x[a]",
        "tests/nowhere.py::test_x",
    ]
