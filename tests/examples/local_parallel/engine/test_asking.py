"""What a question or a claim is about."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import analyse
from examples.research_agents.local_parallel.engine.asking import read_claim, read_question
from examples.research_agents.local_parallel.engine.parts import split_claims, split_parts

from .measuring import DEPTH, library_of


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("How many people does Velkor Dynamics employ?", ["Velkor Dynamics"]),
        ("Compare the revenue of Velkor and Morvik.", ["Velkor", "Morvik"]),
        ("The Halden H4 is heavier than the Halden H2.", ["Halden H4", "Halden H2"]),
        ("Compare the licenses of the packages fastapi and redis.", ["fastapi", "redis"]),
        ("What is the difference between the break and continue statements?", ["break statement", "continue statement"]),
        ("The package fastapi requires Python 2.", ["fastapi"]),
        ("fastapi requires Python 3.11.", ["fastapi"]),
        ("What does str.find return?", ["str.find"]),
        ("how many payments failed", ["payments failed"]),
    ],
)  # fmt: skip
def test_subjects(text: str, entities: list[str]) -> None:
    """Names, things named by their kind, and where there is neither the words themselves."""
    assert [one.text for one in read_question(text).entities] == entities


def test_what_is_only_mentioned_is_no_subject() -> None:
    """A founder and a country stand beside whom the sentence is about."""
    ask = read_claim("Velkor Dynamics was founded by Ida Holm in Norway.")
    assert [one.text for one in ask.entities] == ["Velkor Dynamics"]
    assert [str(one) for one in ask.others] == ["Ida Holm", "Norway"]


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("Why did it fail?", "reason"),
        ("Who leads it?", "person"),
        ("Where is it?", "place"),
        ("When was it?", "date"),
        ("How many are there?", "number"),
        ("Tell me about it.", ""),
    ],
)
def test_what_would_answer(text: str, wants: str) -> None:
    """By the word that asks."""
    assert read_question(text).wants == wants


def test_a_capital_that_opens_a_sentence_may_be_no_name() -> None:
    """Once a source writes the word small, the claim is read again without the name."""
    assert read_claim("Receipts must be kept.").opens_with == "receipt"
    assert not read_claim("Receipts must be kept.", frozenset(["receipt"])).entities[0].proper


def test_parts_can_be_read_alone() -> None:
    """The name stands in place of "it"; a relative clause is no question."""
    parts = split_parts("Where is Velkor Dynamics based, and when was it founded?")
    assert parts == ["Where is Velkor Dynamics based?", "when was Velkor Dynamics founded?"]
    assert len(split_parts("What is the dam, which is old?")) == 1


def test_claims_lose_what_asks_for_them() -> None:
    """Bullets and "Is it true that" are no part of a claim; the same claim counts once."""
    assert split_claims("- Is it true that A is big?\n- A is big.\nCheck:\n") == ["A is big."]


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("How long is the warranty on Kest pumps?", "36"),
        ("How high is the acquisitions budget for 2025?", "64000"),
    ],
)
def test_an_adjective_asks_for_no_measure_of_a_body(question: str, value: str) -> None:
    """A warranty has no length in metres, a budget no height."""
    told = library_of(
        {
            "Notes": "All Kest pumps come with a 36-month warranty. The acquisitions budget for 2025 was set at 64,000 crowns.",
        }
    )
    found = analyse(question, told, DEPTH)
    assert [one.value for one in found.findings] == [value]
    assert found.not_found == ()
