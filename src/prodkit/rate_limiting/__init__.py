"""Rate limiting: how many requests a caller may make in a window, decided before the request costs anything.

Two stages: by address before authentication, so that an anonymous flood is cheap to refuse; by principal after it. All
policies of a stage are decided in one call of the store, all or nothing. Handlers may reserve costs that are known later, and
policies may count what is under way instead of what comes in a window.

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

from prodkit.core.exceptions import SettingsError
from prodkit.core.features import FeatureSettings, HealthCheck, Layer, Parts
from prodkit.rate_limiting.api import limits_router
from prodkit.rate_limiting.exemptions import Exemptions
from prodkit.rate_limiting.limit import Limit
from prodkit.rate_limiting.limiter import OnUnidentified, RateLimiter
from prodkit.rate_limiting.messages import Messages, OnExceed, guard_sockets, message_limit
from prodkit.rate_limiting.openapi import document_limits
from prodkit.rate_limiting.policy import By, Cost, OnStoreError, Policy, Stage, parse_rate, require_written
from prodkit.rate_limiting.rates import Algorithm
from prodkit.rate_limiting.reserving import CurrentLimits, Limits, Reservation, limits_of
from prodkit.rate_limiting.rule import RateLimitRule, rate_limit
from prodkit.stores import RateLimitStore
from prodkit.stores.memory import MemoryRateLimitStore
from prodkit.stores.urls import check_limits_url, is_shared, open_limits

if TYPE_CHECKING:
    from prodkit.core.features import Kit

__all__ = [
    "Algorithm",
    "By",
    "Cost",
    "CurrentLimits",
    "Limit",
    "Limits",
    "OnExceed",
    "OnStoreError",
    "OnUnidentified",
    "Policy",
    "RateLimitRule",
    "RateLimiter",
    "RateLimiting",
    "RateLimitingSettings",
    "Reservation",
    "Stage",
    "limits_of",
    "limits_router",
    "message_limit",
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
            "office behind one address needs, a fraction of what one worker serves. `null` for none.",
        ),
    ] = _GENEROUS
    policies: Annotated[
        tuple[Policy, ...],
        Field(
            description='Further limits, a JSON list of objects: `[{"name": "daily", "rate": "5000/day", "by": "tenant"}]`. '
            "Fields: name, rate, by (address, principal, tenant, global), burst, cost, layer (address, admission, handler, "
            "message), enforce, algorithm (gcra, sliding-window, moving-window, fixed-window, calendar), time_zone, anchor, "
            "concurrent, queue, queue_seconds, lease_seconds, plans, tenants, count_denied, on_store_error, lease, atomic.",
        ),
    ] = ()
    store: Annotated[
        str | None,
        Field(
            description="Where the counts are, when not in PRODKIT_STORE: `memory://`, `sqlite:///path/to/file.db`, "
            "`redis://host:6379/0`, or `limits+async+memcached://host:11211` and other storages of the `limits` package, which "
            "promise less (how-to: stores).",
            repr=False,
        ),
    ] = None
    on_store_error: Annotated[
        OnStoreError,
        Field(
            description="While the store does not answer: `local` (default) each worker limits for itself, `open` nobody is "
            "limited, `closed` everybody gets 503. A policy may say otherwise for itself.",
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
    on_message_exceed: Annotated[
        OnExceed,
        Field(
            description="What becomes of a WebSocket message that a policy of the layer message refuses: `close` (default) the "
            "socket is closed with 1008, `drop` the message is not handed on, `wait` nothing more is read until it fits.",
        ),
    ] = "close"
    exempt_networks: Annotated[
        tuple[str, ...],
        Field(
            description="Whom no policy applies to, by client address: a JSON list of CIDR blocks, e.g. of a monitoring host. "
            "Default none.",
        ),
    ] = ()
    exempt_principals: Annotated[
        tuple[str, ...],
        Field(
            description="Whom no policy applies to once identified: a JSON list of `tenant/id`, or `id` for principals without a "
            "tenant. Limits by address before authentication hold for them too. Default none.",
        ),
    ] = ()
    expected_workers: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="How many processes share the limits: while the store is away and each limits for itself, it admits its "
            "part, rounded up. Default WEB_CONCURRENCY, else 1: count all machines.",
        ),
    ] = None

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_limits_url(url)
            except SettingsError as error:
                (fault,) = error.faults
                message = f"{fault.message} | {fault.cure}"
                raise ValueError(message) from None
        return url

    @field_validator("policies", mode="before")
    @classmethod
    def _can_be_written(cls, value: object) -> object:
        for index, entry in enumerate(value if isinstance(value, list | tuple) else ()):
            if isinstance(entry, dict):
                require_written(index, entry)
        return value

    @field_validator("exempt_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Exemptions(value)
        return value

    @field_validator("default", "address", mode="before")
    @classmethod
    def _none_is_none(cls, value: object) -> object:
        # In an environment variable there is no other way to write it.
        return None if value in ("", "null") else value

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
        on_message_exceed: OnExceed = "close",
        exempt_networks: Iterable[str] = (),
        exempt_principals: Iterable[str] = (),
        expected_workers: int | None = None,
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
            on_message_exceed=on_message_exceed,
            exempt_networks=tuple(exempt_networks),
            exempt_principals=tuple(exempt_principals),
            expected_workers=expected_workers,
        )
        self.limiter = RateLimiter(
            on_store_error=on_store_error,
            on_unidentified=on_unidentified,
            ipv6_prefix=ipv6_prefix,
            legacy_headers=legacy_headers,
            exemptions=Exemptions(self.settings.exempt_networks, self.settings.exempt_principals),
            expected_workers=expected_workers or _web_concurrency(),
        )

    @classmethod
    def from_settings(cls, section: RateLimitingSettings) -> RateLimiting:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    @property
    def provides(self) -> Sequence[object]:
        """The limiter: counts for metrics, and other features' own policies; and which headers pages may want to read."""
        return (self.limiter, self)

    @property
    def exposed_headers(self) -> Sequence[str]:
        """What this adds to responses beyond what CORS knows anyway."""
        legacy = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
        return legacy if self.settings.legacy_headers else ()

    def parts(self, kit: Kit) -> Parts:
        """A guard for each stage that has a policy, and the health of the store."""
        own = None
        if self.settings.store is not None:
            own = open_limits(self.settings.store, setting="PRODKIT_RATE_LIMITING__STORE", clock=kit.clock)
        store = _store_of(kit, own)
        self.limiter.bind(store, kit.clock, addresses_resolved="proxies" in kit.features)
        policies = self.settings.all_policies()
        for policy in policies:
            self.limiter.limit(policy)  # also what handlers reserve, so that it can be found by its name
        guards, order = [], {}
        for layer, stage in ((Layer.ADDRESS, "address"), (Layer.ADMISSION, "admission")):
            decided = [policy for policy in policies if policy.layer == stage]
            if decided:
                guards.append((layer, self.limiter.guard(decided)))
                order[layer] = "limits: " + ", ".join(
                    f"{policy.name} {policy.rate or f'{policy.concurrent} at a time'}" for policy in decided
                )
        of_messages = [policy for policy in policies if policy.layer == "message"]
        if of_messages:
            messages = Messages(of_messages, on_exceed=self.settings.on_message_exceed)
            guards.append((Layer.ADMISSION, guard_sockets(self.limiter, messages)))
        health_checks = []
        if not is_shared(store):
            _warn_of_many_workers()
        else:
            # Not critical: requests are answered without it, as `on_store_error` says.
            health_checks = [HealthCheck(name="rate_limit_store", check=store.check, critical=False)]
        # Nothing is left to do at the end of a process that neither opened a store nor keeps anything of one.
        keeps = any(policy.lease or policy.concurrent for policy in policies)
        return Parts(
            guards=guards,
            order=order,
            health_checks=health_checks,
            openapi=[document_limits],
            lifespan=(lambda: _closing(self.limiter, own)) if keeps or own is not None else None,
        )


def _store_of(kit: Kit, own: RateLimitStore | None) -> RateLimitStore:
    if own is not None:
        return own
    found = kit.one(RateLimitStore)  # type: ignore[type-abstract] # looked for by protocol
    if found is not None:
        return found
    made = MemoryRateLimitStore(clock=kit.clock)
    kit.provide([made])
    return made


@asynccontextmanager
async def _closing(limiter: RateLimiter, own: RateLimitStore | None) -> AsyncIterator[None]:
    try:
        yield
    finally:
        try:
            await limiter.aclose()
        finally:
            if own is not None:
                await own.aclose()


def _web_concurrency() -> int:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    return max(1, int(workers)) if workers.isascii() and workers.isdigit() and len(workers) < 6 else 1


def _warn_of_many_workers() -> None:
    workers = _web_concurrency()
    if workers > 1:
        LOGGER.warning(
            "limits are counted in memory by each of %s workers for itself, so a caller gets up to %s times the limit: "
            "set PRODKIT_STORE=sqlite:///path/to/file.db, or redis://host:6379/0 for several machines",
            workers,
            workers,
        )
