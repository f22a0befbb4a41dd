"""One nonce a request: inline code of a page that only the page itself can have written.

The nonce is worth something as long as nobody knows it before the page is made. A page with one is therefore kept by no
cache, whatever its route says: a copy would be shown with a nonce that everybody has seen, and a browser that has a
fresh policy for it, as after a 304, would not run its scripts.

Source: Content Security Policy Level 3, 7.1 (nonces are fresh, and of at least 128 bits) and 8.3.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves annotations at run time

from prodkit.core.context import REMOVED, context_of
from prodkit.core.pipeline.exchange import Exchange
from prodkit.security_headers.csp import with_nonce
from prodkit.security_headers.presets import POLICIES, Composer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext

__all__ = ["CSPNonce", "add_nonce", "csp_nonce"]

_BYTES: Final = 16
_CACHING: Final = frozenset(
    {b"cache-control", b"expires", b"pragma", b"cdn-cache-control", b"surrogate-control"}
)


class _Nonce:
    """Of the request under way."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        """Without it: what is logged is read by others."""
        return "<nonce>"


async def csp_nonce(connection: HTTPConnection) -> str:
    """A dependency: the nonce of this request, for the `nonce` attribute of inline `<script>` and `<style>` elements.

    The content security policy of the response allows what carries it. Each request has a fresh one of 128 bits, the same
    one however often it is asked for; the response is `no-store`. A policy that the route sets itself has to name it itself.

    Raises:
        LookupError: the feature security_headers is not installed.
    """
    context = context_of(connection)
    nonce = context.get(_Nonce)
    if nonce is None:
        if not context.provided(Composer):
            message = (
                "csp_nonce needs security headers: call harden(app), or give SecurityHeaders() to install"
            )
            raise LookupError(message)
        nonce = _Nonce(b64encode(secrets.token_bytes(_BYTES)).decode("ascii"))
        context.put(nonce)
        add_nonce(context)
        _keep_out_of_caches(context)
    return nonce.value


CSPNonce = Annotated[str, Depends(csp_nonce)]
"""Annotate a parameter with it to be given the nonce of this request, see `csp_nonce`."""


def add_nonce(context: RequestContext) -> None:
    """Allow the nonce of *context*, if it has one, in the policies that are in force now."""
    nonce = context.get(_Nonce)
    if nonce is None:
        return
    static = {
        name: value for one in context.provided(Composer)[:1] for name, value in one.static_headers.items()
    }
    for name in POLICIES:
        raw = name.encode("ascii")
        policy = context.response_headers.get(raw, static.get(name, "").encode("latin-1"))
        if policy and policy is not REMOVED:
            text = policy.decode("latin-1")
            if nonce.value not in text:
                context.response_headers[raw] = with_nonce(text, nonce.value).encode("latin-1")


def _keep_out_of_caches(context: RequestContext) -> None:
    """Have `no-store` on the response, also in place of what the route says."""
    context.response_headers[b"cache-control"] = b"no-store"
    if not isinstance(context, Exchange):
        return
    # What a route sets wins over every header of ours. Only here it may not, so the message is looked at when it leaves.
    send = context._to_server  # noqa: SLF001

    def checked(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            others = [pair for pair in message["headers"] if pair[0] not in _CACHING]
            message = {**message, "headers": [*others, (b"cache-control", b"no-store")]}
        return send(message)

    context._to_server = checked  # noqa: SLF001
