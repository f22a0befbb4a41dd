"""Limits in this process's memory: the readable reference, and the fastest.

Nothing is shared with other processes and nothing survives a restart: with N workers a caller gets up to N
times the limit. Use it for one worker, for tests, and as the fallback when a shared store is down. Not
thread-safe: all calls come from the thread of one event loop.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores import Decision
from prodkit.stores.algorithms import Moment, look, settle
from prodkit.stores.algorithms import decide as decide_any
from prodkit.stores.algorithms.gcra import decide, refuse
from prodkit.stores.algorithms.moments import NEGATIVE_COST
from prodkit.stores.memory_shelves import CountShelf, LogShelf, PlacesShelf, Shelf
from prodkit.stores.rules import Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, Rule, Settlement
    from prodkit.stores.algorithms import Slot

__all__ = ["MemoryRateLimitStore"]

_SWEPT_PER_NEW_KEY = 2
_EVICTION_SAMPLE = 8


class MemoryRateLimitStore:
    """Buckets of one process, in 150 to 200 bytes each, a key of 32 characters included; a window's count takes as much.

    Memory is bounded by *max_keys*, of each kind of rule. Each new key looks at two old ones and drops those that are full
    again, so there is never a pause, and at most about half of the entries are stale. If the store is full of
    buckets that are *not*, the least limited of the next eight makes room: the one that would have been full
    soonest, the window with the smallest count. Its caller gets a fresh bucket, at most one burst too much; in return a
    flood of invented keys pushes out the flood's own buckets, and never the one of a caller who has used up a limit while
    emptier ones are about.

    Moving windows take some 50 bytes for each entry besides; of those at most ten times *max_keys* are kept in all, and then
    windows make room in the same way. Of permits it keeps who holds a place and who waits for one, so as many as there are
    requests under way.

    Buckets live on the monotonic clock; everything else has to do with the calendar, and lives on the wall clock.

    Args:
        max_keys: how many buckets at most; 87 000 are 13 to 17 MB. Where three times as many are little more than a power of two, the
            table they stand in has room for twice as many, and each takes up to 250 bytes.
        clock: where `monotonic_ns` and `wall` are read.

    Raises:
        ValueError: *max_keys* is under 1.
    """

    __slots__ = ("_full_at", "_max_keys", "_now_ns", "_rounds", "_shelves", "_wall")

    is_partitioned = False

    def __init__(self, *, max_keys: int = 87_000, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with every bucket full."""
        if max_keys < 1:
            message = f"max_keys must be at least 1, not {max_keys}"
            raise ValueError(message)
        self._full_at: dict[str, int] = {}
        # The same keys in the order in which the sweep visits them. Not the dict's own order: its first live
        # entry is found by walking over all deleted ones, which turns a sweep from the front quadratic.
        self._rounds: deque[str] = deque()
        self._max_keys = max_keys
        self._now_ns = clock.monotonic_ns
        self._wall = clock.wall
        self._shelves: dict[str, Shelf[Any]] = {  # each algorithm knows its own states
            "f": CountShelf(max_keys),
            "c": CountShelf(max_keys),
            "s": CountShelf(max_keys),
            "m": LogShelf(max_keys),
            "p": PlacesShelf(max_keys),
        }

    def __len__(self) -> int:
        """How many keys are kept, of every kind, the stale ones included."""
        return len(self._full_at) + sum(map(len, self._shelves.values()))

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...]:
        """Decide at once; see `RateLimitStore.hit_many`. One ask of a rate costs four function calls."""
        if len(asks) != 1:
            return self._decide(asks)
        # What follows is `decide` for a single ask, written out: its calls would be half the cost of the
        # decision. The contract suite compares the two.
        key, rate, cost = asks[0]
        if type(rate) is not Rate:
            return decide_any(asks, self._moment(), self)
        now = self._now_ns()
        full_at = self._full_at
        if cost < 0:
            raise ValueError(NEGATIVE_COST)
        capacity = rate.capacity_ns
        known = key in full_at
        backlog = full_at[key] - now if known else 0
        if backlog < 0:
            backlog = 0
        elif backlog > capacity:
            return self._decide(asks)  # overdrawn, or more than that
        after = backlog + cost * rate.interval_ns
        if after > capacity:
            if rate.counts_denied:
                return self._decide(asks)
            return (refuse(rate, cost, backlog, now),)
        if cost:
            if not known:
                self._make_room(key, now)
            full_at[key] = now + after
        return (Decision(True, (capacity - after) // rate.interval_ns, after * 1e-9, 0.0, now),)

    def admit(self, key: str, rate: Rate, cost: int) -> int | None:
        """See `ImmediateStore.admit`. It costs two function calls."""
        full_at = self._full_at
        try:
            moment = full_at[key]
        except KeyError:
            return None
        if cost < 0:
            return None
        now = self._now_ns()
        if moment < now:  # noqa: PLR1730 - max() is a call
            moment = now
        moment += cost * rate.interval_ns
        after = moment - now
        if after > rate.capacity_ns:
            return None
        full_at[key] = moment
        return after

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `RateLimitStore.settle`."""
        now = self._moment()
        for settlement in settlements:
            settle(settlement, now, self)

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`."""
        return look(self.read((rule.code, key)), self._moment(), rule)

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""
        if key in self._full_at:
            self._full_at[key] = 0  # stale, not deleted: `_rounds` names each key exactly once
        for shelf in self._shelves.values():
            shelf.forget(key)

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._full_at.clear()
        self._rounds.clear()
        for shelf in self._shelves.values():
            shelf.clear()

    # ------------------------------------------------------------------------------ a Book

    def read(self, slot: Slot) -> Any:
        """See `prodkit.stores.algorithms.Book`."""
        code, key = slot
        return self._full_at.get(key) if code == "g" else self._shelves[code].get(key)

    def write(self, slot: Slot, state: Any, now: Moment) -> None:
        """See `prodkit.stores.algorithms.Book`."""
        code, key = slot
        if code != "g":
            self._shelves[code].put(key, state, now.us)
            return
        if key not in self._full_at:
            self._make_room(key, now.ns)
        self._full_at[key] = state

    def _moment(self) -> Moment:
        return Moment(self._now_ns(), int(self._wall() * 1e6))

    def _decide(self, asks: Sequence[Ask]) -> tuple[Decision, ...]:
        for ask in asks:
            if type(ask[1]) is not Rate:
                return decide_any(asks, self._moment(), self)
        now = self._now_ns()
        full_at = self._full_at
        decisions, changed = decide(full_at, now, asks)
        for key, moment in changed.items():
            if key not in full_at:
                self._make_room(key, now)
            full_at[key] = moment
        return decisions

    def _make_room(self, key: str, now: int) -> None:
        """Sweep a little, evict if the store is still full, and put *key* on the rounds."""
        full_at, rounds = self._full_at, self._rounds
        for _ in range(min(_SWEPT_PER_NEW_KEY, len(rounds))):
            visited = rounds.popleft()
            if full_at[visited] <= now:
                del full_at[visited]
            else:
                rounds.append(visited)
        if len(full_at) >= self._max_keys:
            sample = [rounds.popleft() for _ in range(min(_EVICTION_SAMPLE, len(rounds)))]
            least_limited = min(sample, key=full_at.__getitem__)
            del full_at[least_limited]
            rounds.extend(visited for visited in sample if visited is not least_limited)
        rounds.append(key)
