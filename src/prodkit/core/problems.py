"""Problem details: the one shape of every error a client sees.

Source: RFC 9457; the problem types of IANA's "HTTP Problem Types" registry keep their registered URIs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

from prodkit.core.asgi import Answer, invalid_header
from prodkit.core.context import CURRENT, RequestContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PROBLEM_TYPES", "TYPE_BASE", "Problem", "ProblemType", "problem_answer", "problem_of", "register"]

TYPE_BASE: Final = "https://prodkit.example/"
"""Where problem types are documented; equal to `site_url` of the documentation (a test holds them together)."""

MEDIA_TYPE: Final = b"application/problem+json"

_IANA: Final = "https://iana.org/assignments/http-problem-types#"
# A detail or title comes from code, not from callers; the bound only keeps an accident from becoming a large answer.
_MAX_TEXT: Final = 4096
# Python refuses to write an integer of more than 4300 digits.
_MAX_INTEGER_BITS: Final = 1024


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem, documented under its name.

    Attributes:
        name: kebab-case, unique, stable for ever: it is the last part of the type URI.
        status: the HTTP status it is sent with.
        title: the same few words every time.
        description: for the reference page: when it occurs and what a client should do.
        uri: a registered URI used in place of the base and the name.
    """

    name: str
    status: int
    title: str
    description: str
    uri: str | None = None


PROBLEM_TYPES: Final[dict[str, ProblemType]] = {}
"""Every type this library can send, by name; a project adds its own with `register`."""


def register(problem_type: ProblemType) -> ProblemType:
    """Add *problem_type* to `PROBLEM_TYPES` and return it.

    Raises:
        ValueError: another type has this name already.
    """
    if PROBLEM_TYPES.setdefault(problem_type.name, problem_type) != problem_type:
        message = f"there is another problem type named {problem_type.name!r}"
        raise ValueError(message)
    return problem_type


def _generic_types() -> dict[int, ProblemType]:
    described = {
        400: "The request could not be understood. Change it before sending it again.",
        401: "Nobody was identified. Send a valid credential as the `WWW-Authenticate` header says.",
        403: "The caller is known and may not do this. Another credential may help, another try does not.",
        404: "Nothing is found at this address, or the caller may not know that there is.",
        405: "The address exists and does not take this method; `Allow` lists those it takes.",
        408: "The request took too long to arrive.",
        413: "The request body is larger than this address takes.",
        414: "The request target is longer than this server takes.",
        415: "The address does not take a body of this media type.",
        421: "This server does not answer for the host named in the request.",
        422: "The request was read and its content is not valid; `errors` says where and why, never repeating it.",
        426: "The address speaks another protocol; `Upgrade` names it.",
        429: "The caller sent too many requests. Wait for the seconds in `Retry-After`.",
        431: "The request header fields are too large or too many.",
        500: "Something unexpected happened. Nothing more is told; quote the correlation id to the operator.",
        502: "A service this one depends on gave an answer that could not be used.",
        503: "The service cannot answer now. Try again after `Retry-After`.",
        504: "A service this one depends on, or the handler itself, did not answer in time.",
    }
    # RFC 9110's names where this Python still has older ones
    renamed = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
    generic = {}
    for status in HTTPStatus:
        if status >= HTTPStatus.BAD_REQUEST:
            title = renamed.get(status.value, status.phrase)
            name = title.lower().replace(" ", "-").replace("'", "")
            text = described.get(
                status, f"The HTTP status {status.value} as RFC 9110 and its extensions define it."
            )
            generic[status.value] = register(ProblemType(name, status.value, title, text))
    return generic


_BY_STATUS: Final = _generic_types()

QUOTA_EXCEEDED = register(
    ProblemType(
        "quota-exceeded",
        429,
        "Quota Exceeded",
        "A rate limit or quota is used up; `violated-policies` names the policies as `RateLimit-Policy` does.",
        f"{_IANA}quota-exceeded",
    )
)
TEMPORARY_REDUCED_CAPACITY = register(
    ProblemType(
        "temporary-reduced-capacity",
        503,
        "Temporary Reduced Capacity",
        "The service protects itself from overload or is about to stop. Try again after `Retry-After`.",
        f"{_IANA}temporary-reduced-capacity",
    )
)
INSUFFICIENT_SCOPE = register(
    ProblemType(
        "insufficient-scope",
        403,
        "Insufficient Scope",
        "The caller is known and lacks the scopes in `required_scopes`.",
    )
)
STORE_UNAVAILABLE = register(
    ProblemType(
        "store-unavailable",
        503,
        "Store Unavailable",
        "Shared state could not be reached in time, and this operation is refused rather than guessed.",
    )
)
LEDGER_UNAVAILABLE = register(
    ProblemType(
        "ledger-unavailable",
        503,
        "Ledger Unavailable",
        "What was spent could not be read or written down in time, so nothing that costs money was begun. Try again after "
        "`Retry-After`.",
    )
)


