"""What schemathesis checks of every answer beside its own checks; loaded by its process, see SCHEMATHESIS_HOOKS."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import response_schema_conformance

MEMBERS = {"type", "title", "status", "detail", "instance", "correlation_id"}


def _header(response: Any, name: str) -> str:
    values = response.headers.get(name, [])
    assert len(values) == 1, f"{name} stands on {len(values)} lines"
    return str(values[0])


@schemathesis.check
def errors_are_problems(ctx: Any, response: Any, case: Any) -> None:
    """Every error has the media type and the members of a problem, and says its own status and id."""
    status = response.status_code
    correlation_id = _header(response, "x-request-id")
    assert _header(response, "x-content-type-options") == "nosniff"
    if status < 400:
        return
    kind = _header(response, "content-type")
    assert kind == "application/problem+json", f"{status} is {kind}"
    if case.method.upper() == "HEAD":
        return
    document = response.json()
    assert document.keys() >= MEMBERS, f"missing: {sorted(MEMBERS - document.keys())}"
    assert document["status"] == status, f"{document['status']} in a {status}"
    assert document["correlation_id"] == correlation_id, "another id"


@schemathesis.check
def documents_fit(ctx: Any, response: Any, case: Any) -> None:
    """As `response_schema_conformance`, which takes the events of a stream, documented as text, for documents of their own."""
    if response.headers.get("content-type", [""])[0].startswith("application/json"):
        response_schema_conformance(ctx, response, case)
