"""A measurement over facts made up at test time, in sixteen kinds of sentences over several documents.

Every failure names the seed that makes the same world again.
"""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from examples.research_agents.local_parallel.engine import Analysis, analyse, verify
from examples.research_agents.local_parallel.engine.numbers import plain

from .generated import TEMPLATES, Made, Template, make
from .measuring import DEPTH, library_of

WORLDS = 4  # for each kind of sentence
SEEDS = [random.SystemRandom().randrange(10**6) for _ in range(WORLDS)]

every_kind = pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: one.name)


def worlds(template: Template) -> list[Made]:
    return [make(template, seed) for seed in SEEDS]


def number(value: str, unit: str) -> str:
    """*value* as findings carry it."""
    digits = value.replace(",", "")
    return str(Decimal(digits) * 1_000_000) if unit == "EUR" else digits


def values(analysis: Analysis) -> set[tuple[str, str]]:
    return {(one.value, one.unit) for one in analysis.findings}


@every_kind
def test_a_value_is_found_with_its_source(template: Template) -> None:
    """The value of the one asked for, in its unit, cited from its document; and no value of the other."""
    for made in worlds(template):
        found = analyse(made.sentence(template.question, 0, 0), library_of(made.documents), DEPTH)
        assert values(found) == {(number(made.values[0], template.unit), template.unit)}, (made, found)
        assert {one.url for one in found.findings} == {f"document:Notes on {made.names[0]}"}, (made, found)
        assert not found.not_found, (made, found)
        assert not found.conflicts, (made, found)


@every_kind
def test_what_is_left_out_is_not_found(template: Template) -> None:
    """Nothing is said of the third, of whom no document tells; it is named as missing."""
    for made in worlds(template):
        found = analyse(made.sentence(template.question, 2, 0), library_of(made.documents), DEPTH)
        assert found.findings == (), (made, found)
        assert any(made.names[2] in one for one in found.not_found), (made, found)


@pytest.mark.parametrize("template", [one for one in TEMPLATES if one.comparison], ids=lambda one: one.name)
def test_two_are_compared(template: Template) -> None:
    """Who has more, and by exactly how much."""
    for made in worlds(template):
        found = analyse(made.sentence(template.comparison, 0, 0), library_of(made.documents), DEPTH)
        [comparison] = found.comparisons or [None]
        assert comparison is not None, (made, found)
        if template.values == "license":
            assert all(value in comparison.statement for value in made.values[:2]), (made, comparison)
            continue
        one, other = (Decimal(number(value, template.unit)) for value in made.values[:2])
        assert comparison.highest.startswith(made.names[0 if one > other else 1]) or (
            comparison.highest.endswith(made.names[0 if one > other else 1])
        ), (made, comparison)
        assert [Decimal(side.value) for side in comparison.order] == sorted((one, other), reverse=True), (
            made,
            comparison,
        )
        if template.unit:
            apart = f"by {plain(abs(one - other))} {template.unit}"
            assert apart in comparison.statement.replace(",", ""), (made, comparison)


@every_kind
def test_a_disagreement_is_seen(template: Template) -> None:
    """A third document tells another value: a conflict with both, whoever comes first."""
    for made in worlds(template):
        told = {**made.documents, "Letter": made.sentence(template.told[0], 0, 2)}
        found = analyse(made.sentence(template.question, 0, 0), library_of(told), DEPTH)
        assert len(found.conflicts) == 1, (made, found)
        assert len(found.conflicts[0].values) == 2, (made, found)
        assert "document:Letter" in found.conflicts[0].urls, (made, found)


@every_kind
def test_claims_are_judged(template: Template) -> None:
    """True ones supported, false ones contradicted, and of the unknown nothing is said; each with its passage."""
    for made in worlds(template):
        library = library_of(made.documents)
        for form in template.claims:
            for owner, value, verdict in (
                (0, 0, "supported"),
                (1, 0, "contradicted"),
                (0, 2, "contradicted"),
                (2, 0, "not_found"),
            ):
                judged = verify(made.sentence(form, owner, value), library, DEPTH)
                assert judged.verdict == verdict, (made, form, judged)
                sources = {one.url for one in judged.evidence}
                assert sources == (set() if owner == 2 else {f"document:Notes on {made.names[owner]}"}), (
                    made,
                    judged,
                )


@every_kind
def test_both_sides_are_heard(template: Template) -> None:
    """Where documents disagree about a claim it is contradicted, without confidence, and both are shown."""
    for made in worlds(template):
        told = {**made.documents, "Letter": made.sentence(template.told[0], 0, 2)}
        judged = verify(made.sentence(template.claims[0], 0, 0), library_of(told), DEPTH)
        assert (judged.verdict, judged.confidence) == ("contradicted", "low"), (made, judged)
        assert {one.stance for one in judged.evidence} == {"supports", "contradicts"}, (made, judged)
