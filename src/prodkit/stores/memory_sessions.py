"""Sessions of one process, forgotten at its end."""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prodkit.stores.sessions import SessionRecord

__all__ = ["MemorySessionStore"]

# A record takes about 1 kB: 10 MB in all.
_MOST: Final = 10_000
_MOST_STALE: Final = 100


class MemorySessionStore:
    """The reference of `SessionStore`. With ten thousand sessions a verb takes about as long as with ten.

    Args:
        max_sessions: how many are kept. Where one more comes, the one that expired, else was unused, for the longest time
            is forgotten: whoever opened it has to log in again.

    Raises:
        ValueError: *max_sessions* is under 1.
    """

    def __init__(self, *, max_sessions: int = _MOST) -> None:
        if max_sessions < 1:
            message = f"max_sessions must be at least 1, not {max_sessions}"
            raise ValueError(message)
        self._max_sessions = max_sessions
        # Those unused for the longest time first.
        self._records: dict[str, SessionRecord] = {}
        self._by_subject: dict[str, set[str]] = {}
        # A heap of ends and ids. What has an earlier end by now, or is gone, stays in it until it is met.
        self._ends: list[tuple[float, str]] = []

    async def open(self, record: SessionRecord, *, most: int) -> None:
        """See `SessionStore.open`."""
        if most < 1:
            message = f"most must be at least 1, not {most}"
            raise ValueError(message)
        if record.id in self._records:
            message = "there is a session of this id"
            raise ValueError(message)
        now = record.created_at
        theirs = [one for one in self._of(record.subject) if one.revoked_at is None and one.expires_at > now]
        theirs.sort(key=attrgetter("created_at", "id"))
        for one in theirs[: max(0, len(theirs) + 1 - most)]:
            self._put(replace(one, revoked_at=now))
        if len(self._records) >= self._max_sessions and self._forget_over(now, 1) == 0:
            self._forget(next(iter(self._records)))
        self._put(record)

    async def find(self, session_id: str) -> SessionRecord | None:
        """See `SessionStore.find`."""
        return self._records.get(session_id)

    async def touch(self, session_id: str, at: float) -> None:
        """See `SessionStore.touch`."""
        known = self._records.get(session_id)
        if known is not None and at > known.seen_at:
            del self._records[session_id]
            self._records[session_id] = replace(known, seen_at=at)

    async def revoke(self, session_id: str, at: float) -> bool:
        """See `SessionStore.revoke`."""
        known = self._records.get(session_id)
        if known is None:
            return False
        self._put(replace(known, revoked_at=at if known.revoked_at is None else min(known.revoked_at, at)))
        return True

    async def revoke_subject(self, subject: str, at: float) -> int:
        """See `SessionStore.revoke_subject`."""
        theirs = [one for one in self._of(subject) if one.revoked_at is None]
        for one in theirs:
            self._put(replace(one, revoked_at=at))
        return len(theirs)

    async def purge(self, before: float, *, limit: int = 100) -> int:
        """See `SessionStore.purge`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        return self._forget_over(before, limit)

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget every session."""
        self._records.clear()
        self._by_subject.clear()
        self._ends.clear()

    def _of(self, subject: str) -> list[SessionRecord]:
        return [self._records[session_id] for session_id in self._by_subject.get(subject, ())]

    def _put(self, record: SessionRecord) -> None:
        self._records[record.id] = record
        self._by_subject.setdefault(record.subject, set()).add(record.id)
        heappush(self._ends, (_end(record), record.id))
        if len(self._ends) > 2 * len(self._records) + _MOST_STALE:
            self._ends = [(_end(one), one.id) for one in self._records.values()]
            heapify(self._ends)

    def _forget(self, session_id: str) -> None:
        record = self._records.pop(session_id)
        theirs = self._by_subject[record.subject]
        theirs.discard(session_id)
        if not theirs:
            del self._by_subject[record.subject]

    def _forget_over(self, before: float, limit: int) -> int:
        """Forget at most *limit* that were over before *before*, the first of them first; return how many."""
        count = 0
        while count < limit and self._ends and self._ends[0][0] < before:
            end, session_id = heappop(self._ends)
            record = self._records.get(session_id)
            if record is not None and _end(record) == end:
                self._forget(session_id)
                count += 1
        return count


def _end(record: SessionRecord) -> float:
    return record.expires_at if record.revoked_at is None else min(record.expires_at, record.revoked_at)
