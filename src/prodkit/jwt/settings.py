"""What an operator says about issuers, and the verifiers made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, SecretStr, field_validator, model_validator

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings
from prodkit.jwt.algorithms import SYMMETRIC, checked_algorithms
from prodkit.jwt.claims import DEFAULT_TYPES
from prodkit.jwt.discovery import fault_of_url
from prodkit.jwt.issuers import TrustedIssuer
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import StaticKeySource, key_from_secret, keys_from_text
from prodkit.jwt.verifier import JWTVerifier

if TYPE_CHECKING:
    from typing import Self

    from prodkit.core.clock import Clock

__all__ = ["IssuerSettings", "JWTSettings", "trusted_issuer"]

_FOR_KEY_PAIRS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_FOR_SECRETS: Final = ("HS256",)
_TAKEN_KINDS: Final = frozenset({"anonymous", "api_key"})


class _Tokens(FeatureSettings):
    """How tokens of one issuer are verified and read."""

    algorithms: Annotated[
        tuple[str, ...] | None,
        Field(
            description='Signature algorithms that are taken, a JSON list such as ["RS256"]. Default: RS256, PS256, ES256 and '
            "EdDSA, those of them the keys fit; HS256 with secrets. HMAC and those of key pairs are never mixed.",
        ),
    ] = None
    jwks_uri: Annotated[
        str | None,
        Field(
            description="Where the issuer publishes its keys. Default: what its metadata says "
            "(/.well-known/openid-configuration), unless secrets or public_keys are given.",
        ),
    ] = None
    secrets: Annotated[
        tuple[SecretStr, ...],
        Field(
            repr=False,
            description="Secrets for HMAC that issuer and service share, of 32 bytes or more: a JSON list, so that two hold "
            "while one replaces the other. Default none: whoever can verify with them can also sign.",
        ),
    ] = ()
    public_keys: Annotated[
        tuple[str, ...],
        Field(
            repr=False,
            description="The issuer's public keys, each as PEM, JWK or JWK Set, in a JSON list; for issuers that publish "
            "none. Default none.",
        ),
    ] = ()
    typ: Annotated[
        tuple[str, ...],
        Field(
            description='What the header typ may be. Default ["at+jwt", "JWT"]. An empty list takes tokens that do not say '
            "what they are for, as Amazon Cognito's.",
        ),
    ] = DEFAULT_TYPES
    required_claims: Annotated[
        tuple[str, ...],
        Field(description="Claims that have to be there besides exp, iss, aud and sub. Default none."),
    ] = ()
    leeway_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=300,
            description="How far the issuer's clock may differ from ours, 0 to 300. Default 30: what machines differ that "
            "keep time at all.",
        ),
    ] = 30.0
    max_age_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            le=31_536_000,
            description="Refuse tokens that were issued longer ago, whatever they say themselves. Default none: exp decides.",
        ),
    ] = None
    scopes_claim: Annotated[
        str,
        Field(
            min_length=1,
            description="The claim with the scopes: a text with spaces between them, or a list. Dots lead into objects: "
            "realm_access.roles. Default scope, and scp where there is none.",
        ),
    ] = "scope"
    tenant_claim: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The claim with the tenant. A token without it is then refused. Default none: callers have no tenant.",
        ),
    ] = None
    plan_claim: Annotated[
        str | None,
        Field(min_length=1, description="The claim with the plan limits depend on. Default none."),
    ] = None
    claims: Annotated[
        tuple[str, ...],
        Field(
            description="Further claims to keep in the principal's claims. Default none: iss, sub, aud, exp, iat, auth_time, "
            "jti, sid, client_id and azp are kept, and what else there is may be about a person.",
        ),
    ] = ()
    kind: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9_]{0,31}$",
            description="The kind of the principals: each issuer has its own, since each may call somebody else `1`. "
            "Default jwt.",
        ),
    ] = "jwt"

    @field_validator("algorithms")
    @classmethod
    def _go_together(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None:
            checked_algorithms(value)
        return value

    @field_validator("kind")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value in _TAKEN_KINDS:
            message = f"kind is {value}, which is the kind of other callers | Choose another, such as jwt."
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        sources = [bool(self.jwks_uri), bool(self.secrets), bool(self.public_keys)]
        if sum(sources) > 1:
            message = "keys come from more than one place | Give one of jwks_uri, secrets and public_keys."
            raise ValueError(message)
        if self.algorithms is not None and bool(self.secrets) != bool(
            SYMMETRIC.intersection(self.algorithms)
        ):
            message = "algorithms and keys do not belong together | HS256, HS384 and HS512 go with secrets, all others without."
            raise ValueError(message)
        return self


class IssuerSettings(_Tokens):
    """One issuer more, besides the one that `JWTSettings` describes itself."""

    issuer: Annotated[str, Field(min_length=1, max_length=2048, description="What iss is, exactly.")]
    audience: Annotated[
        tuple[str, ...], Field(min_length=1, description="Names of this service, of which aud holds one.")
    ]


class JWTSettings(_Tokens):
    """Settings of `JWT`; environment prefix `PRODKIT_JWT__`."""

    issuer: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2048,
            description="Whose tokens are taken: what iss is, character by character, and where its metadata is found. "
            "Default none: JSON Web Tokens are not looked at.",
        ),
    ] = None
    audience: Annotated[
        tuple[str, ...],
        Field(
            description='Names of this service, a JSON list such as ["https://api.example.com"]: aud of a token holds one of '
            "them. Must be given with issuer, or tokens for any other service of the issuer would do here.",
        ),
    ] = ()
    issuers: Annotated[
        tuple[IssuerSettings, ...],
        Field(
            description="Further issuers, a JSON list of objects with the fields of this section, each with its own kind: "
            '`[{"issuer": "https://partner.example", "audience": ["api"], "kind": "partner"}]`. Default none.',
        ),
    ] = ()
    cache_size: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="How many verified tokens are remembered; 0 for none. Default 10000, at most about 20 MB.",
        ),
    ] = 10_000
    cache_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="How long a verified token is remembered. Default 60. Its dates and its revocation are looked at on "
            "each request anyway.",
        ),
    ] = 60.0
    accept_subprotocol: Annotated[
        bool,
        Field(
            description="Whether a WebSocket's token may come as `Sec-WebSocket-Protocol: bearer, TOKEN`, as browsers have to "
            "send it. Default false: proxies log that header more readily than Authorization.",
        ),
    ] = False

    @property
    def is_on(self) -> bool:
        """Whether there is an issuer."""
        return self.issuer is not None or bool(self.issuers)

    @model_validator(mode="after")
    def _each_issuer_is_one(self) -> Self:
        if (self.issuer is None) != (not self.audience):
            message = (
                "issuer and audience go together | Give both: a token is from somebody, and for somebody."
            )
            raise ValueError(message)
        all_issuers = self.all_issuers()
        names = [one.issuer for one in all_issuers]
        kinds = [one.kind for one in all_issuers]
        if len(set(names)) < len(names) or len(set(kinds)) < len(kinds):
            message = "two issuers have the same name or the same kind | Give each a kind of its own."
            raise ValueError(message)
        return self

    def all_issuers(self) -> list[IssuerSettings]:
        """The issuer of the section itself, if there is one, then the further ones."""
        if self.issuer is None:
            return list(self.issuers)
        shared = {name: getattr(self, name) for name in _Tokens.model_fields}
        return [IssuerSettings(issuer=self.issuer, audience=self.audience, **shared), *self.issuers]


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
        tenant_claim=settings.tenant_claim,
        plan_claim=settings.plan_claim,
        claims=settings.claims,
    )
    return trusted, jwks


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
