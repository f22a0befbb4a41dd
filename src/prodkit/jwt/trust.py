"""An issuer, as an operator describes it, becomes one whose tokens are taken: with keys that may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.jwt.discovery import fault_of_url
from prodkit.jwt.issuers import TrustedIssuer
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import StaticKeySource, key_from_secret, keys_from_text
from prodkit.jwt.verifier import JWTVerifier

if TYPE_CHECKING:
    from prodkit.core.clock import Clock
    from prodkit.jwt.settings import IssuerSettings

__all__ = ["trusted_issuer"]

_FOR_KEY_PAIRS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_FOR_SECRETS: Final = ("HS256",)


def trusted_issuer(settings: IssuerSettings, clock: Clock) -> tuple[TrustedIssuer, JWKS | None]:
    """The issuer that *settings* describe, and where its keys are fetched if they are.

    Raises:
        SettingsError: its address or a key must not be trusted, or no key fits an algorithm.
        MissingExtraError: the extra `jwt` is not installed.
    """
    source, jwks = _source(settings, clock)
    algorithms = settings.algorithms
    if algorithms is None:
        algorithms = _FOR_SECRETS if settings.secrets else _FOR_KEY_PAIRS
        if isinstance(source, StaticKeySource):
            algorithms = tuple(name for name in algorithms if name in source.algorithms)
    if isinstance(source, StaticKeySource):
        without = sorted(set(algorithms) - source.algorithms)
        if without or not algorithms:
            raise _fault(
                field="ALGORITHMS",
                message=f"no key of {settings.kind} fits {', '.join(without) or 'a default algorithm'}.",
                cure="Name the algorithms the keys are for; HS384 needs secrets of 48 bytes, HS512 of 64.",
            )
    verifier = JWTVerifier(
        issuer=settings.issuer,
        audience=settings.audience,
        algorithms=algorithms,
        keys=source,
        leeway_seconds=settings.leeway_seconds,
        typ=settings.typ,
        required=settings.required_claims,
        max_age_seconds=settings.max_age_seconds,
        clock=clock,
    )
    trusted = TrustedIssuer(
        verifier=verifier,
        kind=settings.kind,
        scopes_claim=settings.scopes_claim,
        allowed_scopes=_set(settings.allowed_scopes),
        tenant_claim=settings.tenant_claim,
        allowed_tenants=_set(settings.allowed_tenants),
        tenant=settings.tenant,
        plan_claim=settings.plan_claim,
        claims=settings.claims,
    )
    return trusted, jwks


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _source(settings: IssuerSettings, clock: Clock) -> tuple[StaticKeySource | JWKS, JWKS | None]:
    if not settings.secrets and not settings.public_keys:
        name = "jwks" if settings.kind == "jwt" else f"jwks_{settings.kind}"
        jwks = JWKS(settings.issuer, settings.jwks_uri, name=name, clock=clock)
        return jwks, jwks
    if settings.issuer.lower().startswith("http:"):
        fault = fault_of_url(settings.issuer, is_issuer=True)
        if fault is not None:
            raise _fault(field="ISSUER", message=fault, cure="Use the https address.")
    field = "SECRETS" if settings.secrets else "PUBLIC_KEYS"
    try:
        if settings.secrets:
            keys = [key_from_secret(secret.get_secret_value()) for secret in settings.secrets]
        else:
            keys = [key for text in settings.public_keys for key in keys_from_text(text)]
        return StaticKeySource(keys), None
    except ValueError as error:  # WeakKeyError is one too; neither says anything of a key
        message = str(error)
    raise _fault(
        field,
        f"{message}.",
        "Make a new one: openssl rand -base64 48 for a secret, RSA 2048 or P-256 for a pair.",
    )


def _fault(field: str, message: str, cure: str) -> SettingsError:
    return SettingsError([SettingsFault(f"PRODKIT_JWT__{field}", message, cure)])
