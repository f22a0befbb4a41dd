"""Security headers: what a browser is told to refuse on our behalf.

The preset `api` is for responses that are data: nothing in them may load, frame or run anything. The preset `web` is for
pages of one's own. A path or a route may have another one than the rest, also for its errors; a header that a route sets
itself is left alone. FastAPI's documentation pages get a policy computed from the very page they send, with a hash in the
place of `'unsafe-inline'` for its script.

Source: OWASP Secure Headers Project; MDN HTTP Observatory scoring (the preset `api` is meant for at least 125 points);
RFC 6797 (HSTS); Content Security Policy Level 3; Reporting API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.features import Layer, Parts
from prodkit.security_headers.docs_pages import docs_page, docs_policy
from prodkit.security_headers.leaking import LEAKING, leaking
from prodkit.security_headers.nonces import CSPNonce, csp_nonce
from prodkit.security_headers.policy import BrowserPolicy
from prodkit.security_headers.presets import PRESETS, Composer
from prodkit.security_headers.rules import RouteHeaders, security_headers
from prodkit.security_headers.settings import SecurityHeadersSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.features import Kit
    from prodkit.security_headers.presets import Preset

__all__ = [
    "LEAKING",
    "PRESETS",
    "BrowserPolicy",
    "CSPNonce",
    "RouteHeaders",
    "SecurityHeaders",
    "SecurityHeadersSettings",
    "csp_nonce",
    "docs_page",
    "docs_policy",
    "security_headers",
]


class SecurityHeaders:
    """The feature `security_headers`."""

    name = "security_headers"

    def __init__(
        self,
        *,
        preset: Preset = "api",
        web_paths: Sequence[str] = (),
        api_paths: Sequence[str] = (),
        overrides: Mapping[str, str | None] | None = None,
        strict: bool = False,
        report_only: str | None = None,
        report_to: str | None = None,
        hsts_max_age_seconds: int = 63_072_000,
        hsts_include_subdomains: bool = True,
        hsts_preload: bool = False,
        no_store_with_credentials: bool = True,
        docs_pages: bool = True,
        docs_paths: Sequence[str] = (),
        kept_headers: Sequence[str] = (),
    ) -> None:
        self.settings = SecurityHeadersSettings.of(
            "SecurityHeaders",
            preset=preset,
            web_paths=web_paths,
            api_paths=api_paths,
            overrides={} if overrides is None else overrides,
            strict=strict,
            report_only=report_only,
            report_to=report_to,
            hsts_max_age_seconds=hsts_max_age_seconds,
            hsts_include_subdomains=hsts_include_subdomains,
            hsts_preload=hsts_preload,
            no_store_with_credentials=no_store_with_credentials,
            docs_pages=docs_pages,
            docs_paths=docs_paths,
            kept_headers=kept_headers,
        )
        self._composer = Composer(self.settings)
        self.provides: Sequence[object] = (self._composer,)

    @classmethod
    def from_settings(cls, section: SecurityHeadersSettings) -> SecurityHeaders:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Static headers, and a guard in BROWSER for those that depend on the request."""
        policy = BrowserPolicy(self.settings, self._composer, kit)
        return Parts(
            guards=[(Layer.BROWSER, policy.guard)],
            response_headers=policy.static_headers,
            removed_headers=leaking(self.settings.kept_headers),
            order={Layer.BROWSER: f"security headers, preset {self.settings.preset}"},
        )
