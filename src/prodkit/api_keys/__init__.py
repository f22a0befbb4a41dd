"""API keys that are issued, replaced and revoked while the service runs, and kept so that nobody can use what is kept.

A key is `prefix_environment_id_secret`; the store has its id and an HMAC of it. `prodkit keys` and `keys_router` make
and end keys; `Authentication` asks this feature who is calling.

Source: OWASP ASVS 5.0, 6.5 and 11.4; RFC 6750; RFC 9745 and RFC 8594 for keys that were replaced.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from prodkit.api_keys.api import keys_router
from prodkit.api_keys.authenticator import KeyAuthenticator
from prodkit.api_keys.format import KeyFormat
from prodkit.api_keys.importing import FoundKey, UnfitKeysError, read_keys
from prodkit.api_keys.peppers import Peppers
from prodkit.api_keys.registry import KeyRegistry
from prodkit.api_keys.terms import IssuedKey, KeyStateError, KeyTerms, KeyTermsError
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, HealthCheck, Parts
from prodkit.stores import KeyStore
from prodkit.stores.durable_urls import check_durable_url, open_keys
from prodkit.stores.memory import MemoryKeyStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from prodkit.core.features import Kit

__all__ = [
    "APIKeys",
    "APIKeysSettings",
    "FoundKey",
    "IssuedKey",
    "KeyAuthenticator",
    "KeyFormat",
    "KeyRegistry",
    "KeyStateError",
    "KeyTerms",
    "KeyTermsError",
    "Peppers",
    "UnfitKeysError",
    "keys_router",
    "read_keys",
]

LOGGER = logging.getLogger("prodkit.api_keys")

_WORD = r"^[a-z][a-z0-9]{0,15}$"


class APIKeysSettings(FeatureSettings):
    """Settings of `APIKeys`; environment prefix `PRODKIT_API_KEYS__`."""

    peppers: Annotated[
        dict[str, SecretStr],
        Field(
            repr=False,
            description="The secrets that keys are hashed with, as JSON: a name, such as the month, to at least 32 random bytes "
            "(`openssl rand -hex 32`). Default none, and keys are off. All processes have the same. Whoever loses them loses "
            "every key.",
        ),
    ] = Field(default_factory=dict)
    current_pepper: Annotated[
        str | None,
        Field(
            description="Which of several peppers new digests are made with; keys of the others are taken over as they are used. "
            "Default: the only one.",
        ),
    ] = None
    prefix: Annotated[
        str,
        Field(
            pattern=_WORD,
            description="What keys begin with, so that people and secret scanners know whose they are: 1 to 16 lower-case letters "
            "and digits. Default pk. After a change, keys with the old one are refused.",
        ),
    ] = "pk"
    environment: Annotated[
        str,
        Field(
            pattern=_WORD,
            description="The second part of keys, likewise: a key of a test system is refused without asking the store. Default "
            "live.",
        ),
    ] = "live"
    store: Annotated[
        str | None,
        Field(
            description="Where keys are kept, a URL like PRODKIT_STORE, whose store is the default; or "
            "`postgresql+asyncpg://user:password@host:5432/database`.",
            repr=False,
        ),
    ] = None
    default_lifetime_days: Annotated[
        int,
        Field(
            ge=0,
            le=3650,
            description="How long a key lives that is issued without an end. Default 365: what nobody renews is forgotten, and "
            "then stolen. 0: for ever.",
        ),
    ] = 365
    check_seconds: Annotated[
        float,
        Field(
            ge=0.1,
            le=5.0,
            description="How old the last look for changed keys may be when a key is accepted: so long after it is revoked a key "
            "may still be good in another process. Default 1.",
        ),
    ] = 1.0
    stale_seconds: Annotated[
        float,
        Field(
            ge=0.0,
            le=30.0,
            description="How long after the last answer of the store keys that were used lately are still accepted; then 503. "
            "Default 30, which is the most: so long a key revoked meanwhile may be good.",
        ),
    ] = 30.0
    cache_keys: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="How many keys a process remembers for 30 s, and how many wrong ones for 5 s. Default 10000, about 10 MB.",
        ),
    ] = 10_000
    accept_imported: Annotated[
        bool,
        Field(
            description="Whether keys from `prodkit keys import`, which have another shape, are accepted. Default false: then "
            "whatever is no key of ours is refused without asking the store.",
        ),
    ] = False

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_durable_url(url, setting="PRODKIT_API_KEYS__STORE")
            except SettingsError as error:
                (fault,) = error.faults
                message = f"{fault.message} | {fault.cure}"
                raise ValueError(message) from None
        return url

    @model_validator(mode="after")
    def _peppers_are_fit(self) -> APIKeysSettings:
        if self.peppers or self.current_pepper is not None:
            Peppers(self.peppers, self.current_pepper)
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is a pepper."""
        return bool(self.peppers)


