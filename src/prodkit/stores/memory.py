"""Stores in this process's memory: the readable reference, and the fastest.

Nothing is shared with other processes and nothing survives a restart: with N workers a caller gets up to N
times the limit. Use these for one worker, for tests, and as the fallback when a shared store is down. Not
thread-safe: all calls come from the thread of one event loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores import Decision
from prodkit.stores.gcra import NEGATIVE_COST, decide, look, refuse
from prodkit.stores.records import merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, KeyRecord, Rate

__all__ = ["MemoryKeyStore", "MemoryRateLimitStore"]

_SWEPT_PER_NEW_KEY = 2
_EVICTION_SAMPLE = 8
# A process that caches keys asks every second; more than this in between is an import.
_REMEMBERED_CHANGES = 1000


class MemoryRateLimitStore:
    """Buckets of one process, in 150 to 200 bytes each, a key of 32 characters included.

    Memory is bounded by *max_keys*. Each new key looks at two old ones and drops those that are full again,
    so there is never a pause, and at most about half of the entries are stale. If the store is full of
    buckets that are *not*, the least limited of the next eight makes room: the one that would have been full
    soonest. Its caller gets a fresh bucket, at most one burst too much; in return a flood of invented keys
    pushes out the flood's own buckets, and never the one of a caller who has used up a limit while emptier
    ones are about.

    Args:
        max_keys: how many buckets at most; 100 000 are 15 to 20 MB.
        clock: where `monotonic_ns` is read.

    Raises:
        ValueError: *max_keys* is under 1.
    """

    __slots__ = ("_full_at", "_max_keys", "_now_ns", "_rounds")

    def __init__(self, *, max_keys: int = 100_000, clock: Clock = SYSTEM_CLOCK) -> None:
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

    def __len__(self) -> int:
        """How many buckets are kept, the stale ones included."""
        return len(self._full_at)

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...]:
        """Decide at once; see `RateLimitStore.hit_many`. One ask costs four function calls."""
        now = self._now_ns()
        full_at = self._full_at
        if len(asks) != 1:
            decisions, changed = decide(full_at, now, asks)
            for key, moment in changed.items():
                if key not in full_at:
                    self._make_room(key, now)
                full_at[key] = moment
            return decisions
        # What follows is `decide` for a single ask, written out: its calls would be half the cost of the
        # decision. The contract suite compares the two.
        key, rate, cost = asks[0]
        if cost < 0:
            raise ValueError(NEGATIVE_COST)
        capacity = rate.capacity_ns
        known = key in full_at
        backlog = full_at[key] - now if known else 0
        if backlog < 0:
            backlog = 0
        elif backlog > capacity:
            backlog = capacity
            full_at[key] = now + capacity  # see `decide`
        after = backlog + cost * rate.interval_ns
        if after > capacity:
            return (refuse(rate, cost, backlog),)
        if cost:
            if not known:
                self._make_room(key, now)
            full_at[key] = now + after
        return (Decision(True, (capacity - after) // rate.interval_ns, after * 1e-9, 0.0),)

    def admit(self, key: str, rate: Rate, cost: int) -> int | None:
        """See `ImmediateStore.admit`. It costs two function calls."""
        full_at = self._full_at
        if key not in full_at or cost < 0:
            return None
        now = self._now_ns()
        moment = full_at[key]
        if moment < now:  # noqa: PLR1730 - max() is a call
            moment = now
        moment += cost * rate.interval_ns
        after = moment - now
        if after > rate.capacity_ns:
            return None
        full_at[key] = moment
        return after

    async def peek(self, key: str, rate: Rate) -> Decision:
        """See `RateLimitStore.peek`."""
        now = self._now_ns()
        return look(self._full_at.get(key, now), now, rate)

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""
        if key in self._full_at:
            self._full_at[key] = 0  # stale, not deleted: `_rounds` names each key exactly once

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget every bucket."""
        self._full_at.clear()
        self._rounds.clear()

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


class MemoryKeyStore:
    """API keys of one process. Grows with what operators issue, never with what callers send."""

    def __init__(self) -> None:
        """Start empty."""
        self._records: dict[str, KeyRecord] = {}
        self._sequence = 0
        self._changes: deque[str] = deque(maxlen=_REMEMBERED_CHANGES)

    async def find(self, key_id: str) -> KeyRecord | None:
        """See `KeyStore.find`."""
        return self._records.get(key_id)

    async def put(self, record: KeyRecord) -> None:
        """See `KeyStore.put`."""
        known = self._records.get(record.id)
        self._write(record if known is None else merged(known, record))

    async def revoke(self, key_id: str, at: float) -> bool:
        """See `KeyStore.revoke`."""
        known = self._records.get(key_id)
        if known is None:
            return False
        self._write(merged(known, replace(known, revoked_at=at)))
        return True

    async def deprecate(self, key_id: str, *, replaced_by: str, at: float, expires_at: float) -> bool:
        """See `KeyStore.deprecate`."""
        known = self._records.get(key_id)
        if known is None or known.revoked_at is not None or not self._may_be_replaced(known):
            return False
        end = expires_at if known.expires_at is None else min(known.expires_at, expires_at)
        since = at if known.deprecated_at is None else known.deprecated_at
        self._write(replace(known, replaced_by=replaced_by, deprecated_at=since, expires_at=end))
        return True

    async def redigest(self, key_id: str, *, known: bytes, digest: bytes, pepper_id: str) -> bool:
        """See `KeyStore.redigest`."""
        record = self._records.get(key_id)
        if record is None or record.digest != known:
            return False
        self._write(replace(record, digest=digest, pepper_id=pepper_id))
        return True

    async def touch(self, key_id: str, at: float) -> None:
        """See `KeyStore.touch`."""
        known = self._records.get(key_id)
        if known is not None:
            self._records[key_id] = merged(known, replace(known, last_used_at=at))

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """See `KeyStore.list`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        found = sorted(
            key_id
            for key_id, record in self._records.items()
            if (after is None or key_id > after) and (tenant is None or record.tenant == tenant)
        )
        return [self._records[key_id] for key_id in found[:limit]]

    async def changes_since(self, cursor: int | None) -> tuple[int, Sequence[str] | None]:
        """See `KeyStore.changes_since`; the last 1000 are known."""
        if cursor is None or not 0 <= self._sequence - cursor <= len(self._changes):
            return self._sequence, None
        missed = self._sequence - cursor
        return self._sequence, list(self._changes)[len(self._changes) - missed :]

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget every key; who remembers one is told to forget it too."""
        self._records.clear()
        self._changes.clear()
        self._sequence += 1

    def _may_be_replaced(self, known: KeyRecord) -> bool:
        if known.replaced_by is None:
            return True
        # By a key that was revoked before anybody used it: the answer with it was lost.
        lost = self._records.get(known.replaced_by)
        return lost is not None and lost.revoked_at is not None and lost.last_used_at is None

    def _write(self, record: KeyRecord) -> None:
        self._records[record.id] = record
        self._sequence += 1
        self._changes.append(record.id)
