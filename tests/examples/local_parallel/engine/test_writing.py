"""A report says nothing that no source says, cites each sentence, and names what it did not find."""

from __future__ import annotations

import re

import pytest

from examples.research_agents.local_parallel.engine import Draft, Source, write
from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import DEPTHS

PROFILE = """# Velkor Dynamics

Velkor Dynamics builds cargo gliders. It was founded in 1987 by Ada Lund. The company employs 340 people.

## Finances

In 2023 the revenue of Velkor Dynamics was 12 million euros. It rose to 15 million euros in 2024.

## Customers

The largest customer is the town of Aldmere.
"""
RIVAL = "Morvik Systems was founded in 1962. Morvik Systems employs 1,250 people. Morvik Systems had revenue of 90 million euros in 2024."
REGISTER = "According to the register, Velkor Dynamics employs 290 people."
SHEET = """# Norlux 400

The Norlux 400 is a street lamp for cold climates. It draws 38 W.

- Price: 289 euros
- Weight: 4.6 kg

```
lamp = Norlux(400)
lamp.on()
```
"""
SHEET_500 = (
    "The Norlux 500 is a street lamp for main roads. The Norlux 500 costs 415 euros and weighs 6.1 kg."
)
DOCUMENTS = {
    "Velkor Dynamics: profile": PROFILE,
    "Morvik Systems: profile": RIVAL,
    "Product sheet: Norlux 400": SHEET,
    "Product sheet: Norlux 500": SHEET_500,
    "Cooking": "Green tea is steeped for two minutes. The water has 80 degrees.",
}


def library(**more: str) -> Library:
    texts = {**DOCUMENTS, **{title.replace("_", " "): text for title, text in more.items()}}
    return Library(
        passage
        for place, (title, text) in enumerate(texts.items())
        for passage in passages_of(f"document:{place}", title, text)
    )


def report(
    request: str, *sources: Source, corpus: Library | None = None, depth: str = "basic"
) -> tuple[str, Draft]:
    draft = write(request, sources, corpus or library(), DEPTHS[depth])
    return "".join(draft.pieces), draft


def missing(text: str) -> list[str]:
    return re.findall(r"^- (.+)$", text.partition("## Not found")[2], re.MULTILINE)


@pytest.mark.parametrize(
    "request_",
    [
        "Write a short report on Velkor Dynamics.",
        "Compare Velkor Dynamics and Morvik Systems in revenue and founding.",
        "What is the Norlux 400?",
        "Describe the Norlux 400 and the Norlux 500.",
    ],
)
def test_every_sentence_stands_in_its_source(request_: str) -> None:
    """Without headings, labels and what is computed, the text consists of sentences of the documents, each marked."""
    text, draft = report(request_)
    sources = {source.n: source.text for source in draft.sources}
    excerpts = {int(one.field.strip("[]")): one.citations[0].excerpts for one in draft.basis}
    body = re.split(r"\n## (?:Numbers compared|Where sources disagree|Not found)", text)[0]
    quoted = re.findall(r"(?:^|(?<=\] )|(?<=:\*\* ))([^\n#*\[][^\n\[]*?) \[(\d+)\]", body, re.MULTILINE)
    assert len(quoted) >= 2, text
    everything = " ".join(" ".join(DOCUMENTS.values()).split())
    for sentence, number in quoted:
        assert int(number) in sources
        if sentence in everything:
            assert sentence in excerpts[int(number)]
        else:
            assert re.search(r"highest first|earliest first|higher than|grew from", sentence), sentence
    for line in body.splitlines():
        assert not line.strip() or line.startswith("#") or re.search(r"\[\d+\]$", line), line


def test_the_title_is_the_topic_and_not_the_request() -> None:
    """What is said to the writer ("Write a short report on") is not said to the reader."""
    text, _ = report("Please write me a short report on Velkor Dynamics.")
    assert text.splitlines()[0] == "# Velkor Dynamics"


