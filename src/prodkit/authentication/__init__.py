"""Authentication: who is calling. Where it is on, everything is denied that is not marked public.

There are no patterns of public paths: a request without a credential is matched against the live routes as the router
would, and has to end at an endpoint that carries the mark. That holds for HTTP and WebSocket, mounts included; a path
that leads nowhere is 401 for strangers, so that they learn nothing about what there is.

Source: RFC 6750 (bearer tokens), RFC 9110, 11 (authentication); OWASP API Security Top 10 2023, API2 and API5.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence  # noqa: TC003 - pydantic resolves annotations
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from prodkit.authentication.access import (
    ScopeRule,
    document_security,
    is_public,
    public,
    require_any_scope,
    require_scopes,
)
from prodkit.authentication.failures import Failures
from prodkit.authentication.gate import Gate
from prodkit.authentication.static_keys import GeneratedKey, StaticKey, StaticKeys
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.core.identity import Authenticator
from prodkit.stores import RateLimitStore
from prodkit.stores.memory import MemoryRateLimitStore

if TYPE_CHECKING:
    from prodkit.core.asgi import Scope
    from prodkit.core.features import Kit

__all__ = [
    "NO_KEYS",
    "Authentication",
    "AuthenticationSettings",
    "Gate",
    "GeneratedKey",
    "ScopeRule",
    "StaticKey",
    "StaticKeys",
    "is_public",
    "public",
    "require_any_scope",
    "require_scopes",
]

LOGGER = logging.getLogger("prodkit")

NO_KEYS: Final = SettingsFault(
    "PRODKIT_AUTHENTICATION__MODE",
    "mode is keys and there is no key, so nobody could ever get in.",
    "Set PRODKIT_API_KEYS__PEPPERS for keys that `prodkit keys create` makes, or PRODKIT_AUTHENTICATION__STATIC_KEYS; "
    'a static one is made by python -c "from prodkit.authentication import StaticKeys as K; print(*K.generate())".',
)
"""Said where keys are asked for and none could ever be right."""

Mode = Literal["off", "keys"]


class AuthenticationSettings(FeatureSettings):
    """Settings of `Authentication`; environment prefix `PRODKIT_AUTHENTICATION__`."""

    mode: Annotated[
        Mode,
        Field(
            description="`off` (default): only authenticators given in code are asked, and without one everybody is let in. "
            "`keys`: callers send an API key, and everything is denied that is not marked public.",
        ),
    ] = "off"
    static_keys: Annotated[
        dict[str, StaticKey],
        Field(
            repr=False,
            description="The keys, as JSON: the caller's id to sha256 (64 hexadecimal digits of the key's SHA-256; the key "
            "itself is never configured), and optionally scopes, tenant, plan, expires_at.",
        ),
    ] = Field(default_factory=dict)
    public_docs: Annotated[
        bool,
        Field(
            description="Whether everybody may read /docs, /redoc and /openapi.json. Default false: they list everything "
            "there is to attack.",
        ),
    ] = False
    realm: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9 ._:/\-]{1,64}$",
            description="The name of the protected space in `WWW-Authenticate`. Default api.",
        ),
    ] = "api"

    failures_per_minute: Annotated[
        int,
        Field(
            ge=0,
            le=6000,
            description="How many wrong credentials an address may send in a minute before it gets 429 for the next; right "
            "ones pass all the same. An IPv6 address counts with its /64. Default 10; 0 for no limit.",
        ),
    ] = 10
    sockets_checked_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="How often the credential behind an open WebSocket is looked at again, in seconds. One that expired or "
            "was revoked closes the socket; expiry is noticed at its own moment. Default 5.",
        ),
    ] = 5.0

    @model_validator(mode="after")
    def _mode_and_keys_agree(self) -> AuthenticationSettings:
        if self.mode == "off" and self.static_keys:
            message = (
                "there are static keys and mode is off, so none of them would be asked for | Set MODE=keys."
            )
            raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether the settings alone turn authentication on."""
        return self.mode != "off"


