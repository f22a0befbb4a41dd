"""Where a browser's request comes from: whether the page that caused it is of our own origin.

Source: W3C Fetch Metadata Request Headers; RFC 6454 and RFC 9110, 10.1.3 (Origin, Referer); OWASP ASVS 5.0, 3.5.1 and 3.5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.asgi import header_lines

if TYPE_CHECKING:
    from prodkit.core.context import RequestContext

__all__ = ["is_cross_origin", "is_same_origin"]

_SCHEMES: Final = {"http": b"http", "https": b"https", "ws": b"http", "wss": b"https"}
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}
# `none`: somebody typed the address, or opened a bookmark. No page of others can make a request look like that.
_OWN_SITES: Final = frozenset({b"same-origin", b"none"})


def is_same_origin(context: RequestContext) -> bool:
    """Whether the browser vouches for it that one of our own pages made the request; not when it says nothing.

    What it says in `Sec-Fetch-Site` decides, else `Origin`, else `Referer`. Scripts can write none of them.
    """
    return _verdict(context) is True


def is_cross_origin(context: RequestContext) -> bool:
    """Whether the browser says that another page than ours made the request; not when it says nothing."""
    return _verdict(context) is False


def _verdict(context: RequestContext) -> bool | None:
    """What the browser says, or None when it does not; a header on two lines says nothing good."""
    headers = context.headers
    if b"sec-fetch-site" in headers:
        return _one(context, b"sec-fetch-site") in _OWN_SITES
    if b"origin" in headers:
        return _is_ours(context, _one(context, b"origin"))
    if b"referer" in headers:
        scheme, separator, rest = _one(context, b"referer").partition(b"://")
        return _is_ours(context, scheme + separator + rest.partition(b"/")[0])
    return None


def _is_ours(context: RequestContext, origin: bytes) -> bool:
    scheme = _SCHEMES.get(context.scheme)
    host = _one(context, b"host")
    if scheme is None or not host:
        return False
    port = _DEFAULT_PORTS[scheme]
    return origin.lower().removesuffix(port) == b"%b://%b" % (scheme, host.lower().removesuffix(port))


def _one(context: RequestContext, name: bytes) -> bytes:
    """The value of a header that has to stand on one line; empty where it does not."""
    if context.has_repeated_headers and context.scope is not None:
        lines: list[bytes] = header_lines(context.scope["headers"], name)
        return lines[0] if len(lines) == 1 else b""
    value: bytes = context.headers.get(name, b"")
    return value
