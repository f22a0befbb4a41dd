"""Proper names."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.names import aliases_in, names_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("In Oslo, Velkor Dynamics makes violins.", ["Oslo", "Velkor Dynamics"]),
        ("The University of Oslo is old.", ["University of Oslo"]),
        ("It boils at 80 °C. Nobody knows.", ["Nobody"]),
        ("Revenue in January was low.", []),
        ("how many employees does velkor have", []),
        ("", []),
    ],
)
def test_names_are_told_by_their_capitals(text: str, names: list[str]) -> None:
    """Months, units and the words that open a sentence are none."""
    assert [str(one) for one in names_in(text)] == names


def test_short_forms_stand_for_long_names() -> None:
    """By the first word, or by a last one with a digit; not where two names begin alike."""
    assert aliases_in(["Velkor Dynamics is old."])["velkor"] == {"dynamic"}
    assert aliases_in(["The Halden H2 is new."])["h2"] == {"halden"}
    assert "velkor" not in aliases_in(["Velkor Dynamics is old.", "Velkor Foods is new."])
