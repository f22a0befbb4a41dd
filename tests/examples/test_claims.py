"""Claims in a message."""

from __future__ import annotations

import pytest

from examples.research_agents.claims import split_claims


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("Velkor has 340 employees.", ["Velkor has 340 employees."]),
        ("A is big. B is small.", ["A is big.", "B is small."]),
        ("Is it true that Velkor makes violins?", ["Velkor makes violins"]),
        ("Check these claims:\n- A is big.\n- B is small.", ["A is big.", "B is small."]),
        ("1. A is big\n2. A is big\n3. C is 3.5 m long", ["A is big", "C is 3.5 m long"]),
        ("Please verify that velkor was founded in 1987.", ["Velkor was founded in 1987."]),
        ("", [""]),
    ],
)
def test_claims_are_told_apart(text: str, claims: list[str]) -> None:
    """Each sentence or bullet is one; what only asks for the check is none; the same is not paid for twice."""
    assert split_claims(text) == claims


def test_there_may_be_more_than_are_verified() -> None:
    """None is dropped here: who verifies fewer of them has to say which."""
    assert len(split_claims("\n".join(f"Claim number {number}." for number in range(50)))) == 50


def test_a_name_that_is_written_small_begins_a_claim() -> None:
    """As packages are; an abbreviation does not end one."""
    text = "The package starlette requires Python 3.8 or newer. fastapi depends on starlette."
    assert split_claims(text) == [
        "The package starlette requires Python 3.8 or newer.",
        "Fastapi depends on starlette.",
    ]
    assert len(split_claims("It weighs approx. three tons.")) == 1
