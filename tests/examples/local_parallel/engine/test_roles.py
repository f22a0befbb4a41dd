"""Who does what to whom, in sentences that say a second thing between commas."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import verify

from .measuring import DEPTH, library_of

SUBSIDIARY = "Kestrel Aviation, a subsidiary of Norvane Group, earned 12 million dollars in 2022."
FOUNDER = "Jon Ferris, who founded Rella Corp., was born in 1960."
BOUGHT = "Kestrel Aviation acquired Morvik Lines in 2019."
CASES = (
    (SUBSIDIARY, "Kestrel Aviation earned 12 million dollars in 2022.", "supported"),
    (SUBSIDIARY, "Kestrel Aviation earned 14 million dollars in 2022.", "contradicted"),
    (SUBSIDIARY, "Norvane Group earned 12 million dollars in 2022.", "not_found"),
    (SUBSIDIARY, "Kestrel Aviation is a subsidiary of Norvane Group.", "supported"),
    (FOUNDER, "Jon Ferris was born in 1960.", "supported"),
    (FOUNDER, "Jon Ferris founded Rella Corp.", "supported"),
    (FOUNDER, "Rella Corp. was founded in 1960.", "not_found"),
    (FOUNDER, "Rella Corp. was born in 1960.", "not_found"),
    (
        "The head of Velkor, a chemist, earned 3 million dollars in 2020.",
        "Velkor earned 5 million dollars in 2020.",
        "not_found",
    ),
    (BOUGHT, "Morvik Lines was acquired by Kestrel Aviation in 2019.", "supported"),
)
REVERSED = (
    (
        "Kestrel Aviation, owned by Norvane Group, earned 12 million dollars.",
        "Kestrel Aviation owns Norvane Group.",
    ),
    (SUBSIDIARY, "Norvane Group is a subsidiary of Kestrel Aviation."),
    (BOUGHT, "Morvik Lines acquired Kestrel Aviation in 2019."),
    ("Lake Corp. was bought by Ferris Holding.", "Ferris Holding was bought by Lake Corp."),
)


@pytest.mark.parametrize(("told", "claim", "verdict"), CASES)
def test_the_verb_belongs_to_its_subject(told: str, claim: str, verdict: str) -> None:
    """What is embedded says something of its own, and the sentence goes on about the name before it."""
    assert verify(claim, library_of({"Paper": told}), DEPTH).verdict == verdict


@pytest.mark.parametrize(("told", "claim"), REVERSED)
def test_reversed_roles_are_never_supported(told: str, claim: str) -> None:
    """Who owns and who is owned do not change places."""
    assert verify(claim, library_of({"Paper": told}), DEPTH).verdict != "supported"


def test_even_values_tell_nothing_of_who_is_larger() -> None:
    """Two equal revenues neither bear out nor refute "larger"; different ones do."""
    told = "Kestrel Aviation had revenue of 12 million dollars in 2022. Norvane Group had revenue of {} million dollars in 2022."
    claim = "Kestrel Aviation is larger than Norvane Group."
    assert verify(claim, library_of({"Paper": told.format(12)}), DEPTH).verdict == "not_found"
    assert verify(claim, library_of({"Paper": SUBSIDIARY}), DEPTH).verdict == "not_found"
    assert verify(claim, library_of({"Paper": told.format(9)}), DEPTH).verdict == "supported"
