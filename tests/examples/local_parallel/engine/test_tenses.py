"""What was until a year, what is since one, and what is only planned."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import analyse, verify
from tests.support.timing import cpu_within

from .measuring import DEPTH, library_of

TOWER = library_of(
    {"Paper": "The Corvin Tower was 120 metres tall until 2001. Since 2001 it has been 150 metres tall."}
)
PLAN = "Tessel Works employed 200 people in 2010 and plans to employ 900 in 2030."
TARGET = "Tessel Works employed 200 people in 2010. It is expected to employ 900 people in 2030."


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("The Corvin Tower is 150 metres tall.", "supported"),
        ("The Corvin Tower is 120 metres tall.", "contradicted"),
        ("The Corvin Tower was 120 metres tall.", "supported"),
    ],
)
def test_a_claim_is_of_its_own_time(claim: str, verdict: str) -> None:
    """The present value answers a claim in the present, the former one a claim in the past."""
    assert verify(claim, TOWER, DEPTH).verdict == verdict


def test_two_times_are_no_conflict() -> None:
    """Until 2001 and since 2001 do not disagree; two heights of one time do."""
    assert analyse("How tall is the Corvin Tower?", TOWER, DEPTH).conflicts == ()
    both = library_of(
        {"One": "The Corvin Tower is 120 metres tall.", "Two": "The Corvin Tower is 150 metres tall."}
    )
    assert len(analyse("How tall is the Corvin Tower?", both, DEPTH).conflicts) == 1


@pytest.mark.parametrize("told", [PLAN, TARGET])
def test_a_plan_is_no_fact_of_its_year(told: str) -> None:
    """It is told as planned, is no part of a trend, and bears no claim out."""
    evidence = library_of({"Paper": told})
    found = analyse("How many people does Tessel Works employ?", evidence, DEPTH)
    assert [(one.value, one.measure) for one in found.findings] == [
        ("200", "employees"),
        ("900", "planned employees"),
    ]
    assert found.comparisons == ()
    assert verify("Tessel Works employed 900 people in 2030.", evidence, DEPTH).verdict == "not_found"


def test_a_long_claim_costs_little() -> None:
    """4,000 characters of words that all stand in the sources take half a second; a slow machine twice that."""
    documents = {
        f"Paper {n}": " ".join(
            f"Tessel{m} Works employed {m + 100} people and built {m} turbines with more steel in {1950 + m}."
            for m in range(n, n + 40)
        )
        for n in range(10)
    }
    evidence = library_of(documents)
    with cpu_within(1):
        verify(("105 people 5 turbines " * 200)[:4000], evidence, DEPTH)
