"""Limits on the body: the one in force, one of a single route, and what a request declares.

Of several declarations, of routers and of the route, the one nearest to the route holds.

Source: RFC 9110, 8.6 (Content-Length) and 15.5.14 (413).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response
from prodkit.core.problems import Problem
from prodkit.request_limits.nearest import is_overridden, nearest
from prodkit.request_limits.refusals import closing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Guard
    from prodkit.core.routes import RouteTable

__all__ = ["RouteBodyLimit", "body_limit", "body_limit_guard", "check_declared", "is_whole"]

# 10**18 bytes are an exabyte; longer numbers are not parsed, since that would take time quadratic in their length.
_MAX_LENGTH_DIGITS: Final = 18


class RouteBodyLimit:
    """A route's own limit on its body, larger or smaller than the application's; declared with `body_limit`."""

    replaces_outer: Final = True  # see `nearest`, and what is documented

    def __init__(self, limit: int) -> None:
        self.limit = limit
        text = f"The request body is larger than {limit} bytes."
        self.responses: Mapping[str, Mapping[str, object]] = {"413": problem_response(text)}

    def enforce(self, context: RequestContext) -> None:
        """Put the limit in force for *context*, before the body is read.

        Raises:
            Problem: 413 where the declared size is above it.
        """
        if is_overridden(self, context):
            return
        _check_length(context, self.limit)
        context.max_body_bytes = self.limit

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def body_limit(limit: int) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route takes bodies of up to *limit* bytes, in place of the application's limit.

    It is in force before the body is read, also for what the request declares, and stands in the OpenAPI document. It
    needs an application hardened with `install` or `harden`: a stand-alone pipeline does not know the routes. Where
    `FastAPI(max_body_size=)` or a router's is smaller, that one holds. Where a router or the application declares a
    `body_limit` too, the one nearest to the route holds, whether it is larger or smaller.

    Raises:
        SettingsError: the limit is not a whole number, or negative.
    """
    setting = f"body_limit({limit!r})"
    if not is_whole(limit):
        cure = "Give bytes as an int, such as 10_000_000."
        raise SettingsError([SettingsFault(setting, "this is not a whole number of bytes.", cure)])
    if limit < 0:
        fault = SettingsFault(setting, "a body cannot have a negative size.", "Give bytes, 0 or more.")
        raise SettingsError([fault])
    return Depends(RouteBodyLimit(limit))


def is_whole(value: object) -> bool:
    """Whether *value* can be a number of bytes or of things: `1e6` is a float, and `True` no number that anybody means."""
    return isinstance(value, int) and not isinstance(value, bool)


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
    own = None if routes is None else nearest(routes.rules_at(context.scope), RouteBodyLimit)
    if own is None:
        raise _too_large(context, limit)
    own.enforce(context)
