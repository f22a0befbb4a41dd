"""Who is calling: the principal, and the protocol by which one is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from prodkit.core.context import RequestContext

__all__ = [
    "ANONYMOUS",
    "AuthenticatesByCookie",
    "Authenticator",
    "Principal",
    "Revalidates",
    "WatchesSockets",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller, whatever the credential was; `ANONYMOUS` when there was none.

    Attributes:
        id: stable and safe to log; never a credential. Unique together with `kind`.
        kind: how the caller was identified: `anonymous`, `api_key`, `jwt`, or a name of your own.
        scopes: what the caller may do.
        tenant: the organisation that owns the caller's data, or None.
        plan: the name of the commercial plan limits may depend on, or None.
        expires_at: unix seconds after which the identity no longer holds, or None.
        claims: further facts an authenticator vouches for; empty unless it says otherwise.
    """

    id: str
    kind: str
    scopes: frozenset[str] = frozenset()
    tenant: str | None = None
    plan: str | None = None
    expires_at: float | None = None
    claims: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody was identified."""
        return self.kind == "anonymous"


ANONYMOUS = Principal(id="anonymous", kind="anonymous")


@runtime_checkable
class Authenticator(Protocol):
    """Turns a credential of one kind into a `Principal`.

    Attributes:
        scheme: the name of its OpenAPI security scheme; unique within an application.
        openapi: the OpenAPI Security Scheme Object that documents it.
        challenge: the `WWW-Authenticate` challenge of a 401 answer (RFC 9110, 11.6.1).
    """

    scheme: str
    openapi: Mapping[str, object]
    challenge: str

    def authenticate(self, context: RequestContext) -> Principal | Awaitable[Principal | None] | None:
        """Return the caller, or None when the request carries no credential of this kind.

        Raises:
            Problem: a credential of this kind is there and is not good (401), or could not be checked (503).
        """


@runtime_checkable
class AuthenticatesByCookie(Protocol):
    """An `Authenticator` whose credential a browser sends by itself, also beside one that somebody chose to send.

    Attributes:
        cookie_name: the cookie that holds the credential.
    """

    cookie_name: str


@runtime_checkable
class Revalidates(Protocol):
    """Knows whether a principal that was identified earlier would still be: for sessions and open WebSockets."""

    async def is_still_valid(self, principal: Principal) -> bool | None:
        """Whether the credential behind *principal* still holds; None when it was not one of this kind.

        Raises:
            Problem: 503, it could not be found out.
        """


@runtime_checkable
class WatchesSockets(Protocol):
    """Says whether an open WebSocket may stay open.

    Attributes:
        sockets_checked_seconds: how often it wants to be asked.
    """

    sockets_checked_seconds: float

    async def still_holds(self, context: RequestContext) -> bool | None:
        """Whether the credential that the handshake of *context* came with still holds; None while that cannot be known."""
