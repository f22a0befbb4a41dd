"""JSON Web Tokens: callers who bring a token of an identity provider, verified as if an attacker had written it.

python-jose computes signatures, through key objects made and judged here; everything that it leaves to its user, and
everything a stranger can reach, is read by our own strict front end. Needs the extra `jwt`.

Source: RFC 7515, 7517, 7518, 7519 (JOSE and JWT); RFC 8725 (best practices); RFC 9068 (access tokens); RFC 6750.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import Parts
from prodkit.jwt.algorithms import ALGORITHMS, Algorithm
from prodkit.jwt.authenticator import JWTAuthenticator
from prodkit.jwt.claims import DEFAULT_TYPES, VerifiedToken
from prodkit.jwt.issuers import TrustedIssuer
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import (
    KeySource,
    KeysUnavailableError,
    StaticKeySource,
    VerificationKey,
    WeakKeyError,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
)
from prodkit.jwt.parsing import InvalidTokenError, Reason
from prodkit.jwt.revocation import IsRevoked
from prodkit.jwt.settings import IssuerSettings, JWTSettings
from prodkit.jwt.trust import trusted_issuer
from prodkit.jwt.verifier import JWTVerifier, verify_signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from pydantic import SecretStr

    from prodkit.core.clock import Clock
    from prodkit.core.features import Kit

__all__ = [
    "ALGORITHMS",
    "JWKS",
    "JWT",
    "Algorithm",
    "InvalidTokenError",
    "IsRevoked",
    "IssuerSettings",
    "JWTAuthenticator",
    "JWTSettings",
    "JWTVerifier",
    "KeySource",
    "KeysUnavailableError",
    "Reason",
    "StaticKeySource",
    "TrustedIssuer",
    "VerificationKey",
    "VerifiedToken",
    "WeakKeyError",
    "key_from_jwk",
    "key_from_pem",
    "key_from_secret",
    "verify_signature",
]


class _KitClock:
    """The clock of the application, which is known only when the feature is installed."""

    def __init__(self) -> None:
        self.target: Clock = SYSTEM_CLOCK

    def monotonic(self) -> float:
        return self.target.monotonic()

    def monotonic_ns(self) -> int:
        return self.target.monotonic_ns()

    def wall(self) -> float:
        return self.target.wall()


class JWT:
    """The feature `jwt`.

    `JWT(issuer="https://id.example.com", audience=["https://api.example.com"])` takes that provider's tokens, with the keys
    it publishes. The other keyword arguments are the settings. It identifies callers where `Authentication` is installed.

    Args:
        is_revoked: asked on every request; see `JWTAuthenticator`. Positional: it is code, and no setting.

    Raises:
        SettingsError: a setting is impossible, or a key must not be trusted.
        MissingExtraError: the extra `jwt` is not installed.
    """

    name = "jwt"

    def __init__(
        self,
        is_revoked: IsRevoked | None = None,
        /,
        *,
        issuer: str | None = None,
        audience: str | Collection[str] = (),
        algorithms: Collection[str] | None = None,
        jwks_uri: str | None = None,
        secrets: Iterable[SecretStr | str] = (),
        public_keys: Iterable[str] = (),
        typ: Collection[str] = DEFAULT_TYPES,
        required_claims: Collection[str] = (),
        leeway_seconds: float = 30.0,
        max_age_seconds: float | None = None,
        scopes_claim: str = "scope",
        allowed_scopes: Collection[str] | None = None,
        tenant_claim: str | None = None,
        allowed_tenants: Collection[str] | None = None,
        tenant: str | None = None,
        plan_claim: str | None = None,
        claims: Collection[str] = (),
        kind: str = "jwt",
        issuers: Iterable[IssuerSettings | Mapping[str, object]] = (),
        cache_size: int = 10_000,
        cache_seconds: float = 60.0,
        accept_subprotocol: bool = False,
    ) -> None:
        self.settings = JWTSettings.of(
            "JWT",
            issuer=issuer,
            audience=(audience,) if isinstance(audience, str) else tuple(audience),
            algorithms=_listed(algorithms),
            jwks_uri=jwks_uri,
            secrets=_listed(secrets),
            public_keys=_listed(public_keys),
            typ=_listed(typ),
            required_claims=_listed(required_claims),
            leeway_seconds=leeway_seconds,
            max_age_seconds=max_age_seconds,
            scopes_claim=scopes_claim,
            allowed_scopes=_listed(allowed_scopes),
            tenant_claim=tenant_claim,
            allowed_tenants=_listed(allowed_tenants),
            tenant=tenant,
            plan_claim=plan_claim,
            claims=_listed(claims),
            kind=kind,
            issuers=tuple(issuers),
            cache_size=cache_size,
            cache_seconds=cache_seconds,
            accept_subprotocol=accept_subprotocol,
        )
        if not self.settings.is_on:
            raise SettingsError(
                [SettingsFault("PRODKIT_JWT__ISSUER", "there is no issuer.", "Say whose tokens are taken.")]
            )
        self._clock: Final = _KitClock()
        made = [trusted_issuer(one, self._clock) for one in self.settings.all_issuers()]
        self._jwks = tuple(jwks for _, jwks in made if jwks is not None)
        self.authenticator = JWTAuthenticator(
            [issuer for issuer, _ in made],
            is_revoked=is_revoked,
            cache_size=cache_size,
            cache_seconds=cache_seconds,
            accept_subprotocol=accept_subprotocol,
        )
        self.provides: Sequence[object] = (self.authenticator, *self._jwks)

    @classmethod
    def from_settings(cls, section: JWTSettings) -> JWT:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """What keeps the issuers' keys fresh, and their health. `Authentication` asks the authenticator."""
        self._clock.target = kit.clock
        if not self._jwks:
            return Parts()
        return Parts(lifespan=self._lifespan, health_checks=[jwks.health_check() for jwks in self._jwks])

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        # At once: providers that do not answer shall not add up.
        await asyncio.gather(*(jwks.refresh() for jwks in self._jwks))
        async with AsyncExitStack() as stack:
            for jwks in self._jwks:
                await stack.enter_async_context(jwks.lifespan())
            yield


def _listed(value: Iterable[object] | None) -> object:
    """*value* as a tuple; a single text stays what it is and is refused as a setting, since its letters are no names."""
    return value if value is None or isinstance(value, str) else tuple(value)
