"""An issuer whose tokens are taken, and the principal that its claims become.

Source: RFC 8693, 4.2 and RFC 9068, 2.2.3 (scope).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from prodkit.core.identity import Principal
from prodkit.jwt.claims import find_claim, short_text
from prodkit.jwt.parsing import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.jwt.claims import VerifiedToken
    from prodkit.jwt.verifier import JWTVerifier

__all__ = ["TrustedIssuer"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """Whose tokens are taken, and how their claims become a principal.

    Attributes:
        verifier: decides whether a token is good.
        kind: the principal's; two issuers that could name the same `sub` are told apart by it.
        scopes_claim: holds scopes, as one text with spaces between them or as a list. Where it is `scope`, `scp` is
            read too. Here and below a path with dots leads into objects: `realm_access.roles`.
        tenant_claim: holds the tenant. A token without it is refused then: nobody belongs to no tenant by accident.
        plan_claim: holds the plan, if there is one.
        claims: further claims to keep in `Principal.claims`.
    """

    verifier: JWTVerifier
    kind: str = "jwt"
    scopes_claim: str = "scope"
    tenant_claim: str | None = None
    plan_claim: str | None = None
    claims: Sequence[str] = ()

    def principal(self, token: VerifiedToken) -> Principal:
        """Who *token* is about. `expires_at` is when it stops being accepted: `exp` and the leeway.

        Raises:
            InvalidTokenError: a claim that is needed is missing, or is not what it has to be.
        """
        found = token.claims
        scopes = find_claim(found, self.scopes_claim)
        if scopes is None and self.scopes_claim == "scope":
            scopes = found.get("scp")
        tenant = None if self.tenant_claim is None else find_claim(found, self.tenant_claim)
        if tenant is None and self.tenant_claim is not None:
            raise InvalidTokenError(reason="missing_claim")
        plan = None if self.plan_claim is None else find_claim(found, self.plan_claim)
        return Principal(
            id=short_text(found["sub"]),
            kind=self.kind,
            scopes=_scopes(scopes),
            tenant=None if tenant is None else short_text(tenant),
            plan=None if plan is None else short_text(plan),
            expires_at=token.valid_until,
            claims=MappingProxyType(
                {name: found[name] for name in (*_KEPT_CLAIMS, *self.claims) if name in found}
            ),
        )


def _scopes(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    if type(value) is str:
        return frozenset(value.split(" ")) - {""}
    if type(value) is list and all(type(scope) is str for scope in value):
        return frozenset(value) - {""}
    raise InvalidTokenError(reason="claim")
