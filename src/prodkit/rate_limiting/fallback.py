"""While the store does not answer: each policy goes by its own word, and nobody waits a second time."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import STORE_UNAVAILABLE, Problem
from prodkit.stores import Decision, Permit, Rate
from prodkit.stores.memory import MemoryRateLimitStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.exceptions import StoreError
    from prodkit.rate_limiting.limit import Limit
    from prodkit.stores import Ask, Rule

__all__ = ["PASSED", "Fallback"]

LOGGER = logging.getLogger("prodkit.rate_limiting")

PASSED: Final = Decision(allowed=True, remaining=0, reset_seconds=0.0, retry_seconds=0.0)
"""Let through without anybody having looked. Told by identity."""

# About 1.5 MB: what stands in for a shared store for minutes need not remember as many callers.
_FALLBACK_KEYS: Final = 10_000
_MAX_SHARES: Final = 256
# Seconds: long enough not to hammer a store that is down, short enough not to outlast it by much.
_RETRY_CLOSED: Final = "1"
_QUIET_SECONDS: Final = 60.0


class Fallback:
    """Decides in place of the store.

    Args:
        clock: the time of the buckets that stand in for those of the store.
        workers: how many processes share a limit; each gets its part, rounded up, in windows of the same length.

    Attributes:
        store: the buckets of this process; nothing is in there that a client could make grow without bound.
    """

    def __init__(self, clock: Clock, workers: int) -> None:
        self.store = MemoryRateLimitStore(max_keys=_FALLBACK_KEYS, clock=clock)
        self._workers = workers
        self._monotonic = clock.monotonic
        self._silent_until = 0.0
        self._shares: dict[Rule, Rule] = {}

    def answer(
        self, limits: Sequence[Limit], asks: Sequence[Ask], error: StoreError
    ) -> tuple[tuple[Ask, ...], tuple[Decision, ...]]:
        """What was asked in place of *asks*, and what became of it; `PASSED` where a policy is not limited now.

        Raises:
            Problem: 503, since a policy must not be passed unchecked.
        """
        for limit in limits:
            if limit.on_store_error == "closed" and limit.policy.enforce:
                raise Problem(
                    STORE_UNAVAILABLE,
                    "The limits of this request could not be checked.",
                    headers={"Retry-After": _RETRY_CLOSED},
                ) from error
        local = [
            index
            for index, limit in enumerate(limits)
            if limit.on_store_error == "local" and limit.policy.enforce
        ]
        asked, decisions = list(asks), [PASSED] * len(asks)
        if local:
            for index in local:
                asked[index] = self._share(asks[index])
            answers = self.store.hit_many([asked[index] for index in local])
            for index, decision in zip(local, answers, strict=True):
                decisions[index] = decision
        return tuple(asked), tuple(decisions)

    def warn(self, limits: Sequence[Limit], error: StoreError) -> None:
        """Say that the store is away, at most once a minute: one at its limit comes and goes many times a second."""
        now = self._monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _QUIET_SECONDS
            modes = ", ".join(sorted({limit.on_store_error for limit in limits}))
            LOGGER.warning("the rate limit store does not answer (%s); limits: %s", error, modes)

    def _share(self, ask: Ask) -> Ask:
        """This process's part of *ask*; a cost above the part, but not above the whole, takes all of the part."""
        key, rule, cost = ask
        if self._workers == 1:
            return ask
        if isinstance(rule, Permit):
            return key, replace(rule, limit=self._part(rule.limit)), cost
        share = self._shares.get(rule)
        if share is None:
            if len(self._shares) >= _MAX_SHARES:
                self._shares.clear()
            share = self._shares[rule] = self._scaled(rule)
        return key, share, min(cost, share.most) if cost <= rule.most else cost

    def _scaled(self, rule: Rule) -> Rule:
        if isinstance(rule, Rate):
            return replace(rule, limit=self._part(rule.limit), burst=self._part(rule.burst), lease=0)
        if isinstance(rule, Permit):
            return replace(rule, limit=self._part(rule.limit))
        return replace(rule, limit=self._part(rule.limit), lease=0)

    def _part(self, whole: int) -> int:
        return -(-whole // self._workers)
