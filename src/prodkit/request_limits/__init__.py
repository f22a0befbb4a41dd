"""Request limits: how large and of what kind a request may be, refused before anything of it is read or parsed.

Every limit is a bound on work and memory that a caller can cause before anybody has looked at who he is. The declared
size of a body is checked here; what really arrives is counted by the pipeline against the same number, so a body
without Content-Length, or with a wrong one, ends at the same place.

Source: RFC 9110, 15.5 (status codes) and 8.6 (Content-Length); RFC 6585, 5 (431); OWASP API4:2023; ASVS 5.0, 4.1 and 15.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, field_validator

from prodkit.core.features import FeatureSettings, Layer, Parts, Sample
from prodkit.core.problems import Problem
from prodkit.request_limits.bodies import RouteBodyLimit, body_limit, body_limit_guard, check_declared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = [
    "Limiter",
    "Refusals",
    "RequestLimits",
    "RequestLimitsSettings",
    "RouteBodyLimit",
    "body_limit",
    "body_limit_guard",
]

# TRACE hands a caller's own headers to whoever can make him send it (ASVS 13.4); CONNECT is for proxies.
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}")
_POLICIES: Final = ("method", "url", "headers", "query", "body")


class RequestLimitsSettings(FeatureSettings):
    """Settings of `RequestLimits`; environment prefix `PRODKIT_REQUEST_LIMITS__`."""

    max_body_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="The largest request body, in bytes, declared or counted; 413 above. Routes may have their own, see "
            "`body_limit`. Default 1048576 (1 MiB), ample for JSON.",
        ),
    ] = 1_048_576
    methods: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Methods that reach the application; 405 for all others. Default: all common ones, without TRACE and "
            "CONNECT.",
        ),
    ] = _METHODS
    max_url_bytes: Annotated[
        int,
        Field(
            ge=64,
            description="The longest path and query together, in bytes; 414 above. Default 8192, as in RFC 9112, 3.",
        ),
    ] = 8192
    max_headers: Annotated[
        int,
        Field(
            ge=8,
            description="The most header lines; 431 above. Default 100; a browser behind two proxies sends 30.",
        ),
    ] = 100
    max_header_value_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="The longest value of one header, in bytes; 431 above it. Default 8192, as most servers and proxies.",
        ),
    ] = 8192
    max_query_parameters: Annotated[
        int,
        Field(ge=0, description="The most query parameters; 400 above. Default 100."),
    ] = 100

    @field_validator("methods")
    @classmethod
    def _methods_are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, method in enumerate(value, start=1):
            if not _TOKEN.fullmatch(method):
                message = f"entry {position} is not a method | Methods are upper-case words, such as GET."
                raise ValueError(message)
        return value


class Refusals:
    """How often each limit refused a request; a body that grows too large without having said so is not among them."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_POLICIES, 0)

    def samples(self) -> Iterable[Sample]:
        """One counter for each limit."""
        return [
            Sample(
                "prodkit_request_limits_decisions_total",
                {"policy": policy, "outcome": "denied"},
                count,
                "counter",
                "Requests refused for their size or kind, by limit.",
            )
            for policy, count in self.counts.items()
        ]


class Limiter:
    """Refuses what is too large or unexpected.

    Args:
        settings: see `RequestLimitsSettings`.
        kit: knows the routes, for those with a limit of their own.
        refusals: counts them.
    """

    def __init__(self, settings: RequestLimitsSettings, kit: Kit, refusals: Refusals) -> None:
        self._kit = kit
        self._denied = refusals.counts
        self._methods = frozenset(settings.methods)
        self._allow = ", ".join(settings.methods)
        # Read on every request.
        self._max_body = settings.max_body_bytes
        self._max_url = settings.max_url_bytes
        self._max_headers = settings.max_headers
        self._max_header_value = settings.max_header_value_bytes
        self._max_query_parameters = settings.max_query_parameters

    def guard(self, context: RequestContext) -> None:
        """Check everything that is known before the body; put the limit on the body in force.

        Raises:
            Problem: 400, 405, 413, 414 or 431.
        """
        scope = context.scope or {}
        headers, query = scope["headers"], scope["query_string"]
        if len(headers) > self._max_headers:
            self._refuse("headers", 431, f"More than {self._max_headers} header lines.")
        longest = self._max_header_value
        for _, value in headers:
            if len(value) > longest:
                self._refuse("headers", 431, f"A header value is longer than {longest} bytes.")
        path = (scope["raw_path"] if "raw_path" in scope else None) or scope["path"].encode()  # noqa: SIM401 - get() is a call
        if query:
            self._check_query(path, query)
        elif len(path) > self._max_url:
            self._refuse("url", 414, f"The path is longer than {self._max_url} bytes.")
        if scope["type"] != "http":
            return
        if scope["method"] not in self._methods:
            self._refuse("method", 405, "This method is not used here.", headers={"Allow": self._allow})
        if context.max_body_bytes is None or self._max_body < context.max_body_bytes:
            context.max_body_bytes = self._max_body
        if b"content-length" in context.headers:
            length = context.headers[b"content-length"]
            # An ordinary number within the limit needs no look at routes; nine digits are quickly parsed.
            if length[9:] or not length.isdigit() or int(length) > self._max_body:
                self._check_length(context)

    def _check_length(self, context: RequestContext) -> None:
        try:
            check_declared(context, self._max_body, self._kit.routes)
        except Problem:
            self._denied["body"] += 1
            raise

    def _check_query(self, path: bytes, query: bytes) -> None:
        if (path + query)[self._max_url - 1 :]:  # the question mark counts
            self._refuse("url", 414, f"Path and query are longer than {self._max_url} bytes.")
        if query.count(b"&") >= self._max_query_parameters:
            self._refuse("query", 400, f"More than {self._max_query_parameters} query parameters.")

    def _refuse(
        self, policy: str, status: int, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._denied[policy] += 1
        raise Problem(status, detail, headers=headers)


class RequestLimits:
    """The feature `request_limits`."""

    name = "request_limits"

    def __init__(
        self,
        *,
        max_body_bytes: int = 1_048_576,
        methods: Sequence[str] = _METHODS,
        max_url_bytes: int = 8192,
        max_headers: int = 100,
        max_header_value_bytes: int = 8192,
        max_query_parameters: int = 100,
    ) -> None:
        self.settings = RequestLimitsSettings.of(
            "RequestLimits",
            max_body_bytes=max_body_bytes,
            methods=methods,
            max_url_bytes=max_url_bytes,
            max_headers=max_headers,
            max_header_value_bytes=max_header_value_bytes,
            max_query_parameters=max_query_parameters,
        )
        self._refusals = Refusals()
        self.provides: Sequence[object] = (self._refusals,)

    @classmethod
    def from_settings(cls, section: RequestLimitsSettings) -> RequestLimits:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in EDGE."""
        limiter = Limiter(self.settings, kit, self._refusals)
        settings = self.settings
        return Parts(
            guards=[(Layer.EDGE, limiter.guard)],
            order={
                Layer.EDGE: f"methods, {settings.max_url_bytes} bytes of URL, {settings.max_body_bytes} bytes of body"
            },
        )
