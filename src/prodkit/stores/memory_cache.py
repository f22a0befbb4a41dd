"""Answers of one process, forgotten at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores.cache import MOST_VALUE_BYTES, Claim, require_key, require_owner, require_seconds

if TYPE_CHECKING:
    from prodkit.core.clock import Clock

__all__ = ["MemoryCacheStore"]

_MOST_ENTRIES: Final = 10_000
_MOST_BYTES: Final = 64 * 1024 * 1024


class MemoryCacheStore:
    """The reference of `CacheStore`.

    Args:
        clock: `monotonic` says what has expired.
        max_entries: how many answers are kept, and how many leases at most.
        max_bytes: of all answers together. Beyond either, the answer that was not asked for the longest goes.
        max_value_bytes: of one answer.

    Raises:
        ValueError: a bound is under 1.
    """

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_entries: int = _MOST_ENTRIES,
        max_bytes: int = _MOST_BYTES,
        max_value_bytes: int = MOST_VALUE_BYTES,
    ) -> None:
        if min(max_entries, max_bytes, max_value_bytes) < 1:
            message = "max_entries, max_bytes and max_value_bytes must be at least 1"
            raise ValueError(message)
        self._monotonic = clock.monotonic
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_value_bytes = min(max_value_bytes, max_bytes)
        # Those not asked for the longest first; value and end.
        self._answers: dict[str, tuple[bytes, float]] = {}
        self._bytes = 0
        # Those not renewed for the longest first; owner and end.
        self._leases: dict[str, tuple[str, float]] = {}

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Claim:
        """See `CacheStore.claim`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")
        now = self._monotonic()
        known = self._answers.get(key)
        if known is not None:
            value, ends_at = known
            if now < ends_at:
                self._answers[key] = self._answers.pop(key)
                return Claim("found", ends_at - now, value)
            self._drop(key)
        lease = self._leases.get(key)
        if lease is not None and lease[0] != owner and now < lease[1]:
            return Claim("taken", lease[1] - now)
        self._leases.pop(key, None)
        self._make_room_for_a_lease(now)
        self._leases[key] = (owner, now + lease_seconds)
        return Claim("leading", lease_seconds)

    async def extend(self, key: str, owner: str, *, lease_seconds: float) -> bool:
        """See `CacheStore.extend`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")
        now = self._monotonic()
        lease = self._leases.get(key)
        if lease is None or lease[0] != owner or now >= lease[1]:
            return False
        del self._leases[key]
        self._leases[key] = (owner, now + lease_seconds)
        return True

    async def fill(self, key: str, owner: str, value: bytes, *, ttl_seconds: float) -> bool:
        """See `CacheStore.fill`."""
        require_key(key)
        require_owner(owner)
        require_seconds(ttl_seconds, "ttl_seconds")
        now = self._monotonic()
        lease = self._leases.get(key)
        if lease is None or lease[0] != owner or now >= lease[1]:
            return False
        del self._leases[key]
        if len(value) > self._max_value_bytes:
            return False
        self._drop(key)
        while len(self._answers) >= self._max_entries or self._bytes + len(value) > self._max_bytes:
            self._drop(next(iter(self._answers)))
        self._answers[key] = (value, now + ttl_seconds)
        self._bytes += len(value)
        return True

    async def abandon(self, key: str, owner: str) -> None:
        """See `CacheStore.abandon`."""
        require_key(key)
        require_owner(owner)
        lease = self._leases.get(key)
        if lease is not None and lease[0] == owner:
            del self._leases[key]

    async def forget(self, key: str) -> None:
        """See `CacheStore.forget`."""
        require_key(key)
        self._drop(key)
        self._leases.pop(key, None)

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._leases.clear()
        self._bytes = 0

    def _drop(self, key: str) -> None:
        known = self._answers.pop(key, None)
        if known is not None:
            self._bytes -= len(known[0])

    def _make_room_for_a_lease(self, now: float) -> None:
        """Forget leases that are over, as far as they stand in front; and one that is not where there are too many."""
        while self._leases:
            first = next(iter(self._leases))
            if now < self._leases[first][1] and len(self._leases) < self._max_entries:
                return
            del self._leases[first]
