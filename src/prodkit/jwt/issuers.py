"""An issuer whose tokens are taken, and the principal that its claims become.

What a token says is bounded by what the operator lets this issuer say: whoever holds its keys can sign anything.

Source: RFC 8693, 4.2 and RFC 9068, 2.2.3 (scope).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from prodkit.core.identity import Principal
from prodkit.jwt.claims import MAX_VALUES, date, find_claim, frozen, short_text
from prodkit.jwt.parsing import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.jwt.claims import VerifiedToken
    from prodkit.jwt.verifier import JWTVerifier

__all__ = ["SIGNED_BY", "TrustedIssuer"]

# What a deny-list or an audit trail asks for. Everything else may be about a person, and is kept only on request.
_KEPT_CLAIMS: Final = (
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "jti",
    "sid",
    "client_id",
    "azp",
)
_TEXTS: Final = ("sid", "client_id", "azp")
SIGNED_BY: Final = "signed_by"
"""The claim of a principal that says which key its token was signed with; ours, whatever the token says itself."""
_MAX_SCOPE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """Whose tokens are taken, and how their claims become a principal.

    Attributes:
        verifier: decides whether a token is good.
        kind: the principal's; two issuers that could name the same `sub` are told apart by it.
        scopes_claim: holds scopes, as one text with spaces between them or as a list. Where it is `scope`, `scp` is
            read too. Here and below a path with dots leads into objects: `realm_access.roles`.
        allowed_scopes: what its tokens may hold; others are left out. None for all, which is for the issuer that decides
            what callers of this service may do, and for no other.
        tenant_claim: holds the tenant. A token without it is refused then: nobody belongs to no tenant by accident.
        allowed_tenants: which tenants it may name; a token of another is refused. None for all.
        tenant: of all its tokens, whatever they say. Not together with *tenant_claim*.
        plan_claim: holds the plan, if there is one.
        claims: further claims to keep in `Principal.claims`, of 256 values at most each.

    Raises:
        ValueError: *tenant* and *tenant_claim*, or *allowed_tenants* without the claim that names them.
    """

    verifier: JWTVerifier
    kind: str = "jwt"
    scopes_claim: str = "scope"
    allowed_scopes: frozenset[str] | None = None
    tenant_claim: str | None = None
    allowed_tenants: frozenset[str] | None = None
    tenant: str | None = None
    plan_claim: str | None = None
    claims: Sequence[str] = ()

    def __post_init__(self) -> None:
        """See that there is one way to a tenant."""
        if (self.tenant is not None and self.tenant_claim is not None) or (
            self.allowed_tenants is not None and self.tenant_claim is None
        ):
            message = "tenant is without tenant_claim, and allowed_tenants with it"
            raise ValueError(message)

    def principal(self, token: VerifiedToken) -> Principal:
        """Who *token* is about. `expires_at` is when it stops being accepted: `exp` and the leeway.

        Raises:
            InvalidTokenError: a claim that is needed is missing, or is not what it has to be.
        """
        found = token.claims
        scopes = find_claim(found, self.scopes_claim)
        if scopes is None and self.scopes_claim == "scope":
            scopes = found.get("scp")
        allowed = _scopes(scopes)
        if self.allowed_scopes is not None:
            allowed &= self.allowed_scopes
        plan = None if self.plan_claim is None else find_claim(found, self.plan_claim)
        return Principal(
            id=short_text(found["sub"]),
            kind=self.kind,
            scopes=allowed,
            tenant=self._tenant(found),
            plan=None if plan is None else short_text(plan),
            expires_at=token.valid_until,
            claims=self._kept(found, token.signed_by),
        )

    def still_vouches_for(self, principal: Principal) -> bool:
        """Whether nothing is known against what a token of this issuer said earlier; dates are not looked at."""
        claims, watched = principal.claims, self.verifier.watched
        signed_by = claims.get(SIGNED_BY)
        if watched is not None and type(signed_by) is str and watched.is_published(signed_by) is False:
            return False
        if self.tenant is not None and principal.tenant != self.tenant:
            return False
        if self.allowed_tenants is not None and principal.tenant not in self.allowed_tenants:
            return False
        if self.allowed_scopes is not None and not principal.scopes <= self.allowed_scopes:
            return False
        return claims.get("iss", self.verifier.issuer) == self.verifier.issuer

    def _tenant(self, found: Mapping[str, object]) -> str | None:
        if self.tenant_claim is None:
            return self.tenant
        named = find_claim(found, self.tenant_claim)
        if named is None:
            raise InvalidTokenError(reason="missing_claim")
        tenant = short_text(named)
        if self.allowed_tenants is not None and tenant not in self.allowed_tenants:
            raise InvalidTokenError(reason="tenant")
        return tenant

    def _kept(self, found: Mapping[str, object], signed_by: str) -> Mapping[str, object]:
        for name in _TEXTS:
            if name in found:
                short_text(found[name])
        if "auth_time" in found:
            date(found["auth_time"])
        kept: dict[str, object] = {}
        for name in (*_KEPT_CLAIMS, *self.claims):
            if name in found:
                value = found[name]
                kept[name] = frozen(value) if type(value) in (list, dict) else value
        if signed_by:
            kept[SIGNED_BY] = signed_by
        else:
            kept.pop(SIGNED_BY, None)
        return MappingProxyType(kept)


def _scopes(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    if type(value) is str:
        found = frozenset(value.split(" ")) - {""}
    elif type(value) is list and all(type(scope) is str for scope in value):
        found = frozenset(value) - {""}
    else:
        raise InvalidTokenError(reason="claim")
    if len(found) > MAX_VALUES or not all(len(scope) <= _MAX_SCOPE for scope in found):
        raise InvalidTokenError(reason="claim")
    return found
