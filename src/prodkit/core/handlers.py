"""What takes the place of FastAPI's default exception handlers: every error becomes a problem document.

A 422 says where and why, and never repeats what the caller sent: the input may be a password in the wrong field. Where:
only by names the route declares. Why: only in words that were written before the request came.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic_core import core_schema
from starlette.exceptions import HTTPException

from prodkit.core.asgi import Answer
from prodkit.core.context import CURRENT
from prodkit.core.matching import methods_at
from prodkit.core.problems import Problem, problem_answer, problem_of, sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection

__all__ = ["answer_of", "http_exception_answer", "validation_answer", "validation_problem"]

_MAX_ERRORS: Final = 50
_MAX_MESSAGE: Final = 500
_PLACES: Final = frozenset({"body", "query", "path", "header", "cookie"})
_WORD = re.compile(r"\w{3,}")

# pydantic's messages that hold a piece of the input, or the text of an exception that may.
_REPEATING: Final = frozenset(
    {
        "bytes_invalid_encoding",
        "date_from_datetime_parsing",
        "date_parsing",
        "datetime_from_date_parsing",
        "datetime_object_invalid",
        "datetime_parsing",
        "extra_forbidden",
        "get_attribute_error",
        "iteration_error",
        "json_invalid",
        "mapping_type",
        "no_such_attribute",
        "time_delta_parsing",
        "time_parsing",
        "timezone_offset",
        "union_tag_invalid",
        "url_parsing",
        "url_syntax_violation",
        "uuid_parsing",
    }
)
# Texts of exceptions in an application's own validators. They may quote any field, not only the one they are about.
_CUSTOM: Final = frozenset({"value_error", "assertion_error"})
_SAFE_TYPES: Final = frozenset(get_args(core_schema.ErrorType)) - _REPEATING - _CUSTOM


async def http_exception_answer(connection: HTTPConnection, error: Exception) -> Answer:
    """The answer to an `HTTPException`, ours or Starlette's, also to one raised before a socket was accepted."""
    if not isinstance(error, HTTPException):  # registered for HTTPException only
        raise error
    headers = error.headers or {}
    if (
        error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
        and "Allow" in headers
        and not isinstance(error, Problem)
    ):
        routes = getattr(connection.scope.get("app"), "routes", ())
        named = {method.strip() for method in headers["Allow"].split(",")}
        allow = ", ".join(sorted(named | methods_at(routes, dict(connection.scope))))
        error = HTTPException(error.status_code, error.detail, {**headers, "Allow": allow})
    return answer_of(error)


def answer_of(error: HTTPException) -> Answer:
    """*error* as a whole response."""
    if 200 <= error.status_code < 400:
        # HTTPException(304) and redirects are not errors: status and headers as they were meant, without a body.
        return Answer(error.status_code, b"", sendable(error.headers))
    if error.status_code < 400:
        return problem_answer(Problem(500))  # no final status: what was meant cannot be sent
    return problem_answer(problem_of(error))


async def validation_answer(connection: HTTPConnection, error: Exception) -> Answer:
    """The answer to a request whose parameters or body are not valid."""
    errors: Sequence[Any] = error.errors() if hasattr(error, "errors") else ()
    context = CURRENT.get()
    # The path itself can be the invalid input, so the context decides what `instance` says, never the URL.
    routes = None if context is None else context.kit.routes
    names: frozenset[str] = frozenset() if routes is None else routes.names(connection.scope)
    return problem_answer(validation_problem(errors, names), context)


def validation_problem(errors: Sequence[Any], names: frozenset[str] = frozenset()) -> Problem:
    """A 422 with at most 50 of *errors* (pydantic's, as FastAPI hands them over), each without its input.

    Args:
        errors: each a mapping with `type`, `loc`, `msg`, `input`, and `ctx` where the message was filled in.
        names: the parameters and fields that may be named; any other, such as the key of a mapping, is shown as `*`.
    """
    shown = [_describe(error, names) for error in errors[:_MAX_ERRORS]]
    count = len(errors)
    noun = "part" if count == 1 else "parts"
    return Problem(422, f"{count} {noun} of the request did not validate.", errors=shown)


def _describe(error: dict[str, Any], names: frozenset[str]) -> dict[str, str]:
    kind = str(error.get("type", "invalid"))
    location = list(error.get("loc", ()))
    if kind == "json_invalid":
        location = location[:1]  # what follows is an offset into the body
    elif kind == "extra_forbidden":
        location = location[:-1]  # the last name is the caller's own
    where = location[0] if location and location[0] in _PLACES else "request"
    pointer = "".join(f"/{_segment(part, names)}" for part in location[1:])
    return {"in": where, "pointer": f"#{pointer}", "code": kind, "message": _message(kind, error)}


def _segment(part: object, names: frozenset[str]) -> str:
    """One step of a JSON Pointer (RFC 6901, 3)."""
    if isinstance(part, int):
        return str(part)
    return part.replace("~", "~0").replace("/", "~1") if isinstance(part, str) and part in names else "*"


def _message(kind: str, error: dict[str, Any]) -> str:
    if kind in _SAFE_TYPES:
        return str(error.get("msg", ""))[:_MAX_MESSAGE]
    if kind not in _REPEATING and kind not in _CUSTOM and not error.get("ctx"):
        # A PydanticCustomError without a context: its message is the template, most likely a literal.
        message = str(error.get("msg", ""))[:_MAX_MESSAGE]
        if message and not _repeats(message, error.get("input")):
            return message
    return _GENERIC.get(kind, "The value is not valid.")


_GENERIC: Final = {
    "json_invalid": "The body is not valid JSON.",
    "extra_forbidden": "A member that is not known here.",
    "union_tag_invalid": "The discriminator has none of the expected values.",
    "uuid_parsing": "The value is not a UUID.",
    "url_parsing": "The value is not a URL.",
    "date_parsing": "The value is not a date.",
    "date_from_datetime_parsing": "The value is not a date.",
    "datetime_parsing": "The value is not a date and time.",
    "time_parsing": "The value is not a time.",
    "time_delta_parsing": "The value is not a duration.",
}


def _repeats(message: str, value: object) -> bool:
    """Whether *message* shares a word with the input, in which case it may be quoting it."""
    words = {word.lower() for word in _WORD.findall(message)}
    given = str(value).lower()
    return any(word in given for word in words)
