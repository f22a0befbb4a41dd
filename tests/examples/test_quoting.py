"""Excerpts."""

from __future__ import annotations

import pytest

from examples.research_agents.retrieval.quoting import best_sentences, is_fragment, points_back

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
        ("It was agreed to stay.", False),
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


def test_a_heading_is_neither_quoted_nor_glued_to_what_follows() -> None:
    """A word with a full stop says nothing; a pair and a number do."""
    assert (
        best_sentences(["Meals. Soup is free."], {"meal": 5.0, "soup": 1.0}, set(), 3, 4000)[0]
        == "Soup is free."
    )
    assert is_fragment("Opening hours.")
    assert not is_fragment("Owner: Lind.")
    assert not is_fragment("It 5.")


def test_a_title_that_names_whom_it_is_about_explains_the_company() -> None:
    """The sentence before, about something else, is not dragged along."""
    text = ["The margin was 4 per cent.", "Since 2011 the company has been led by Karl Emm."]
    words = {"rel_leader": 5.0, "dornick": 5.0}
    known = best_sentences(text, words, {"dornick"}, 1, 4000, known=frozenset({"dornick"}))[0]
    assert known == "Since 2011 the company has been led by Karl Emm."
