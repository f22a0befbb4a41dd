"""The policy under which FastAPI's documentation pages work: computed from the very pages.

Source: Content Security Policy Level 3, 2.3.1 (hash sources); fastapi.openapi.docs, which makes the pages.
"""

from __future__ import annotations

import inspect
import logging
import re
from base64 import b64encode
from hashlib import sha256
from html import unescape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response

from prodkit.security_headers.presets import HeaderSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastapi import FastAPI

    from prodkit.security_headers.presets import Composer
    from prodkit.security_headers.settings import SecurityHeadersSettings

__all__ = ["DocsPages", "docs_page", "docs_policy"]

LOGGER = logging.getLogger("prodkit")

# Below parametrised mounts the prefix is chosen by the caller.
_MAX_REMEMBERED: Final = 64

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_SCRIPT = re.compile(r"<script\b[^>]*\ssrc\s*=\s*[\"']([^\"']*)", re.IGNORECASE)
_LINK = re.compile(r"<link\b[^>]*>", re.IGNORECASE)
_HREF = re.compile(r"\shref\s*=\s*[\"']([^\"']*)", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]+)?|https?://\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
# A prefix with a quote in it would end the string that FastAPI puts it into, and our hash would bless what follows.
_PLAIN_PREFIX = re.compile(r"[A-Za-z0-9/_.~\-]*")


def docs_policy(html: str, *, connect: Sequence[str] = ()) -> str:
    """A Content-Security-Policy under which the documentation page *html* works: for a page of your own.

    Scripts are allowed by the hash of their text or by the host they come from. Styles cannot be: Swagger UI and ReDoc
    write them at run time.

    Args:
        html: the page, as it is sent.
        connect: origins that "Try it out" may call besides the page's own.
    """
    inline = [b64encode(sha256(text.encode()).digest()).decode() for text in _INLINE_SCRIPT.findall(html)]
    scripts = [*(f"'sha256-{digest}'" for digest in inline), *_origins(_SCRIPT.findall(html))]
    links = [(tag, origin) for tag in _LINK.findall(html) for origin in _origins(_HREF.findall(tag))]
    styles = [origin for tag, origin in links if "stylesheet" in tag]
    images = [origin for tag, origin in links if "icon" in tag]
    # Google's style sheets name font files on another host of theirs.
    fonts = ["https://fonts.gstatic.com"] if "https://fonts.googleapis.com" in styles else []
    workers = []
    if "<redoc" in html:
        # It indexes its search in a worker made from a blob, and shows its maker's logo.
        workers.append("blob:")
        images.append("https://cdn.redoc.ly")
    directives = {
        "default-src": ["'none'"],
        "script-src": ["'self'", *scripts],
        "style-src": ["'self'", "'unsafe-inline'", *styles],
        "img-src": ["'self'", "data:", *images],
        "font-src": ["'self'", "data:", *fonts],
        "connect-src": ["'self'", *connect],
        "worker-src": ["'self'", *workers],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
    }
    return "; ".join(" ".join([name, *dict.fromkeys(values)]) for name, values in directives.items())


def docs_page(response: Response, *, connect: Sequence[str] = ()) -> Response:
    """*response* of `get_swagger_ui_html` or `get_redoc_html`, with the policy that it works under.

    For a documentation page of your own, with assets of your own: `return docs_page(get_swagger_ui_html(...))`. What the
    page says must not come from its caller, or the policy would allow what he wrote.
    """
    html = bytes(response.body).decode(response.charset)
    response.headers["Content-Security-Policy"] = docs_policy(html, connect=connect)
    response.headers["Cross-Origin-Opener-Policy"] = _opener_policy(html)
    return response


def _origins(urls: Sequence[str]) -> list[str]:
    """The other origins among *urls* of a page."""
    return [match[0] for url in urls if (match := _ORIGIN.match(unescape(url)))]


def _opener_policy(html: str) -> str:
    if "swaggerUIRedirectOauth2" in html:
        return "unsafe-none"  # it speaks to the window that opened it
    # The window in which one signs in leaves for another origin, and has to find its way back.
    return "same-origin-allow-popups" if "SwaggerUIBundle" in html else "same-origin"


