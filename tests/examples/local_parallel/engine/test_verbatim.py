"""Claims that stand in a source, and claims about nobody."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import verify

from .measuring import DEPTH, library_of

SENTENCES = (
    "Today Tarn Foods has 615 people on its payroll, 140 of whom work in research.",
    "The company, founded in 1978 in Bergen, expects to run a fully electric fleet by 2032.",
    "No effect on soil moisture was found.",
)
FERRIES = "Nord Ferries carried 3.2 million passengers in 2024."


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_never_contradicts_itself(sentence: str) -> None:
    """Whatever numbers it holds, with other marks and capitals too."""
    told = library_of({"Tarn Foods": " ".join(SENTENCES)})
    assert verify(sentence, told, DEPTH).verdict == "supported"
    assert verify(sentence.rstrip(".").upper(), told, DEPTH).verdict == "supported"


def test_another_document_may_contradict_it() -> None:
    """Then the sources disagree, and the reason begins with that."""
    told = library_of({"Press": FERRIES, "Paper": FERRIES.replace("3.2", "2.9")})
    judged = verify(FERRIES, told, DEPTH)
    assert (judged.verdict, judged.confidence) == ("contradicted", "low")
    assert judged.reasoning.startswith("The sources disagree:")
    assert {one.stance for one in judged.evidence} == {"supports", "contradicts"}


def test_it_is_nobody() -> None:
    """A pronoun in a claim of its own is no one, and above all not the town that the claim names."""
    told = library_of({"Morvik": "Morvik Energy employs 1,200 people in Oslo."})
    judged = verify("It employs 340 people in Oslo.", told, DEPTH)
    assert judged.verdict == "not_found"
    assert judged.reasoning == "The claim does not say whom it is about."
