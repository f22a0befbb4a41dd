"""What a question is about, and what is about that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.retrieval.subject import Subject, subject_of
from tests.support.timing import cpu_within


def subject(question: str) -> Subject:
    found = subject_of(question)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("question", "words", "kind"),
    [
        ("What is a slice?", ("slice",), ""),
        ("What does the switch statement do?", ("switch",), "statement"),
        ("What does the with statement do?", ("with",), "statement"),
        ("What does the async with statement do?", ("async", "with"), "statement"),
        ("What does str.find return when nothing is found?", ("str.find",), ""),
        ("What does the package pydantic depend on?", ("pydantic",), "package"),
        ("What does the jump command of pdb do?", ("jump",), "command"),
        ("When is __exit__ called?", ("__exit__",), ""),
        ("What are generators?", ("generator",), ""),
    ],
)
def test_the_thing_asked_for_is_told_from_its_kind(question: str, words: tuple[str, ...], kind: str) -> None:
    """X is what is compared; "statement" only says which X is meant."""
    found = subject(question)
    assert (found.words, found.kind) == (words, kind)


@pytest.mark.parametrize(
    "question",
    [
        "What is the licence of the package httpx?",
        "How do I sort a list?",
        "Can a tuple be changed?",
        "",
        "What is",
    ],
)
def test_other_questions_have_no_such_subject(question: str) -> None:
    """A property of something, or a way to do it, is rarely a heading."""
    assert subject_of(question) is None


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What is a slice?", "Python help: x - Slices"),
        ("What does the nonlocal statement do?", 'Python help: nonlocal - The "nonlocal" statement'),
        ("What does the break keyword do?", 'Python help: x - The "break" and "continue" statements'),
        ("What does the find method do?", "Python help: m - String Methods - str.find(sub)"),
        ("What does __str__ do?", "Python help: s - Basic customization - object.__str__(self)"),
        ("What is httpx?", "Installed package httpx"),
        (
            "What does the pdb command until do?",
            "Python help: debugger - Debugger Commands - unt(il) [lineno]",
        ),
        ("What is rate limiting?", "prodkit docs: how-to/x - Rate limiting: how much a caller may ask"),
    ],
)
def test_a_heading_that_names_the_thing_entitles(question: str, title: str) -> None:
    """In the plural, with its kind, among others, or as a signature."""
    assert subject(question).entitles(title)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What is a string?", "Python help: m - String Methods"),
        ("What is a list?", "Python help: m - Mapping Types - dict.list(d)"),
        ("What is a generator function?", "Python help: g - Generator expressions"),
        ("What does the print statement do?", "Python help: p - print(value)"),
        ("What does the next function do?", "Python help: debugger - Debugger Commands - n(ext)"),
        ("What does the state statement do?", "Python help: x - Statements"),
        ("What is the package attribute?", "README of attribute-lib"),
        ("What is a class variable?", "Python help: types - Classes"),
    ],
)
def test_a_heading_that_only_shares_words_does_not(question: str, title: str) -> None:
    """Another thing with that word in its name is another thing."""
    assert not subject(question).entitles(title)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What is a generator?", "A generator is a function that yields."),
        ("What is a generator?", "*Generators* are functions that yield."),
        ("What does the global statement do?", 'The "global" statement declares names.'),
        ("What is an f-string?", "A *formatted string literal* or *f-string* is a string literal."),
        ("What is a raw string?", "Such literals are called *raw strings*."),
    ],
)
def test_a_sentence_about_the_thing_is_recognised(question: str, sentence: str) -> None:
    """Its grammatical subject, or what it gives a name to."""
    assert subject(question).governs(sentence)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What does the switch statement do?", "The -O option switches the statement off."),
        ("What is a switch?", "Switches off the optimisation."),
        ("What is a list?", "A list comprehension is an expression."),
        ("What is a list?", "An empty list is false."),
        ("What is a mutex?", "Use a lock, which is a mutex in other languages."),
        ("What is a raw string?", "Such literals are called raw string literals."),
        ("What does the print function do?", "print() can also be used, but is no command."),
        ("What is a state?", "A statement is executed."),
    ],
)
def test_a_sentence_that_mentions_the_thing_is_not_about_it(question: str, sentence: str) -> None:
    """Nothing is stemmed, and a word elsewhere in the sentence does not count."""
    assert not subject(question).governs(sentence)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_asked_and_compared(question: str, text: str) -> None:
    """No question, title or sentence is an error."""
    found = subject_of("What is " + question)
    if found is not None:
        found.entitles(text)
        found.governs(text)


@pytest.mark.parametrize("filling", ["a ", "what is ", "of ", "pdb ", "the the ", "x.y", "(", " "])
def test_no_question_holds_up_the_server(filling: str) -> None:
    """The longest message is taken apart, and compared, in milliseconds."""
    text = (filling * 4000)[:3900]
    with cpu_within(0.5):
        for question in (f"What is {text}?", f"What does {text} do?", f"When is {text} called now"):
            found = subject_of(question)
            if found is not None:
                found.entitles(text)
                found.governs(text)