def _other(status: int) -> ProblemType:
    # 499, 520 and their like: real on the wire, unknown to HTTPStatus, which raises on them
    kind = "client-error" if status < 500 else "server-error"
    title = "Client Error" if status < 500 else "Server Error"
    return ProblemType(kind, status, title, "A status without a registered meaning.")


register(ProblemType("client-error", 499, "Client Error", "A 4xx status without a registered meaning."))
register(ProblemType("server-error", 599, "Server Error", "A 5xx status without a registered meaning."))


class Problem(HTTPException):
    """Refuse the request: raised anywhere, answered as `application/problem+json`.

    It is a Starlette `HTTPException`, so that it passes through FastAPI's reading of the body unchanged.

    Args:
        kind: a `ProblemType`, or a status from 400 to 599 for the plain type of that status.
        detail: what went wrong this time, for a person; no internals.
        headers: further response headers.
        extensions: further members of the document, JSON values. Names of RFC 9457's own members are refused.

    Raises:
        ValueError: the status is not an error, or an extension has a reserved name.
    """

    def __init__(
        self,
        kind: ProblemType | int,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        if isinstance(kind, int):
            if not 400 <= kind <= 599:
                message = f"a problem has a status from 400 to 599, not {kind}"
                raise ValueError(message)
            kind = _BY_STATUS.get(kind) or _other(kind)
        reserved = _RESERVED.intersection(extensions)
        if reserved:
            message = (
                f"these members of a problem document cannot be extensions: {', '.join(sorted(reserved))}"
            )
            raise ValueError(message)
        self.problem_type = kind
        self.extensions = extensions
        super().__init__(kind.status, detail if detail is not None else kind.title, headers)

    def __str__(self) -> str:
        """Status, name and detail on one line."""
        return f"{self.status_code} {self.problem_type.name}: {self.detail}"


_RESERVED: Final = frozenset({"type", "title", "status", "instance", "correlation_id"})


def problem_of(error: HTTPException) -> Problem:
    """*error* as a `Problem`; itself when it is one.

    A detail that is not text cannot be the `detail` of a problem (RFC 9457, 3.1.4) and goes into `errors` when it is a
    list and into `context` otherwise.
    """
    if isinstance(error, Problem):
        return error
    kind = _BY_STATUS.get(error.status_code) or _other(error.status_code)
    extensions: dict[str, object] = {}
    detail: object = error.detail
    if detail is not None and not isinstance(detail, str):
        extensions["errors" if isinstance(detail, list) else "context"] = detail
        detail = None
    return Problem(kind, detail, headers=error.headers, **extensions)


def problem_answer(problem: Problem, context: RequestContext | None = None) -> Answer:
    """*problem* as a whole response. Cannot fail: members that are not JSON are left out, with their names kept.

    Headers that could not be sent as one line each are left out too.
    """
    context = context if context is not None else CURRENT.get()
    kind = problem.problem_type
    base = TYPE_BASE if context is None else context.kit.problem_type_base
    correlation_id = ""
    if context is not None:
        correlation_id = context.correlation_id
        context.problem = (kind.name, problem.detail)
    document: dict[str, Any] = {
        "type": kind.uri or f"{base}{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail[:_MAX_TEXT],
        "instance": f"urn:correlation-id:{correlation_id}",
        "correlation_id": correlation_id,
    }
    for name, value in problem.extensions.items():
        document[name] = _json_safe(value)
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    headers = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
    for pair in sendable(problem.headers):
        if pair[0] == b"cache-control":
            headers[1] = pair
        elif pair[0] not in (b"content-type", b"content-length"):
            headers.append(pair)
    return Answer(kind.status, body, headers)


def sendable(headers: Mapping[str, str] | None) -> Iterator[tuple[bytes, bytes]]:
    """*headers* as they go on the wire, without those that could not be sent as one line each.

    A line break would let the value add headers of its own, and makes servers refuse the whole response.
    """
    for name, value in (headers or {}).items():
        pair = name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")
        if invalid_header(*pair) is None:
            yield pair


def _json_safe(value: object, depth: int = 16) -> object:
    """*value* with everything JSON cannot say replaced by the name of its type."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_INTEGER_BITS else "<int>"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 0:
        if isinstance(value, dict):
            return {
                key if isinstance(key, str) else str(_json_safe(key)): _json_safe(item, depth - 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_json_safe(item, depth - 1) for item in value]
    return f"<{type(value).__name__}>"
