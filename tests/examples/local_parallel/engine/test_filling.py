"""Any JSON schema is filled field by field, with a source for each value, and null where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.local_parallel.engine import fill
from examples.research_agents.retrieval.library import Library
from examples.research_agents.retrieval.passages import passages_of
from examples.research_agents.retrieval.ranking import DEPTHS

TEXTS = {
    "Velkor Dynamics: profile": "Velkor Dynamics builds cargo gliders. Velkor Dynamics was founded in 1987 by Ada Lund. Velkor Dynamics is based in Oslo. "
    "Velkor Dynamics employs 340 people. Velkor Dynamics had revenue of 12 million euros in 2023. "
    "Velkor Dynamics had revenue of 15.5 million euros in 2024.",
    "Morvik Systems": "Morvik Systems employs 1,250 people. Morvik Systems was founded on 12 May 1962.",
    "Product sheet: Norlux 400": "The Norlux 400 is a street lamp.\n\n- Price: 289 euros\n- Weight: 4.6 kg\n- Colour: grey\n",
    "Product sheet: Norlux 500": "The Norlux 500 is a street lamp. The Norlux 500 weighs 6.1 kg.",
    "Installed package gizmo": "The license of the package gizmo is MIT.\n\nThe package gizmo requires Python >=3.10.\n\n"
    "The package gizmo depends on left, right>=2.",
    "Installed package my-gizmo-tools": "The license of the package my-gizmo-tools is BSD.",
}
EVIDENCE = Library(
    passage
    for place, (title, text) in enumerate(TEXTS.items())
    for passage in passages_of(f"document:{place}", title, text)
)
TEXT: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}


def filled(subject: str, **properties: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content, and the basis by field."""
    content, basis = fill({"type": "object", "properties": properties}, subject, EVIDENCE, DEPTHS["basic"])
    return content, {one.field: one for one in basis}


@pytest.mark.parametrize(
    ("subject", "name", "schema", "value"),
    [
        ("Velkor Dynamics", "founded", INTEGER, 1987),
        ("Velkor Dynamics", "founder", TEXT, "Ada Lund"),
        ("Velkor Dynamics", "headquarters", TEXT, "Oslo"),
        ("Velkor Dynamics", "numberOfEmployees", INTEGER, 340),
        ("Velkor Dynamics", "employees", TEXT, "340 employees"),
        ("Velkor Dynamics", "name", TEXT, "Velkor Dynamics"),
        ("Velkor Dynamics", "revenue", NUMBER, 15_500_000),
        ("Velkor Dynamics", "revenue", {**NUMBER, "description": "revenue in 2023"}, 12_000_000),
        ("Velkor Dynamics", "sales", {**NUMBER, "description": "revenue of 2024 in million euros"}, 15.5),
        ("How many people work at Morvik Systems?", "staff", {"type": ["integer", "null"]}, 1250),
        ("Morvik Systems", "founding_date", {**TEXT, "format": "date"}, "1962-05-12"),
        ("Velkor Dynamics", "founding_date", {**TEXT, "format": "date"}, None),
        ("Velkor Dynamics", "sector", {"enum": ["gliders", "ships", "trains"]}, "gliders"),
        ("Velkor Dynamics", "sector", {"enum": ["ships", "trains"]}, None),
        ("Velkor Dynamics", "trade", {"enum": ["gliders", "cargo"]}, None),
        (
            "Velkor Dynamics",
            "in_oslo",
            {"type": "boolean", "description": "whether it is based in Oslo"},
            True,
        ),
        (
            "Velkor Dynamics",
            "in_rome",
            {"type": "boolean", "description": "whether it is based in Rome"},
            False,
        ),
        ("Velkor Dynamics", "is_profitable", {"type": "boolean"}, None),
        ("Norlux 400", "price", NUMBER, 289),
        ("Norlux 400", "weight_kg", NUMBER, 4.6),
        ("Norlux 500", "weight", NUMBER, 6.1),
        ("Norlux 400", "colour", TEXT, "grey"),
        ("Norlux 400", "weight", INTEGER, None),
        ("the package gizmo", "license", TEXT, "MIT"),
        ("the package tools", "license", TEXT, None),
        ("the package gizmo", "requires_python", TEXT, ">=3.10"),
        ("the package gizmo", "dependencies", {"type": "array", "items": TEXT}, ["left", "right>=2"]),
        ("Velkor Dynamics", "favourite_dish", TEXT, None),
        ("Umbra Foods", "founded", INTEGER, None),
    ],
)
def test_a_field_has_the_value_that_a_source_gives(
    subject: str, name: str, schema: dict[str, Any], value: object
) -> None:
    """In the form its type asks for, with the sentence it is from; null, with low confidence, where none gives one."""
    content, basis = filled(subject, **{name: schema})
    assert content == {name: value}
    if value is None:
        assert basis[name].confidence == "low"
        assert basis[name].citations == ()
    else:
        cited = [one for field, one in basis.items() if field.split(".")[0] == name]
        assert all(one.citations and one.citations[0].excerpts[0] for one in cited)


