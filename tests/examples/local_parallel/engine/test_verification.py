"""Verdicts, with what they rest on."""

from __future__ import annotations

from examples.research_agents.local_parallel.engine import Verdict, verify

from .measuring import DEPTH, library_of


def judged(claim: str, *documents: str) -> Verdict:
    return verify(claim, library_of({f"Paper {n}": text for n, text in enumerate(documents)}), DEPTH)


def test_every_part_has_to_be_borne_out() -> None:
    """A true year beside a founder nobody names is not supported; a wrong year contradicts the whole."""
    told = "Skarn Foods was founded in 1987 by Ida Holm."
    assert judged("Skarn Foods was founded in 1987 by Ida Holm.", told).verdict == "supported"
    assert judged("Skarn Foods was founded in 1987 by Per Lund.", told).verdict == "contradicted"
    assert judged("Skarn Foods was founded in 1988 by Ida Holm.", told).verdict == "contradicted"
    assert (
        judged("Skarn Foods was founded in 1987 by Ida Holm.", "Skarn Foods was founded in 1987.").verdict
        == "not_found"
    )


def test_a_value_of_something_else_decides_nothing() -> None:
    """Staff in Norway are not the staff, and those of 2020 not those of 2023."""
    told = "Skarn Foods employs 340 people in Norway."
    assert judged("Skarn Foods employs 340 people in Sweden.", told).verdict == "not_found"
    yearly = "In 2020 Skarn Foods employed 340 people."
    assert judged("In 2023 Skarn Foods employed 500 people.", yearly).verdict == "not_found"


def test_a_denial_is_turned() -> None:
    """What refutes a claim supports its denial."""
    told = "Skarn Foods employs 340 people."
    assert judged("Skarn Foods does not employ 340 people.", told).verdict == "contradicted"
    assert judged("Skarn Foods does not employ 350 people.", told).verdict == "supported"


def test_versions_are_no_decimal_numbers() -> None:
    """3.9 is older than 3.10, and "Python 3" says less than ">=3.10" and nothing else."""
    told = "The package aaa requires Python >=3.10."
    assert judged("The package aaa requires Python 3.9.", told).verdict == "contradicted"
    assert judged("The package aaa requires Python 3.", told).verdict == "supported"
    assert judged("The package aaa requires Python 3.10 or newer.", told).verdict == "supported"
    assert judged("The package bbb requires Python 3.9.", told).verdict == "not_found"


def test_the_witness_is_quoted_word_for_word() -> None:
    """Its sentence, title and URL, in the evidence and in the basis."""
    verdict = judged("Skarn Foods employs 340 people.", "Skarn Foods employs 340 people.")
    [witness] = verdict.evidence
    assert (witness.url, witness.title, witness.stance) == ("document:Paper 0", "Paper 0", "supports")
    assert witness.excerpt == "Skarn Foods employs 340 people."
    assert verdict.basis[0].citations[0].excerpts == (witness.excerpt,)
    assert verdict.confidence == "high"
