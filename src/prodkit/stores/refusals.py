"""Refusals remembered: who has just been refused is refused again without asking the store.

A flood is mostly refused callers, and every one of their requests would cost a round trip to be told the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores import Decision, Permit, Rate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, RateLimitStore, Rule, Settlement

__all__ = ["RememberingStore"]

# More asks of one call than this are not remembered: no stage has as many policies.
_MOST_ASKS: Final = 16
# Seconds by which `Decision.retry_seconds` may be more than it takes, and what floats lose.
_ROUNDED_UP: Final = 3e-6


class _Known:
    """One ask of a refused call as it was told, its times as moments of our clock in seconds.

    Attributes:
        until: the call is refused again before this moment.
        retry_at: 0.0 where the ask would have fitted.
        others: all asks of the call, this one among them, by their keys; empty where it is the only one.
    """

    __slots__ = ("cost", "others", "remaining", "reset_at", "retry_at", "rule", "until")

    def __init__(self, ask: Ask, decision: Decision, now: float) -> None:
        _, self.rule, self.cost = ask
        self.remaining = decision.remaining
        self.reset_at = now + decision.reset_seconds
        self.retry_at = 0.0 if decision.allowed else now + decision.retry_seconds
        self.until = 0.0
        self.others: tuple[tuple[str, _Known], ...] = ()

    def decision(self, now: float) -> Decision:
        reset_seconds = max(0.0, self.reset_at - now)
        if not self.retry_at:
            return Decision(True, self.remaining, reset_seconds, 0.0)
        return Decision(False, self.remaining, reset_seconds, max(0.0, self.retry_at - now))


class RememberingStore:
    """A `RateLimitStore` around another one, that asks it no question whose answer is known to be no.

    When a call was refused by a rule that consumes nothing then, the same call (the same keys, rules and costs) is refused at
    once until the rule could admit it, or until this forgets, which it does with everything every *longest_seconds*. Of a call
    with a single `Rate`, so is any larger cost. The answer is a plain tuple: no coroutine, no round trip.

    It never refuses what the store would have admitted, with one exception: what *others* give back, reset, or allow by a
    larger rate under the same name is learned at most *longest_seconds* late. What is given back or reset through this object is
    seen at once. What the other policies of a refused call are told to have left is as old as the refusal, at most.

    Calls with a rule that counts what is denied are always passed on, since the store has to know of them; a refusal that only
    comes from a `Permit` is not remembered, since a place may be free at any time.

    Args:
        store: decides everything else.
        clock: where `monotonic` is read.
        max_keys: how many refusals are remembered at most, about 200 bytes each besides the key; while there are more, the store
            is asked.
        longest_seconds: above 0. 1.0: a caller that is refused costs one round trip a second, whatever it sends.

    Attributes:
        is_partitioned: see `RateLimitStore`.
        answered: calls that were refused without asking the store.

    Raises:
        ValueError: a bound is not above 0.
    """

    def __init__(
        self,
        store: RateLimitStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_keys: int = 10_000,
        longest_seconds: float = 1.0,
    ) -> None:
        if max_keys < 1 or not longest_seconds > 0:
            message = f"max_keys and longest_seconds must be above 0, not {max_keys} and {longest_seconds}"
            raise ValueError(message)
        self.is_partitioned = store.is_partitioned
        self.answered = 0
        self._store = store
        self._monotonic = clock.monotonic
        self._max_keys = max_keys
        self._longest_seconds = longest_seconds
        self._refused: dict[str, _Known] = {}
        self._forget_at = 0.0
        # Keys given back to, and when: what was asked before that moment and is answered after it may be refused no more.
        self._mended: dict[str, float] = {}
        self._mended_before: dict[str, float] = {}
        self._trusted_since = -math.inf

    def __len__(self) -> int:
        """How many refusals are remembered, those that are over included."""
        return len(self._refused)

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`."""
        now = self._monotonic()
        if now >= self._forget_at:
            self._forget(now)
        elif self._refused:
            for ask in asks:
                if ask[0] in self._refused:
                    known = _answer(self._refused[ask[0]], asks, now)
                    if known is not None:
                        self.answered += 1
                        return known
        answer = self._store.hit_many(asks)
        if isinstance(answer, tuple):
            if self._refused or len(answer) != 1 or not answer[0].allowed:
                self._learn(asks, answer, now)
            return answer
        return self._later(asks, answer, now)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `RateLimitStore.settle`."""
        mended = [key for key, rule, amount, _ in settlements if amount < 0 and not isinstance(rule, Permit)]
        try:
            await self._store.settle(settlements)
        finally:
            self._mend(mended)

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`; always asks."""
        return await self._store.peek(key, rule)

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""
        try:
            await self._store.reset(key)
        finally:
            self._mend([key])

    async def check(self) -> None:
        """See `Store.check`."""
        await self._store.check()

    async def aclose(self) -> None:
        """Forget everything, and close the store."""
        self._refused.clear()
        await self._store.aclose()

    async def _later(
        self, asks: Sequence[Ask], answer: Awaitable[tuple[Decision, ...]], asked_at: float
    ) -> tuple[Decision, ...]:
        decisions = await answer
        if self._refused or len(decisions) != 1 or not decisions[0].allowed:
            self._learn(asks, decisions, asked_at)
        return decisions

    def _learn(self, asks: Sequence[Ask], decisions: Sequence[Decision], asked_at: float) -> None:
        """Remember *decisions* if they are a refusal that lasts."""
        if self._refused:
            for (key, _, _), decision in zip(asks, decisions, strict=True):
                if decision.allowed and key in self._refused:
                    # A smaller cost was admitted: for the one that was refused it takes longer now.
                    del self._refused[key]
        own, longest = -1, 0.0
        for index, decision in enumerate(decisions):
            rule = asks[index][1]
            if rule.counts_denied:
                return
            if decision.allowed or not rule.is_binding or isinstance(rule, Permit):
                continue
            if decision.retry_seconds > longest:
                own, longest = index, decision.retry_seconds
        if own < 0 or len(asks) > _MOST_ASKS or self._is_stale(asks[own][0], asked_at):
            return
        key = asks[own][0]
        if len(asks) > 1 and sum(ask[0] == key for ask in asks) > 1:
            return
        if len(self._refused) >= self._max_keys and key not in self._refused:
            return
        now = self._monotonic()
        told = [_Known(ask, decision, now) for ask, decision in zip(asks, decisions, strict=True)]
        # An object of its own also where it stands among the others: in a circle it would wait for the collector.
        known = _Known(asks[own], decisions[own], now) if len(told) > 1 else told[0]
        # From the moment of asking, which is before the store decided: what it would admit again is never refused here.
        known.until = asked_at + longest - _ROUNDED_UP
        if len(told) > 1:
            known.others = tuple(zip([ask[0] for ask in asks], told, strict=True))
        self._refused[key] = known

    def _is_stale(self, key: str, asked_at: float) -> bool:
        """Whether something was given back, or everything forgotten, after that moment."""
        if asked_at <= self._trusted_since:
            return True
        mended = self._mended.get(key) or self._mended_before.get(key)
        return mended is not None and asked_at <= mended

    def _mend(self, keys: Sequence[str]) -> None:
        now = self._monotonic()
        for key in keys:
            self._refused.pop(key, None)
            if len(self._mended) >= self._max_keys and key not in self._mended:
                # Too many to tell apart: nothing that is under way now is believed.
                self._mended.clear()
                self._trusted_since = now
            self._mended[key] = now

    def _forget(self, now: float) -> None:
        """Begin anew: nothing is remembered for longer than from one of these moments to the next."""
        self._refused = {}
        self._mended_before, self._mended = self._mended, {}
        self._forget_at = now + self._longest_seconds


def _answer(refused: _Known, asks: Sequence[Ask], now: float) -> tuple[Decision, ...] | None:
    """What *asks* would be told, or None where that is not known."""
    if now >= refused.until or len(asks) != (len(refused.others) or 1):
        return None
    if not refused.others:
        _, rule, cost = asks[0]
        extra = cost - refused.cost
        if not _alike(rule, refused.rule) or extra < 0:
            return None
        decision = refused.decision(now)
        if extra:
            if not isinstance(rule, Rate):
                return None
            decision.retry_seconds += math.inf if cost > rule.burst else extra * rule.interval_ns * 1e-9
        return (decision,)
    for (key, rule, cost), (name, known) in zip(asks, refused.others, strict=True):
        if key != name or cost != known.cost or not _alike(rule, known.rule):
            return None
    return tuple([known.decision(now) for _, known in refused.others])


def _alike(rule: Rule, known: Rule) -> bool:
    """Whether both refuse alike; each request brings a permit of its own."""
    if rule is known:
        return True
    if isinstance(rule, Permit) and isinstance(known, Permit):
        return rule.limit == known.limit
    return rule == known
