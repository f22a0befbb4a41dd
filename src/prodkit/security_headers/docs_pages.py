"""The policy under which FastAPI's documentation pages work: computed from the very pages.

Source: Content Security Policy Level 3, 2.3.1 (hash sources); fastapi.openapi.docs, which makes the pages.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

__all__ = ["DocsPages", "docs_policy"]

# Below parametrised mounts the prefix is chosen by the caller.
_MAX_REMEMBERED: Final = 64

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_FOREIGN_SCRIPT = re.compile(r"<script[^>]*\ssrc=\"(https?://[^/\"]+)")
_LINK = re.compile(r"<link\b[^>]*>")
_FOREIGN_LINK = re.compile(r"href=\"(https?://[^/\"]+)")
# A prefix with a quote in it would end the string that FastAPI puts it into, and our hash would bless what follows.
_PLAIN_PREFIX = re.compile(r"[A-Za-z0-9/_.~\-]*")


def docs_policy(html: str) -> str:
    """A Content-Security-Policy under which the documentation page *html* works: for a page of your own.

    Scripts are allowed by the hash of their text or by the host they come from. Styles cannot be: Swagger UI and ReDoc
    write them at run time.
    """
    inline = [b64encode(sha256(text.encode()).digest()).decode() for text in _INLINE_SCRIPT.findall(html)]
    scripts = [*(f"'sha256-{digest}'" for digest in inline), *_FOREIGN_SCRIPT.findall(html)]
    links = [(tag, match[1]) for tag in _LINK.findall(html) if (match := _FOREIGN_LINK.search(tag))]
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
        "connect-src": ["'self'"],
        "worker-src": ["'self'", *workers],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
    }
    return "; ".join(" ".join([name, *dict.fromkeys(values)]) for name, values in directives.items())


class DocsPages:
    """The headers of the documentation pages of one application.

    Attributes:
        paths: where the pages are, below the root path.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        pages: dict[str | None, Callable[[str], dict[bytes, bytes]]] = {
            app.redoc_url: self._redoc,
            app.docs_url: self._swagger,
            app.swagger_ui_oauth2_redirect_url if app.docs_url else None: _signed_in,
        }
        self._makers = {path: make for path, make in pages.items() if path}
        self.paths = tuple(self._makers)
        self._remembered: dict[tuple[str, str], dict[bytes, bytes]] = {}

    def headers(self, path: str, root_path: str) -> dict[bytes, bytes]:
        """The headers of the page at *path* of an application served below *root_path*; none below a doubtful prefix."""
        key = (path, root_path)
        known = self._remembered.get(key)
        if known is None:
            known = self._makers[path](root_path.rstrip("/")) if _PLAIN_PREFIX.fullmatch(root_path) else {}
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = known
        return known

    def _swagger(self, prefix: str) -> dict[bytes, bytes]:
        app = self._app
        redirect = app.swagger_ui_oauth2_redirect_url
        page = get_swagger_ui_html(
            openapi_url=f"{prefix}{app.openapi_url}",
            title="",
            oauth2_redirect_url=f"{prefix}{redirect}" if redirect else None,
            init_oauth=app.swagger_ui_init_oauth,
            swagger_ui_parameters=app.swagger_ui_parameters,
        )
        # The window in which one signs in leaves for another origin, and has to find its way back.
        return _headers(page.body, "same-origin-allow-popups")

    def _redoc(self, prefix: str) -> dict[bytes, bytes]:
        return _headers(
            get_redoc_html(openapi_url=f"{prefix}{self._app.openapi_url}", title="").body, "same-origin"
        )


def _signed_in(_: str) -> dict[bytes, bytes]:
    return _headers(get_swagger_ui_oauth2_redirect_html().body, "unsafe-none")


def _headers(body: bytes | memoryview, opener_policy: str) -> dict[bytes, bytes]:
    return {
        b"content-security-policy": docs_policy(bytes(body).decode()).encode("ascii"),
        b"cross-origin-opener-policy": opener_policy.encode("ascii"),
    }
