"""Words, stems and sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.retrieval.text import query_terms, sentences, stem, terms, title_terms
from tests.support.timing import cpu_within


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("statement", "statements"),
        ("iterable", "iterator"),
        ("running", "run"),
        ("calls", "called"),
        ("queries", "query"),
        ("licence", "licenses"),
        ("close", "closing"),
        ("assignment", "assign"),
        ("carry", "carried"),
        ("supplies", "supplied"),
        ("certify", "certified"),
        ("try", "tries"),
        ("discover", "discovered"),
        ("discovers", "discovering"),
        ("recovered", "recovers"),
        ("heavy", "heaviest"),
        ("rise", "rose"),
        ("pay", "paid"),
    ],
)
def test_inflections_share_a_stem(one: str, other: str) -> None:
    """What a question asks for is found in whatever form the text has it."""
    assert stem(one) == stem(other)


@pytest.mark.parametrize(("one", "other"), [("state", "statement"), ("string", "str"), ("class", "clas")])
def test_different_subjects_stay_apart(one: str, other: str) -> None:
    """The stemmer is light: words that are different subjects in a language reference are not merged."""
    assert stem(one) != stem(other)


def test_a_name_is_found_whole_and_by_its_parts() -> None:
    """`rate_limit` is indexed as itself and as its words, and asked for only as itself."""
    assert {"rate_limit", "rat", "limit"} <= set(terms("rate_limit()"))
    assert query_terms("What is rate_limit?") == ["rate_limit"]


def test_a_stop_word_counts_when_it_is_a_keyword() -> None:
    """Asking for "the with statement" is about `with`; "a thing with values" is not."""
    assert "kw_with" in query_terms("What does the with statement do?")
    assert "kw_with" in terms('The "with" statement')
    assert "kw_with" not in query_terms("A thing with values")


def test_parameters_of_a_signature_are_no_subject() -> None:
    """A title is about the function it names, not about its parameters."""
    assert title_terms("str.center(width[, fillchar])") == terms("str.center")


def test_questions_without_a_subject_ask_for_nothing() -> None:
    """Question words and politeness are not searched for."""
    assert query_terms("How do I do this, please?") == []


def test_abbreviations_do_not_end_sentences() -> None:
    """A sentence is quoted whole, also when it holds "e.g."."""
    text = 'Use it, e.g. Here, once. "Quoted" begins another. It ends (so.) New in 3.8.'
    assert sentences(text) == [
        "Use it, e.g. Here, once.",
        '"Quoted" begins another.',
        "It ends (so.)",
        "New in 3.8.",
    ]


@given(st.text(max_size=300))
def test_sentences_lose_no_word(text: str) -> None:
    """Whatever the text, its sentences together are the text, up to blanks."""
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@given(st.text(max_size=2000))
def test_query_terms_are_bounded_and_distinct(text: str) -> None:
    """A hostile question cannot make an unbounded query."""
    found = query_terms(text)
    assert len(found) <= 32
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("piece", ["A. ", "Mr. ", "A.B. ", '"A." ', "e.g. "])
def test_many_abbreviations_are_read_in_time(piece: str) -> None:
    """It runs on the event loop: the time grows with the length, and not with its square."""
    with cpu_within(0.5):
        sentences(piece * 4000)


def test_phrases_and_number_words_are_read_as_one_word_and_as_digits() -> None:
    """A rent that "went up" is found by "rise", and "lasted eleven days" tells how long."""
    assert stem("rise") in terms("The rent went up.")
    assert stem("care") in query_terms("Who takes care of the roses?")
    assert "rel_duration" in terms("The strike lasted eleven days.")