class APIKeys:
    """The feature `api_keys`: `APIKeys(peppers={"2026-11": "..."})`; it needs `Authentication` to be asked.

    Its `registry` issues, replaces and revokes.

    Raises:
        SettingsError: a setting is impossible, or there is no pepper.
    """

    name = "api_keys"

    def __init__(
        self,
        *,
        peppers: Mapping[str, str | SecretStr],
        current_pepper: str | None = None,
        prefix: str = "pk",
        environment: str = "live",
        store: str | None = None,
        default_lifetime_days: int = 365,
        check_seconds: float = 1.0,
        stale_seconds: float = 30.0,
        cache_keys: int = 10_000,
        accept_imported: bool = False,
    ) -> None:
        self.settings = settings = APIKeysSettings.of(
            "APIKeys",
            peppers=dict(peppers),
            current_pepper=current_pepper,
            prefix=prefix,
            environment=environment,
            store=store,
            default_lifetime_days=default_lifetime_days,
            check_seconds=check_seconds,
            stale_seconds=stale_seconds,
            cache_keys=cache_keys,
            accept_imported=accept_imported,
        )
        days = settings.default_lifetime_days
        self.registry = KeyRegistry(
            KeyFormat(settings.prefix, settings.environment),
            _peppers_of(settings),
            default_lifetime=timedelta(days=days) if days else None,
        )
        self.authenticator = KeyAuthenticator(
            self.registry,
            check_seconds=settings.check_seconds,
            stale_seconds=settings.stale_seconds,
            cache_keys=settings.cache_keys,
            accept_imported=settings.accept_imported,
        )
        self.provides: Sequence[object] = (self.authenticator, self.registry)

    @classmethod
    def from_settings(cls, section: APIKeysSettings) -> APIKeys:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """The store and its health, and an end for what is written in the background."""
        own = None
        if self.settings.store is not None:
            own = open_keys(self.settings.store, setting="PRODKIT_API_KEYS__STORE", clock=kit.clock)
        store = own if own is not None else _store_of(kit)
        self.registry.bind(store, kit.clock)
        self.authenticator.bind(kit.clock)
        if isinstance(store, MemoryKeyStore):
            LOGGER.warning(
                "API keys are kept in memory, by each process for itself, and are gone at its end: "
                "set PRODKIT_STORE=sqlite:///path/to/file.db"
            )

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await self._close(own)

        checks = [HealthCheck(name="api_key_store", check=store.check, critical=False)]
        # Not critical: keys in use are accepted without it, for a while.
        return Parts(lifespan=lifespan, health_checks=() if own is None else checks)

    async def _close(self, own: KeyStore | None) -> None:
        try:
            await self.authenticator.background.aclose()
        finally:
            if own is not None:
                await own.aclose()


def _peppers_of(settings: APIKeysSettings) -> Peppers:
    if not settings.peppers:
        fault = SettingsFault(
            "APIKeys(peppers=...)", "there is no pepper.", "`openssl rand -hex 32` makes one."
        )
        raise SettingsError([fault])
    return Peppers(settings.peppers, settings.current_pepper)


def _store_of(kit: Kit) -> KeyStore:
    found = kit.one(KeyStore)  # type: ignore[type-abstract] # looked for by protocol
    if found is not None:
        return found
    made = MemoryKeyStore()
    kit.provide([made])
    return made
