"""Limits in a storage of the `limits` package, e.g. memcached or MongoDB, for whoever has that and no Redis.

It promises less than our own stores; see `LimitsStorage`.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

from limits import RateLimitItemPerSecond
from limits.aio import strategies
from limits.aio.storage import MemoryStorage, Storage
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from prodkit.core.exceptions import MissingExtraError, SettingsError, SettingsFault, StoreUnavailableError
from prodkit.core.extras import require
from prodkit.stores import Decision
from prodkit.stores.rules import FixedWindow, MovingWindow, SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.stores import Ask, Rule, Settlement

__all__ = ["LimitsStorage"]

_STRATEGIES: Final[dict[type, type[strategies.RateLimiter]]] = {
    FixedWindow: strategies.FixedWindowRateLimiter,
    SlidingWindow: strategies.SlidingWindowCounterRateLimiter,
    MovingWindow: strategies.MovingWindowRateLimiter,
}
# The strategies share the name of a key, and one reads another's as garbage: each gets names of its own.
_NAMESPACE: Final = "pk:rl:limits:1"
_ALGORITHMS: Final = "fixed-window, sliding-window or moving-window"
_NO_SETTLING: Final = "a storage of the limits package cannot settle | Drop count_if and reservations, or set the store to redis://."
# What `limits` tells may be now already.
_SHORTEST_RETRY_SECONDS: Final = 0.001


class LimitsStorage:
    """A `RateLimitStore` over an asynchronous storage and the strategies of the `limits` package.

    What is weaker here than in our own stores:

    * The asks of a call are decided one after the other, each in two round trips or more. Where one is refused, those before
      it have consumed: a call is not all-or-nothing. They are looked at before any is consumed, which leaves that to requests
      that come at the same time.
    * Fixed windows begin with the first request, and one that is refused consumes all the same. Time is that of this machine.
    * There are fixed, sliding and moving windows of whole seconds and nothing else: no bucket that refills evenly, no
      calendar, no places for what is under way, no leases, nothing that counts what is denied.
    * Nothing can be given back or charged later, and `reset` knows only rules that this process has asked about.
    * `reset_seconds` of sliding and moving windows is when a first part comes back, and a wait is at least that long: for a
      cost above 1 it may not be enough. A rate that is changed starts afresh.
    * A storage may lack a strategy, as memcached lacks moving windows.

    Args:
        storage: the storage, or its URL, e.g. `async+memcached://localhost:11211`.
        setting: the name to complain under.
        timeout_seconds: the longest any verb may take. 0.1, as in Redis.

    Raises:
        SettingsError: there is no such storage, or it blocks the event loop. The message does not repeat the URL.
        MissingExtraError: the client that the storage needs is not installed.
    """

    is_partitioned = False

    def __init__(
        self,
        storage: Storage | str,
        *,
        setting: str = "PRODKIT_RATE_LIMITING__STORE",
        timeout_seconds: float = 0.1,
    ) -> None:
        """Open nothing yet, as far as the storage keeps to that."""
        self._storage = _open(storage, setting) if isinstance(storage, str) else storage
        self._timeout_seconds = timeout_seconds
        self._limiters: dict[type, strategies.RateLimiter] = {}
        # By kind, limit and window: as many as there are rules.
        self._items: dict[tuple[str, int, float], tuple[RateLimitItemPerSecond, strategies.RateLimiter]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether other workers see the same state."""
        return not isinstance(self._storage, MemoryStorage)

    def require(self, rule: Rule, *, settles: bool = False) -> None:
        """See `prodkit.stores.ParticularStore.require`."""
        self._at_work(rule)
        if settles:
            raise ValueError(_NO_SETTLING)

    def hit_many(self, asks: Sequence[Ask]) -> Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`, and the class for what is different.

        Raises:
            ValueError: a cost is negative, or a rule is none that `limits` knows.
            StoreUnavailableError: no answer within the bound; some may have consumed.
        """
        for _, rule, cost in asks:
            self._at_work(rule)
            if cost < 0:
                message = f"a cost must be at least 0, not {cost}"
                raise ValueError(message)
        return self._bounded(self._hit_many(asks))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Refuse: what was consumed here stays consumed.

        Raises:
            ValueError: always, unless there is nothing to settle.
        """
        if settlements:
            raise ValueError(_NO_SETTLING)

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`."""
        self._at_work(rule)
        decision: Decision = await self._bounded(self._peek(key, rule, 1))
        return decision

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`; forgets what was used by rules that this process has asked about."""
        await self._bounded(self._reset(key))

    async def check(self) -> None:
        """See `Store.check`."""
        if not await self._bounded(self._storage.check()):
            message = "the storage of the limits package does not answer"
            raise StoreUnavailableError(message)

    async def aclose(self) -> None:
        """Close the connections of a storage over Redis; of others `limits` has no verb for it."""
        # Any: the client of whichever storage it is.
        client: Any = getattr(getattr(self._storage, "bridge", None), "storage", None)
        if client is not None and hasattr(client, "aclose"):
            await client.aclose()

    def _at_work(self, rule: Rule) -> tuple[RateLimitItemPerSecond, strategies.RateLimiter]:
        if type(rule) not in _STRATEGIES or rule.counts_denied or rule.lease:
            what = (
                "count what is denied, or lease"
                if type(rule) in _STRATEGIES
                else f"decide by a {type(rule).__name__}"
            )
            message = f"a storage of the limits package cannot {what} | Set algorithm to {_ALGORITHMS}, or the store to redis://."
            raise ValueError(message)
        name = rule.code, rule.limit, rule.window_seconds
        known = self._items.get(name)
        if known is None:
            known = self._items[name] = self._item(rule), self._limiter(type(rule))
        return known

    def _item(self, rule: Rule) -> RateLimitItemPerSecond:
        seconds = rule.window_seconds
        if seconds < 1 or seconds != int(seconds):
            message = f"the limits package knows windows of whole seconds, not of {seconds} | Change the window, or the store."
            raise ValueError(message)
        return RateLimitItemPerSecond(rule.limit, int(seconds), f"{_NAMESPACE}:{rule.code}")

    def _limiter(self, kind: type) -> strategies.RateLimiter:
        limiter = self._limiters.get(kind)
        if limiter is None:
            try:
                limiter = self._limiters[kind] = _STRATEGIES[kind](self._storage)
            except NotImplementedError:
                name = type(self._storage).__name__
                message = f"{name} has no {kind.__name__} | Set algorithm to fixed-window, or the store to redis://."
                raise ValueError(message) from None
        return limiter

    async def _hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...]:
        before = [await self._peek(key, rule, cost) for key, rule, cost in asks]
        if not all(seen.allowed for seen, ask in zip(before, asks, strict=True) if ask[1].is_binding):
            return tuple(before)
        return tuple([await self._take(ask, seen) for ask, seen in zip(asks, before, strict=True)])

    async def _take(self, ask: Ask, seen: Decision) -> Decision:
        key, rule, cost = ask
        if not cost or not seen.allowed:
            return seen
        item, limiter = self._at_work(rule)
        allowed = await limiter.hit(item, key, cost=cost)
        now = await self._peek(key, rule, cost)
        return now if now.allowed == allowed else _told(now, rule, cost, allowed=allowed)

    async def _peek(self, key: str, rule: Rule, cost: int) -> Decision:
        item, limiter = self._at_work(rule)
        fits = await limiter.test(item, key, cost=cost)
        reset_at, remaining = await limiter.get_window_stats(item, key)
        now = time.time()
        left = max(0, min(remaining, rule.most))
        until = max(0.0, reset_at - now) if left < rule.most else 0.0
        decision = Decision(fits, left, until, 0.0, at_ns=round(now * 1e9))
        return decision if fits else _told(decision, rule, cost, allowed=False)

    async def _reset(self, key: str) -> None:
        for item, limiter in tuple(self._items.values()):
            await limiter.clear(item, key)

    async def _bounded(self, work: Awaitable[Any]) -> Any:  # Any: whatever *work* returns
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await work
        except TimeoutError:
            message = f"the storage of the limits package did not answer within {self._timeout_seconds:g} s"
            raise StoreUnavailableError(message) from None
        except (StorageError, OSError) as error:
            # The class only: messages of drivers hold addresses and credentials.
            cause = error.storage_error if isinstance(error, StorageError) else error
            message = f"the storage of the limits package failed ({type(cause).__name__})"
            raise StoreUnavailableError(message) from None


