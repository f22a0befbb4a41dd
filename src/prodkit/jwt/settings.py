"""What an operator says about issuers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, SecretStr, field_validator, model_validator

from prodkit.core.features import FeatureSettings
from prodkit.jwt.algorithms import SYMMETRIC, checked_algorithms
from prodkit.jwt.claims import DEFAULT_TYPES

if TYPE_CHECKING:
    from typing import Self

__all__ = ["IssuerSettings", "JWTSettings"]

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
    allowed_scopes: Annotated[
        tuple[str, ...] | None,
        Field(
            description="Scopes its tokens may hold, a JSON list; others are left out. Default all. Must be given for issuers, "
            "of whom anyone could otherwise name any scope there is.",
        ),
    ] = None
    tenant_claim: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The claim with the tenant. A token without it is then refused. Default none: callers have no tenant.",
        ),
    ] = None
    allowed_tenants: Annotated[
        tuple[str, ...] | None,
        Field(
            description="Tenants the claim may name, a JSON list; a token of another is refused. Default all.",
        ),
    ] = None
    tenant: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=255,
            description="The tenant of all its callers, whatever their tokens say; in the place of tenant_claim. Default none.",
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

    @model_validator(mode="after")
    def _one_way_to_a_tenant(self) -> Self:
        if self.tenant is not None and self.tenant_claim is not None:
            message = "tenant and tenant_claim are both given | Give one: a tenant for all, or the claim that names it."
            raise ValueError(message)
        if self.allowed_tenants is not None and self.tenant_claim is None:
            message = "allowed_tenants needs tenant_claim | Name the claim, or give the tenant of all callers as tenant."
            raise ValueError(message)
        return self


class IssuerSettings(_Tokens):
    """One issuer more, besides the one that `JWTSettings` describes itself.

    Whoever holds its keys can sign any claim. So what those may say is told here: `allowed_scopes`, and the tenant its
    callers belong to or may choose from.
    """

    issuer: Annotated[str, Field(min_length=1, max_length=2048, description="What iss is, exactly.")]
    audience: Annotated[
        tuple[str, ...], Field(min_length=1, description="Names of this service, of which aud holds one.")
    ]
    is_tenantless: Annotated[
        bool,
        Field(
            description="Whether its callers belong to no tenant and each owns what is theirs. Default false: whoever has no "
            "tenant and a scope for administration administers all tenants.",
        ),
    ] = False


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
            description="Further issuers, a JSON list of objects with the fields of this section, each with its own kind, with "
            "allowed_scopes, and with tenant, allowed_tenants or is_tenantless: "
            '`[{"issuer": "https://partner.example", "audience": ["api"], "kind": "partner", '
            '"allowed_scopes": ["orders:read"], "tenant": "partner"}]`. Default none.',
        ),
    ] = ()
    cache_size: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="How many verified tokens are remembered, each issuer's share alike; 0 for none. Default 10000: about "
            "20 MB of ordinary ones. The largest that is taken is 80 KB.",
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

    @field_validator("issuers")
    @classmethod
    def _each_knows_its_bounds(cls, value: tuple[IssuerSettings, ...]) -> tuple[IssuerSettings, ...]:
        for one in value:
            if one.allowed_scopes is None:
                message = (
                    f"the issuer {one.kind} may name any scope | Give it allowed_scopes, an empty list for none: whoever "
                    "holds its keys can sign any claim."
                )
                raise ValueError(message)
            bounds = [one.tenant is not None, one.allowed_tenants is not None, one.is_tenantless]
            if bounds.count(True) != 1 or (one.is_tenantless and one.tenant_claim is not None):
                message = (
                    f"which tenants the issuer {one.kind} speaks for is not clear | Give it one of tenant, allowed_tenants "
                    "with tenant_claim, and is_tenantless."
                )
                raise ValueError(message)
        return value

    def all_issuers(self) -> list[IssuerSettings]:
        """The issuer of the section itself, if there is one, then the further ones."""
        if self.issuer is None:
            return list(self.issuers)
        shared = {name: getattr(self, name) for name in _Tokens.model_fields}
        return [IssuerSettings(issuer=self.issuer, audience=self.audience, **shared), *self.issuers]
