"""An answer takes the form of the caller's schema by leaving out, never by making up."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from examples.research_agents.local_parallel.schemas import UnfittingError, allows, fit, items_of, options_of


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    size: int | None = None
    label: str = "none"


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parts: list[Part]
    best: Part | None = None
    other: Part | str = "x"


SCHEMA = Whole.model_json_schema()


def test_fields_that_are_not_named_are_left_out_at_every_level() -> None:
    """So that a class which forbids them can be filled."""
    part = {"name": "a", "size": 3, "url": "u", "label": "l"}
    fitted = fit({"parts": [part], "best": part, "other": part, "more": 1}, SCHEMA)
    assert Whole.model_validate(fitted) == Whole(
        parts=[Part(name="a", size=3, label="l")],
        best=Part(name="a", size=3, label="l"),
        other=Part(name="a", size=3, label="l"),
    )


def test_null_is_given_where_it_is_allowed_and_left_to_the_default_elsewhere() -> None:
    """A required field that may not be null is an error with its path."""
    fitted = fit({"parts": [{"name": "a", "size": None, "label": None}], "other": None}, SCHEMA)
    assert fitted == {"parts": [{"name": "a", "size": None}], "best": None}
    Whole.model_validate(fitted)
    with pytest.raises(UnfittingError, match=r"parts\.0\.name"):
        fit({"parts": [{"name": None}]}, SCHEMA)
    with pytest.raises(UnfittingError, match="'parts'"):
        fit({}, SCHEMA)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": 3},
        {"properties": {"a": 7}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"$ref": "elsewhere"}}},
        {"properties": {"a": {"anyOf": []}}, "required": "a"},
        {"properties": {"a": {"type": ["string", "array"], "enum": 4}}},
        {"properties": {"a": True}},
    ],
)
def test_a_schema_that_says_nothing_we_understand_changes_nothing(schema: dict[str, Any]) -> None:
    """And one that refers to itself ends."""
    assert fit({"a": ["x"]}, schema) == {"a": ["x"]}


def test_what_a_schema_allows() -> None:
    """Types, alternatives, references and enumerations; what is not there allows nothing."""
    root = {"$defs": {"V": {"enum": ["supported", "not_found"], "type": "string"}}}
    assert allows({"$ref": "#/$defs/V"}, "supported", root)
    assert not allows({"$ref": "#/$defs/V"}, "guilty", root)
    assert not allows({"$ref": "#/$defs/V"}, None, root)
    assert allows({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, root)
    assert allows({"type": ["string", "null"]}, None, root)
    assert not allows({"type": "string"}, [], root)
    assert allows({}, 3, root)
    assert allows(True, 3, root)
    assert not allows(False, 3, root)


def test_the_plain_schemas_behind_a_part() -> None:
    """References followed, alternatives listed; the items of an array, wherever they are described."""
    root = {"$defs": {"V": {"type": "string"}, "L": {"type": "array", "items": {"$ref": "#/$defs/V"}}}}
    assert options_of({"anyOf": [{"$ref": "#/$defs/V"}, {"type": "null"}]}, root) == [
        {"type": "string"},
        {"type": "null"},
    ]
    assert items_of({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/L"}]}, root) == {"type": "string"}
    assert items_of({"type": "array"}, root) == items_of(True, root) == {}
