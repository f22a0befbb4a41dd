"""What a source only says that somebody says."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import verify

from .measuring import DEPTH, library_of

LOST = "According to critics, Pellan Bank lost 40 million dollars in 2021."
CLAIM = "Pellan Bank lost 40 million dollars in 2021."


@pytest.mark.parametrize(
    "told",
    [
        LOST,
        "Pellan Bank allegedly lost 40 million dollars in 2021.",
        "Pellan Bank lost 40 million dollars in 2021, critics say.",
        "Critics claim that Pellan Bank lost 40 million dollars in 2021.",
        "Pellan Bank denies that it lost 40 million dollars in 2021.",
    ],
)
def test_reported_speech_is_no_more_than_low(told: str) -> None:
    """The confidence is that of hearsay; the same sentence without its speaker carries more."""
    assert verify(CLAIM, library_of({"Paper": told}), DEPTH).confidence == "low"
    assert verify(CLAIM, library_of({"Paper": CLAIM}), DEPTH).confidence == "high"


@pytest.mark.parametrize("denial", ["Pellan Bank denies this.", "The bank disputes the claim."])
def test_a_denial_in_the_next_sentence_is_heard(denial: str) -> None:
    """It contradicts, with both sentences quoted; another sentence there does not."""
    verdict = verify(CLAIM, library_of({"Paper": f"{LOST} {denial}"}), DEPTH)
    assert (verdict.verdict, verdict.confidence) == ("contradicted", "low")
    assert verdict.evidence[0].excerpt == f"{LOST} {denial}"
    other = verify(CLAIM, library_of({"Paper": f"{LOST} Pellan Bank has its seat in Oslo."}), DEPTH)
    assert (other.verdict, other.confidence) == ("supported", "low")
