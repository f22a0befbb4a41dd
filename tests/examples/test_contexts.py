"""Whom a sentence without a name is about."""

from __future__ import annotations

from examples.research_agents.retrieval.contexts import contexts_of, names_another

NAME = frozenset({"brunnau"})


def test_the_name_is_kept_until_somebody_else_is_named() -> None:
    """Across paragraphs; a place or an abbreviation is nobody else."""
    text = [
        "Brunnau makes valves. Nobody was hurt. In Graz the mill closed. The TLS key was old.",
        "Its rival Pebblon grew. The mill was sold.",
    ]
    assert contexts_of(text, NAME, {}) == {
        "Nobody was hurt.": NAME,
        "In Graz the mill closed.": NAME,
        "The TLS key was old.": NAME,
    }


def test_before_it_is_named_nothing_is_about_it() -> None:
    """A later name does not reach back."""
    assert contexts_of(["The mill was sold. Brunnau bought it."], NAME, {}) == {}


def test_what_is_asked_for_is_nobody_else() -> None:
    """A capital at the beginning makes no name of the measure that the question is about."""
    assert names_another("Pebblon grew by 4 per cent.", {"net", "profit"})
    assert not names_another("Net profit was 4 million.", {"net", "profit"})
