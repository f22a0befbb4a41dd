"""Limits on the body: the one in force, one of a single route, and what a request declares.

Source: RFC 9110, 8.6 (Content-Length) and 15.5.14 (413).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response
from prodkit.core.problems import Problem
from prodkit.request_limits.refusals import closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Guard, RouteRule
    from prodkit.core.routes import RouteTable

__all__ = ["RouteBodyLimit", "body_limit", "body_limit_guard", "check_declared"]

# 10**18 bytes are an exabyte; longer numbers are not parsed, since that would take time quadratic in their length.
_MAX_LENGTH_DIGITS: Final = 18


class RouteBodyLimit:
    """A route's own limit on its body, larger or smaller than the application's; declared with `body_limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        text = f"The request body is larger than {limit} bytes."
        self.responses: Mapping[str, Mapping[str, object]] = {"413": problem_response(text)}

    def enforce(self, context: RequestContext) -> None:
        """Put the limit in force for *context*, before the body is read.

        Raises:
            Problem: 413 where the declared size is above it.
        """
        _check_length(context, self.limit)
        context.max_body_bytes = self.limit

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def body_limit(limit: int) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route takes bodies of up to *limit* bytes, in place of the application's limit.

    It is in force before the body is read, also for what the request declares, and stands in the OpenAPI document. It
    needs an application hardened with `install` or `harden`: a stand-alone pipeline does not know the routes. Where
    `FastAPI(max_body_size=)` or a router's is smaller, that one holds.

    Raises:
        SettingsError: the limit is negative.
    """
    if limit < 0:
        fault = SettingsFault(
            f"body_limit({limit})", "a body cannot have a negative size.", "Give bytes, 0 or more."
        )
        raise SettingsError([fault])
    return Depends(RouteBodyLimit(limit))


def body_limit_guard(limit: int) -> Guard:
    """A guard for the EDGE layer: bodies of up to *limit* bytes; a stricter limit in force already stays.

    `install` puts it in the place of FastAPI's own `max_body_size`, which answers past every handler. That number is a
    ceiling: FastAPI's router keeps it as well, so a route's `body_limit` cannot be above it.
    """

    def guard(context: RequestContext) -> None:
        if context.max_body_bytes is None or limit < context.max_body_bytes:
            context.max_body_bytes = limit
        if b"content-length" in context.headers:
            _check_length(context, limit)

    return guard


def _declared(context: RequestContext) -> int | None:
    """The size in Content-Length, or None without one.

    Raises:
        Problem: 400 where it is not a number.
    """
    if b"content-length" not in context.headers:
        return None
    value = context.headers[b"content-length"]
    if not value.isdigit():
        raise Problem(400, "Content-Length is not a number.", headers=closing(context))
    value = value.lstrip(b"0")
    return int(value or b"0") if len(value) <= _MAX_LENGTH_DIGITS else 10**_MAX_LENGTH_DIGITS


def _check_length(context: RequestContext, limit: int) -> None:
    declared = _declared(context)
    if declared is not None and declared > limit:
        raise _too_large(context, limit)


def _too_large(context: RequestContext, limit: int) -> Problem:
    detail = f"The request body is larger than {limit} bytes."
    return Problem(413, detail, headers=closing(context), max_body_bytes=limit)


def check_declared(context: RequestContext, limit: int, routes: RouteTable | None) -> None:
    """Refuse a declared size above *limit*, unless the route that would take the request has a limit of its own."""
    declared = _declared(context)
    if declared is None or declared <= limit or context.scope is None or context.scope["type"] != "http":
        return
    # Only an oversized request is matched twice.
    own = None if routes is None else _own_limit(routes.rules_at(context.scope))
    if own is None:
        raise _too_large(context, limit)
    own.enforce(context)


def _own_limit(rules: Iterable[RouteRule]) -> RouteBodyLimit | None:
    return next((rule for rule in rules if isinstance(rule, RouteBodyLimit)), None)
