"""The OpenAPI document of the whole application: every operation has examples, and they are what it takes and gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from examples.research_agents.settings import ResearchSettings
from tests.support.research import research_app


def flat(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """FastAPI keeps what was included as a router of its own."""
    for one in routes:
        if isinstance(one, APIRoute):
            yield one
        elif hasattr(one, "original_router"):
            yield from flat(one.original_router.routes)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[APIRoute]:
    settings = ResearchSettings(parallel_api_key="k", parallel_base_url="http://127.0.0.1:9")
    app = research_app(tmp_path_factory.mktemp("state"), settings)
    return [one for one in flat(app.routes) if one.path.startswith("/v1/")]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = ResearchSettings(parallel_api_key="k", parallel_base_url="http://127.0.0.1:9")
    return research_app(Path(tmp_path_factory.mktemp("state")), settings).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and description of each operation of the agents' interface."""
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if path.startswith("/v1/"):
                yield f"{verb.upper()} {path}", operation


def examples_in(document: dict[str, Any], media: dict[str, Any]) -> list[Any]:
    """Those beside a schema, else those in the model that it refers to."""
    if "example" in media:
        return [media["example"]]
    if "examples" in media:
        return [one["value"] for one in media["examples"].values()]
    name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
    model = document["components"]["schemas"].get(name, {})
    return [*([model["example"]] if "example" in model else []), *model.get("examples", [])]


def named(model: Any, example: dict[str, Any]) -> dict[str, Any]:
    """*example* with the names of the fields of *model* in place of those under which they are sent."""
    names = {field.serialization_alias or name: name for name, field in model.model_fields.items()}
    return {names.get(name, name): value for name, value in example.items()}


def test_every_operation_has_examples(document: dict[str, Any]) -> None:
    """Of its body where it takes one, and of each good answer that has one; at least a score of operations."""
    lacking, seen = [], 0
    for name, operation in operations(document):
        seen += 1
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is not None and not examples_in(document, media):
            lacking.append(f"{name}: request")
        for status, answer in operation["responses"].items():
            for kind, media in answer.get("content", {}).items():
                if status.startswith("2") and not examples_in(document, media):
                    lacking.append(f"{name}: {status} {kind}")
    assert lacking == []
    assert seen >= 25


def test_the_examples_are_what_is_taken_and_given(document: dict[str, Any], routes: list[APIRoute]) -> None:
    """Each example passes the very model that checks requests or makes answers, with no member that it does not know."""
    by_name = dict(operations(document))
    checked = 0
    for route in routes:
        [verb] = route.methods or set()
        operation = by_name[f"{verb} {route.path_format}"]
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is not None:
            assert route.body_field is not None
            model = TypeAdapter(route.body_field.field_info.annotation)
            for example in examples_in(document, media):
                model.validate_json(json.dumps(example))
                checked += 1
        if route.response_model is None:
            continue
        for status, answer in operation["responses"].items():
            media = answer.get("content", {}).get("application/json")
            if not status.startswith("2") or media is None:
                continue
            # As it was declared, where it was: FastAPI leaves every null out of the document.
            media = route.responses.get(int(status), {}).get("content", {}).get("application/json", media)
            model = TypeAdapter(route.response_model)
            for example in examples_in(document, media):
                given = model.validate_json(json.dumps(named(route.response_model, example)), extra="forbid")
                # Only what the example holds: what is optional may be absent from it.
                shown = json.loads(model.dump_json(given, by_alias=True, exclude_unset=True))
                assert shown == example, f"{verb} {route.path}: {status}"
                checked += 1
    assert checked >= 30


def test_the_examples_of_problems_are_problems(document: dict[str, Any]) -> None:
    """Each has the status under which it stands, a title and a detail; none has anything else that is not documented."""
    checked = 0
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            media = answer.get("content", {}).get("application/problem+json", {})
            for example in examples_in(document, media):
                assert str(example["status"]) == status, name
                assert example["title"], name
                checked += 1
    assert checked >= 30
