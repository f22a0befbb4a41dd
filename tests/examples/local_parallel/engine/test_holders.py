"""Questions that give the value and ask for its owners."""

from __future__ import annotations

from examples.research_agents.local_parallel.engine import analyse

from .measuring import DEPTH, library_of


def test_the_owners_of_a_license_are_named() -> None:
    """Only those; the number in a license's name is no value."""
    told = library_of(
        {
            "aaa": "The license of the package aaa is Apache-2.0.",
            "bbb": "The license of the package bbb is MIT.",
            "ccc": "The package ccc is licensed under Apache-2.0.",
        }
    )
    found = analyse("Which packages are licensed under Apache-2.0?", told, DEPTH)
    assert {(one.subject, one.value) for one in found.findings} == {
        ("aaa", "Apache-2.0"),
        ("ccc", "Apache-2.0"),
    }
