"""What may be set about CORS, and what is refused there: everybody with credentials, `null`, patterns that leak."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from prodkit.core.features import FeatureSettings
from prodkit.core.paths import path_fault
from prodkit.cors.origins import origin_fault, regex_fault

__all__ = ["HEADERS", "METHODS", "CORSPermission", "CORSSettings", "PathCORSSettings"]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# Beyond those that Fetch lets through anyway; the contract's credentials, ids and resumption of event streams.
HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Traceparent",
    "X-API-Key",
    "X-Request-ID",
)
# Browsers cap it themselves: Chromium at 7200, Firefox at 86400.
_MAX_AGE_SECONDS: Final = 86_400

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Fetch, 2.2.1: no script may use them, whatever a server allows.
_FORBIDDEN_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
# Fetch, 2.2.2: no script ever sees them.
_FORBIDDEN_RESPONSE_HEADERS: Final = frozenset({"set-cookie", "set-cookie2"})


class CORSPermission(FeatureSettings):
    """Who may read responses, and whether as the signed-in user; what `CORSSettings` and `PathCORSSettings` have in common."""

    origins: Annotated[
        tuple[str, ...],
        Field(
            description='Origins whose pages may read responses, e.g. `["https://app.example.com"]`: scheme, host and port as '
            'browsers send them. `["*"]` is everybody, and excludes credentials. Default: none, and the feature is off.',
        ),
    ] = ()
    origin_regex: Annotated[
        str | None,
        Field(
            max_length=1000,
            description="Further origins as a regular expression from ^ to $, e.g. "
            r"`^https://[a-z0-9-]+\.preview\.example\.com$`. Default: none.",
        ),
    ] = None
    allow_credentials: Annotated[
        bool,
        Field(
            description="Whether pages of these origins may send the cookies and certificates the browser has for us. Default "
            "off: a key in a header needs no such permission.",
        ),
    ] = False
    allow_private_network: Annotated[
        bool,
        Field(
            description="Whether pages of the public internet may reach this application in a private network. Default off.",
        ),
    ] = False

    @field_validator("origins")
    @classmethod
    def _origins_are_exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, origin in enumerate(value, start=1):
            fault = origin_fault(origin)
            if fault is not None:
                message = f"entry {position} {fault}"
                raise ValueError(message)
        if "*" in value and len(value) > 1:
            message = "* stands beside other origins, which it makes meaningless | Name the origins, or everybody, not both."
            raise ValueError(message)
        return value

    @field_validator("origin_regex")
    @classmethod
    def _regex_is_anchored(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if "*" in (info.data.get("origins") or ()):
            message = "* allows every origin already | Remove it from origins, or remove this."
            raise ValueError(message)
        fault = regex_fault(value)
        if fault is not None:
            raise ValueError(fault)
        return value

    @field_validator("allow_credentials")
    @classmethod
    def _credentials_are_for_somebody(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - a validator's signature
        if value and "*" in (info.data.get("origins") or ()):
            message = (
                "with the origin * every page on the internet would act as the signed-in user | Name the origins, or leave "
                "credentials off."
            )
            raise ValueError(message)
        return value

    @field_validator("allow_private_network")
    @classmethod
    def _private_networks_are_for_somebody(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - as above
        if value and "*" in (info.data.get("origins") or ()):
            message = (
                "with the origin * every page on the internet could look around in this network | Name the origins, or leave "
                "it off."
            )
            raise ValueError(message)
        return value

    @field_validator("methods", "headers", "expose_headers", check_fields=False)
    @classmethod
    def _names_are_tokens(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        kind = "method" if info.field_name == "methods" else "header"
        for position, name in enumerate(value or (), start=1):
            if name == "*" or not _TOKEN.fullmatch(name):
                message = f"entry {position} is not the name of a {kind}"
                message += " | List the names; * does not cover Authorization, and nothing at all beside credentials."
                raise ValueError(message)
            if kind == "method" and (name.upper() in _FORBIDDEN_METHODS or name != name.upper()):
                message = f"entry {position} is a method that no page can use | Methods are upper case; CONNECT and TRACE are not for pages."
                raise ValueError(message)
            if info.field_name == "expose_headers" and name.lower() in _FORBIDDEN_RESPONSE_HEADERS:
                message = f"entry {position} is a header that browsers show to no page | Remove it."
                raise ValueError(message)
        return value


class PathCORSSettings(CORSPermission):
    """Who may read what lies below one path, in an entry of `paths`.

    Who may (`origins`, `origin_regex`, `allow_credentials`, `allow_private_network`) is said here or is nobody; the rest is as for
    all paths unless it is said.
    """

    methods: Annotated[
        tuple[str, ...] | None,
        Field(description="Methods such pages may use here. Default: as for all paths."),
    ] = None
    headers: Annotated[
        tuple[str, ...] | None,
        Field(description="Request headers such pages may set here. Default: as for all paths."),
    ] = None
    expose_headers: Annotated[
        tuple[str, ...] | None,
        Field(description="Further response headers such pages may read here. Default: as for all paths."),
    ] = None
    max_age_seconds: Annotated[
        int | None,
        Field(
            ge=0,
            le=_MAX_AGE_SECONDS,
            description="How long a browser may remember a preflight for here. Default: as for all paths.",
        ),
    ] = None
    require_websocket_origin: Annotated[
        bool | None,
        Field(description="Refuse a WebSocket without an Origin here. Default: as for all paths."),
    ] = None


class CORSSettings(CORSPermission):
    """Settings of `CORS`; environment prefix `PRODKIT_CORS__`."""

    methods: Annotated[
        tuple[str, ...],
        Field(description="Methods such pages may use. Default: GET, HEAD, POST, PUT, PATCH, DELETE."),
    ] = METHODS
    headers: Annotated[
        tuple[str, ...],
        Field(
            description="Request headers such pages may set, beyond those that Fetch always allows. Default: the ones this "
            "library and JSON need.",
        ),
    ] = HEADERS
    expose_headers: Annotated[
        tuple[str, ...],
        Field(
            description="Response headers such pages may read, beyond the request id, RateLimit, RateLimit-Policy, Retry-After, "
            "Deprecation, Sunset and WWW-Authenticate, which are always readable. Default: none.",
        ),
    ] = ()
    max_age_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=_MAX_AGE_SECONDS,
            description="How long a browser may remember a preflight. Default 600: a withdrawn permission is gone in ten minutes.",
        ),
    ] = 600
    require_websocket_origin: Annotated[
        bool,
        Field(
            description="Refuse a WebSocket without an Origin. Default off: every browser sends one, other clients do not.",
        ),
    ] = False
    paths: Annotated[
        dict[str, PathCORSSettings],
        Field(
            description="Other rules for parts of the application, by prefix, the longest of which holds: "
            '`{"/public": {"origins": ["*"]}, "/admin": {}}`. A segment may be a parameter: `/teams/{team}/feed`. Who may is '
            "never taken over from the general settings, so an empty entry is nobody. Default: none.",
        ),
    ] = {}  # noqa: RUF012 - pydantic copies it

    @property
    def is_on(self) -> bool:
        """Whether any origin is allowed, or any path has rules of its own."""
        return bool(self.origins or self.origin_regex or self.paths)

    @field_validator("paths")
    @classmethod
    def _paths_are_prefixes(cls, value: dict[str, PathCORSSettings]) -> dict[str, PathCORSSettings]:
        for position, prefix in enumerate(value, start=1):
            fault = path_fault(prefix)
            if fault is not None:
                message = f"entry {position} {fault}"
                raise ValueError(message)
        return value
