"""Superlatives over subjects that the question does not name."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import analyse

from .measuring import DEPTH, library_of

TOLD = library_of(
    {
        "Tarn": "Tarn Foods was established in 1962 by the engineer Rosa Aschauer, who ran it until 1994. Today Tarn has 615 employees.",
        "Nord": "Nord Ferries employs 870 people. The company was founded in 1978 in Bergen.",
        "Morv": "Morv Energy was founded in 1991. Morv Energy employs 1,200 people.",
        "Lamps": "The Lumo 30 costs 39 euros. The Lumo 60 costs 59 euros; the Lumo 120 costs 89 euros. The Lumo 60 has a warranty of 3 years.",
    }
)


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("Which company is the oldest?", ["Tarn Foods", "Nord Ferries", "Morv Energy"]),
        ("Which company is the youngest?", ["Morv Energy", "Nord Ferries", "Tarn Foods"]),
        ("Which company has the most employees?", ["Morv Energy", "Nord Ferries", "Tarn Foods"]),
        ("Which company employs the fewest people?", ["Tarn Foods", "Nord Ferries", "Morv Energy"]),
        ("Which is the cheapest Lumo lamp?", ["Lumo 30", "Lumo 60", "Lumo 120"]),
        ("Which lamp is the most expensive?", ["Lumo 120", "Lumo 60", "Lumo 30"]),
    ],
)
def test_all_that_have_the_measure_are_compared(question: str, order: list[str]) -> None:
    """The winner first, in the findings and in the sentence; different subjects are no dispute."""
    found = analyse(question, TOLD, DEPTH)
    assert [one.subject for one in found.findings] == order
    [comparison] = found.comparisons
    assert comparison.statement.partition(": ")[2].startswith(f"{order[0]} (")
    assert found.conflicts == ()


def test_one_alone_is_not_the_most() -> None:
    """Where only one has a value nothing is ranked."""
    assert analyse("Which lamp has the longest warranty?", TOLD, DEPTH).comparisons == ()
