"""Credentials that a browser attaches by itself, whoever caused the request: what a forged request acts with.

A key or a token that a script puts into a header, a subprotocol or a query is none: a page of others does not have it.

Source: RFC 7617 (Basic), RFC 7616 (Digest), RFC 4559 (Negotiate, NTLM); ASGI TLS extension; Fetch, 2.2.2 (credentials).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import RequestContext

__all__ = ["has_ambient_credentials", "has_certificate", "is_ambient"]

# Schemes for which a browser asks its user once and then adds the credential to every request.
_SCHEMES: Final = frozenset({b"basic", b"digest", b"negotiate", b"ntlm"})


def is_ambient(authorization: bytes) -> bool:
    """Whether browsers send an Authorization of this value by themselves."""
    return authorization.partition(b" ")[0].lower() in _SCHEMES


def has_certificate(scope: Mapping[str, Any]) -> bool:  # Any: an ASGI scope
    """Whether the client has shown a certificate to the server, as far as that tells.

    Source: ASGI TLS extension.
    """
    tls = (scope.get("extensions") or {}).get("tls") or {}
    return bool(tls.get("client_cert_name") or tls.get("client_cert_chain"))


def has_ambient_credentials(context: RequestContext) -> bool:
    """Whether the request carries a cookie, a password, a ticket or a certificate that the browser may have attached."""
    headers = context.headers
    if b"cookie" in headers:
        return True
    if b"authorization" in headers and is_ambient(headers[b"authorization"]):
        return True
    return context.scope is not None and has_certificate(context.scope)
