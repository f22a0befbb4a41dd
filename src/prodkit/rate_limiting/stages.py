"""One stage decided with patience: where places are counted, or the store keeps what is asked on several machines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.core.exceptions import StoreError
from prodkit.core.partition import partition_of
from prodkit.core.pipeline.leaving import look_out
from prodkit.core.problems import Problem
from prodkit.rate_limiting.answers import refusal
from prodkit.rate_limiting.fallback import PASSED
from prodkit.rate_limiting.permits import Held
from prodkit.rate_limiting.queueing import wait_for_permit
from prodkit.rate_limiting.settling import dues_of, settle
from prodkit.stores import Permit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.context import RequestContext
    from prodkit.rate_limiting.limit import Limit
    from prodkit.rate_limiting.limiter import RateLimiter
    from prodkit.stores import Ask, Decision, RateLimitStore

__all__ = ["Attempt", "Part", "groups_of"]


def groups_of(asks: Sequence[Ask]) -> list[list[int]]:
    """Which of *asks* stand in one partition each, by their place."""
    groups: dict[str, list[int]] = {}
    for index, ask in enumerate(asks):
        groups.setdefault(partition_of(ask[0]), []).append(index)
    return list(groups.values())


class Part:
    """What was decided together.

    Attributes:
        indexes: which of the stage's limits.
        limits, asks, decisions: in that order.
        store: who decided: the store, or the buckets of this process in its place.
        is_degraded: whether it was the latter.
    """

    __slots__ = ("asks", "decisions", "indexes", "is_degraded", "limits", "store")

    def __init__(  # noqa: PLR0917 - its fields
        self,
        indexes: Sequence[int],
        limits: Sequence[Limit],
        asks: Sequence[Ask],
        decisions: Sequence[Decision],
        store: RateLimitStore,
        is_degraded: bool,  # noqa: FBT001 - see above
    ) -> None:
        self.indexes = indexes
        self.limits = limits
        self.asks = asks
        self.decisions = list(decisions)
        self.store = store
        self.is_degraded = is_degraded

    @property
    def is_refused(self) -> bool:
        """Whether a binding ask did not fit, so that nothing was consumed."""
        return any(
            not decision.allowed and ask[1].is_binding
            for ask, decision in zip(self.asks, self.decisions, strict=True)
        )

    async def give_back(self) -> None:
        """Undo what was consumed here, since another part was refused; what counts refusals stays."""
        entries = []
        for index, (limit, (key, rule, cost), decision) in enumerate(
            zip(self.limits, self.asks, self.decisions, strict=True)
        ):
            if decision.allowed and decision is not PASSED and cost and not rule.counts_denied:
                entries.append((limit, (key, rule, -cost, decision.at_ns)))
                self.decisions[index] = replace(decision, remaining=decision.remaining + cost)
        if entries:
            await settle(self.store, entries)


class Attempt:
    """Asks all limits of a stage, as often as their places need it.

    Args:
        limiter: whose store it is.
        context: of the request.
        limits: of the stage, as many as *asks*.
        asks: what they ask.

    Attributes:
        parts: what became of the last attempt.
    """

    def __init__(
        self, limiter: RateLimiter, context: RequestContext, limits: Sequence[Limit], asks: Sequence[Ask]
    ) -> None:
        self._limiter = limiter
        self._context = context
        self._limits = limits
        self._asks = asks
        self._store = limiter.store
        self._groups = groups_of(asks) if limiter.is_partitioned else [list(range(len(asks)))]
        self._held: dict[int, Held] = {}
        self._queued: set[int] = set()
        self.parts: list[Part] = []

    async def decide(self) -> None:
        """Take what everything costs, or nothing; waits for a place where that is promised.

        Raises:
            Problem: 429, or 503 where the store is out of reach.
        """
        permits = [index for index, ask in enumerate(self._asks) if isinstance(ask[1], Permit)]
        if permits:
            self._promise(permits)
        decisions = await self.ask()
        if self._queued:
            decisions = await self._wait(decisions)
        self._conclude(decisions)

    async def ask(self) -> tuple[Decision, ...]:
        """Ask everything anew; where one part is refused, what the others took is given back.

        Raises:
            Problem: 503, a policy must not be passed unchecked.
        """
        groups = self._groups
        if len(groups) == 1:
            outcomes = [await self._ask(groups[0])]
        else:
            outcomes = await asyncio.gather(*(self._ask(group) for group in groups))
        parts = [outcome for outcome in outcomes if isinstance(outcome, Part)]
        closed = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
        if len(groups) > 1 and (closed or any(part.is_refused for part in parts)):
            await asyncio.gather(*(part.give_back() for part in parts if not part.is_refused))
        if closed:
            raise closed[0]
        self.parts = parts
        decisions = [PASSED] * len(self._asks)
        for part in parts:
            for index, decision in zip(part.indexes, part.decisions, strict=True):
                decisions[index] = decision
                if decision.queued:
                    self._queued.add(index)
        return tuple(decisions)

    async def _wait(self, decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        """See `wait_for_permit`; who leaves meanwhile gives up its turn, and is refused since nobody hears it."""
        event = asyncio.Event()
        lookout = look_out(self._context, event.set)
        try:
            return await wait_for_permit(
                self.ask,
                decisions,
                asks=self._asks,
                clock=self._context.kit.clock,
                deadline=self._context.deadline,
                event=event,
                is_over=lambda: lookout is not None and lookout.is_gone,
            )
        finally:
            if lookout is not None:
                await lookout.stop()

    async def _ask(self, indexes: Sequence[int]) -> Part | Problem:
        limits = [self._limits[index] for index in indexes]
        asks = [self._asks[index] for index in indexes]
        try:
            answer = self._store.hit_many(asks)
            decisions = answer if isinstance(answer, tuple) else await answer
        except StoreError as error:
            try:
                asked, decisions = self._limiter.answer_without_store(limits, asks, error)
            except Problem as problem:
                return problem
            store = self._limiter.fallback.store
            for index in indexes:
                if index in self._held and store not in self._held[index].stores:
                    self._held[index].stores.append(store)
            return Part(indexes, limits, asked, decisions, store, is_degraded=True)
        return Part(indexes, limits, asks, decisions, self._store, is_degraded=False)

    def _promise(self, permits: Sequence[int]) -> None:
        """Have the places given back at the end, before they are asked for: also when the outcome is never known."""
        dues = dues_of(self._context)
        for index in permits:
            key, permit, _ = self._asks[index]
            if isinstance(permit, Permit):
                held = Held(self._limiter.permits, self._limits[index], key, permit)
                held.stores.append(self._store)
                self._held[index] = held
                dues.add(held)

    def _conclude(self, decisions: Sequence[Decision]) -> None:
        is_refused = any(part.is_refused for part in self.parts)
        self._tell(decisions)
        for part in self.parts:
            for index, decision in zip(part.indexes, part.decisions, strict=True):
                if index in self._held:
                    self._keep_or_leave(index, part, is_kept=decision.allowed and not is_refused)
        if is_refused:
            raise refusal(self._limits, decisions)
        for part in self.parts:
            self._limiter.admitted(
                part.limits,
                self._context,
                part.asks,
                part.decisions,
                part.store,
                is_degraded=part.is_degraded,
            )

    def _tell(self, decisions: Sequence[Decision]) -> None:
        """Report what the store decided, in the order of the stage."""
        told = sorted(index for part in self.parts if not part.is_degraded for index in part.indexes)
        if not told:
            return
        self._limiter.tell(
            [self._limits[index] for index in told],
            self._context,
            [self._asks[index] for index in told],
            [decisions[index] for index in told],
        )

    def _keep_or_leave(self, index: int, part: Part, *, is_kept: bool) -> None:
        held = self._held[index]
        if is_kept:
            self._limiter.permits.hold(held)
        elif not part.is_degraded and index not in self._queued:
            held.stores.clear()  # nothing was taken, and nothing waits: no call to say so
