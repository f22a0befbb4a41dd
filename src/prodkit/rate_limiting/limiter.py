"""The limits of one application: deciding several together, and what happens while the store does not answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import InstallationError, StoreError
from prodkit.core.features import Sample
from prodkit.core.partition import UNIDENTIFIED, Token, ipv6_token, peer_address
from prodkit.core.problems import STORE_UNAVAILABLE, Problem
from prodkit.rate_limiting.answers import refusal, report, report_legacy
from prodkit.rate_limiting.limit import Limit
from prodkit.stores.memory import MemoryRateLimitStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Guard
    from prodkit.rate_limiting.policy import Policy
    from prodkit.stores import Ask, Decision, RateLimitStore

__all__ = ["OnStoreError", "OnUnidentified", "RateLimiter"]

LOGGER = logging.getLogger("prodkit.rate_limiting")

OnStoreError = Literal["local", "open", "closed"]
OnUnidentified = Literal["shared", "skip", "reject"]

# About 1.5 MB: what stands in for a shared store for minutes need not remember as many callers.
_FALLBACK_KEYS: Final = 10_000
# Seconds: long enough not to hammer a store that is down, short enough not to outlast it by much.
_RETRY_CLOSED: Final = "1"
_QUIET_SECONDS: Final = 60.0


class RateLimiter:
    """Decides policies against one store. A feature of yours finds it with `kit.one(RateLimiter)`.

    Args:
        on_store_error: what happens to a request while the store does not answer.
        on_unidentified: what happens to a request without a client address.
        ipv6_prefix: how many leading bits of an IPv6 address make one client.
        legacy_headers: also send `X-RateLimit-*`.

    Attributes:
        ipv6_prefix: see above.
        is_special: whether an allowed request needs more than its header, so that the short path must not end it.
    """

    def __init__(
        self,
        *,
        on_store_error: OnStoreError = "local",
        on_unidentified: OnUnidentified = "shared",
        ipv6_prefix: int = 64,
        legacy_headers: bool = False,
    ) -> None:
        self.ipv6_prefix = ipv6_prefix
        self.is_special = legacy_headers
        self._on_store_error = on_store_error
        self._on_unidentified = on_unidentified
        self._legacy = legacy_headers
        self._is_degraded = False
        self._addresses_resolved = False
        self._monotonic = SYSTEM_CLOCK.monotonic
        self._silent_until = 0.0
        self._store: RateLimitStore | None = None
        self._fallback: MemoryRateLimitStore | None = None
        self._limits: dict[Policy, Limit] = {}

    def bind(self, store: RateLimitStore, clock: Clock, *, addresses_resolved: bool) -> None:
        """Begin to use *store*.

        Args:
            store: where the buckets are.
            clock: the time of the buckets that stand in for it.
            addresses_resolved: whether a feature writes `context.client_ip`; if none does, the peer is the client.

        Raises:
            InstallationError: it has one already, so it belongs to another application.
        """
        if self._store is not None:
            message = "this RateLimiting(...) is installed in another application: make one for each"
            raise InstallationError(message)
        self._store = store
        self._addresses_resolved = addresses_resolved
        self._monotonic = clock.monotonic
        if self._on_store_error == "local":
            self._fallback = MemoryRateLimitStore(max_keys=_FALLBACK_KEYS, clock=clock)

    def limit(self, policy: Policy) -> Limit:
        """*policy* at work; the same object for an equal policy, so that it is counted once.

        Raises:
            InstallationError: nothing is bound yet: policies are put to work when features are asked for their parts.
        """
        known = self._limits.get(policy)
        if known is None:
            if self._store is None:
                message = "this RateLimiting(...) is not installed: give it to harden(app, ...) or install(app, ...)"
                raise InstallationError(message)
            known = self._limits[policy] = Limit(policy, self, self._store)
        return known

    def guard(self, policies: Sequence[Policy]) -> Guard:
        """One guard for all *policies* of a stage: they are decided together, in one call of the store."""
        limits = tuple(self.limit(policy) for policy in policies)
        if len(limits) == 1 and limits[0].is_simple:
            return limits[0].guard

        def guard(context: RequestContext) -> Awaitable[None] | None:
            return self.decide(limits, context)

        return guard

    def decide(self, limits: Sequence[Limit], context: RequestContext) -> Awaitable[None] | None:
        """Take what *limits* cost, all or nothing; done when it returns None.

        Raises:
            Problem: 429 when a limit is used up; 503 when the store is out of reach and that closes the door.
        """
        enforced: list[Limit] = []
        asks: list[Ask] = []
        watched: list[tuple[Limit, Ask]] = []
        for limit in limits:
            ask = limit.ask(context)
            if ask is None:
                limit.bypassed += 1
            elif limit.policy.enforce:
                enforced.append(limit)
                asks.append(ask)
            else:
                watched.append((limit, ask))
        if watched:
            return self._watch_first(watched, enforced, asks, context)
        return self._enforce(enforced, asks, context)

    def _enforce(
        self, limits: Sequence[Limit], asks: Sequence[Ask], context: RequestContext
    ) -> Awaitable[None] | None:
        if not asks:
            return None
        try:
            decisions = self._bound().hit_many(asks)
        except StoreError as error:
            self.unavailable(limits, asks, error)
            return None
        if type(decisions) is not tuple:
            return self.later(limits, context, asks, decisions)
        self.conclude(limits, context, decisions)
        return None

    async def _watch_first(
        self,
        watched: Sequence[tuple[Limit, Ask]],
        enforced: Sequence[Limit],
        asks: Sequence[Ask],
        context: RequestContext,
    ) -> None:
        """Policies on trial, each in a call of its own: in a common one they would keep the others from consuming."""
        for limit, ask in watched:
            try:
                answer = self._bound().hit_many((ask,))
                decisions = answer if isinstance(answer, tuple) else await answer
            except StoreError:
                limit.degraded += 1
                continue
            if decisions[0].allowed:
                limit.allowed += 1
            else:
                limit.bypassed += 1
        verdict = self._enforce(enforced, asks, context)
        if verdict is not None:
            await verdict

    async def later(
        self,
        limits: Sequence[Limit],
        context: RequestContext,
        asks: Sequence[Ask],
        answer: tuple[Decision, ...] | Awaitable[tuple[Decision, ...]],
    ) -> None:
        """Conclude when the store has answered."""
        try:
            decisions = answer if isinstance(answer, tuple) else await answer
        except StoreError as error:
            self.unavailable(limits, asks, error)
            return
        self.conclude(limits, context, decisions)

    def conclude(
        self, limits: Sequence[Limit], context: RequestContext, decisions: Sequence[Decision]
    ) -> None:
        """Count, report and enforce what the store decided.

        Raises:
            Problem: 429 when one of *decisions* is a refusal.
        """
        if self._is_degraded:
            self._is_degraded, self.is_special = False, self._legacy
        headers = context.response_headers
        refused = False
        for limit, decision in zip(limits, decisions, strict=True):
            report(limit, decision, headers)
            if self._legacy:
                report_legacy(limit, decision, headers)
            refused = refused or not decision.allowed
        if refused:
            raise refusal(limits, decisions)
        for limit in limits:
            limit.allowed += 1

    def unavailable(self, limits: Sequence[Limit], asks: Sequence[Ask], error: StoreError) -> None:
        """Decide without the store, as the setting says; no header is sent, since what it said would be a guess.

        Raises:
            Problem: 503 when this closes the door, 429 when the limit is used up in this process alone.
        """
        if not self._is_degraded:
            self._is_degraded = self.is_special = True
            self._warn(error)
        if self._fallback is not None:
            decisions = self._fallback.hit_many(asks)
            if not all(decision.allowed for decision in decisions):
                raise refusal(limits, decisions)
        for limit in limits:
            limit.degraded += 1
        if self._on_store_error == "closed":
            raise Problem(
                STORE_UNAVAILABLE,
                "The limits of this request could not be checked.",
                headers={"Retry-After": _RETRY_CLOSED},
            ) from error

    def _warn(self, error: StoreError) -> None:
        # A store at its limit comes and goes many times a second; the counts tell how often.
        now = self._monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _QUIET_SECONDS
            LOGGER.warning(
                "the rate limit store does not answer (%s); limits: %s", error, self._on_store_error
            )

    def address_token(self, context: RequestContext) -> Token | None:
        """Who *context* comes from by address, or None when limits shall not apply.

        Raises:
            Problem: there is no address, and such requests are rejected.
        """
        address = context.client_ip
        if address is None and not self._addresses_resolved:
            address = peer_address(context)
        if address is not None:
            number = int(address)
            return number if address.version == 4 else ipv6_token(number, self.ipv6_prefix)
        if self._on_unidentified == "reject":
            raise Problem(400, "The client's address is not known, and its requests cannot be limited.")
        return UNIDENTIFIED if self._on_unidentified == "shared" else None

    def samples(self) -> Iterator[Sample]:
        """`prodkit_rate_limiting_decisions_total` by policy and outcome."""
        for limit in list(self._limits.values()):
            for outcome in ("allowed", "denied", "degraded", "bypassed"):
                yield Sample(
                    "prodkit_rate_limiting_decisions_total",
                    {"policy": limit.policy.name, "outcome": outcome},
                    getattr(limit, outcome),
                    "counter",
                    "Rate limit decisions.",
                )

    def _bound(self) -> RateLimitStore:
        if self._store is None:  # a Limit exists only once there is a store
            message = "no store is bound"
            raise InstallationError(message)
        return self._store