def test_what_is_compared_stands_together() -> None:
    """Under one heading for each aspect: both numbers, and which is higher, with both sources."""
    text, _ = report("Compare Velkor Dynamics and Morvik Systems in employees and founding.")
    employees = text.partition("## Employees")[2].partition("## ")[0]
    assert "340 people" in employees
    assert "1,250 people" in employees
    assert re.search(
        r"Morvik Systems \(1,250 employees\) is higher than Velkor Dynamics .*\[\d\] \[\d\]", employees
    ), text
    founding = text.partition("## Founding")[2].partition("## ")[0]
    assert "1987" in founding
    assert "1962" in founding
    assert missing(text) == []


def test_a_line_of_a_listing_says_whose_it_is() -> None:
    """A bare "Price: 289 euros" is quoted behind the name of its product, beside another price; code is not quoted."""
    text, _ = report("Compare the Norlux 400 and the Norlux 500: price and weight.")
    assert "**Norlux 400:** Price: 289 euros [" in text
    assert "costs 415 euros" in text
    assert "lamp.on()" not in report("Write about the Norlux 400.")[0]


def test_a_sentence_that_says_it_comes_behind_the_one_that_says_who() -> None:
    """Alone, "It was founded in 1987" is about nobody."""
    text, _ = report("When was Velkor Dynamics founded?")
    assert "Velkor Dynamics builds cargo gliders. [1] It was founded in 1987 by Ada Lund. [1]" in text


def test_what_is_missing_is_named() -> None:
    """The part of the request, and nothing is cited for it."""
    text, draft = report("Compare the employees of Morvik Systems and Umbra Foods.")
    assert "1,250 people" in text
    assert missing(text) == ["employees of Umbra Foods"]
    assert len(draft.sources) == len(draft.basis) == 1
    nothing, empty = report("Write a report on the Ottoman Empire.")
    assert missing(nothing) == ["the Ottoman Empire"]
    assert empty.sources == []
    assert empty.basis == []


def test_a_disagreement_is_told_with_both_sources() -> None:
    """Neither number is dropped."""
    text, _ = report("How many people does Velkor Dynamics employ?", corpus=library(Register=REGISTER))
    told = text.partition("## Where sources disagree")[2]
    assert "340" in told
    assert "290" in told
    assert len(set(re.findall(r"\[(\d)\]", told))) == 2


def test_given_sources_keep_their_numbers_and_come_first() -> None:
    """What the corpus adds is numbered behind them, and a number never means two things."""
    given = Source(7, "web:a", "Velkor", "Velkor Dynamics is based in Aldmere.")
    text, draft = report(
        "Where is Velkor Dynamics based, and how many employees does Morvik Systems have?", given
    )
    assert "Velkor Dynamics is based in Aldmere. [7]" in text
    assert "Morvik Systems employs 1,250 people. [8]" in text
    assert {source.n: source.url for source in draft.sources} == {7: "web:a", 8: "document:1"}
    assert [one.field for one in draft.basis] == ["[7]", "[8]"]


def test_a_source_that_is_given_twice_is_one_source() -> None:
    """A passage that comes along and is found as well keeps the number it came with."""
    given = Source(3, "document:1", "Morvik Systems: profile", "Morvik Systems employs 1,250 people.")
    text, draft = report("How many employees does Morvik Systems have?", given)
    assert [source.n for source in draft.sources] == [3]
    assert "[3]" in text


def test_an_excerpt_with_a_paragraph_on_each_line_is_read_as_such() -> None:
    """Agents hand over what they read in this form; its lines are no one sentence."""
    given = Source(
        1,
        "web:b",
        "Lamp Z9",
        "The lamp Z9 is made of glass.\nPrice: 12 euros\nWeight: 3 kg\nIt hangs on a hook.",
    )
    text, _ = report("Write about the lamp Z9.", given, corpus=Library([]))
    assert "Price: 12 euros [1]" in text
    assert "Price: 12 euros Weight" not in text


