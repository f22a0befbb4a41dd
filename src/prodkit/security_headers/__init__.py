"""Security headers: what a browser is told to refuse on our behalf.

The preset `api` is for responses that are data: nothing in them may load, frame or run anything. The preset `web` is for
pages of one's own. A header that a route sets itself is left alone. FastAPI's documentation pages get a policy computed
from the very page they send, with a hash in the place of `'unsafe-inline'` for its script.

Source: OWASP Secure Headers Project; MDN HTTP Observatory scoring (the preset `api` is meant for at least 125 points);
RFC 6797 (HSTS); Content Security Policy Level 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import FastAPI
from pydantic import Field, ValidationInfo, field_validator

from prodkit.core.asgi import invalid_header
from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.security_headers.docs_pages import DocsPages, docs_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["PRESETS", "BrowserPolicy", "SecurityHeaders", "SecurityHeadersSettings", "docs_policy"]

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
        "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'",
        "referrer-policy": "strict-origin-when-cross-origin",
        **_COMMON,
    },
}
"""Static headers by preset, without HSTS, which depends on the scheme."""

_HSTS: Final = "strict-transport-security"
# The preload list asks for a year and for subdomains (hstspreload.org).
_PRELOAD_SECONDS: Final = 31_536_000
# Set by whoever frames the message; a static value would break it.
_FRAMING: Final = frozenset(
    {"connection", "content-length", "date", "set-cookie", "transfer-encoding", "upgrade", "vary"}
)
Preset = Literal["api", "web"]


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
            description='Exact paths that get the preset `web` where the rest gets another, e.g. `["/"]`. Default: none.',
        ),
    ] = ()
    overrides: Annotated[
        dict[str, str | None],
        Field(
            description="Headers by name in place of the preset's, or in addition; null leaves one out, e.g. "
            '`{"X-Frame-Options": null}`. Default: none.',
        ),
    ] = {}  # noqa: RUF012 - pydantic copies defaults
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

    @field_validator("web_paths")
    @classmethod
    def _paths_are_absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, path in enumerate(value, start=1):
            if not path.startswith("/"):
                message = (
                    f"entry {position} does not begin with a slash | Write the path as it stands in the URL."
                )
                raise ValueError(message)
        return value

    @field_validator("overrides")
    @classmethod
    def _overrides_can_be_sent(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        for position, (name, text) in enumerate(value.items(), start=1):
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


class BrowserPolicy:
    """Chooses the headers that depend on the request.

    Args:
        settings: see `SecurityHeadersSettings`.

    Attributes:
        static_headers: the headers of every response.
        needs_guard: whether any header depends on the request.
    """

    def __init__(self, settings: SecurityHeadersSettings) -> None:
        overrides = {name.lower(): value for name, value in settings.overrides.items()}
        hsts = self._hsts_value(settings)
        hsts = overrides.pop(_HSTS, hsts) or ""
        self.static_headers = _overridden(PRESETS[settings.preset], overrides)
        self._hsts = hsts.encode("latin-1")
        self._no_store = settings.no_store_with_credentials
        self._has_docs_pages = settings.docs_pages
        web = {
            name.encode(): value.encode("latin-1")
            for name, value in _overridden(PRESETS["web"], overrides).items()
        }
        self._web_pages = dict.fromkeys(settings.web_paths, web)
        # Both known from the first request on, which knows the application.
        self._pages: dict[str, dict[bytes, bytes]] | None = None
        self._docs: DocsPages | None = None
        self.needs_guard = bool(self._hsts or self._no_store or settings.docs_pages or self._web_pages)

    @staticmethod
    def _hsts_value(settings: SecurityHeadersSettings) -> str | None:
        if settings.hsts_max_age_seconds == 0:
            return None
        value = f"max-age={settings.hsts_max_age_seconds}"
        if settings.hsts_include_subdomains:
            value += "; includeSubDomains"
        return f"{value}; preload" if settings.hsts_preload else value

    def guard(self, context: RequestContext) -> None:
        """Write what depends on scheme, credentials and path into the response headers. Refuses nothing."""
        scheme, headers, scope = context.scheme, context.headers, context.scope
        if (
            (scheme == "https" or scheme == "wss")  # noqa: PLR1714 - no tuple is cheaper
            and self._hsts
            # A browser would keep it for every other service on this machine.
            and not (b"host" in headers and headers[b"host"][:9] == b"localhost")
        ):
            context.response_headers[b"strict-transport-security"] = self._hsts
        if self._no_store and (
            b"authorization" in headers or b"cookie" in headers or b"x-api-key" in headers
        ):
            context.response_headers[b"cache-control"] = b"no-store"
        if scope is None:
            return
        pages = self._pages
        if pages is None:
            pages = self._pages = self._find_pages(scope)
        if scope["root_path"]:
            self._below(context, scope, pages)
        elif scope["path"] in pages:
            context.response_headers.update(pages[scope["path"]])

    def _find_pages(self, scope: Scope) -> dict[str, dict[bytes, bytes]]:
        """What is special about a page, by its path in the application that *scope* is for."""
        app = scope.get("app")
        if self._has_docs_pages and isinstance(app, FastAPI) and app.openapi_url:
            self._docs = DocsPages(app)
            return {**{path: self._docs.headers(path, "") for path in self._docs.paths}, **self._web_pages}
        return self._web_pages

    def _below(self, context: RequestContext, scope: Scope, pages: dict[str, dict[bytes, bytes]]) -> None:
        """The same for an application behind a prefix, which stands in the scripts of its documentation."""
        root_path: str = scope["root_path"]
        path: str = scope["path"]
        if path.startswith(f"{root_path}/"):
            path = path[len(root_path) :]
        if path in self._web_pages or self._docs is None:
            context.response_headers.update(pages.get(path, {}))
        elif path in pages:
            context.response_headers.update(self._docs.headers(path, root_path))


def _overridden(headers: Mapping[str, str], overrides: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**headers, **overrides}
    return {name: value for name, value in merged.items() if value is not None}


class SecurityHeaders:
    """The feature `security_headers`."""

    name = "security_headers"
    provides: Sequence[object] = ()

    def __init__(
        self,
        *,
        preset: Preset = "api",
        web_paths: Sequence[str] = (),
        overrides: Mapping[str, str | None] | None = None,
        hsts_max_age_seconds: int = 63_072_000,
        hsts_include_subdomains: bool = True,
        hsts_preload: bool = False,
        no_store_with_credentials: bool = True,
        docs_pages: bool = True,
    ) -> None:
        self.settings = SecurityHeadersSettings.of(
            "SecurityHeaders",
            preset=preset,
            web_paths=web_paths,
            overrides={} if overrides is None else overrides,
            hsts_max_age_seconds=hsts_max_age_seconds,
            hsts_include_subdomains=hsts_include_subdomains,
            hsts_preload=hsts_preload,
            no_store_with_credentials=no_store_with_credentials,
            docs_pages=docs_pages,
        )

    @classmethod
    def from_settings(cls, section: SecurityHeadersSettings) -> SecurityHeaders:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Static headers, and a guard in BROWSER for those that depend on the request."""
        del kit
        policy = BrowserPolicy(self.settings)
        return Parts(
            guards=[(Layer.BROWSER, policy.guard)] if policy.needs_guard else (),
            response_headers=policy.static_headers,
            order={Layer.BROWSER: f"security headers, preset {self.settings.preset}"},
        )
