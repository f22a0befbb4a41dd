"""What may be set about CORS, and what is refused there: everybody with credentials, `null`, patterns that leak."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from prodkit.core.features import FeatureSettings
from prodkit.cors.origins import origin_fault, regex_fault

__all__ = ["HEADERS", "METHODS", "CORSSettings"]

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


class CORSSettings(FeatureSettings):
    """Settings of `CORS`; environment prefix `PRODKIT_CORS__`."""

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
            "Deprecation and Sunset, which are always readable. Default: none.",
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
    allow_private_network: Annotated[
        bool,
        Field(
            description="Whether pages of the public internet may reach this application in a private network. Default off.",
        ),
    ] = False
    require_websocket_origin: Annotated[
        bool,
        Field(
            description="Refuse a WebSocket without an Origin. Default off: every browser sends one, other clients do not.",
        ),
    ] = False

    @property
    def is_on(self) -> bool:
        """Whether any origin is allowed."""
        return bool(self.origins or self.origin_regex)

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

    @field_validator("methods", "headers", "expose_headers")
    @classmethod
    def _names_are_tokens(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for position, name in enumerate(value, start=1):
            if name == "*" or not _TOKEN.fullmatch(name):
                message = f"entry {position} is not the name of a {'method' if info.field_name == 'methods' else 'header'}"
                message += " | List the names; * does not cover Authorization, and nothing at all beside credentials."
                raise ValueError(message)
        return value
