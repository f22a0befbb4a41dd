"""Values side by side."""

from __future__ import annotations

from examples.research_agents.local_parallel.engine import Analysis, analyse

from .measuring import DEPTH, library_of


def asked(question: str, **documents: str) -> Analysis:
    return analyse(question, library_of(documents), DEPTH)


def test_units_are_converted() -> None:
    """Kilowatts and megawatts, exactly; the difference is in the unit of the first."""
    found = asked(
        "Compare the capacity of the Skarn plant and the Tolv plant.",
        a="The Skarn plant has a capacity of 1,250 kW.",
        b="The Tolv plant has a capacity of 3.5 MW.",
    )
    [comparison] = found.comparisons
    assert [(one.subject, one.value) for one in comparison.order] == [
        ("Tolv plant", "3500"),
        ("Skarn plant", "1250"),
    ]
    assert "by 2,250 kW (2.8 times as much)" in comparison.statement
    assert set(comparison.urls) == {"document:a", "document:b"}


def test_currencies_are_not() -> None:
    """Dollars and euros stand side by side, without a comparison."""
    found = asked("Compare the price of the Skarn drone and the Tolv drone.", a="The Skarn drone costs 90 euros.", b="The Tolv drone costs 80 dollars.")  # fmt: skip
    assert found.comparisons == ()
    assert {one.unit for one in found.findings} == {"EUR", "USD"}


def test_periods_are_kept_apart() -> None:
    """A change over time is a trend and no contradiction; the common year is the one compared."""
    found = asked(
        "Compare the revenue of Skarn Foods and Tolv Optics.",
        a="Skarn Foods had a revenue of 10 million euros in 2022. Skarn Foods had a revenue of 30 million euros in 2023.",
        b="Tolv Optics had a revenue of 20 million euros in 2022.",
    )
    assert found.conflicts == ()
    statements = [one.statement for one in found.comparisons]
    assert any(
        "Tolv Optics (20,000,000 EUR) is higher than Skarn Foods (10,000,000 EUR)" in one
        for one in statements
    )
    assert any("grew from 10,000,000 EUR in 2022 to 30,000,000 EUR in 2023" in one for one in statements)
    assert any("(200 %)" in one for one in statements)


def test_equal_values_are_said_to_be_equal() -> None:
    """In other units too."""
    found = asked("Compare the length of the Skarn bridge and the Tolv bridge.", a="The Skarn bridge is 2 km long.", b="The Tolv bridge is 2,000 m long.")  # fmt: skip
    assert "have the same length" in found.comparisons[0].statement


def test_shares_differ_by_points() -> None:
    """From 10 to 15 percent are five percentage points."""
    found = asked("Compare the share of women at Skarn Foods and Tolv Optics.", a="At Skarn Foods the share of women is 10 percent.", b="At Tolv Optics the share of women is 15 percent.")  # fmt: skip
    assert "by 5 percentage points" in found.comparisons[0].statement


def test_names_are_compared_as_the_same_or_not() -> None:
    """Licenses have no order."""
    found = asked("Compare the licenses of the packages aaa and bbb.", a="The license of the package aaa is MIT.", b="The package bbb is licensed under MIT.")  # fmt: skip
    assert found.comparisons[0].statement == "aaa and bbb have the same licenses: MIT."
    assert found.comparisons[0].highest == ""


def test_the_dispute_lowers_the_confidence() -> None:
    """Both values are findings; their basis says that another source gives another value."""
    found = asked("How many people does Skarn Foods employ?", a="Skarn Foods employs 340 people.", b="Skarn Foods employs 290 people.")  # fmt: skip
    assert {one.value for one in found.findings} == {"340", "290"}
    assert {one.confidence for one in found.basis} == {"low"}
    assert len(found.conflicts) == 1
