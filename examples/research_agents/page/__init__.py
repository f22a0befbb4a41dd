"""The page at `/`: ask an agent and watch the answer arrive, without a build step and without anything from elsewhere.

It is a client of the API like any other: what it shows, curl can get. The key is sent once, to log in, and then a cookie that
no script can read stands for it. Nothing an answer, a title or a URL contains is ever parsed as HTML: texts become text nodes, and the policy of the
page forbids both inline code and every sink that would make code of a string.

Source: Content Security Policy Level 3; Trusted Types (W3C); RFC 9110, 8.8.3 (ETag) and 13.1.2 (If-None-Match).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.responses import Response

from prodkit.authentication import public

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

__all__ = ["CONTENT_SECURITY_POLICY", "page_router"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may load: its own files, and nothing inline."""

_FOLDER: Final = Path(__file__).parent / "static"
_INDEX: Final = "index.html"
# By name, not by listing the folder: a stray file of an editor or an archive tool is not published.
_FILES: Final = (
    _INDEX,
    "answer.js",
    "api.js",
    "app.js",
    "chat.js",
    "dom.js",
    "favicon.svg",
    "markdown.js",
    "money.js",
    "panels.js",
    "session.js",
    "stream.js",
    "style.css",
)
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",  # RFC 9239
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """A file as it is sent, and the headers that go with it, also without it."""

    content: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> _Asset:
        content = path.read_bytes()
        headers = {
            "Content-Type": _TYPES[path.suffix],
            "ETag": f'"{sha256(content).hexdigest()[:32]}"',
            # Always asked for again, and answered by 304: a new release is seen at once by all of its files.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        }
        return cls(content, headers)


def page_router() -> APIRouter:
    """Routes of the page: `GET /` and one below `/page/` for each of its files. All public, none in the API's schema.

    The files are read now and sent from memory; a path never leads to the disk. URLs in the page are relative, so it
    works below any prefix that ends in a slash.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    router = APIRouter()
    for name in _FILES:
        path = "/" if name == _INDEX else f"/page/{name}"
        router.add_route(path, _sender(_Asset.read(_FOLDER / name)), include_in_schema=False)
    return router


def _sender(asset: _Asset) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for GET and HEAD that sends *asset*, or 304 to a client that has it."""

    @public
    async def send(request: Request) -> Response:
        if _is_known(request.headers.getlist("if-none-match"), asset.headers["ETag"]):
            # With the policy: browsers put the headers of a 304 in the place of those they keep.
            kept = {name: value for name, value in asset.headers.items() if name != "Content-Type"}
            return Response(status_code=304, headers=kept)
        if request.method == "HEAD":
            return Response(headers={**asset.headers, "Content-Length": str(len(asset.content))})
        return Response(asset.content, headers=asset.headers)

    return send


def _is_known(conditions: list[str], etag: str) -> bool:
    """Whether `If-None-Match` names *etag*, compared weakly as the standard asks for."""
    named = {tag.strip().removeprefix("W/") for line in conditions for tag in line.split(",")}
    return etag in named or "*" in named