def test_objects_are_filled_at_every_level() -> None:
    """Each field of them with a basis of its own; one of which nothing is found is null as a whole."""
    nested = {"type": "object", "properties": {"year": INTEGER, "founder": TEXT}}
    content, basis = filled(
        "Velkor Dynamics", founding=nested, kitchen={"type": "object", "properties": {"dish": TEXT}}
    )
    assert content == {"founding": {"year": 1987, "founder": "Ada Lund"}, "kitchen": None}
    assert basis["founding.year"].citations[0].url == "document:0"
    assert basis["kitchen.dish"].confidence == "low"


def test_a_list_of_objects_has_one_for_each_year_or_each_subject() -> None:
    """The numbers of two years, and the two companies of a comparison."""
    rows = {
        "type": "array",
        "items": {"type": "object", "properties": {"year": INTEGER, "amount": NUMBER, "currency": TEXT}},
    }
    content, _ = filled("Velkor Dynamics", revenues=rows)
    assert sorted(content["revenues"], key=lambda row: row["year"]) == [
        {"year": 2023, "amount": 12_000_000, "currency": "EUR"},
        {"year": 2024, "amount": 15_500_000, "currency": "EUR"},
    ]
    companies = {
        "type": "array",
        "items": {"type": "object", "properties": {"name": TEXT, "employees": INTEGER}},
    }
    content, basis = filled("Compare Velkor Dynamics and Morvik Systems", companies=companies)
    assert content["companies"] == [
        {"name": "Velkor Dynamics", "employees": 340},
        {"name": "Morvik Systems", "employees": 1250},
    ]
    assert basis["companies.1.employees"].citations[0].url == "document:1"


def test_a_schema_by_reference_is_followed() -> None:
    """As pydantic writes them; and one that refers to itself ends."""
    schema = {
        "$defs": {
            "Site": {
                "type": "object",
                "properties": {"headquarters": TEXT, "inner": {"$ref": "#/$defs/Site"}},
            }
        },
        "properties": {"site": {"anyOf": [{"$ref": "#/$defs/Site"}, {"type": "null"}]}},
    }
    content, _ = fill(schema, "Velkor Dynamics", EVIDENCE, DEPTHS["basic"])
    assert content["site"]["headquarters"] == "Oslo"


def test_a_disputed_value_is_not_sure() -> None:
    """The first is given, and its confidence says that another source says otherwise."""
    register = passages_of(
        "document:r", "Register", "According to the register, Velkor Dynamics employs 290 people."
    )
    profile = passages_of("document:p", "Profile", "Velkor Dynamics employs 340 people.")
    schema = {"properties": {"employees": INTEGER}}
    content, basis = fill(schema, "Velkor Dynamics", Library([*profile, *register]), DEPTHS["basic"])
    assert content["employees"] in {290, 340}
    assert basis[0].confidence == "low"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "enum", "format", "description", "a", "$ref"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), _JSON, max_size=3))
def test_any_schema_is_survived(properties: dict[str, Any]) -> None:
    """Whatever a caller calls a schema, each of its fields comes back, and none with a value out of the air."""
    content, _ = fill({"properties": properties}, "Umbra Foods", EVIDENCE, DEPTHS["turbo"])
    assert set(content) == set(properties)
    assert all(value is None for value in content.values())
