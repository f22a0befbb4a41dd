"""Sessions of browsers as a store keeps them: the protocol, and the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from prodkit.stores import Store

__all__ = ["SessionRecord", "SessionStore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What is kept about one session: never the cookie, only a name that was derived from it.

    Times are unix seconds.

    Attributes:
        id: names the session; a one-way digest of what the cookie holds, so that a copy of the file opens nothing.
        subject: whose session it is; what `SessionStore.revoke_subject` ends together.
        principal: who was logged in, as text that only the feature understands; not in the repr.
        created_at: when it was opened.
        seen_at: about when it was last used; may lag.
        expires_at: not valid from this moment on.
        revoked_at: not valid from this moment on; None as long as nobody ended it.
    """

    id: str
    subject: str
    principal: str = field(repr=False)
    created_at: float
    seen_at: float
    expires_at: float
    revoked_at: float | None = None


@runtime_checkable
class SessionStore(Store, Protocol):
    """Sessions by id.

    A revocation that returned is durable: it survives a power cut where the store survives one at all. When a write raises
    `StoreUnavailableError` it is unknown whether it was made; all but `open` may be repeated safely.
    """

    async def open(self, record: SessionRecord, *, most: int) -> None:
        """Add *record*, and end the oldest sessions of its subject where more than *most* would be open.

        Open are those neither revoked nor expired at `record.created_at`; the oldest are those created first. They are
        revoked from `record.created_at` on, in the same step.

        Raises:
            ValueError: there is a session of this id already, which is left as it is; or *most* is under 1.
        """

    async def find(self, session_id: str) -> SessionRecord | None:
        """Return the record of that id, or None; also a revoked or expired one as long as it is kept."""

    async def touch(self, session_id: str, at: float) -> None:
        """Note a use at *at*. Never goes back, ignores unknown ids; a crash may lose it."""

    async def revoke(self, session_id: str, at: float) -> bool:
        """End it from *at* on, or earlier if it already was; return whether there is such a session."""

    async def revoke_subject(self, subject: str, at: float) -> int:
        """End every session of *subject* that was not ended before, from *at* on; return how many those were."""

    async def purge(self, before: float, *, limit: int = 100) -> int:
        """Forget at most *limit* sessions that were over before *before*, the first of them first; return how many.

        Over are expired and revoked ones alike: what is not there is not open, and a caller who logs in and out without end
        leaves nothing behind.

        Raises:
            ValueError: *limit* is under 1.
        """
