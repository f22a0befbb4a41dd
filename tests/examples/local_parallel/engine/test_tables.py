"""Tables in Markdown, and names with a number."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import analyse, verify
from examples.research_agents.local_parallel.engine.tables import cells_of

from .measuring import DEPTH, library_of

TABLE = (
    "| Model | Lift (m) | Weight (kg) | Price (EUR) | Dimmable |\n|---|---|---|---|---|\n| Kest 45 | 18 | 7.2 | 240 | yes |\n"
    "| Kest 90 | 32 | 11.5 | 390 | yes |\n| Kest 150 | 55 | 19 | 720 | no |"
)
TOLD = library_of({"Kest pumps": f"The Kest 150 is not suitable for drinking water.\n\n{TABLE}"})


@pytest.mark.parametrize(
    ("question", "value", "unit"),
    [
        ("What does the Kest 90 cost?", "390", "EUR"),
        ("What is the weight of the Kest 45?", "7.2", "kg"),
        ("What is the lift of the Kest 150?", "55", "m"),
    ],
)
def test_a_cell_answers(question: str, value: str, unit: str) -> None:
    """The row is the subject, its number a part of the name; the header is the measure and has the unit."""
    [finding] = analyse(question, TOLD, DEPTH).findings
    assert (finding.value, finding.unit) == (value, unit)
    assert finding.statement.splitlines()[0] == TABLE.splitlines()[0]
    assert finding.statement.splitlines()[1] in TABLE


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("The Kest 90 weighs 11.5 kg.", "supported"),
        ("The Kest 90 weighs 19 kg.", "contradicted"),
        ("The Kest 90 is heavier than the Kest 45.", "supported"),
        ("The Kest 150 is suitable for drinking water.", "contradicted"),
        ("The Kest 150 is certified for drinking water.", "not_found"),
        ("The Kest 90 is suitable for drinking water.", "not_found"),
    ],
)
def test_a_cell_judges(claim: str, verdict: str) -> None:
    """Of its own row only; the number of a model is no value that could contradict."""
    assert verify(claim, TOLD, DEPTH).verdict == verdict


def test_a_name_that_stands_in_a_table_only_is_found() -> None:
    """And a participle in the header says when."""
    told = library_of(
        {
            "Guide": "Walks for all.\n\n| Route | Length | Opened |\n|---|---|---|\n| Fox Trail | 7.5 km | 2005 |\n| Owl Trail | 21 km | 1974 |\n\nNo trail is lit."
        }
    )
    assert verify("The Owl Trail was opened in 1974.", told, DEPTH).verdict == "supported"
    assert verify("The Owl Trail was opened in 2005.", told, DEPTH).verdict == "contradicted"
    assert [one.value for one in analyse("How long is the Fox Trail?", told, DEPTH).findings] == ["7.5"]


def test_what_is_no_table_has_no_cells() -> None:
    """Without a rule, with rows of another width, or empty cells."""
    assert not list(cells_of(["a | b", "c | d", "e | f"]))
    told = list(cells_of(["| A | B |", "|---|---|", "| x | |", "| y | 1 | 2 |", "| z | 3 |"]))
    assert [one.told for one in told] == ["The b of z is 3."]