def _told(decision: Decision, rule: Rule, cost: int, *, allowed: bool) -> Decision:
    """*decision*, but for whether it was *allowed*, and how long to wait if not."""
    wait = 0.0
    if not allowed:
        wait = math.inf if cost > rule.most else max(decision.reset_seconds, _SHORTEST_RETRY_SECONDS)
    return Decision(allowed, decision.remaining, decision.reset_seconds, wait, at_ns=decision.at_ns)


def _open(url: str, setting: str) -> Storage:
    if not url.startswith("async+"):
        message = "a storage that blocks the event loop cannot be used."
        raise SettingsError(
            [SettingsFault(setting, message, "Begin it with async+, e.g. async+memcached://host:11211.")]
        )
    options: dict[str, str | bool] = {"wrap_exceptions": True}
    if url.startswith("async+redis"):
        require("redis", extra="redis", purpose=f"The storage of {setting}")
        options["implementation"] = "redispy"
    try:
        storage = storage_from_string(url, **options)
    except ConfigurationError as error:
        if not str(error).startswith("unknown storage scheme"):
            message = (
                f"the storage of {setting} needs a client that is not installed (memcachio for memcached)"
            )
            raise MissingExtraError(message) from None
        message = "the limits package has no such storage."
        raise SettingsError(
            [SettingsFault(setting, message, "See its documentation for those whose scheme has async+.")]
        ) from None
    except ValueError:
        message = "it is no URL that the storage can use."
        raise SettingsError(
            [SettingsFault(setting, message, "See the documentation of the limits package.")]
        ) from None
    if not isinstance(storage, Storage):
        message = "the limits package has no such asynchronous storage."
        raise SettingsError([SettingsFault(setting, message, "Begin it with async+.")])
    return storage
