"""What a question demands of a sentence beyond its words."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.demands import Demands, is_question


@pytest.mark.parametrize(
    ("question", "meets", "fails"),
    [
        ("How many came in May 2031?", "In May 40 came.", "In June 40 came."),
        ("Who chairs the club?", "Its chairwoman is Ada Lund.", "Its president is Ada Lund."),
        ("Who is the CEO of Velkor?", "Velkor is led by Ada Lund.", "The chairman of Velkor is Ada Lund."),
        ("Who leads Velkor?", "Ada Lund is managing director.", "The board is chaired by Ada Lund."),
        ("Who founded Velkor?", "Ada Lund founded Velkor.", "Velkor was founded in Oslo."),
        ("Who invented the lamp?", "It was invented by two sisters.", "It was invented in Turin in 1901."),
    ],
)
def test_only_what_meets_it_may_answer(question: str, meets: str, fails: str) -> None:
    """The month, the office and the person that are asked for."""
    demands = Demands.of(question)
    assert demands.met_by(meets)
    assert not demands.met_by(fails)


def test_what_says_nothing_about_it_is_not_refused() -> None:
    """A sentence without any month may still be about the month of its text; "may" is no month."""
    assert Demands.of("How many came in May?").met_by("Forty came.")
    assert not Demands.of("What may be eaten here?").months


def test_a_claim_demands_nothing() -> None:
    """Whoever verifies it wants to see what says otherwise."""
    assert Demands.of("In May 40 came.").met_by("In June 40 came.")
    assert is_question("Is it so")
    assert not is_question("It is so.")


@pytest.mark.parametrize(
    ("question", "title", "is_open"),
    [
        ("How long does tealib wait?", "README of tealib - Waiting", True),
        ("How long does tealib wait?", "README of mocklib", False),
        ("Which version of tea is installed?", "Installed package tea-lib", False),
        ("Which packages are under MIT?", "Installed package tea-lib", True),
        ("How long does tealib wait?", "Handbook - Waiting", True),
    ],
)
def test_a_page_of_a_package_speaks_of_that_package(question: str, title: str, *, is_open: bool) -> None:
    """What it says in passing of others is no reference."""
    assert Demands.of(question).open_to(title) is is_open
