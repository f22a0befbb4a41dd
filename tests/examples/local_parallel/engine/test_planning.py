"""A plan has sub-questions that can each be looked up, whatever the shape of the question."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.local_parallel.engine import plan


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        (
            "Compare the global and nonlocal statements and say what each is for.",
            ["What is the global statement?", "What is the nonlocal statement?"],
        ),
        (
            "Compare Velkor Dynamics and Morvik Systems in revenue and number of employees.",
            [
                "What is the revenue of Velkor Dynamics?",
                "What is the revenue of Morvik Systems?",
                "How many employees does Velkor Dynamics have?",
                "How many employees does Morvik Systems have?",
            ],
        ),
        (
            "Velkor Dynamics: its founding, staff and revenue",
            [
                "When was Velkor Dynamics founded?",
                "What is the staff of Velkor Dynamics?",
                "What is the revenue of Velkor Dynamics?",
            ],
        ),
        (
            "Which of Velkor, Morvik and Umbra has the most employees?",
            [
                "How many employees does Velkor have?",
                "How many employees does Morvik have?",
                "How many employees does Umbra have?",
            ],
        ),
        (
            "Which company is older, Velkor Dynamics or Morvik Systems?",
            ["When was Velkor Dynamics founded?", "When was Morvik Systems founded?"],
        ),
        (
            "How many people does Velkor Dynamics employ, and when was it founded?",
            ["How many people does Velkor Dynamics employ?", "When was Velkor Dynamics founded?"],
        ),
        (
            "What is the difference between a list and a tuple in Python?",
            ["What is a list?", "What is a tuple?"],
        ),
        (
            "Compare the revenue of Velkor Dynamics and Morvik Systems in 2024.",
            [
                "What is the revenue of Velkor Dynamics in 2024?",
                "What is the revenue of Morvik Systems in 2024?",
            ],
        ),
        (
            "Velkor versus Morvik: price and weight",
            [
                "What is the price of Velkor?",
                "What is the price of Morvik?",
                "What is the weight of Velkor?",
                "What is the weight of Morvik?",
            ],
        ),
        (
            "Compare Velkor Dynamics and Morvik Systems. Say which is older.",
            [
                "Tell me about Velkor Dynamics.",
                "Tell me about Morvik Systems.",
                "When was Velkor Dynamics founded?",
                "When was Morvik Systems founded?",
            ],
        ),
        ("What is a generator function?", ["What is a generator function?"]),
        ("supply and demand", ["Supply and demand?"]),
    ],
)
def test_each_part_can_be_looked_up(question: str, parts: list[str]) -> None:
    """Subjects times aspects, names carried along, and what is one thing stays whole."""
    assert plan(question) == parts


def test_more_than_six_are_asked_by_subject() -> None:
    """Nothing is dropped in silence: the aspects of a subject come together instead."""
    parts = plan("Compare Velkor, Morvik, Umbra and Zimthar in price, weight and power.")
    assert len(parts) == 4
    assert all("price, weight and power" in part for part in parts)


@given(st.text(max_size=2000))
def test_any_text_has_a_plan(text: str) -> None:
    """One to six parts, none of which ends in ".?" or is only a mark, whatever a user writes."""
    parts = plan(text)
    assert 1 <= len(parts) <= 6
    assert not any(re.search(r"\w[.;,]\?$", part) for part in parts)


@given(
    st.lists(
        st.sampled_from(
            [
                "Velkor",
                "and",
                "compare",
                "of",
                "the",
                "in",
                "price",
                ",",
                ":",
                "which",
                "has",
                "more",
                "versus",
                ".",
            ]
        )
    )
)
def test_words_of_comparisons_in_any_order_have_a_plan(words: list[str]) -> None:
    """The grammar never fails on half a comparison."""
    assert 1 <= len(plan(" ".join(words))) <= 6