def test_a_question_in_a_conversation_knows_what_it_is_about() -> None:
    """The word "it" means whom the message before named."""
    draft = write(
        "When was it founded?",
        (),
        library(),
        DEPTHS["basic"],
        history=[("Tell me about Morvik Systems.", "...")],
    )
    text = "".join(draft.pieces)
    assert "1962" in text
    assert "1987" not in text


def test_a_deeper_writer_writes_more() -> None:
    """And a text on one thing is put under the headings of its document."""
    short, _ = report("Write a report on Velkor Dynamics.", depth="turbo")
    long, _ = report("Write a report on Velkor Dynamics.", depth="advanced")
    assert len(long) >= len(short)
    assert "## Finances" in long
    assert "## Customers" in long
    assert "The largest customer is the town of Aldmere." in long


def test_what_is_irrelevant_is_left_out() -> None:
    """Tea is no lamp."""
    for request in ("Write a report on Velkor Dynamics.", "Describe the Norlux 400."):
        assert "tea" not in report(request)[0]


def test_a_bracketed_number_in_a_source_is_not_taken_for_a_mark() -> None:
    """A sentence that holds one would cite a source that has nothing to do with it."""
    text, _ = report(
        "Write about the Zimthar valve.",
        corpus=library(Zimthar_valve="The Zimthar valve holds slot[4] open. The Zimthar valve is blue."),
    )
    assert "is blue. [1]" in text
    assert "[4]" not in text


RULES = """1. Scope. This house policy applies to all guests of Hotel Almhof. It is valid from 2031.
2. Quiet. Guests must be quiet after 22:00.
3. Pets. A dog costs 9 euros a night.
4. Smoking. Smoking is never allowed.
"""


def given(title: str, text: str) -> list[Source]:
    """The passages of a document of the user's, as the writer hands them over."""
    return [
        Source(number, passage.url, passage.title, passage.text)
        for number, passage in enumerate(passages_of("document:doc_x", title, text), start=1)
    ]


def test_a_summary_goes_through_the_whole_document() -> None:
    """Every section with its figures and decisions, in order, not only the one that words lead to."""
    text, _ = report(
        "Summarise the house policy of Hotel Almhof.", *given("House policy of Hotel Almhof", RULES)
    )
    places = [text.find(said) for said in ("valid from 2031", "after 22:00", "9 euros", "never allowed")]
    assert -1 not in places
    assert places == sorted(places)


def test_what_the_users_documents_answer_is_told_from_them_alone() -> None:
    """The corpus has something on every word; a part that the documents answer needs nothing of it."""
    corpus = library(Pets="Pets are animals. A list of pets of the hotel trade: dogs. Pets cost 700 euros.")
    text, draft = report(
        "Write a report on the hotel: quiet and pets.",
        *given("House policy of Hotel Almhof", RULES),
        corpus=corpus,
    )
    assert "A dog costs 9 euros a night." in text
    assert "700" not in text
    assert {source.url.partition("#")[0] for source in draft.sources} == {"document:doc_x"}


def test_who_is_only_named_answers_nothing_else() -> None:
    """That somebody resigned does not tell who came after."""
    text, _ = report(
        "Why did Ada Quist resign, and who succeeded her?",
        *given("Chronicle", "The head of the club, Ada Quist, resigned in 2031."),
    )
    assert missing(text) == ["who succeeded Ada Quist?"]


def test_a_list_of_duties_keeps_its_owner() -> None:
    """The line "Owner: Ada Lind." is one that says something, though short."""
    text, _ = report(
        "Write a report on the leak: measures.",
        *given(
            "Leak report",
            "# Measures\n\nThe leak measures are checked weekly. Owner: Ada Lind. Due: 4 June 2031.",
        ),
    )
    assert "Owner: Ada Lind." in text
