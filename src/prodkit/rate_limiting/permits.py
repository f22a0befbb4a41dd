"""Places of requests under way: given back when they end, and kept while they go on."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prodkit.core.clock import Clock
    from prodkit.core.context import RequestContext
    from prodkit.rate_limiting.limit import Limit
    from prodkit.stores import Permit, RateLimitStore, Settlement

__all__ = ["Held", "Permits"]

# A renewal that fails may be tried twice more before the place is lost.
_RENEWED_PER_LEASE: Final = 3
_RENEWED_AT_ONCE: Final = 100


class Held:
    """A place that one request asked for.

    Attributes:
        limit: the policy.
        key: whose places they are.
        permit: what was asked.
        stores: where the place may have been taken: also where the outcome is unknown, or it waits in a queue.
        renew_at: monotonic seconds.
    """

    __slots__ = ("_permits", "key", "limit", "permit", "renew_at", "stores")

    def __init__(self, permits: Permits, limit: Limit, key: str, permit: Permit) -> None:
        self._permits = permits
        self.limit = limit
        self.key = key
        self.permit = permit
        self.stores: list[RateLimitStore] = []
        self.renew_at = math.inf

    def settlements(self, context: RequestContext) -> Iterable[tuple[RateLimitStore, Settlement]]:  # noqa: ARG002 - see `Due`
        """The place is free again, everywhere."""
        self._permits.drop(self)
        return [(store, (self.key, self.permit, -1, 0)) for store in self.stores]

    def settled(self) -> None:
        """Whoever waits for a place of this process may ask again."""
        if self.stores:
            self._permits.released(self.key)


class Permits:
    """The places that requests of this process hold, renewed by one task for all of them.

    Args:
        clock: when a lease has to be renewed.
        released: told the key of each place that became free.
    """

    def __init__(self, clock: Clock, released: Callable[[str], object]) -> None:
        self.released = released
        self._monotonic = clock.monotonic
        self._held: dict[str, Held] = {}
        self._interval = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def hold(self, held: Held) -> None:
        """Keep the place until it is dropped."""
        interval = held.permit.lease_seconds / _RENEWED_PER_LEASE
        held.renew_at = self._monotonic() + interval
        self._held[held.permit.id] = held
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop or interval < self._interval:
            self._interval = min(interval, self._interval)
            self._arm(loop)

    def drop(self, held: Held) -> None:
        """Do not renew it any more."""
        self._held.pop(held.permit.id, None)

    async def renew(self) -> None:
        """Renew every lease of which a third is over; what fails is tried again a third later."""
        now = self._monotonic()
        due = [held for held in self._held.values() if held.renew_at <= now + self._interval / 2]
        for start in range(0, len(due), _RENEWED_AT_ONCE):
            await asyncio.gather(*(self._renew(held) for held in due[start : start + _RENEWED_AT_ONCE]))

    async def aclose(self) -> None:
        """Stop renewing: the process ends, and so do its requests."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        renewal, self._renewal = self._renewal, None
        if renewal is not None and renewal.get_loop() is asyncio.get_running_loop():
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self, held: Held) -> None:
        # Without a queue: a place that was lost is taken again if it is free, and nobody waits for it. How long others may
        # wait stays as it is, since the store goes by what the last one says.
        permit = replace(held.permit, queue=0)
        held.renew_at = self._monotonic() + permit.lease_seconds / _RENEWED_PER_LEASE
        for store in list(held.stores):
            try:
                answer = store.hit_many(((held.key, permit, 1),))
                if not isinstance(answer, tuple):
                    await answer
            except StoreError:
                continue
            if held.permit.id not in self._held:
                # The request ended in the meantime, and what was just renewed would stay until its lease is over.
                await self._release(held, store)

    async def _release(self, held: Held, store: RateLimitStore) -> None:
        try:
            await store.settle(((held.key, held.permit, -1, 0),))
        except StoreError:
            held.limit.unsettled += 1

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop = loop
        self._timer = loop.call_later(self._interval, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._held and self._loop is not None:
            self._renewal = self._loop.create_task(self.renew())
            self._arm(self._loop)
        else:
            self._interval = math.inf