class Authentication:
    """The feature `authentication`.

    `Authentication(StaticKeys({...}))` asks the authenticators given, then those other features provide. Without any,
    it adds nothing to a request.

    Args:
        authenticators: asked in this order; the first that knows the caller decides.
        mode: see `AuthenticationSettings`, as for the other arguments.

    Raises:
        SettingsError: a setting is impossible.
    """

    name = "authentication"

    def __init__(
        self,
        *authenticators: Authenticator,
        mode: Mode = "off",
        static_keys: Mapping[str, StaticKey | Mapping[str, Any]] | None = None,
        public_docs: bool = False,
        realm: str = "api",
        failures_per_minute: int = 10,
        sockets_checked_seconds: float = 5.0,
    ) -> None:
        self.settings = AuthenticationSettings.of(
            "Authentication",
            mode=mode,
            static_keys=dict(static_keys or {}),
            public_docs=public_docs,
            realm=realm,
            failures_per_minute=failures_per_minute,
            sockets_checked_seconds=sockets_checked_seconds,
        )
        given = list(authenticators)
        if self.settings.static_keys:
            given.append(StaticKeys(self.settings.static_keys))
        self._belongs_to_us: Callable[[object], bool] = lambda _: False
        failures = Failures(failures_per_minute) if failures_per_minute else None
        self._gate = Gate(realm, self._may_be_called_by_all, failures, sockets_checked_seconds)
        self.provides: Sequence[object] = (*given, self._gate)

    @classmethod
    def from_settings(cls, section: AuthenticationSettings) -> Authentication:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in IDENTITY and the OpenAPI of it; nothing where no authenticator is known."""
        authenticators = kit.all(Authenticator)  # type: ignore[type-abstract] # looked for by protocol
        if not authenticators:
            if self.settings.mode == "keys":
                raise SettingsError([NO_KEYS])
            return Parts()
        if self._gate.failures is not None:
            store = kit.one(RateLimitStore)  # type: ignore[type-abstract] # looked for by protocol
            self._gate.failures.bind(store or MemoryRateLimitStore(clock=kit.clock), kit.clock)

        def find(scope: Scope) -> object | None:
            # The routes are known only when the application is complete; a stand-alone pipeline never knows them.
            return None if kit.routes is None else kit.routes.find(scope)

        def document(schema: dict[str, Any], kit: Kit) -> None:
            document_security(schema, kit, authenticators)

        def belongs_to_us(endpoint: object) -> bool:
            return kit.routes is not None and kit.routes.holds(endpoint)

        self._belongs_to_us = belongs_to_us
        self._gate.open(authenticators, find)
        schemes = ", ".join(authenticator.scheme for authenticator in authenticators)
        return Parts(
            guards=[(Layer.IDENTITY, self._gate.guard)],
            openapi=[document],
            order={
                Layer.IDENTITY: f"authentication by {schemes}; everything else is denied unless marked public"
            },
            lifespan=lambda: self._tell_public(kit),
        )

    @asynccontextmanager
    async def _tell_public(self, kit: Kit) -> AsyncIterator[None]:
        """Say once, at start-up, what strangers may call."""
        found = [] if kit.routes is None else kit.routes.endpoints()
        listed = sorted(
            f"{'|'.join(sorted(methods)) or '*'} {template}"
            for template, methods, endpoint in found
            if self._may_be_called_by_all(endpoint)
        )
        LOGGER.info("public, for callers without a credential: %s", ", ".join(listed) or "nothing")
        yield

    def _may_be_called_by_all(self, endpoint: object) -> bool:
        if is_public(endpoint):
            return True
        # The pages of a mounted application were not meant by whoever opened those of this one.
        return self.settings.public_docs and _is_docs(endpoint) and self._belongs_to_us(endpoint)


def _is_docs(endpoint: object) -> bool:
    """Whether FastAPI itself made *endpoint*, in `FastAPI.setup`: the schema and the pages that show it."""
    return (
        inspect.isfunction(endpoint)
        and endpoint.__module__ == "fastapi.applications"
        and endpoint.__qualname__.startswith("FastAPI.setup.<locals>.")
    )
