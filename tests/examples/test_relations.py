"""What is asked of somebody, and the words that tell it."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.relations import asked_relations, told_relations, told_spans
from tests.support.timing import cpu_within


@pytest.mark.parametrize(
    ("question", "answer", "relation"),
    [
        ("how many people work for velkor?", "340 people work for velkor.", "staff"),
        ("where is velkor based?", "velkor has its headquarters in oslo.", "seat"),
        ("when was velkor founded?", "velkor was set up in 1987.", "founded"),
        ("how long is the bridge?", "the bridge is 120 metres long.", "length"),
        ("how long was the service unavailable?", "it was unavailable for 47 minutes.", "duration"),
        ("how deep is the lake?", "the lake is 87 metres deep.", "depth"),
    ],
)
def test_question_and_answer_meet(question: str, answer: str, relation: str) -> None:
    """In other words, under one name."""
    assert relation in asked_relations(question)
    assert relation in told_relations(answer)


def test_a_state_has_no_length() -> None:
    """How long something was down asks for a time."""
    assert "length" not in asked_relations("how long was the service down?")


def test_spans_are_the_words_that_tell() -> None:
    """So that what is left of a claim is what they do not account for."""
    [(start, end), *_] = told_spans("the lake covers 74 square kilometres.")["area"]
    assert "the lake covers 74 square kilometres."[start:end] == "covers"


@pytest.mark.parametrize("text", ["1" * 25_000, "1," * 12_500, "how many " * 2700])
def test_endless_texts_are_read_at_once(text: str) -> None:
    """No pattern tries every beginning with every end."""
    with cpu_within(2):
        told_relations(text)
