"""What is wrong with a setting is said in the words of who wrote it, with the name that was probably meant."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from prodkit.core.exceptions import SettingsError
from prodkit.core.faults import faults_of
from prodkit.core.features import FeatureSettings


class Rule(FeatureSettings):
    """What lies below."""

    origins: tuple[str, ...] = ()
    max_age: Annotated[int | None, Field(ge=0)] = None


class Section(FeatureSettings):
    """A section with every way to nest."""

    origins: tuple[str, ...] = ()
    exempt_paths: list[str] = Field(default_factory=list)
    by_path: dict[str, Rule] = Field(default_factory=dict)
    listed: tuple[Rule, ...] = ()
    single: Annotated[Rule | None, Field(description="one")] = None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"origins": "x"},
            'Section(origins=...): Input should be a list. Write a list of origins, like ["a", "b"].',
        ),
        ({"exempt_paths": "x"}, "Write a list of exempt paths, like"),
        ({"by_path": {"/a": {"origins": "x"}}}, "Write a list of origins, like"),
        ({"by_path": ["x"]}, 'Write a dict, like {"a": "b"}.'),
        ({"origin": ["x"]}, "Did you mean origins?"),
        ({"by_path": {"/a": {"origin": ["x"]}}}, "Did you mean origins?"),
        ({"listed": [{"maxage": 1}]}, "Did you mean max_age?"),
        ({"single": {"originz": 1}}, "Did you mean origins?"),
        ({"single": {"zzzzzzzz": 1}}, "Remove it, or correct the name."),
        ({"single": {"max_age": -1}}, "Correct the value."),
        ({"single": {"max_age": "1MB"}}, "Write digits, without a unit"),
    ],
)
def test_in_code(options: dict[str, Any], said: str):
    """A list is a list there, whatever pydantic makes of it, and a typo is recognised wherever it stands."""
    with pytest.raises(SettingsError) as raised:
        Section.of("Section", **options)
    assert said in str(raised.value)
    assert "tuple" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"origins": "x"}, 'Write it as a JSON list, like ["a", "b"].'),
        ({"by_path": ["x"]}, 'Write it as a JSON object, like {"a": "b"}.'),
        ({"by_path": {"/a": {"origin": []}}}, "Did you mean origins?"),
    ],
)
def test_in_variables(options: dict[str, Any], cure: str):
    """Whoever writes variables writes JSON."""
    with pytest.raises(ValidationError) as raised:
        Section(**options)
    (fault,) = faults_of(raised.value, ".".join, Section)
    assert fault.cure == cure
