"""Requests that came unencrypted: led to https where that is harmless, else refused, and told why.

A redirect hides a mistake from the program that makes it: it goes on sending its key in clear, every time, and every
time it works. So only what has told nothing yet is redirected: GET and HEAD without a credential.

Source: RFC 9110, 15.4.9 (308) and 4.2.2; RFC 6797, 7.2 (no answer but a redirect over http); ASVS 5.0, 4.1.2 and 12.2.1.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from prodkit.core.asgi import Answer, header_lines
from prodkit.core.problems import Problem, ProblemType, register

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.core.asgi import Scope
    from prodkit.core.context import RequestContext

__all__ = ["HTTPS_REQUIRED", "EncryptionRule", "location_of"]

LOGGER = logging.getLogger("prodkit.hosts")

HTTPS_REQUIRED = register(
    ProblemType(
        "https-required",
        403,
        "HTTPS Required",
        "The request came over an unencrypted connection, and this service takes none. Use https; where a credential was sent "
        "along, replace it: others may have read it.",
    )
)

_CREDENTIALS: Final = (b"authorization", b"proxy-authorization", b"x-api-key")
# A browser never sends cookies of these names in clear (RFC 6265bis, 4.1.3), so whoever does is a program, or stands
# behind a proxy that does not tell of its https.
_SECURE_COOKIE = re.compile(rb"__(?:Host|Secure)-", re.IGNORECASE)
_NOT_PRINTABLE = re.compile(rb"[^\x21-\x7e]")
_HTTPS_PORT: Final = 443
# What proxies that ended https are known to say of it.
_CLAIMS: Final = {
    b"x-forwarded-proto": b"https",
    b"x-forwarded-scheme": b"https",
    b"cloudfront-forwarded-proto": b"https",
    b"cf-visitor": b"https",
    b"forwarded": b"proto=https",
    b"x-forwarded-ssl": b"on",
    b"front-end-https": b"on",
}


class EncryptionRule:
    """Decides on requests that came unencrypted.

    Args:
        mode: whether anything is redirected at all.
        port: where https is served.
        cookies: further names of cookies that are credentials.
    """

    def __init__(self, mode: Literal["redirect", "refuse"], port: int, cookies: Iterable[str] = ()) -> None:
        self._redirects = mode == "redirect"
        self._port = b"" if port == _HTTPS_PORT else b":%d" % port
        self._cookies = frozenset(name.encode("latin-1", "replace") for name in cookies)
        self._has_warned = False

    def answer(self, context: RequestContext, scope: Scope, host: str) -> Answer:
        """A redirect to https at *host*.

        Raises:
            Problem: 403 in place of one; 400 where the target is no path.
        """
        if self._bears_credential(context, scope):
            raise Problem(
                HTTPS_REQUIRED,
                "A credential was sent over an unencrypted connection. Take it for known to others and replace it; use https.",
            )
        if not self._redirects or scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            raise Problem(HTTPS_REQUIRED, "This service is used over https only.")
        if _claims_https(context.headers):
            self._warn()
            raise Problem(
                HTTPS_REQUIRED,
                "The request came over http from a proxy that speaks of https and is not believed; a redirect would "
                "lead here again.",
            )
        return Answer(308, b"", [(b"location", location_of(scope, host.encode("ascii") + self._port))])

    def _bears_credential(self, context: RequestContext, scope: Scope) -> bool:
        headers = context.headers
        if any(name in headers for name in _CREDENTIALS):
            return True
        if b"cookie" not in headers:
            return False
        pairs = b";".join(header_lines(scope["headers"], b"cookie")).split(b";")
        names = (pair.partition(b"=")[0].strip(b" \t") for pair in pairs)
        return any(name in self._cookies or _SECURE_COOKIE.match(name) for name in names)

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            LOGGER.warning(
                "a request that came over http says that its caller used https, and its peer is not trusted to say so: name "
                "your proxies in PRODKIT_PROXIES__TRUSTED_PROXIES, or in PRODKIT_PROXIES__HEADER the header they write"
            )


def _claims_https(headers: Mapping[bytes, bytes]) -> bool:
    return any(name in headers and claim in headers[name].lower() for name, claim in _CLAIMS.items())


def location_of(scope: Scope, authority: bytes) -> bytes:
    """The same path and query, byte for byte, over https at *authority*.

    Raises:
        Problem: 400 where the target does not begin with a slash: `@evil.example` would end up as the host.
    """
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    if not path.startswith(b"/"):
        raise Problem(400, "The request target is not a path.")
    root_path: str = scope["root_path"]
    if root_path and not f"{scope['path']}/".startswith(f"{root_path}/"):  # a proxy took the prefix off
        path = quote(root_path).encode("ascii") + path
    query: bytes = scope["query_string"]
    target = path + b"?" + query if query else path
    # Servers let bytes through that no header may hold.
    return b"https://" + authority + _NOT_PRINTABLE.sub(lambda byte: b"%%%02X" % byte[0][0], target)
