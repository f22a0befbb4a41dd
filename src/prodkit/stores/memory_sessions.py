"""Sessions of one process, forgotten at its end."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prodkit.stores.sessions import SessionRecord

__all__ = ["MemorySessionStore"]

# A record takes about 1 kB: 10 MB in all.
_MOST: Final = 10_000


class MemorySessionStore:
    """The readable reference of `SessionStore`.

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
        self._records: dict[str, SessionRecord] = {}

    async def open(self, record: SessionRecord, *, most: int) -> None:
        """See `SessionStore.open`."""
        if most < 1:
            message = f"most must be at least 1, not {most}"
            raise ValueError(message)
        if record.id in self._records:
            message = "there is a session of this id"
            raise ValueError(message)
        now = record.created_at
        theirs = [
            one
            for one in self._records.values()
            if one.subject == record.subject and one.revoked_at is None and one.expires_at > now
        ]
        theirs.sort(key=attrgetter("created_at", "id"))
        for one in theirs[: max(0, len(theirs) + 1 - most)]:
            self._records[one.id] = replace(one, revoked_at=now)
        if len(self._records) >= self._max_sessions:
            gone = min(self._records.values(), key=lambda one: (_is_open(one, now), one.seen_at))
            del self._records[gone.id]
        self._records[record.id] = record

    async def find(self, session_id: str) -> SessionRecord | None:
        """See `SessionStore.find`."""
        return self._records.get(session_id)

    async def touch(self, session_id: str, at: float) -> None:
        """See `SessionStore.touch`."""
        known = self._records.get(session_id)
        if known is not None:
            self._records[session_id] = replace(known, seen_at=max(known.seen_at, at))

    async def revoke(self, session_id: str, at: float) -> bool:
        """See `SessionStore.revoke`."""
        known = self._records.get(session_id)
        if known is None:
            return False
        revoked_at = at if known.revoked_at is None else min(known.revoked_at, at)
        self._records[session_id] = replace(known, revoked_at=revoked_at)
        return True

    async def revoke_subject(self, subject: str, at: float) -> int:
        """See `SessionStore.revoke_subject`."""
        theirs = [one for one in self._records.values() if one.subject == subject and one.revoked_at is None]
        for one in theirs:
            self._records[one.id] = replace(one, revoked_at=at)
        return len(theirs)

    async def purge(self, before: float, *, limit: int = 100) -> int:
        """See `SessionStore.purge`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        over = sorted((_end(one), one.id) for one in self._records.values() if _end(one) < before)[:limit]
        for _, session_id in over:
            del self._records[session_id]
        return len(over)

    async def check(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Forget every session."""
        self._records.clear()


def _end(record: SessionRecord) -> float:
    return record.expires_at if record.revoked_at is None else min(record.expires_at, record.revoked_at)


def _is_open(record: SessionRecord, now: float) -> bool:
    return record.revoked_at is None and record.expires_at > now
