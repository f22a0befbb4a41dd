"""Since when somebody is what a claim says."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine import verify

from .measuring import DEPTH, library_of

TOLD = library_of(
    {
        "Tarn Foods profile": "Tarn Foods was established in 1962 by the engineer Rosa Aschauer, who ran it until 1994. "
        "Since March 2019 the company has been led by Henrik Dahl."
    }
)
CLAIMS = {
    "Henrik Dahl has led Tarn Foods since 2019.": "supported",
    "Henrik Dahl leads Tarn Foods since 2017.": "contradicted",
    "Henrik Dahl leads Tarn Foods.": "supported",
    "Rosa Aschauer leads Tarn Foods.": "contradicted",
    "Tarn Foods was led by Rosa Aschauer until 1994.": "not_found",
}


@pytest.mark.parametrize(("claim", "verdict"), CLAIMS.items())
def test_a_name_has_its_time(claim: str, verdict: str) -> None:
    """Another year refutes; who leads today refutes nobody who led before."""
    assert verify(claim, TOLD, DEPTH).verdict == verdict
