"""What a request asks is found in every form in which a caller may hand it over."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.local_parallel.inputs import read_input, read_text
from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.ranking import DEPTHS

DOCUMENT = {"url": "document:a", "title": "A", "text": "Velkor Dynamics employs 340 people."}
BODY = {"question": "How many people does Velkor Dynamics employ?", "documents": [DOCUMENT]}


@pytest.mark.parametrize(
    "given",
    [BODY, json.dumps(BODY), f"```json\n{json.dumps(BODY, indent=2)}\n```", f"  {json.dumps(BODY)}  "],
)
def test_an_object_is_the_same_as_its_text(given: str | dict[str, object]) -> None:
    """As the SDK sends it, or as a chat must."""
    asked = read_input(given)
    assert asked.question == BODY["question"]
    assert asked.documents == (("document:a", "A", DOCUMENT["text"]),)


def test_words_around_an_object_belong_to_the_question() -> None:
    """And the object does not."""
    asked = read_text(f"Write about Velkor.\n{json.dumps({'sources': [{'n': 2, **DOCUMENT}]})}\nBe brief.")
    assert asked.question == "Write about Velkor.\nBe brief."
    assert [(one.n, one.url) for one in asked.sources] == [(2, "document:a")]


def test_an_empty_list_of_sources_is_no_words() -> None:
    """A writer whom nobody gave a source must not write about JSON."""
    asked = read_text('Write about tea.\n\n```json\n{"sources": []}\n```')
    assert asked.question == "Write about tea."
    assert asked.sources == ()


@pytest.mark.parametrize(
    "text",
    [
        'What does {"a": 1} mean in Python?',
        "{",
        '{"',
        "{}",
        '{"sources": 7}',
        '{"documents": [{"url": ""}]}',
        "",
    ],
)
def test_other_braces_are_words(text: str) -> None:
    """A question about JSON stays one."""
    assert read_text(text).question == text
    assert read_text(text).sources == ()


def test_names_of_the_question_that_agents_would_use() -> None:
    """A critic's claim, a writer's request."""
    assert read_input({"claim": " X is Y. "}).question == "X is Y."
    assert read_input({"request": "Write."}).question == "Write."


def test_any_other_object_is_asked_by_its_values() -> None:
    """The scalar ones; names of fields are not words of the question."""
    assert (
        read_input({"company": "Velkor Dynamics", "year": 2024, "more": ["x"], "none": None}).question
        == "Velkor Dynamics 2024"
    )


def test_numbers_are_kept_and_never_mean_two_things() -> None:
    """A source without one, or with one that is taken, gets the next."""
    given = [
        {"n": 4, **DOCUMENT},
        {**DOCUMENT, "url": "b"},
        {"n": 4, **DOCUMENT, "url": "c"},
        {"n": 1, **DOCUMENT, "url": "d"},
    ]
    assert [(one.n, one.url) for one in read_input({"question": "x", "sources": given}).sources] == [
        (4, "document:a"),
        (5, "b"),
        (6, "c"),
        (1, "d"),
    ]


def test_texts_of_one_url_are_one_document() -> None:
    """Otherwise only one of two passages of the same document could be cited."""
    asked = read_input(
        {"question": "x", "documents": [DOCUMENT, {**DOCUMENT, "text": "Velkor Dynamics sails."}]}
    )
    assert [text for _, _, text in asked.documents] == [
        "Velkor Dynamics employs 340 people.\n\nVelkor Dynamics sails."
    ]


def test_documents_are_searched_before_the_corpus() -> None:
    """And without documents, the corpus is the evidence."""
    corpus = Library([])
    assert read_text("x").before(corpus) is corpus
    found = (
        read_input(BODY).before(corpus).search(["Velkor Dynamics employs people"], DEPTHS["basic"], limit=3)
    )
    assert [one.url for one in found] == ["document:a"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """And comes back whole when there is nothing to take out."""
    assert read_text(text).question == text.strip() or "{" in text


def test_a_text_made_to_be_slow_is_not() -> None:
    """Half a megabyte of beginnings of objects, and of nesting."""
    before = time.monotonic()
    for text in ('{"' * 250_000, '{"a":' * 100_000, "```json" * 70_000, '{"a": ' + "[" * 200_000):
        read_text(text)
    assert time.monotonic() - before < 2
