"""The limits of one application: deciding several together, and what happens while the store does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from prodkit.core.exceptions import InstallationError, StoreError
from prodkit.core.features import Kit
from prodkit.core.partition import UNIDENTIFIED, Token, ipv6_token, peer_address
from prodkit.core.problems import Problem
from prodkit.rate_limiting.answers import refusal, report, report_legacy
from prodkit.rate_limiting.fallback import PASSED, Fallback
from prodkit.rate_limiting.fitness import require_fit
from prodkit.rate_limiting.limit import Limit
from prodkit.rate_limiting.permits import Permits
from prodkit.rate_limiting.policy import OnStoreError, Policy
from prodkit.rate_limiting.queueing import released
from prodkit.rate_limiting.samples import samples_of
from prodkit.rate_limiting.settling import Counted, dues_of
from prodkit.rate_limiting.stages import Attempt, groups_of
from prodkit.stores import ImmediateStore
from prodkit.stores.leases import LeasingStore
from prodkit.stores.refusals import RememberingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Guard, Sample
    from prodkit.rate_limiting.exemptions import Exemptions
    from prodkit.stores import Ask, Decision, RateLimitStore

__all__ = ["OnStoreError", "OnUnidentified", "RateLimiter", "limiter_of"]

OnUnidentified = Literal["shared", "skip", "reject"]

# Each is a series of metrics. One that is made anew for each request, with a function of its own, would never end.
_MOST_POLICIES: Final = 10_000


class RateLimiter:
    """Decides policies against one store. A feature of yours finds it with `kit.one(RateLimiter)`.

    Args:
        on_store_error: what happens to a request while the store does not answer, where its policy does not say.
        on_unidentified: what happens to a request without a client address.
        ipv6_prefix: how many leading bits of an IPv6 address make one client.
        legacy_headers: also send `X-RateLimit-*`.
        exemptions: who is not limited at all; None for nobody.
        expected_workers: how many processes share the limits.

    Attributes:
        ipv6_prefix, exemptions, on_store_error: see above.
        is_special: whether an allowed request needs more than its header, so that the short path must not end it.
        is_partitioned: whether the store decides together only what is in one partition.
        of_routes: names of policies that were met at a route.
    """

    def __init__(
        self,
        *,
        on_store_error: OnStoreError = "local",
        on_unidentified: OnUnidentified = "shared",
        ipv6_prefix: int = 64,
        legacy_headers: bool = False,
        exemptions: Exemptions | None = None,
        expected_workers: int = 1,
    ) -> None:
        self.on_store_error: OnStoreError = on_store_error
        self.ipv6_prefix = ipv6_prefix
        self.is_special = legacy_headers
        self.exemptions = exemptions or None
        self.is_partitioned = False
        self._on_unidentified = on_unidentified
        self._legacy = legacy_headers
        self._expected_workers = expected_workers
        self._is_degraded = False
        self._addresses_resolved = False
        self._clock: Clock | None = None
        self._store: RateLimitStore | None = None
        self._leasing: LeasingStore | None = None
        self._fallback: Fallback | None = None
        self._permits: Permits | None = None
        self._limits: dict[Policy, Limit] = {}
        self.of_routes: set[str] = set()

    def bind(self, store: RateLimitStore, clock: Clock, *, addresses_resolved: bool) -> None:
        """Begin to use *store*.

        Args:
            store: where the buckets are. One that needs I/O is asked through a memory of its refusals.
            clock: the time of the buckets that stand in for it.
            addresses_resolved: whether a feature writes `context.client_ip`; if none does, the peer is the client.

        Raises:
            InstallationError: it has one already, so it belongs to another application.
        """
        if self._store is not None:
            message = "this RateLimiting(...) is installed in another application: make one for each"
            raise InstallationError(message)
        self._raw = store
        self._store = store if isinstance(store, ImmediateStore) else RememberingStore(store, clock=clock)
        self.is_partitioned = store.is_partitioned
        self._clock = clock
        self._addresses_resolved = addresses_resolved
        self._fallback = Fallback(clock, self._expected_workers)
        self._permits = Permits(clock, released)

    @property
    def store(self) -> RateLimitStore:
        """What is asked.

        Raises:
            InstallationError: nothing is bound yet: policies are put to work when features are asked for their parts.
        """
        if self._store is None:
            raise _not_installed()
        return self._store

    @property
    def fallback(self) -> Fallback:
        """What stands in for the store."""
        if self._fallback is None:
            raise _not_installed()
        return self._fallback

    @property
    def permits(self) -> Permits:
        """The places that requests of this process hold."""
        if self._permits is None:
            raise _not_installed()
        return self._permits

    @property
    def limits(self) -> Sequence[Limit]:
        """Every policy that is at work so far, in the order they were declared or first met."""
        return tuple(self._limits.values())

    def limit(self, policy: Policy) -> Limit:
        """*policy* at work; the same object for an equal policy, so that it is counted once.

        Raises:
            InstallationError: nothing is bound yet.
            SettingsError: the store cannot decide it.
        """
        known = self._limits.get(policy)
        if known is None:
            require_fit(self._raw, policy)
            if len(self._limits) >= _MOST_POLICIES:
                message = f"more than {_MOST_POLICIES} policies: make them once, not for each request"
                raise InstallationError(message)
            if policy.lease:
                self._lease()
            known = self._limits[policy] = Limit(policy, self, self.store)
        return known

    def named(self, name: str) -> Limit:
        """The policy at work that is called *name*.

        Raises:
            LookupError: there is none; says which there are.
        """
        for limit in self._limits.values():
            if limit.policy.name == name:
                return limit
        message = f"there is no policy {name!r}, only: {', '.join(limit.policy.name for limit in self.limits) or 'none'}"
        raise LookupError(message)

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
        if self.exempts(context):
            for limit in limits:
                limit.bypassed += 1
            return None
        asked: list[Limit] = []
        asks: list[Ask] = []
        is_patient = False
        for limit in limits:
            ask = limit.ask(context)
            if ask is None:
                limit.bypassed += 1
            else:
                is_patient = is_patient or limit.is_permit
                asked.append(limit)
                asks.append(ask)
        if not asks:
            return None
        if is_patient or (self.is_partitioned and len(asks) > 1 and len(groups_of(asks)) > 1):
            return Attempt(self, context, asked, asks).decide()
        try:
            decisions = self.store.hit_many(asks)
        except StoreError as error:
            self.unavailable(asked, context, asks, error)
            return None
        if type(decisions) is not tuple:
            return self.later(asked, context, asks, decisions)  # type: ignore[arg-type]
        self.conclude(asked, context, asks, decisions)
        return None

    async def later(
        self,
        limits: Sequence[Limit],
        context: RequestContext,
        asks: Sequence[Ask],
        answer: Awaitable[tuple[Decision, ...]],
    ) -> None:
        """Conclude when the store has answered."""
        try:
            decisions = await answer
        except StoreError as error:
            self.unavailable(limits, context, asks, error)
            return
        self.conclude(limits, context, asks, decisions)

    def conclude(
        self,
        limits: Sequence[Limit],
        context: RequestContext,
        asks: Sequence[Ask],
        decisions: Sequence[Decision],
    ) -> None:
        """Report, enforce and count what the store decided.

        Raises:
            Problem: 429 when one of *decisions* is a refusal.
        """
        self.tell(limits, context, asks, decisions)
        _enforce(limits, decisions)
        self.admitted(limits, context, asks, decisions, self.store)

    def tell(
        self,
        limits: Sequence[Limit],
        context: RequestContext,
        asks: Sequence[Ask],
        decisions: Sequence[Decision],
    ) -> None:
        """Put what the store decided into the headers."""
        if self._is_degraded:
            self._is_degraded, self.is_special = False, self._legacy
        headers = context.response_headers
        for limit, ask, decision in zip(limits, asks, decisions, strict=True):
            if limit.policy.enforce:
                report(limit, ask[1], decision, headers)
                if self._legacy:
                    report_legacy(ask[1], decision, headers)
            elif not decision.allowed:
                limit.bypassed += 1

    def admitted(
        self,
        limits: Sequence[Limit],
        context: RequestContext,
        asks: Sequence[Ask],
        decisions: Sequence[Decision],
        store: RateLimitStore,
        *,
        is_degraded: bool = False,
    ) -> None:
        """Count what was admitted, and remember what may not count in the end."""
        for limit, ask, decision in zip(limits, asks, decisions, strict=True):
            if is_degraded:
                limit.degraded += 1
            elif decision.allowed:
                limit.allowed += 1
            if limit.policy.count_if is not None and decision.allowed and decision is not PASSED and ask[2]:
                dues_of(context).add(Counted(limit, store, ask, decision.at_ns))

    def unavailable(
        self, limits: Sequence[Limit], context: RequestContext, asks: Sequence[Ask], error: StoreError
    ) -> None:
        """Decide without the store, as each policy says; no header is sent, since what it said would be a guess.

        Raises:
            Problem: 503 when this closes the door, 429 when a limit is used up in this process alone.
        """
        asked, decisions = self.answer_without_store(limits, asks, error)
        _enforce(limits, decisions)
        self.admitted(limits, context, asked, decisions, self.fallback.store, is_degraded=True)

    def answer_without_store(
        self, limits: Sequence[Limit], asks: Sequence[Ask], error: StoreError
    ) -> tuple[tuple[Ask, ...], tuple[Decision, ...]]:
        """See `Fallback.answer`.

        Raises:
            Problem: 503, since a policy must not be passed unchecked.
        """
        if not self._is_degraded:
            self._is_degraded = self.is_special = True
            self.fallback.warn(limits, error)
        try:
            return self.fallback.answer(limits, asks, error)
        except Problem:
            for limit in limits:
                limit.degraded += 1
            raise

    def exempts(self, context: RequestContext) -> bool:
        """Whether nobody limits this caller at all."""
        if self.exemptions is None:
            return False
        address = context.client_ip
        if address is None and not self._addresses_resolved:
            address = peer_address(context)
        return self.exemptions.hold(address, context.principal)

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
        """See `samples_of`."""
        return samples_of(tuple(self._limits.values()))

    async def aclose(self) -> None:
        """Stop renewing places, and give back what was leased."""
        await self.permits.aclose()
        if self._leasing is not None:
            await self._leasing.aclose()

    def _lease(self) -> None:
        """From now on a worker may fetch several units at once, where the store is behind a socket."""
        if self._leasing is not None or self._clock is None or isinstance(self._raw, ImmediateStore):
            return
        self._leasing = LeasingStore(self._raw, clock=self._clock)
        self._store = RememberingStore(self._leasing, clock=self._clock)
        for limit in self._limits.values():
            limit.use(self._store)


def limiter_of(context: RequestContext) -> RateLimiter:
    """The limiter that decides what a route of *context* declares.

    Raises:
        InstallationError: the application has no rate limiting.
    """
    limiter = context.kit.one(RateLimiter)
    if limiter is None and context.scope is not None:
        # A hardened application mounted in one without limits: its own will do.
        inner = getattr(getattr(context.scope.get("app"), "state", None), "prodkit", None)
        limiter = inner.one(RateLimiter) if isinstance(inner, Kit) else None
    if limiter is None:
        message = (
            "a route declares rate_limit(...), and the application has no limits: install RateLimiting(...)"
        )
        raise InstallationError(message)
    return limiter


def _enforce(limits: Sequence[Limit], decisions: Sequence[Decision]) -> None:
    for limit, decision in zip(limits, decisions, strict=True):
        if not decision.allowed and limit.policy.enforce:
            raise refusal(limits, decisions)


def _not_installed() -> InstallationError:
    return InstallationError(
        "this RateLimiting(...) is not installed: give it to harden(app, ...) or install(app, ...)"
    )
