"""Claims judged by their words."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import verify

from .measuring import DEPTH, library_of

SENTENCES = {
    "Some of the valves are tested every month.": {
        "All valves are tested every month.": "not_found",
    },
    "The pump may be stopped at night.": {
        "The pump may be stopped at night.": "supported",
        "The pump is stopped at night.": "not_found",
    },
    "The pump is not stopped at night.": {
        "The pump is stopped at night.": "contradicted",
        "The pump is not stopped at night.": "supported",
    },
    "The door opens only if the pressure is low.": {
        "The door opens.": "not_found",
    },
    "The council approved the plan for the harbour.": {
        "The council rejected the plan for the harbour.": "contradicted",
        "The council authorised the plan for the harbour.": "supported",
        "The council approved the plan for the airport.": "not_found",
    },
    "The old engine caused the fire in the hall.": {
        "The fire in the hall caused the old engine.": "not_found",
        "The old engine triggered the fire in the hall.": "supported",
    },
    "The committee will publish the report in spring.": {
        "The committee published the report in spring.": "not_found",
        "The committee will publish the report in spring.": "supported",
    },
    "The filter removes 99 percent of lead and 97 percent of chlorine.": {
        "The filter removes 97 percent of chlorine.": "supported",
        "The filter removes 99 percent of chlorine.": "contradicted",
    },
    "The tank holds 3.5 litres.": {
        "The tank holds 5 litres.": "contradicted",
    },
    "The lamp is switched on before the test.": {
        "The lamp is switched on after the test.": "not_found",
    },
}


@pytest.mark.parametrize(
    ("sentence", "claim", "verdict"),
    [
        (sentence, claim, verdict)
        for sentence, claims in SENTENCES.items()
        for claim, verdict in claims.items()
    ],
)
def test_a_claim_is_judged(sentence: str, claim: str, verdict: str) -> None:
    """As strongly as it is told, with its condition, and with who does what to whom; else nothing is decided."""
    judged = verify(claim, library_of({"Notes": sentence}), DEPTH)
    assert judged.verdict == verdict, judged


@pytest.mark.parametrize(
    ("sentence", "claim", "verdict"),
    [
        (
            "Numbers and tuples are immutable, while dictionaries are mutable.",
            "Tuples are mutable.",
            "contradicted",
        ),
        (
            "Numbers and tuples are immutable, while dictionaries are mutable.",
            "Dictionaries are mutable.",
            "supported",
        ),
        (
            "The chairman of the board resigned in November 2024.",
            "The board resigned in November 2024.",
            "not_found",
        ),
        ("Children may only visit with an adult.", "Children may visit.", "not_found"),
        ("Children may only visit with an adult.", "Children may visit with an adult.", "supported"),
        (
            "The contract begins on 1 April 2025 and ends on 31 March 2027.",
            "The contract begins on 31 March 2027.",
            "not_found",
        ),
        (
            "The harvest was 12 percent lower than in 2021.",
            "The harvest was 12 percent higher than in 2021.",
            "not_found",
        ),
        (
            "The farm sold 60 percent of the apples to Brunn and the rest to schools.",
            "The farm sold 60 percent of the apples to schools.",
            "not_found",
        ),
        ("The motion to sell the old pier was rejected.", "The old pier was sold.", "not_found"),
        (
            "Nord Ferries expects to run an electric fleet by 2032.",
            "The fleet of Nord Ferries is electric.",
            "not_found",
        ),
        (
            "Earthworm density did not differ significantly.",
            "Earthworm density differed significantly.",
            "contradicted",
        ),
    ],
)
def test_what_only_shares_the_words_says_something_else(sentence: str, claim: str, verdict: str) -> None:
    """The other side of "while", whose it is, and what is only intended."""
    assert verify(claim, library_of({"Notes": sentence}), DEPTH).verdict == verdict
