"""The presets, and how settings make the headers of a response of them.

Source: OWASP Secure Headers Project; MDN HTTP Observatory (the preset `api` is meant for at least 125 points); Content
Security Policy Level 3; HTML, 7.1.4 (cross-origin embedder policies).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from prodkit.core.context import REMOVED
from prodkit.security_headers.csp import with_reports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import RequestContext
    from prodkit.security_headers.settings import SecurityHeadersSettings

__all__ = ["POLICIES", "PRESETS", "Composer", "HeaderSet", "Preset"]

Preset = Literal["api", "web"]

_COMMON: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-permitted-cross-domain-policies": "none",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
    "microphone=(), payment=(), usb=()",
}

PRESETS: Final[Mapping[str, Mapping[str, str]]] = {
    "api": {
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "referrer-policy": "no-referrer",
        **_COMMON,
    },
    "web": {
        # By kind, so that plug-ins, frames and whatever comes next stay forbidden.
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; media-src 'self'; manifest-src 'self'; worker-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        "referrer-policy": "strict-origin-when-cross-origin",
        **_COMMON,
    },
}
"""Static headers by preset, without HSTS, which depends on the scheme."""

POLICIES: Final = ("content-security-policy", "content-security-policy-report-only")
"""The headers that are content security policies."""

# What Reporting-Endpoints calls the place where violations are reported.
_ENDPOINT: Final = "csp"
_HSTS: Final = "strict-transport-security"


@dataclass(frozen=True, slots=True)
class HeaderSet:
    """Headers ready to be put on a response.

    Attributes:
        pairs: as they go on the wire; `REMOVED` for one that shall not.
        removes: whether there is such a one.
    """

    pairs: dict[bytes, bytes]
    removes: bool

    @classmethod
    def of(cls, headers: Mapping[str, str | None]) -> HeaderSet:
        """From text; None for a header that shall not be sent."""
        pairs = {
            name.encode("ascii"): REMOVED if value is None else value.encode("latin-1")
            for name, value in headers.items()
        }
        return cls(pairs, None in headers.values())

    def put(self, context: RequestContext) -> None:
        """Have them on the response of *context*, in place of those of the application; the route's own still win."""
        context.response_headers.update(self.pairs)
        if self.removes:
            context.plain_headers = False


class Composer:
    """Makes the headers of one application's responses from its settings.

    Args:
        settings: see `SecurityHeadersSettings`.

    Attributes:
        static_headers: those of every response that nothing else is said about.
        hsts: the value of Strict-Transport-Security; empty where none is sent.
    """

    def __init__(self, settings: SecurityHeadersSettings) -> None:
        self._settings = settings
        overrides = {name.lower(): value for name, value in settings.overrides.items()}
        hsts = overrides.pop(_HSTS, _hsts_value(settings)) or ""
        self.hsts = hsts.encode("latin-1")
        self._overrides = overrides
        self.static_headers = {
            name: value for name, value in self._whole(settings.preset).items() if value is not None
        }

    def of_preset(self, preset: Preset, changes: Mapping[str, str | None] | None = None) -> HeaderSet:
        """All headers of *preset*, with *changes* by lower-case name; None for one that shall not be sent."""
        return HeaderSet.of(self._reported({**self._whole(preset), **(changes or {})}))

    def of_changes(self, changes: Mapping[str, str | None]) -> HeaderSet:
        """Only *changes*, to what the response has anyway."""
        return HeaderSet.of(self._reported(changes))

    def _whole(self, preset: Preset) -> dict[str, str | None]:
        settings = self._settings
        whole: dict[str, str | None] = dict(PRESETS[preset])
        if settings.strict:
            whole["cross-origin-embedder-policy"] = "require-corp"
            if preset == "web":
                whole[POLICIES[0]] = f"{whole[POLICIES[0]]}; require-trusted-types-for 'script'"
        if settings.report_only is not None:
            whole[POLICIES[1]] = settings.report_only
        if settings.report_to is not None:
            whole["reporting-endpoints"] = f'{_ENDPOINT}="{settings.report_to}"'
        return self._reported({**whole, **self._overrides})

    def _reported(self, headers: Mapping[str, str | None]) -> dict[str, str | None]:
        """*headers*, with the place for reports in each policy."""
        url = self._settings.report_to
        return {
            name: with_reports(value, _ENDPOINT, url)
            if name in POLICIES and value is not None and url is not None
            else value
            for name, value in headers.items()
        }


def _hsts_value(settings: SecurityHeadersSettings) -> str | None:
    if settings.hsts_max_age_seconds == 0:
        return None
    value = f"max-age={settings.hsts_max_age_seconds}"
    if settings.hsts_include_subdomains:
        value += "; includeSubDomains"
    return f"{value}; preload" if settings.hsts_preload else value
