"""Stores in this process's memory: the readable reference, and the fastest.

Nothing is shared with other processes and nothing survives a restart: with N workers a caller gets up to N
times the limit. Use these for one worker, for tests, and as the fallback when a shared store is down. Not
thread-safe: all calls come from the thread of one event loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.stores.memory_limits import MemoryRateLimitStore
from prodkit.stores.records import merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores import KeyRecord

__all__ = ["MemoryKeyStore", "MemoryRateLimitStore"]

# A process that caches keys asks every second; more than this in between is an import.
_REMEMBERED_CHANGES = 1000


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
