"""The door of the local server: the token, and bodies made to break what reads them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from examples.research_agents.local_parallel.server import create_server

POSTS = ["/v1/search", "/v1/extract", "/v1/tasks/runs", "/v1beta/chat/completions", "/local/faults"]
GETS = ["/v1/tasks/runs/x", "/v1/tasks/runs/x/result", "/v1/tasks/runs/x/events", "/nothing"]


@pytest.mark.parametrize("path", [*POSTS, *GETS])
def test_every_path_but_health_needs_the_token(faulty_url: str, path: str) -> None:
    """Unknown ones too; the refusal has Parallel's form and says what kind of engine is here."""
    with httpx.Client(base_url=faulty_url, trust_env=False) as http:
        for headers in (
            {},
            {"x-api-key": "x" * 40},
            {"Authorization": "Bearer x"},
            {"x-api-key": "ü".encode()},
        ):
            answer = http.request("POST" if path in POSTS else "GET", path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["type"] == "error"
            assert answer.headers["x-local-engine"] == "extractive"
        assert http.get("/health").status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"input": "\\ud800", "processor": "base"}',
        b'{"search_queries": ["x"], "mode": NaN}',
        b"[" * 100_000,
        b'{"input":' * 5000 + b"1" + b"}" * 5000,
        b'{"input": {"a": NaN}, "processor": "base"}',
        b'{"input": {"a": 1e999}, "processor": "base"}',
    ],
)
def test_a_body_that_is_no_json_is_422(provider: Any, path: str, body: bytes) -> None:
    """However deep, in every place that reads one."""
    answer = provider.http.post(path, content=body)
    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"ref_id", "message", "detail"}


@pytest.mark.parametrize("path", POSTS)
def test_a_large_body_is_413(provider: Any, path: str) -> None:
    """Announced or not: it is counted while it is read."""
    answer = provider.http.post(path, content=(b" " * 65_536 for _ in range(20)))
    assert answer.status_code == 413
    assert answer.json()["type"] == "error"


def test_a_method_that_is_not_there_is_405(provider: Any) -> None:
    """In the wire's form, with `Allow`."""
    answer = provider.http.delete("/v1/tasks/runs")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["type"] == "error"


@pytest.mark.parametrize(
    "task",
    [
        {"input": "\x00 \x1b[31m \u202e <script> '; DROP TABLE passages; --"},
        {"input": "😀" * 12_000},
        {"input": '"' * 20_000},
        {"input": "(" * 20_000},
        {"input": "a " * 12_000},
        {"input": {"question": "x", "documents": [{"url": "u", "text": "# " * 9000}]}},
        {"input": {"question": "x", "documents": [{"url": "u", "title": "t", "text": ""}]}},
        {"input": {"deep": [[[[[[{"a": None}]]]]]]}},
        {"input": {}},
        {"input": "x", "task_spec": {"output_schema": {"type": "json", "json_schema": {}}}},
        {"input": "x", "task_spec": {"output_schema": {"type": "json", "json_schema": {"properties": []}}}},
        {
            "input": "x",
            "task_spec": {
                "output_schema": {
                    "type": "json",
                    "json_schema": {
                        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/properties/b"}, "c": 7},
                        "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}},
                    },
                }
            },
        },
    ],
)
def test_a_strange_task_ends(provider: Any, task: dict[str, Any]) -> None:
    """Completed, or failed for a reason that is said: never by a fault of the engine."""
    made = provider.post("/v1/tasks/runs", {"processor": "ultra8x", **task})
    assert made.status_code == 202, made.text
    answer = provider.http.get(f"/v1/tasks/runs/{made.json()['run_id']}/result", params={"timeout": 20})
    assert answer.status_code in {200, 422}
    assert "engine failed" not in answer.text
    json.loads(answer.text)


def test_a_token_is_compared_whole() -> None:
    """A short one is refused at construction; so is a latency that would never end."""
    with pytest.raises(ValueError, match="16 characters"):
        create_server("x" * 15)
    for latency in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="latency_seconds"):
            create_server("x" * 16, latency_seconds=latency)
