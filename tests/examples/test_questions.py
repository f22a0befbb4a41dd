"""Taking questions apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.questions import MOST_PARTS, in_context, split_question
from tests.support.timing import cpu_within


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("What is a slice?", ["What is a slice?"]),
        ("What do break and continue do?", ["What does break do?", "What does continue do?"]),
        ("What is a set? How is it ordered?", ["What is a set? How is it ordered?"]),
        ("What is a set? How are lists sorted?", ["What is a set?", "How are lists sorted?"]),
        ("What is uvloop and who won in 2018?", ["What is uvloop?", "who won in 2018?"]),
        (
            "What is the difference between __str__ and __repr__?",
            ["What is __str__?", "What is __repr__?"],
        ),
        (
            "What is the difference between a class method and a static method?",
            ["What is a class method?", "What is a static method?"],
        ),
        (
            "What is the difference between the break and continue statements?",
            ["What is the break statement?", "What is the continue statement?"],
        ),
        ("How does a list differ from a tuple?", ["What is a list?", "What is a tuple?"]),
        ("Compare str.find with str.index", ["What is str.find?", "What is str.index?"]),
        ("supply and demand", ["supply and demand?"]),
        (
            "Why did Ada Quist leave Brenholm, and who replaced her?",
            ["Why did Ada Quist leave Brenholm?", "who replaced Ada Quist?"],
        ),
        (
            "What did Tom Vale build and where did he live?",
            ["What did Tom Vale build?", "where did Tom Vale live?"],
        ),
        (
            "Who founded the Halden lab? When did she die?",
            ["Who founded the Halden lab? When did she die?"],
        ),
        ("How did Velkor do in 2031, and do the sources agree?", ["How did Velkor do in 2031?"]),
        ("??", ["??"]),
        (
            "When did Velkor open its plant in Oslo, and who runs the company?",
            ["When did Velkor open its plant in Oslo?", "who runs Velkor?"],
        ),
    ],
)
def test_questions_are_split_only_where_that_is_safe(message: str, parts: list[str]) -> None:
    """Each part can be looked up alone; one that points back at another stays with it."""
    assert split_question(message) == parts


@given(st.text(max_size=4000))
def test_no_message_makes_many_searches(message: str) -> None:
    """Each is billed, so their number is bounded, and there is always one."""
    assert 1 <= len(split_question(message)) <= MOST_PARTS


def test_many_questions_in_one_message_are_bounded() -> None:
    """Ten questions cause four searches."""
    assert len(split_question(" ".join(f"What is thing{number}?" for number in range(10)))) == MOST_PARTS


@pytest.mark.parametrize(
    "message",
    [
        "what is" + " " * 3900 + "!",
        "what " + "do " * 1300,
        "compare " + "a and " * 600,
        "difference between " + "a b c d " * 480,
        "\"'`" * 1300,
    ],
)
def test_no_message_holds_up_the_event_loop(message: str) -> None:
    """The longest message allowed is split in milliseconds, whatever it is made of; quadratic blanks took 240."""
    with cpu_within(0.1):
        split_question(message[:4000])


@pytest.mark.parametrize(
    ("earlier", "message", "whole"),
    [
        (["Who founded Velkor Dynamics?"], "When was it founded?", "When was Velkor Dynamics founded?"),
        (
            ["What is the license of the package fastapi?"],
            "Which Python does it require?",
            "Which Python does the package fastapi require?",
        ),
        (
            ["What does the nonlocal statement do?"],
            "Where is it used?",
            "Where is the nonlocal statement used?",
        ),
        (["How big is Morvik?", "And where is Oslo?"], "Who runs its harbour?", "Who runs Oslo's harbour?"),
        (["What does `str.zfill` do?"], "When does it raise?", "When does str.zfill raise?"),
    ],
)
def test_what_points_back_is_named(earlier: list[str], message: str, whole: str) -> None:
    """A question in a conversation asks about what the one before named."""
    assert in_context(message, earlier) == whole


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        ([], "When was it founded?"),
        (["hello"], "When was it founded?"),
        (["Who founded Velkor?"], "When was Morvik founded, and is it big?"),
        (["Who founded Velkor?"], "What is a generator?"),
    ],
)
def test_what_stands_alone_stays(earlier: list[str], message: str) -> None:
    """Nothing is put into a question that names its own subject, or where nothing was named before."""
    assert in_context(message, earlier) == message
