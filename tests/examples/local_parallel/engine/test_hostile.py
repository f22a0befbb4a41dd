"""Input that means harm, or nothing: nothing raises, and everything is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.research_agents.local_parallel.engine import analyse, verify
from examples.research_agents.local_parallel.engine.numbers import quantities_in
from examples.research_agents.local_parallel.engine.parts import split_claims, split_parts
from examples.research_agents.local_parallel.engine.reading import read_passage
from tests.support.timing import cpu_within

from .measuring import DEPTH, library_of
from .prose import DOCUMENTS

# What it runs is covered by other tests, and takes twice as long while that is watched.
pytestmark = pytest.mark.no_cover

LONGEST = 25_000  # characters a message may have
SECONDS = 2.0  # for one of them
PROSE = library_of(DOCUMENTS)
# Words and marks that the patterns look for, so that random texts reach them.
WORDS = st.sampled_from(
    [
        "Velkor",
        "Dynamics",
        "the",
        "package",
        "fastapi",
        "statement",
        "and",
        "or",
        ",",
        ".",
        ";",
        ":",
        "340",
        "3.5",
        "2.1",
        "kg",
        "million",
        "euros",
        "in",
        "1987",
        "2023",
        "is",
        "was",
        "not",
        "founded",
        "by",
        "of",
        "requires",
        "Python",
        ">=3.11",
        "license",
        "MIT",
        "than",
        "more",
        "heavier",
        "which",
        "who",
        '"',
        "'",
        "(",
        ")",
        "%",
        "°",
        "€",
        "12,400",
        "at",
        "09:12",
        "up",
        "to",
    ]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(WORDS, max_size=60).map(" ".join))


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_any_message_is_answered(text: str) -> None:
    """Whatever is asked or claimed, the answer is of the documented shape, and a verdict has its passages."""
    analysis = analyse(text, PROSE, DEPTH)
    assert all(one.statement and one.url for one in analysis.findings)
    fields = {one.field for one in analysis.basis}
    assert {f"findings.{place}" for place in range(len(analysis.findings))} <= fields
    verdict = verify(text, PROSE, DEPTH)
    assert bool(verdict.evidence) is (verdict.verdict != "not_found")
    assert len(split_claims(text)) <= 8
    assert split_parts(text)


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_any_document_is_read(text: str) -> None:
    """A document may hold anything; what is quoted stands in it."""
    library = library_of({"Velkor Dynamics": f"Velkor Dynamics has 340 employees. {text}"})
    found = analyse("How many employees does Velkor Dynamics have?", library, DEPTH)
    told = " ".join(library.read(one.url)[1] for one in found.findings if library.read(one.url))  # type: ignore[index]
    for finding in found.findings:
        assert all(part.strip() in told for part in finding.statement.split("[...]")[-1:])
    verify("Velkor Dynamics has 340 employees.", library, DEPTH)


@given(st.text(max_size=400))
def test_quantities_lie_in_their_text(text: str) -> None:
    """In order, without overlapping, each where it says it is."""
    end = 0
    for one in quantities_in(text):
        assert one.text == text[one.start : one.end]
        assert end <= one.start < one.end
        end = one.end


HOSTILE = {
    "ten thousand numbers": " ".join(map(str, range(10_000))),
    "only blanks": " " * LONGEST + "x",
    "only line breaks": "\n" * LONGEST,
    "commas": ", " * 12_500,
    "brackets": "(" * LONGEST,
    "questions": "? " * 12_500,
    "how many": "how many " * 3000,
    "names": "Velkor Dynamics and " * 1250,
    "quotes": '"a ' * 9000,
    "packages": "the package a and " * 1400,
    "statements": "a statement and " * 1600,
    "dots": "a.b." * 6250,
    "licenses": "the license of a and " * 1200,
    "negations": "not " * 6250,
    "one number": "1" * LONGEST,
    "possessives": "Velkor's " * 2800,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_is_bounded(text: str) -> None:
    """Asked or claimed, 25,000 characters take no longer than a person would wait."""
    for act in (analyse, verify):
        with cpu_within(SECONDS):
            act(text[:LONGEST], PROSE, DEPTH)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_document_is_bounded(text: str) -> None:
    """Likewise as a document that a question leads to."""
    with cpu_within(2 * SECONDS):
        assert sum(1 for _ in read_passage("document:x", "Velkor Dynamics", text[:LONGEST])) < LONGEST
        library = library_of({"Velkor Dynamics": f"Velkor Dynamics has 340 employees. {text[:LONGEST]}."})
        analyse("Compare the revenue of Velkor Dynamics and Morvik in 2020.", library, DEPTH)
        verify("Velkor Dynamics has 340 employees.", library, DEPTH)
