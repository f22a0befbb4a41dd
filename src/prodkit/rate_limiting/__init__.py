"""Rate limiting: how many requests a caller may make in a window, decided before the request costs anything.

Two stages: by address before authentication, so that an anonymous flood is cheap to refuse; by principal after it.
Enforcement does not ask which route a request takes: unmatched paths, mounted applications and WebSockets count too.

Source: the generic cell rate algorithm (ITU-T I.371); draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Sequence  # noqa: TC003 - pydantic resolves annotations
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, field_validator, model_validator

from prodkit.core.features import FeatureSettings, HealthCheck, Layer, Parts
from prodkit.rate_limiting.limit import Limit
from prodkit.rate_limiting.limiter import OnStoreError, OnUnidentified, RateLimiter
from prodkit.rate_limiting.policy import By, Cost, Policy, parse_rate
from prodkit.rate_limiting.rule import RateLimitRule, rate_limit
from prodkit.stores import RateLimitStore
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.stores.urls import Stores, open_store

if TYPE_CHECKING:
    from prodkit.core.features import Kit

__all__ = [
    "By",
    "Cost",
    "Limit",
    "OnStoreError",
    "OnUnidentified",
    "Policy",
    "RateLimitRule",
    "RateLimiter",
    "RateLimiting",
    "RateLimitingSettings",
    "parse_rate",
    "rate_limit",
]

LOGGER = logging.getLogger("prodkit.rate_limiting")

# 20 a second, for a minute on end: more than a browser with several tabs or a small office behind one address makes,
# and a tenth of what one worker serves, so that no single address can occupy it.
_GENEROUS: Final = "1200/minute"


class RateLimitingSettings(FeatureSettings):
    """Settings of `RateLimiting`; environment prefix `PRODKIT_RATE_LIMITING__`."""

    default: Annotated[
        str | None,
        Field(
            description="How much each caller may ask, e.g. 100/minute: each principal, or each address where nobody is "
            "identified. Default none: only you know what a caller of yours needs.",
        ),
    ] = None
    address: Annotated[
        str | None,
        Field(
            description="How much each client address may ask before authentication. Default 1200/minute: more than a small "
            "office behind one address needs, a fraction of what one worker serves. Empty JSON null for none.",
        ),
    ] = _GENEROUS
    policies: Annotated[
        tuple[Policy, ...],
        Field(
            description='Further limits, a JSON list of objects: `[{"name": "daily", "rate": "5000/day", "by": "tenant"}]`. '
            "Fields: name, rate, by (address, principal, tenant), burst, cost, layer (address, admission), enforce.",
        ),
    ] = ()
    store: Annotated[
        str | None,
        Field(
            description="Where the counts are, when not in PRODKIT_STORE: `memory://` or `sqlite:///path/to/file.db`.",
            repr=False,
        ),
    ] = None
    on_store_error: Annotated[
        OnStoreError,
        Field(
            description="While the store does not answer: `local` (default) each worker limits for itself, `open` nobody is "
            "limited, `closed` everybody gets 503.",
        ),
    ] = "local"
    on_unidentified: Annotated[
        OnUnidentified,
        Field(
            description="Requests without a client address (a Unix socket without forwarding headers): `shared` (default) all "
            "of them share one bucket, `skip` they are not limited, `reject` they get 400.",
        ),
    ] = "shared"
    ipv6_prefix: Annotated[
        int,
        Field(
            ge=32,
            le=128,
            description="Leading bits of an IPv6 address that make one client. Default 64: what one subscriber is given at "
            "least (RFC 6177), so that nobody gets a new bucket with every address.",
        ),
    ] = 64
    legacy_headers: Annotated[
        bool,
        Field(
            description="Also send X-RateLimit-Limit, -Remaining and -Reset (seconds from now) of the tightest limit, for "
            "clients that know no other. Default false.",
        ),
    ] = False

    @field_validator("default", "address")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parse_rate(value)
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> RateLimitingSettings:
        names = [policy.name for policy in self.all_policies()]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            message = f"two policies are named {', '.join(doubled)} | Rename one; default and address are taken by the settings."
            raise ValueError(message)
        return self

    def all_policies(self) -> Sequence[Policy]:
        """`address` and `default` as policies, then the further ones."""
        policies = []
        if self.address is not None:
            policies.append(Policy("address", self.address, by="address", layer="address"))
        if self.default is not None:
            policies.append(Policy("default", self.default))
        return (*policies, *self.policies)


class RateLimiting:
    """The feature `rate_limiting`.

    `RateLimiting("100/minute")` limits each caller; the keyword arguments are the settings. The store is the one of *store*,
    else the `RateLimitStore` that a feature provides, else this process's memory.

    Raises:
        SettingsError: a setting is impossible.
    """

    name = "rate_limiting"

    def __init__(
        self,
        default: str | None = None,
        *,
        address: str | None = _GENEROUS,
        policies: Iterable[Policy] = (),
        store: str | None = None,
        on_store_error: OnStoreError = "local",
        on_unidentified: OnUnidentified = "shared",
        ipv6_prefix: int = 64,
        legacy_headers: bool = False,
    ) -> None:
        self.settings = RateLimitingSettings.of(
            "RateLimiting",
            default=default,
            address=address,
            policies=tuple(policies),
            store=store,
            on_store_error=on_store_error,
            on_unidentified=on_unidentified,
            ipv6_prefix=ipv6_prefix,
            legacy_headers=legacy_headers,
        )
        self.limiter = RateLimiter(
            on_store_error=on_store_error,
            on_unidentified=on_unidentified,
            ipv6_prefix=ipv6_prefix,
            legacy_headers=legacy_headers,
        )

    @classmethod
    def from_settings(cls, section: RateLimitingSettings) -> RateLimiting:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    @property
    def provides(self) -> Sequence[object]:
        """The limiter: counts for metrics, and other features' own policies."""
        return (self.limiter,)

    def parts(self, kit: Kit) -> Parts:
        """A guard for each stage that has a policy, and the health of the store."""
        own = None
        if self.settings.store is not None:
            own = open_store(self.settings.store, setting="PRODKIT_RATE_LIMITING__STORE", clock=kit.clock)
        store = _store_of(kit, own)
        self.limiter.bind(store, kit.clock, addresses_resolved="proxies" in kit.features)
        guards, order = [], {}
        for layer, stage in ((Layer.ADDRESS, "address"), (Layer.ADMISSION, "admission")):
            policies = [policy for policy in self.settings.all_policies() if policy.layer == stage]
            if policies:
                guards.append((layer, self.limiter.guard(policies)))
                order[layer] = "limits: " + ", ".join(f"{policy.name} {policy.rate}" for policy in policies)
        if isinstance(store, MemoryRateLimitStore):
            _warn_of_many_workers()
            return Parts(guards=guards, order=order)
        return Parts(
            guards=guards,
            order=order,
            # Not critical: requests are answered without it, as `on_store_error` says.
            health_checks=[HealthCheck(name="rate_limit_store", check=store.check, critical=False)],
            lifespan=None if own is None else lambda: _closing(own),
        )


def _store_of(kit: Kit, own: Stores | None) -> RateLimitStore:
    if own is not None:
        return own.limits
    found = kit.one(RateLimitStore)  # type: ignore[type-abstract] # looked for by protocol
    if found is not None:
        return found
    made = MemoryRateLimitStore(clock=kit.clock)
    kit.provide([made])
    return made


@asynccontextmanager
async def _closing(stores: Stores) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await stores.aclose()


def _warn_of_many_workers() -> None:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    if workers.isascii() and workers.isdigit() and int(workers) > 1:
        LOGGER.warning(
            "limits are counted in memory by each of %s workers for itself, so a caller gets up to %s times the limit: "
            "set PRODKIT_STORE=sqlite:///path/to/file.db",
            workers,
            workers,
        )
