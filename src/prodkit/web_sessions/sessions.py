"""The sessions themselves: opened, found again, ended. Knows neither cookies nor requests.

A session that was found is believed for two seconds, so that a request costs no question to the store; for five, when the
store does not answer. So an end that another worker made is seen here within five seconds, whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreError, StoreUnavailableError
from prodkit.core.features import Sample
from prodkit.core.owners import identity_of
from prodkit.core.problems import Problem
from prodkit.core.single_flight import SingleFlight
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.stores.sessions import SessionRecord
from prodkit.web_sessions.principals import read_back, written
from prodkit.web_sessions.vouching import unavailable, vouched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.identity import Principal, Revalidates
    from prodkit.stores.sessions import SessionStore

__all__ = ["Session", "SessionReference", "Sessions", "subject_of"]

LOGGER = logging.getLogger("prodkit.web_sessions")

FRESH_SECONDS: Final = 2.0
"""How long an answer is believed without another question. Less than half of `TRUSTED_SECONDS`, because what stands behind the
session, a key for example, is believed for a while too."""

TRUSTED_SECONDS: Final = 5.0
"""How long it is believed while there is no other."""

_TOUCHED_SECONDS: Final = 60.0
"""How often the use of a session is written down."""

_PATIENCE_SECONDS: Final = 2.0
"""How long the store, and who may vouch for the credential behind a session, have together."""

# A held session takes about 1 kB: 10 MB in all.
_MOST_HELD: Final = 10_000
_PURGED_PER_LOGIN: Final = 20


class SessionReference(str):
    """Names a session in a principal's claims: safe to log, and no credential.

    A type of its own, because a token of somebody else's making may have a claim of the same name.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is open.

    Attributes:
        reference: its name.
        principal: whoever logged in, with `reference` as the claim `session`; expires when the session does.
    """

    reference: SessionReference
    principal: Principal


class _Held:
    """An answer, and how long it is believed (monotonic seconds).

    Attributes:
        fresh_for_use_until: ends at once where a use has still to be written down.
    """

    __slots__ = ("ends_at", "fresh_for_use_until", "fresh_until", "session", "trusted_until")

    def __init__(self, session: Session | None, asked_at: float, *, is_use_due: bool) -> None:
        self.session = session
        self.ends_at = math.inf if session is None else (session.principal.expires_at or 0.0)
        self.fresh_until = asked_at + FRESH_SECONDS
        self.fresh_for_use_until = asked_at if is_use_due else self.fresh_until
        self.trusted_until = asked_at + TRUSTED_SECONDS


def subject_of(principal: Principal) -> str:
    """Whose sessions end together: those of one principal, as a digest, so that no name is too long for a store."""
    identity = identity_of(principal).encode("utf-8", "surrogatepass")
    return blake2b(identity, digest_size=16, person=b"prodkit.sessions").hexdigest()


class Sessions:
    """Opens, finds and ends sessions.

    Args:
        lifetime_seconds: when a session ends, however much it is used.
        idle_seconds: when an unused one ends.
        most: how many of one caller may be open.
    """

    def __init__(self, *, lifetime_seconds: float, idle_seconds: float, most: int) -> None:
        self.bind(MemorySessionStore(), SYSTEM_CLOCK)
        self._lifetime_seconds = lifetime_seconds
        self._idle_seconds = idle_seconds
        self._most = most
        self._held: dict[str, _Held] = {}
        self._flights: SingleFlight[Session | None] = SingleFlight()
        # Raised whenever a session ends here: what was asked before that is not believed after it.
        self._epoch = 0
        self._counts = {"opened": 0, "ended": 0, "outlived": 0}

    def bind(
        self,
        store: SessionStore,
        clock: Clock,
        revalidators: Callable[[], Sequence[Revalidates]] = tuple,
    ) -> None:
        """Work with *store* and *clock* from now on.

        Args:
            store: where the sessions are.
            clock: the time.
            revalidators: who knows whether the credential that somebody logged in with still holds.
        """
        self._store = store
        self._clock = clock
        self._revalidators = revalidators

    async def open(self, reference: str, principal: Principal) -> Session:
        """Begin the session *reference* for *principal*. The oldest of the same caller may end for it.

        Raises:
            Problem: 400, this principal cannot be kept; 401, its credential does not hold any more; 503, the store does not
                answer, or what says whether it holds.
        """
        now = self._clock.wall()
        ends_at = now + self._lifetime_seconds
        if principal.expires_at is not None:
            ends_at = min(ends_at, principal.expires_at)
        answer = await self._vouched(principal)
        if ends_at <= now or answer is False:
            raise Problem(401, headers={"WWW-Authenticate": "Bearer"})
        text = written(principal, is_vouched_for=answer is True)
        if text is None:
            LOGGER.warning("a %s cannot log in: its claims are too long, or no JSON", principal.kind)
            raise Problem(400, "This credential cannot open a session.")
        record = SessionRecord(
            id=reference,
            subject=subject_of(principal),
            principal=text,
            created_at=now,
            seen_at=now,
            expires_at=ends_at,
        )
        try:
            await self._store.open(record, most=self._most)
        except StoreError as error:
            raise _unavailable(error) from error
        self._counts["opened"] += 1
        try:
            await self._store.purge(now, limit=_PURGED_PER_LOGIN)
        except StoreError as error:
            LOGGER.warning("sessions that are over were not removed: %s", error)
        return _session(reference, principal, ends_at)

    def get(self, reference: str, *, is_use: bool = True) -> Session | Awaitable[Session | None] | None:
        """The session of that name if it is open; the answer itself where it is known.

        Args:
            reference: its name.
            is_use: whether its owner did something; False for whoever only looks whether it is still open.

        Raises:
            Problem: 503, nobody knows: the store does not answer, or what says whether the credential still holds.
        """
        held = self._held.get(reference)
        if held is not None and self._clock.monotonic() < (
            held.fresh_for_use_until if is_use else held.fresh_until
        ):
            return held.session if self._clock.wall() < held.ends_at else None
        return self._ask(reference, is_use=is_use)

    async def end(self, reference: str) -> None:
        """End one session, for every worker.

        Raises:
            Problem: 503, the store does not answer, and the session may go on.
        """
        try:
            await self._store.revoke(reference, self._clock.wall())
        except StoreError as error:
            raise _unavailable(error) from error
        else:
            self._counts["ended"] += 1
        finally:
            # Also when nobody waited for the store: it may have done it.
            self._epoch += 1
            self._held.pop(reference, None)

    async def end_all(self, principal: Principal) -> int:
        """End every session of *principal*, for every worker; return how many there were.

        Raises:
            Problem: 503, the store does not answer, and they may go on.
        """
        subject = subject_of(principal)
        try:
            count = await self._store.revoke_subject(subject, self._clock.wall())
        except StoreError as error:
            raise _unavailable(error) from error
        else:
            self._counts["ended"] += count
            return count
        finally:
            self._epoch += 1
            self._held = {
                reference: held
                for reference, held in self._held.items()
                if held.session is None or subject_of(held.session.principal) != subject
            }

    def samples(self) -> Iterator[Sample]:
        """`prodkit_web_sessions_total` by what became of them."""
        for event, count in self._counts.items():
            yield Sample(
                "prodkit_web_sessions_total",
                {"event": event},
                count,
                "counter",
                "Sessions opened, ended by their owners, and outlived by the credential they were opened with.",
            )

    async def _ask(self, reference: str, *, is_use: bool) -> Session | None:
        epoch = self._epoch
        try:
            session = await self._flights.run(
                (reference, epoch, is_use), lambda: self._read(reference, epoch, is_use=is_use)
            )
        except (StoreError, Problem) as error:
            held = self._held.get(reference)
            if held is None or self._clock.monotonic() >= held.trusted_until:
                raise _unavailable(error) from error
            session = held.session if self._clock.wall() < held.ends_at else None
        return session

    async def _read(self, reference: str, epoch: int, *, is_use: bool) -> Session | None:
        asked_at = self._clock.monotonic()
        try:
            # Stores have bounds of their own; one of somebody else's making may not.
            async with asyncio.timeout(_PATIENCE_SECONDS):
                record = await self._store.find(reference)
                session = None if record is None else await self._judged(record)
                is_use_due = (
                    record is not None
                    and session is not None
                    and self._clock.wall() - record.seen_at >= _TOUCHED_SECONDS
                )
                if is_use and is_use_due:
                    await self._note_use(reference)
                    is_use_due = False
        except TimeoutError as error:
            message = f"whether a session is open was not told within {_PATIENCE_SECONDS} s"
            raise StoreUnavailableError(message) from error
        if epoch == self._epoch:
            # Put in again at the end: those at the beginning were not asked for lately.
            self._held.pop(reference, None)
            self._held[reference] = _Held(session, asked_at, is_use_due=is_use_due)
            if len(self._held) > _MOST_HELD:
                del self._held[next(iter(self._held))]
        return session

    async def _judged(self, record: SessionRecord) -> Session | None:
        """The session of *record* if it is open."""
        if record.revoked_at is not None:
            return None
        now = self._clock.wall()
        # The lifetime may have been made shorter since.
        ends_at = min(record.expires_at, record.created_at + self._lifetime_seconds)
        if now >= min(ends_at, record.seen_at + self._idle_seconds):
            return None
        kept = read_back(record.principal)
        if kept is None:
            LOGGER.warning("session %s was written by another release and cannot be read", record.id)
            return None
        answer = await vouched(self._revalidators(), kept.principal)
        # Whoever vouched for it at the login, an issuer say, may not be configured any more: then nobody denies it either.
        if answer is False or (answer is None and kept.is_vouched_for):
            await self._outlived(record.id, now)
            return None
        return _session(record.id, kept.principal, ends_at)

    async def _vouched(self, principal: Principal) -> bool | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await vouched(self._revalidators(), principal)
        except TimeoutError as error:
            raise unavailable() from error

    async def _note_use(self, reference: str) -> None:
        try:
            await self._store.touch(reference, self._clock.wall())
        except StoreError as error:
            LOGGER.warning("the use of session %s was not written down: %s", reference, error)

    async def _outlived(self, reference: str, now: float) -> None:
        self._counts["outlived"] += 1
        LOGGER.info("session %s ended: the credential it was opened with does not hold any more", reference)
        try:
            await self._store.revoke(reference, now)
        except StoreError as error:
            # It is not let in now, and the next question finds out again.
            LOGGER.warning("session %s was not marked as ended: %s", reference, error)


def _unavailable(error: StoreError | Problem) -> Problem:
    if isinstance(error, StoreError) and not isinstance(error, StoreUnavailableError):
        # Nobody who calls can help it, and waiting does not either.
        LOGGER.error("the store of sessions cannot be used: %s", error)
    return unavailable()


def _session(reference: str, principal: Principal, ends_at: float) -> Session:
    named = SessionReference(reference)
    claims = MappingProxyType({**principal.claims, "session": named})
    return Session(named, replace(principal, expires_at=ends_at, claims=claims))
