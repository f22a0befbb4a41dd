"""Questions taken apart, answered part by part."""

from __future__ import annotations

from examples.research_agents.local_parallel.engine import Analysis, analyse

from .measuring import DEPTH, library_of

TOLD = {
    "Skarn": "Skarn Foods was founded in 1987. It employs 340 people. The harvest of 2021 was lost because of a late frost.",
    "Tolv": "Tolv Optics employs 120 people.",
}


def asked(question: str) -> Analysis:
    return analyse(question, library_of(TOLD), DEPTH)


def test_each_part_is_answered_or_missing() -> None:
    """A question of two halves, of which one has no answer."""
    found = asked("How many people does Tolv Optics employ, and when was it founded?")
    assert [(one.subject, one.value, one.unit) for one in found.findings] == [
        ("Tolv Optics", "120", "employees")
    ]
    assert found.not_found == ("founding of Tolv Optics",)


def test_who_is_unknown_is_named() -> None:
    """A comparison with somebody nobody tells of has one side."""
    found = asked("Compare the number of employees of Skarn Foods and Vind Shipping.")
    assert [one.value for one in found.findings] == ["340"]
    assert found.comparisons == ()
    assert any("Vind Shipping" in one for one in found.not_found)


def test_a_reason_is_quoted() -> None:
    """No value answers "why": the sentence does."""
    found = asked("Why was the harvest lost?")
    assert "late frost" in found.findings[0].statement
    assert found.findings[0].value == ""


def test_every_finding_has_its_basis() -> None:
    """One entry for each, in order, with the sentence as it stands in the source."""
    found = asked("Compare the number of employees of Skarn Foods and Tolv Optics.")
    assert [one.field for one in found.basis] == ["findings.0", "findings.1", "comparisons.0"]
    assert [len(one.citations) for one in found.basis] == [1, 1, 2]
    assert found.basis[0].citations[0].excerpts == (found.findings[0].statement,)
