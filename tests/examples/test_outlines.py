"""What a message asks for, taken apart into subjects, aspects and a topic."""

from __future__ import annotations

import pytest

from examples.research_agents.outlines import parts_of, says_nothing, topic_of
from examples.research_agents.phrasing import about
from examples.research_agents.questions import read_parts, split_question
from tests.support.timing import cpu_within


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        ("Write a short report on the global and nonlocal statements.", "the global and nonlocal statements"),
        ("Please give me a detailed overview of rate limiting.", "rate limiting"),
        ("Can you summarise the incident of 3 May?", "the incident of 3 May"),
        ("I would like a one-page brief about Velkor Dynamics", "Velkor Dynamics"),
        ("Tell me something about tea.", "tea"),
        ("tea", "tea"),
        ("Write.", "Write"),
    ],
)
def test_the_topic_is_what_is_left_of_a_request(message: str, topic: str) -> None:
    """Who asks for a text on something wants the something looked up, and not "report"."""
    assert topic_of(message) == topic


@pytest.mark.parametrize(
    ("request_", "phrases"),
    [
        (
            "Write a report on httpx and redis: license and version.",
            ["license of httpx", "license of redis", "version of httpx", "version of redis"],
        ),
        (
            "Describe limits, probes and budgets in prodkit.",
            ["limits in prodkit", "probes in prodkit", "budgets in prodkit"],
        ),
        ("Write about local and global variables.", ["local variables", "global variables"]),
        ("What is the population of Norway and Sweden?", ["population of Norway", "population of Sweden"]),
        (
            "What does the travel policy say about trains and flights?",
            ["trains of travel policy", "flights of travel policy"],
        ),
        (
            "What are the founding year and revenue of Velkor?",
            ["founding year of Velkor", "revenue of Velkor"],
        ),
    ],
)
def test_what_is_listed_is_asked_one_by_one(request_: str, phrases: list[str]) -> None:
    """With the kind or the place that the last item has for all."""
    assert [part.phrase for part in parts_of(request_)] == phrases


@pytest.mark.parametrize(
    "question",
    [
        "supply and demand",
        "What are the rules for travelling by train and by plane?",
        "Who won?",
        "What is the capital of France?",
    ],
)
def test_what_cannot_be_split_safely_stays_whole(question: str) -> None:
    """A wrong split asks about nothing, and is paid for."""
    assert parts_of(question) == []


def test_what_only_shapes_the_text_is_not_looked_up() -> None:
    """Being brief is nothing that a corpus could tell."""
    assert says_nothing("Be brief")
    assert not says_nothing("Compare tea")
    assert split_question("Write about Velkor Dynamics. Be brief. Use bullet points.") == [
        "Tell me about Velkor Dynamics."
    ]


@pytest.mark.parametrize(
    ("message", "questions"),
    [
        (
            "What is uvloop and which license does it have?",
            ["What is uvloop?", "which license does uvloop have?"],
        ),
        (
            "What caused the payment outage on 3 May 2025 and how long did it last?",
            [
                "What caused the payment outage on 3 May 2025?",
                "how long did the payment outage on 3 May 2025 last?",
            ],
        ),
        ("What is a context manager and how is it used?", ["What is a context manager and how is it used?"]),
    ],
)
def test_what_points_back_inside_a_message_is_named(message: str, questions: list[str]) -> None:
    """By a name or by the thing with the article; where neither is there, the parts stay together. A month is no name."""
    assert split_question(message) == questions


def test_a_name_is_looked_up_by_itself_and_a_thing_by_what_it_is() -> None:
    """Hardly a text says what "Velkor Dynamics" is; the language reference says what "a tuple" is, and not "in Python"."""
    assert about("Velkor Dynamics") == "Tell me about Velkor Dynamics."
    assert about("a tuple in Python") == "What is a tuple?"
    assert about("context managers") == "What are context managers?"


@pytest.mark.parametrize(
    "message",
    [
        "compare " + "a, " * 1300,
        "which has more " + "a " * 1900,
        "what are the " + "a of " * 900,
        "Compare " + "A of B in C " * 350,
        "what does " + "say about " * 400,
        "a versus " * 440,
        "please " * 570,
        "the a b c on 3 May " * 200 + " it",
    ],
)
def test_no_grammar_takes_long(message: str) -> None:
    """The event loop waits for it; the longest message allowed takes milliseconds."""
    with cpu_within(0.2):
        read_parts(message[:4000], 6)


@pytest.mark.parametrize(
    "piece", ["hello there", "Use at most 50 words", "Good morning!", "Keep it short, in English."]
)
def test_greetings_and_wishes_about_the_form_name_nothing(piece: str) -> None:
    """They are neither looked up nor part of a title."""
    assert says_nothing(piece)


def test_what_is_wanted_of_the_first_is_asked_of_it() -> None:
    """Asked for "their prices", they are those of the lamps, and nobody else's."""
    parts = read_parts("Write about the Norlux lamps and their prices.", 8)
    assert [(part.subject, part.aspect) for part in parts] == [
        ("Norlux lamps", ""),
        ("Norlux lamps", "prices"),
    ]
