"""Search over the real corpus."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.research_agents.local_parallel.index import CorpusIndex
from examples.research_agents.retrieval.passages import Passage
from examples.research_agents.retrieval.ranking import DEPTHS


@pytest.mark.parametrize(
    ("question", "url", "words"),
    [
        (
            "What does the nonlocal statement do?",
            "pydoc:nonlocal",
            "previously bound variables in the nearest enclosing",
        ),
        ("What does str.casefold return?", "pydoc:string-methods", "casefolded copy"),
        ("What does __set_name__ do?", "pydoc:specialnames", "at the time the owning class"),
        ("Can a lambda contain statements?", "pydoc:lambda", "cannot contain statements"),
        ("Which Python does the package pydantic require?", "package:pydantic", "requires Python"),
    ],
)
def test_known_facts_are_found_first(index: CorpusIndex, question: str, url: str, words: str) -> None:
    """The best result is the passage that says it, and the excerpt holds the sentence."""
    best = index.search([question], DEPTHS["fast"], limit=1)[0]
    assert best.url.split("#")[0] == url
    assert words in best.excerpt


@pytest.mark.parametrize(
    "question",
    ["Who won the football world cup in 2018?", "How do I cook rice?", "xqzzy", "How do I do this?", ""],
)
def test_what_is_not_there_is_not_found(index: CorpusIndex, question: str) -> None:
    """No result is better than a wrong one."""
    assert index.search([question], DEPTHS["advanced"], limit=10) == []


@pytest.mark.parametrize(
    "question", ['" OR 1 NEAR(', "title:nonlocal", "a* AND ^b", "x" * 5000, "\x00 nonlocal", "'; DROP TABLE"]
)
def test_no_question_speaks_the_query_language(index: CorpusIndex, question: str) -> None:
    """What FTS5 would read as an operator is a word or nothing; no input is an error."""
    assert isinstance(index.search([question], DEPTHS["fast"], limit=3), list)


def test_deeper_modes_quote_more(index: CorpusIndex) -> None:
    """`advanced` reads more candidates and returns longer excerpts than `turbo`."""
    question = "How are exceptions handled by the try statement?"
    quick = index.search([question], DEPTHS["turbo"], limit=DEPTHS["turbo"].results)
    deep = index.search([question], DEPTHS["advanced"], limit=10)
    assert len(deep) > len(quick) > 0
    assert max(len(found.excerpt) for found in deep) > max(len(found.excerpt) for found in quick)


def test_excerpts_respect_their_bound(index: CorpusIndex) -> None:
    """`max_chars` is a promise about each excerpt."""
    found = index.search(["What does the import statement do?"], DEPTHS["advanced"], limit=10, max_chars=200)
    assert found
    assert all(len(one.excerpt) <= 200 for one in found)


def test_an_excerpt_consists_of_the_passage(index: CorpusIndex) -> None:
    """Nothing is said that the source does not say."""
    for found in index.search(["What is a generator function?"], DEPTHS["fast"], limit=5):
        read = index.read(found.url)
        assert read is not None
        for line in found.excerpt.split("\n"):
            assert line.split(". ")[0] in read[1]


def test_threads_search_at_once(index: CorpusIndex) -> None:
    """Each thread has its own connection; answers do not mix."""
    questions = ["What does the nonlocal statement do?", "What does str.casefold return?"] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda question: index.search([question], DEPTHS["fast"], limit=1)[0].url, questions)
        )
    assert set(found[::2]) == {"pydoc:nonlocal"}
    assert all(url.startswith("pydoc:string-methods") for url in found[1::2])


def test_a_term_found_nowhere_weighs_most(tmp_path: Path) -> None:
    """So that a question about an unknown name cannot be covered by its other words."""
    small = CorpusIndex(tmp_path / "c.db")
    small.build(
        [
            Passage("p:1", "Tea", ["Green tea is steeped for two minutes."]),
            Passage("p:2", "Cake", ["Cake is sweet."]),
        ]
    )
    assert small.size == 2
    assert small.weight("napoleon") > small.weight("tea")
    assert small.coverage("How is green tea steeped?") == 1.0
    assert small.coverage("How did Napoleon steep tea?") < 1.0
    assert small.read("p:3") is None
    assert small.excerpt("p:3", ["tea"], DEPTHS["fast"]) == ""


def test_a_shared_word_is_no_answer_to_what_something_is(tmp_path: Path) -> None:
    """That an option "switches it off" says nothing about a switch statement; a sentence about it does."""
    small = CorpusIndex(tmp_path / "c.db")
    small.build(
        [
            Passage(
                "p:1", "Options", ["The option switches the statement off.", "A switch turns a light on."]
            ),
            Passage("p:2", "Cake", ["Cake is sweet."]),
        ]
    )
    assert small.search(["What does the switch statement do?"], DEPTHS["fast"], limit=1)[0].excerpt == (
        "A switch turns a light on."
    )
    assert small.search(["What is an option statement?"], DEPTHS["fast"], limit=1) == []