class DocsPages:
    """The headers of the documentation pages of one application.

    Args:
        app: whose pages they are.
        composer: adds where violations are reported.
        settings: which pages there are.

    Attributes:
        paths: where the pages are, below the root path.
    """

    def __init__(self, app: FastAPI, composer: Composer, settings: SecurityHeadersSettings) -> None:
        self._app = app
        self._composer = composer
        self._is_strict = settings.strict
        self._endpoints = dict(_own_pages(app)) if settings.docs_pages else {}
        self._endpoints.update(_pages_at(app, settings.docs_paths))
        self.paths = frozenset(self._endpoints)
        self._remembered: dict[tuple[str, str], HeaderSet] = {}

    def headers(self, path: str, root_path: str) -> HeaderSet:
        """The headers of the page at *path* of an application served below *root_path*; none below a doubtful prefix."""
        key = (path, root_path)
        known = self._remembered.get(key)
        if known is None:
            known = self._made(path, root_path) if _PLAIN_PREFIX.fullmatch(root_path) else _NONE
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = known
        return known

    def _made(self, path: str, root_path: str) -> HeaderSet:
        try:
            html = _html_of(self._app, self._endpoints[path], path, root_path)
        except Exception:  # noqa: BLE001 - whoever opens the page will be told; here it only has no policy
            html = None
        if html is None:
            LOGGER.warning(
                "the documentation page at %s cannot be made beforehand, so its policy stays that of the application: "
                "return docs_page(...) of prodkit.security_headers there",
                path,
            )
            return _NONE
        connect = [] if path == self._app.swagger_ui_oauth2_redirect_url else list(_called(self._app))
        changes: dict[str, str | None] = {
            "content-security-policy": docs_policy(html, connect=connect),
            "cross-origin-opener-policy": _opener_policy(html),
        }
        if self._is_strict and _origins([*_SCRIPT.findall(html), *_HREF.findall(html)]):
            # Those hosts need not have said that they may be embedded.
            changes["cross-origin-embedder-policy"] = None
        return self._composer.of_changes(changes)


_NONE: Final = HeaderSet({}, removes=False)


def _own_pages(app: FastAPI) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Path and function of the pages that FastAPI made."""
    if not app.openapi_url:
        return
    wanted = [app.redoc_url, app.docs_url, app.swagger_ui_oauth2_redirect_url if app.docs_url else None]
    yield from _pages_at(app, [path for path in wanted if path])


def _pages_at(app: FastAPI, paths: Sequence[str]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Path and function of the first route at each of *paths*."""
    if not paths:
        return
    found: dict[str, Callable[..., Any]] = {}
    for context in iter_route_contexts(app.router.routes):
        path, endpoint = context.path_format, context.endpoint
        if path is not None and path in paths and endpoint is not None and "GET" in (context.methods or ()):
            found.setdefault(path, endpoint)
    yield from found.items()


def _html_of(app: FastAPI, endpoint: Callable[..., Any], path: str, root_path: str) -> str | None:
    """What *endpoint* sends to a request that says nothing; None where it needs more, waits, or sends something else.

    The request is made up, so nothing that a caller says can come into the page that our hashes allow.
    """
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": f"{root_path.rstrip('/')}{path}",
        "root_path": root_path,
        "query_string": b"",
        "headers": [],
        "app": app,
        "state": {},
    }
    parameters = list(inspect.signature(endpoint).parameters.values())
    if len(parameters) > 1 or not all(_is_request(one.annotation) for one in parameters):
        return None
    answer = endpoint(*[Request(scope) for _ in parameters])
    if inspect.iscoroutine(answer):
        try:
            answer.send(None)
        except StopIteration as end:
            answer = end.value
        else:
            answer.close()
            return None
    return bytes(answer.body).decode(answer.charset) if isinstance(answer, Response) else None


def _is_request(annotation: object) -> bool:
    """Whether a parameter of that *annotation* is the request: Starlette's functions need not say so."""
    if isinstance(annotation, str):  # its evaluation is postponed
        return annotation.rpartition(".")[2] == "Request"
    return annotation in (inspect.Parameter.empty, Request)


def _called(app: FastAPI) -> Iterator[str]:
    """Other origins that "Try it out" calls: the servers in the document, and where tokens are fetched."""
    try:
        document = app.openapi()
    except Exception:  # noqa: BLE001 - the request for the document itself will tell, and the page shows it
        return
    urls = [server.get("url", "") for server in document.get("servers", ())]
    for scheme in document.get("components", {}).get("securitySchemes", {}).values():
        urls.append(scheme.get("openIdConnectUrl", ""))
        for flow in scheme.get("flows", {}).values():
            urls += [flow.get("tokenUrl", ""), flow.get("refreshUrl", "")]
    for url in urls:
        try:
            parts = urlsplit(url)
        except ValueError:
            continue
        origin = f"{parts.scheme}://{parts.netloc}"
        if _ORIGIN.fullmatch(origin):
            yield origin
