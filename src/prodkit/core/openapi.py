"""The OpenAPI document tells the truth about errors: problem documents in place of FastAPI's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.core.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prodkit.core.features import Kit, RouteRule
    from prodkit.core.routes import Operation

__all__ = ["document_problems", "operations_of", "problem_response"]

_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "description": "Identifies the kind of problem; documented there.",
        },
        "title": {"type": "string", "description": "The kind of problem in a few words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What went wrong this time."},
        "instance": {"type": "string", "format": "uri-reference", "description": "This occurrence."},
        "correlation_id": {"type": "string", "description": "Quote it to the operator."},
    },
    "additionalProperties": True,
}
_VALIDATION_SCHEMA = {
    "title": "ValidationProblem",
    "description": "A problem whose `errors` say what did not validate. It never repeats what was sent.",
    "allOf": [
        {"$ref": "#/components/schemas/Problem"},
        {
            "type": "object",
            "required": ["errors"],
            "properties": {
                "errors": {
                    "type": "array",
                    "maxItems": 50,
                    "items": {
                        "type": "object",
                        "required": ["in", "pointer", "code", "message"],
                        "properties": {
                            "in": {"type": "string", "description": "body, query, path, header or cookie."},
                            "pointer": {
                                "type": "string",
                                "description": "A JSON Pointer fragment (RFC 6901).",
                            },
                            "code": {"type": "string", "description": "Stable, for programs."},
                            "message": {"type": "string", "description": "For people."},
                        },
                    },
                }
            },
        },
    ],
}


def problem_response(description: str, schema: str = "Problem") -> dict[str, Any]:
    """A Response Object for a problem document of the component *schema*."""
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {MEDIA_TYPE.decode(): {"schema": reference}}}


def operations_of(document: dict[str, Any], kit: Kit) -> Iterator[tuple[dict[str, Any], Operation]]:
    """Each Operation Object of *document* with the route behind it."""
    paths = document.get("paths", {})
    if kit.routes is None:
        return
    for operation in kit.routes.operations():
        item = paths.get(operation.path, {})
        for method in operation.methods:
            if method.lower() in item:
                yield item[method.lower()], operation


# No answer to a method whose requests have none (RFC 9110, 9.3.1).
_ABOUT_BODIES = frozenset({"408", "413", "415"})


def document_problems(document: dict[str, Any], kit: Kit) -> None:
    """Replace FastAPI's 422, add a `default` problem to every operation, and what each route's rules answer."""
    if not document.get("paths"):
        return
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _SCHEMA
    schemas["ValidationProblem"] = _VALIDATION_SCHEMA
    for item in document["paths"].values():
        for operation in item.values():
            responses = operation.get("responses") if isinstance(operation, dict) else None
            if responses is None:
                continue
            if _is_fastapis(responses.get("422")):
                responses["422"] = problem_response("The request did not validate.", "ValidationProblem")
            responses.setdefault("default", problem_response("Any other error."))
    for item, operation in operations_of(document, kit):
        path_item = document["paths"][operation.path]
        has_body = not any(item is path_item.get(method) for method in ("get", "head"))
        for rule in _in_force(operation.rules):
            for status, response in rule.responses.items():
                if has_body or status not in _ABOUT_BODIES:
                    item["responses"].setdefault(status, response)
    if "HTTPValidationError" not in str(document["paths"]):
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)


def _in_force(rules: Sequence[RouteRule]) -> list[RouteRule]:
    """*rules*, outermost first, without those in whose place a nearer one of their type holds (`replaces_outer`)."""
    found = []
    for position, rule in enumerate(rules, start=1):
        nearer = (
            {type(other) for other in rules[position:]} if getattr(rule, "replaces_outer", False) else set()
        )
        if type(rule) not in nearer:
            found.append(rule)
    return found


def _is_fastapis(response: dict[str, Any] | None) -> bool:
    return response is not None and "HTTPValidationError" in str(response.get("content", ""))
