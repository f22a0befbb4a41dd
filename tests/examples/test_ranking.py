"""Which passages answer a question, on a few invented documents: what must not be taken for an answer, and what must be found."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import DEPTHS, Question
from examples.research_agents.retrieval.text import stem

DOCUMENTS = {
    "Harbour log of Wexholm": "In March the harbour counted 318 boats, compared with 290 in March of the year before.",
    "Gravel works": (
        "Dornick Gravel digs sand near Ulm. The depot was moved by rail. Its treasurer is Ida Brook. "
        "Its rival Pebblon employs 77 people."
    ),
    "About Dornick Gravel": "Dornick Gravel has been led by Karl Emm since 2011. Dornick Gravel was founded in 1950 in Ulm.",
    "Fault report": (
        "The water supply of Brunnau Works was unavailable for two hours. Nobody was hurt. "
        "The reason was a worn valve. At noon the supply recovers."
    ),
    "Pump list": "The Aquila 7 is certified for milk. The Aquila 9 is not suitable for milk.",
    "Strike": "The number of members rose by 12 per cent. Funding: The survey was financed by the Elmer Trust.",
    "README of slowlib": "By default a request of fastlib waits 90 seconds. Call hello to greet the world.",
    "Installed package fast-lib": "The installed version of the package fast-lib is 3.",
}


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(
        passage
        for place, (title, text) in enumerate(DOCUMENTS.items())
        for passage in passages_of(f"document:{place}", title, text)
    )


def found(library: Library, question: str) -> list[str]:
    """The titles of what answers *question*."""
    return [one.title for one in library.search([question], DEPTHS["advanced"], limit=5)]


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("How many boats did the harbour count in March?", "Harbour log of Wexholm"),
        ("Who is the treasurer of Dornick Gravel?", "Gravel works"),
        ("Who leads Dornick Gravel?", "About Dornick Gravel"),
        ("When was Dornick Gravel founded?", "About Dornick Gravel"),
        ("When did the supply recover?", "Fault report"),
        ("What was the reason for the outage of Brunnau Works?", "Fault report"),
        ("What went wrong at Brunnau Works?", "Fault report"),
        ("Is the Aquila 7 safe for milk?", "Pump list"),
        ("By how much did the number of members increase?", "Strike"),
        ("Who paid for the survey?", "Strike"),
    ],
)
def test_what_answers_is_found_in_whatever_form(library: Library, question: str, title: str) -> None:
    """By other forms of the words, by words that mean the same, and under the name that the sentence before gives."""
    assert title in found(library, question)


@pytest.mark.parametrize(
    "question",
    [
        "How many boats did the harbour count in April?",
        "Who is the chairman of Dornick Gravel?",
        "Who founded Dornick Gravel?",
        "How many people does Dornick Gravel employ?",
        "What is the default wait of fastlib?",
        "Which version of fast is installed?",
        "hello world",
    ],
)
def test_a_neighbour_is_no_answer(library: Library, question: str) -> None:
    """Another month, another office, no person, somebody else's number, another package's page: each shares every other word."""
    assert found(library, question) == []


def test_who_only_asks_whether_a_number_is_right_hears_what_says_otherwise(library: Library) -> None:
    """The amount is not looked for; a number in a name is."""
    assert found(library, "Did the harbour count 400 boats in March?") == ["Harbour log of Wexholm"]
    assert "400" not in Question.of("Did the harbour count 400 boats?").terms
    assert "7" in Question.of("Is the Aquila 7 certified?").terms


def test_other_words_answer_nothing_alone() -> None:
    """A question of which a passage holds only synonyms stays open."""
    shelf = Library(passages_of("document:1", "Notes", "A disruption was postponed."))
    assert found(shelf, "outage delay") == []
    assert stem("outage") in Question.of("outage delay").weights(shelf.weight)
