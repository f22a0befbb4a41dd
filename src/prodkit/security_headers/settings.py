"""What an operator may set about security headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prodkit.core.asgi import invalid_header
from prodkit.core.features import FeatureSettings
from prodkit.security_headers.csp import fault_of
from prodkit.security_headers.leaking import LEAKING
from prodkit.security_headers.presets import POLICIES, Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SecurityHeadersSettings", "check_headers"]

# The preload list asks for a year and for subdomains (hstspreload.org).
_PRELOAD_SECONDS: Final = 31_536_000
# Set by whoever frames the message; a static value would break it.
_FRAMING: Final = frozenset(
    {"connection", "content-length", "date", "set-cookie", "transfer-encoding", "upgrade", "vary"}
)
# What may stand in a header between quotes and in a policy between spaces.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&*+=%]+")


class SecurityHeadersSettings(FeatureSettings):
    """Settings of `SecurityHeaders`; environment prefix `PRODKIT_SECURITY_HEADERS__`."""

    preset: Annotated[
        Preset,
        Field(
            description="`api` (default) for responses that are data, whose policy forbids everything; `web` for pages, which "
            "may load from their own origin.",
        ),
    ] = "api"
    web_paths: Annotated[
        tuple[str, ...],
        Field(
            description='Paths that get the preset `web` where the rest gets another: exact ones, or all below one, e.g. `["/", '
            '"/static/*"]`; `"/static/"` is one page. The longest that fits counts. Default: none.',
        ),
    ] = ()
    api_paths: Annotated[
        tuple[str, ...],
        Field(description='The same for the preset `api`, e.g. `["/v1/*"]`. Default: none.'),
    ] = ()
    overrides: Annotated[
        dict[str, str | None],
        Field(
            description="Headers by name in place of the preset's, or in addition; null leaves one out, e.g. "
            '`{"X-Frame-Options": null}`. Default: none.',
        ),
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    strict: Annotated[
        bool,
        Field(
            description="Isolate pages further: nothing of other origins without their consent (Cross-Origin-Embedder-Policy), "
            "and in the preset `web` no text becomes code (Trusted Types). Default off: it breaks pages that embed others.",
        ),
    ] = False
    report_only: Annotated[
        str | None,
        Field(
            description="A content security policy that browsers only report and do not enforce: to try one out. Default: none.",
        ),
    ] = None
    report_to: Annotated[
        str | None,
        Field(
            description="Where browsers send violations of the policies: an https URL, or a path of this service. Default: none.",
        ),
    ] = None
    hsts_max_age_seconds: Annotated[
        int,
        Field(
            ge=0,
            description="How long browsers shall insist on https; sent over https only. 0 sends none. Default 63072000, two years.",
        ),
    ] = 63_072_000
    hsts_include_subdomains: Annotated[
        bool,
        Field(description="Whether that holds for all subdomains as well. Default on."),
    ] = True
    hsts_preload: Annotated[
        bool,
        Field(
            description="Whether browsers may build that in; slow to undo. Needs a year and subdomains. Default off.",
        ),
    ] = False
    no_store_with_credentials: Annotated[
        bool,
        Field(
            description="Send `Cache-Control: no-store` where the request carried Authorization, Cookie or X-API-Key and the route "
            "says nothing about caching. Default on: what was meant for one caller stays with him.",
        ),
    ] = True
    docs_pages: Annotated[
        bool,
        Field(
            description="Keep FastAPI's documentation pages working, with a policy of their own for exactly their scripts. "
            "Default on.",
        ),
    ] = True
    docs_paths: Annotated[
        tuple[str, ...],
        Field(
            description="Exact paths of further documentation pages, whose functions take nothing but the request: such a page is "
            "made once, and its policy allows the scripts it had then. Default: none.",
        ),
    ] = ()
    kept_headers: Annotated[
        tuple[str, ...],
        Field(
            description="Of the headers that tell what software runs here, such as Server or X-Powered-By, those that are sent "
            'nevertheless when the application or one mounted in it sets them; `["*"]` keeps all. Default: none is kept. What '
            "the server itself adds is its own setting.",
        ),
    ] = ()

    @field_validator("web_paths", "api_paths", "docs_paths")
    @classmethod
    def _paths_are_absolute(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for position, path in enumerate(value, start=1):
            if not path.startswith("/"):
                message = (
                    f"entry {position} does not begin with a slash | Write the path as it stands in the URL."
                )
                raise ValueError(message)
            exact = path.removesuffix("/*") if info.field_name != "docs_paths" else path
            if "*" in exact or "{" in exact:
                message = (
                    f"entry {position} is a pattern | Write an exact path, or one ending in /* for all below it; "
                    "for one route use the dependency security_headers()."
                )
                raise ValueError(message)
        return value

    @field_validator("kept_headers")
    @classmethod
    def _names_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, name in enumerate(value, start=1):
            if name != "*" and name.lower() not in LEAKING:
                message = f"entry {position} would be kept anyway | Remove it, or correct the name."
                raise ValueError(message)
        return value

    @field_validator("overrides")
    @classmethod
    def _overrides_can_be_sent(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        check_headers(value)
        return value

    @field_validator("report_only")
    @classmethod
    def _policy_is_read(cls, value: str | None) -> str | None:
        if value is not None:
            _check_policy(value)
        return value

    @field_validator("report_to")
    @classmethod
    def _reports_arrive(cls, value: str | None) -> str | None:
        if value is None or (value.startswith("/") and value[1:2] != "/" and _URL.fullmatch(value)):
            return value
        try:
            parts = urlsplit(value)
            works = parts.scheme == "https" and parts.hostname and not parts.username
        except ValueError:
            works = False
        if not works or not _URL.fullmatch(value):
            message = "browsers report to no such place | Give an https URL without a user, or a path that begins with a slash."
            raise ValueError(message)
        return value

    @field_validator("hsts_preload")
    @classmethod
    def _preload_is_accepted(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - a validator's signature
        enough = info.data.get("hsts_max_age_seconds", 0) >= _PRELOAD_SECONDS and info.data.get(
            "hsts_include_subdomains"
        )
        if value and not enough:
            message = (
                "the preload list takes nobody below a year or without subdomains | Set hsts_max_age_seconds to at least "
                "31536000 and hsts_include_subdomains, or leave this off."
            )
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _paths_have_one_preset(self) -> SecurityHeadersSettings:
        both = set(self.web_paths) & set(self.api_paths)
        if both:
            message = "a path stands in web_paths and in api_paths | Leave it in one of them."
            raise ValueError(message)
        return self


def check_headers(headers: Mapping[str, str | None]) -> None:
    """Refuse *headers* that could not be sent, or that a browser would not understand.

    Raises:
        ValueError: with `fault | cure`; never with a value.
    """
    for position, (name, text) in enumerate(headers.items(), start=1):
        try:
            fault = invalid_header(name.encode("ascii"), (text or "").encode("latin-1"))
        except UnicodeEncodeError:
            fault = "it is not Latin-1"
        if fault is not None:
            message = f"entry {position} cannot be sent as a header: {fault} | Write one line of printable characters."
            raise ValueError(message)
        if name.lower() in _FRAMING:
            message = f"entry {position} belongs to the server or to each single response | Remove it."
            raise ValueError(message)
        if text is not None and name.lower() in POLICIES:
            _check_policy(text)


def _check_policy(policy: str) -> None:
    fault = invalid_header(b"content-security-policy", policy.encode("ascii", "replace"))
    if fault is not None or not policy.isascii():
        message = "the policy cannot be sent as a header | Write one line of ASCII."
        raise ValueError(message)
    fault = fault_of(policy)
    if fault is not None:
        message = f"the policy: {fault}"
        raise ValueError(message)
