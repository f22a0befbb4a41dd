"""Excerpts."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.quoting import best_sentences, points_back

TEXT = ["Tea is a leaf. It grows on hills. Nobody drinks milk.", "This is why mountains are green."]


@pytest.mark.parametrize(
    ("sentence", "points"),
    [
        ("It grows.", True),
        ("These are two.", True),
        ("That is all.", True),
        ("However, not now.", True),
        ("In this case it ends.", True),
        ("Items are counted.", False),
        ("Italy is far.", False),
        ("Thistles grow.", False),
    ],
)
def test_sentences_that_need_the_one_before(sentence: str, points: bool) -> None:
    """By their first word, and a whole word it is."""
    assert points_back(sentence) is points


def quoted(words: dict[str, float], most: int = 3, **more: object) -> str:
    return best_sentences(TEXT, words, set(), most, 4000, **more)[0]  # type: ignore[arg-type]


def test_what_points_back_comes_with_what_it_points_at() -> None:
    """The words "It grows on hills." alone says nothing; across paragraphs too."""
    assert quoted({"hill": 5.0}).startswith("Tea is a leaf. It grows on hills.")
    assert quoted({"mountain": 5.0}) == "Nobody drinks milk.\nThis is why mountains are green."


def test_it_is_left_out_when_both_do_not_fit() -> None:
    """One sentence is too few for two."""
    assert "It" not in quoted({"hill": 5.0}, most=1)
    assert best_sentences(["It grows."], {"grow": 1.0}, set(), 3, 4000)[0] == ""
    assert best_sentences(["It grows."], {"grow": 1.0}, set(), 3, 4000, named=True)[0] == "It grows."


def test_only_leads_are_chosen() -> None:
    """Others may follow; without one there is no excerpt."""
    assert quoted({"milk": 5.0}, most=1, leads=lambda text: text.startswith("Tea")) == "Tea is a leaf."
    assert quoted({"milk": 5.0}, leads=lambda text: False) == ""
