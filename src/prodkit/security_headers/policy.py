"""The guard: chooses the headers that depend on the request, by scheme, credential, path and route."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from prodkit.security_headers.docs_pages import DocsPages
from prodkit.security_headers.presets import Composer, HeaderSet
from prodkit.security_headers.rules import RouteHeaders, RoutesWithHeaders

if TYPE_CHECKING:
    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.security_headers.presets import Preset
    from prodkit.security_headers.settings import SecurityHeadersSettings

__all__ = ["BrowserPolicy"]

# RFC 6797, 8.1.1: a browser keeps it for no address. It would keep it for every other service of this machine where the
# host is localhost or below it (RFC 6761, 6.3). A host whose last label is a number is an address (WHATWG URL, 3.5).
_NOT_A_NAME: Final = re.compile(
    rb"\[.*|(?:.*\.)?(?:localhost|[0-9]+|0x[0-9a-f]*)\.?(?::[0-9]*)?|(?::[0-9]*)?", re.IGNORECASE | re.DOTALL
)


class _All(Container[str]):
    """What every path is in, where exact ones do not tell."""

    def __contains__(self, path: object) -> bool:
        return True


_ALL: Final = _All()


class BrowserPolicy:
    """Chooses the headers that depend on the request.

    Args:
        settings: see `SecurityHeadersSettings`.
        composer: made from the same settings.
        kit: knows the routes, for those with headers of their own.

    Attributes:
        static_headers: the headers of every response.
    """

    def __init__(
        self,
        settings: SecurityHeadersSettings,
        composer: Composer | None = None,
        kit: Kit | None = None,
    ) -> None:
        self._composer = composer or Composer(settings)
        self._settings = settings
        self._kit = kit
        self.static_headers = self._composer.static_headers
        self._hsts = self._composer.hsts
        # The host of the last request over https that is a name: nearly all requests have the same.
        self._host = b"\x00"
        self._no_store = settings.no_store_with_credentials
        # Known from the first request on, which knows the application.
        self._special: Container[str] | None = None
        self._docs: DocsPages | None = None
        self._exact: dict[str, HeaderSet] = {}
        self._below: tuple[tuple[str, HeaderSet], ...] = ()
        self._routes: RoutesWithHeaders | None = None

    def guard(self, context: RequestContext) -> None:
        """Write what depends on scheme, credentials and path into the response headers. Refuses nothing."""
        scheme, headers, scope = context.scheme, context.headers, context.scope
        if (
            (scheme == "https" or scheme == "wss")  # noqa: PLR1714 - no tuple is cheaper
            and self._hsts
            and (b"host" not in headers or headers[b"host"] == self._host or self._is_name(headers[b"host"]))
        ):
            context.response_headers[b"strict-transport-security"] = self._hsts
        if self._no_store and (
            b"authorization" in headers or b"cookie" in headers or b"x-api-key" in headers
        ):
            context.response_headers[b"cache-control"] = b"no-store"
        if scope is None:
            return
        special = self._special
        if special is None:
            special = self._learn(scope)
        if scope["root_path"] or scope["path"] in special:
            self._choose(context, scope)

    def _is_name(self, host: bytes) -> bool:
        if _NOT_A_NAME.fullmatch(host) is not None:
            return False
        self._host = host
        return True

    def _learn(self, scope: Scope) -> Container[str]:
        """Find out which paths are special in the application that *scope* is for."""
        settings = self._settings
        below: dict[str, HeaderSet] = {}
        by_preset: tuple[tuple[Preset, tuple[str, ...]], ...] = (
            ("web", settings.web_paths),
            ("api", settings.api_paths),
        )
        for preset, paths in by_preset:
            made = self._composer.of_preset(preset)
            below.update({path[:-1]: made for path in paths if path.endswith("/*")})
            self._exact.update({path: made for path in paths if not path.endswith("/*")})
        # The longest first.
        self._below = tuple(sorted(below.items(), key=lambda item: -len(item[0])))
        app = scope.get("app")
        if isinstance(app, FastAPI):
            self._docs = DocsPages(app, self._composer, settings)
            if self._kit is not None and self._kit.routes is not None:
                self._routes = RoutesWithHeaders(app.router.routes)
        if self._below or self._routes:
            special: Container[str] = _ALL
        else:
            special = frozenset(self._exact) | (frozenset() if self._docs is None else self._docs.paths)
        self._special = special
        return special

    def _choose(self, context: RequestContext, scope: Scope) -> None:
        """The headers by path: of the route, else of the path itself, else of what it is below."""
        root_path: str = scope["root_path"]
        path: str = scope["path"]
        if root_path and path.startswith(f"{root_path}/"):
            path = path[len(root_path) :]
        if path in self._exact:
            self._exact[path].put(context)
        elif self._docs is not None and path in self._docs.paths:
            self._docs.headers(path, root_path).put(context)  # the prefix stands in its script
        else:
            found = next((made for start, made in self._below if path.startswith(start)), None)
            if found is not None:
                found.put(context)
        kit = self._kit
        if self._routes and self._routes.may_have(path) and kit is not None and kit.routes is not None:
            for rule in kit.routes.rules_at(scope):
                if isinstance(rule, RouteHeaders):
                    rule.enforce(context)
                    context.rare.enforced.append(rule)
