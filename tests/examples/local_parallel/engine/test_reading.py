"""Passages as clauses with what they are about."""

from __future__ import annotations

import pytest

from examples.research_agents.local_parallel.engine.asking import read_question
from examples.research_agents.local_parallel.engine.reading import (
    Clause,
    common_words,
    owned_by,
    read_passage,
)


def clauses(text: str, title: str = "Notes") -> list[Clause]:
    return list(read_passage("document:x", title, text))


def test_pronouns_and_short_names_are_resolved() -> None:
    """The company named before is "it" and "Velkor", and a quotation of them brings its name along."""
    read = clauses("Velkor Dynamics was founded in 1987. It employs 340 people. Velkor is based in Oslo.")
    assert [str(one.subject).split()[0] for one in read] == ["Velkor"] * 3
    assert read[1].quote.startswith("Velkor Dynamics was founded")
    entity = read_question("What is Velkor Dynamics?").entities[0]
    assert all(owned_by(entity, one) for one in read)


@pytest.mark.parametrize(
    ("text", "owned"),
    [
        ("The Velkor Dynamics Foundation was founded in 1990.", False),
        ("Velkor Dynamics makes violins.", True),
        ("Ida Holm founded Velkor Dynamics.", True),
        ("Morvik is a rival of Velkor Dynamics.", False),
        ("Morvik delivers to Velkor Dynamics.", False),
    ],
)
def test_whom_a_sentence_is_about(text: str, owned: bool) -> None:
    """A name that is only mentioned, or part of a longer one, is not the subject."""
    entity = read_question("What is Velkor Dynamics?").entities[0]
    assert owned_by(entity, clauses(text)[0]) is owned


def test_a_thing_is_found_by_its_name_alone() -> None:
    """The package x is not the package x-plus."""
    [entity] = read_question("What is the license of the package x?").entities
    assert owned_by(entity, clauses("The license of the package x is MIT.")[0])
    assert not owned_by(entity, clauses("The license of the package x-plus is MIT.")[0])
    assert not owned_by(entity, clauses("The package y depends on x.")[0])


def test_a_word_written_small_is_common() -> None:
    """And one that is always written with a capital may be a name."""
    read = clauses("The receipt and all receipts are kept. Velkor keeps them.")
    assert common_words("receipt", read) == {"receipt"}
    assert common_words("velkor", read) == frozenset()


def test_an_endless_sentence_is_cut() -> None:
    """What is longer than any sentence is a table, and read in part."""
    assert max(len(one.sentence) for one in clauses("a, " * 20_000)) <= 1500
