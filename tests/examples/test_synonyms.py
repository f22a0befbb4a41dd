"""Words that mean the same."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.synonyms import meanings, synonyms
from examples.research_agents.retrieval.text import stem


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("outage", "unavailable"),
        ("rise", "increase"),
        ("cost", "price"),
        ("paid", "financed"),
        ("ship", "vessel"),
    ],
)
def test_the_table_is_read_in_both_directions(one: str, other: str) -> None:
    """Whoever asks with one word finds the other, whichever of them the text has."""
    assert stem(other) in synonyms(stem(one))
    assert stem(one) in synonyms(stem(other))


def test_what_a_text_holds_leads_to_what_was_asked() -> None:
    """Each word that means one of those asked for points at it; a word is no synonym of itself."""
    found = meanings(["outag", "teapot"])
    assert found[stem("downtime")] == {"outag"}
    assert "outag" not in found
    assert "teapot" not in {term for terms in found.values() for term in terms}


def test_the_table_is_bounded() -> None:
    """No word stands for many others: a question must not grow without measure."""
    words = [stem(word) for word in ("rise", "fall", "outage", "pay", "certify", "meet", "fix")]
    assert all(0 < len(synonyms(word)) <= 12 for word in words)
