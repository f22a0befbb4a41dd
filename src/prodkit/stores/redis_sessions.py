"""Sessions in Redis: shared by every worker of every machine, still there after a restart of theirs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.redis_link import RedisLink, Script
from prodkit.stores.redis_values import asking, check_types, number_text, packed, reading, unpacked
from prodkit.stores.sessions import SessionRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import HealthResult

__all__ = ["RedisSessionStore"]

# One hash tag: on a cluster all of it is on one machine, where a script sees it as one. The number changes when what stands
# there changes its meaning.
_NAME: Final = "pk:sessions:1:{sessions}"
_RECORDS: Final = f"{_NAME}:records"
_SEEN: Final = f"{_NAME}:seen"
_REVOKED: Final = f"{_NAME}:revoked"
_ENDS: Final = f"{_NAME}:ends"
_OPEN: Final = f"{_NAME}:open"
_STANDING: Final = {_RECORDS: b"hash", _SEEN: b"hash", _REVOKED: b"hash", _ENDS: b"zset", _OPEN: b"zset"}
_ALL: Final = tuple(_STANDING)

_OPENING: Final = Script.load("sessions_open")
_FIND: Final = Script.load("sessions_find")
_TOUCH: Final = Script.load("sessions_touch")
_REVOKE: Final = Script.load("sessions_revoke")
_REVOKE_SUBJECT: Final = Script.load("sessions_revoke_subject")
_PURGE: Final = Script.load("sessions_purge")

# A few milliseconds of the server, which does nothing else meanwhile.
_PURGED_AT_ONCE: Final = 500
_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1


class RedisSessionStore:
    """Sessions in Redis; each verb is one script, so one round trip.

    What a revocation that returned is worth is decided by the server's settings. With `appendonly yes` and `appendfsync always`
    it survives a power cut; with `appendfsync everysec`, the default, a power cut loses up to about a second, and somebody who
    had logged out in it is logged in again until the session expires; without a log, everything since the last snapshot is
    lost. A failover loses what the replica had not received: `min-replicas-to-write 1` with `min-replicas-max-lag 1` bounds
    that to about a second. A server that evicts (`maxmemory-policy` other than `noeviction`) may forget a revocation, or
    log anybody out, at any time.

    What is over is kept until `purge`, about 1 kB each: no expiry of the server's takes it away.

    Args:
        redis: where the server is, or the link to it.
        timeout_seconds: the longest any verb may take; of `purge`, each 500 sessions. 0.1: a healthy server answers in under
            1 ms, and ends 5000 sessions of one subject in 20 to 40. A disk that is slower under `appendfsync always` needs more.
    """

    def __init__(self, redis: RedisLink | str, *, timeout_seconds: float = 0.1) -> None:
        """Open nothing yet."""
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._timeout_seconds = timeout_seconds

    async def open(self, record: SessionRecord, *, most: int) -> None:
        """See `SessionStore.open`."""
        if most < 1:
            message = f"most must be at least 1, not {most}"
            raise ValueError(message)
        mark, sign = _mark(record.subject), _sortable(record.created_at)
        values = {name: getattr(record, name) for name in _TEXTS}
        values |= {name: number_text(getattr(record, name)) for name in _MOMENTS}
        # Its place among the open ones, so that whoever forgets it need not put it together again.
        values["place"] = mark + sign + record.id
        revoked = "" if record.revoked_at is None else number_text(record.revoked_at)
        end = record.expires_at if record.revoked_at is None else min(record.expires_at, record.revoked_at)
        done = await self._run(
            _OPENING,
            _ALL,
            record.id.encode(),
            packed(values),
            number_text(record.seen_at),
            revoked,
            number_text(end),
            number_text(record.created_at),
            most,
            mark.encode(),
            sign,
        )
        if not done:
            message = "there is a session of this id"
            raise ValueError(message)

    async def find(self, session_id: str) -> SessionRecord | None:
        """See `SessionStore.find`."""
        text, seen, revoked = await self._run(_FIND, (_RECORDS, _SEEN, _REVOKED), session_id.encode())
        if text is None:
            return None
        with reading(f"a session in {_RECORDS}"):
            values = unpacked(text)
            known: dict[str, Any] = {name: values[name] for name in _TEXTS}
            known |= {name: float(values[name]) for name in _MOMENTS}
            return SessionRecord(
                **known, seen_at=float(seen), revoked_at=None if revoked is None else float(revoked)
            )

    async def touch(self, session_id: str, at: float) -> None:
        """See `SessionStore.touch`."""
        await self._run(_TOUCH, (_SEEN,), session_id.encode(), number_text(at))

    async def revoke(self, session_id: str, at: float) -> bool:
        """See `SessionStore.revoke`."""
        keys = (_RECORDS, _REVOKED, _ENDS, _OPEN)
        return bool(await self._run(_REVOKE, keys, session_id.encode(), number_text(at)))

    async def revoke_subject(self, subject: str, at: float) -> int:
        """See `SessionStore.revoke_subject`."""
        keys = (_REVOKED, _ENDS, _OPEN)
        return int(await self._run(_REVOKE_SUBJECT, keys, _mark(subject).encode(), number_text(at)))

    async def purge(self, before: float, *, limit: int = 100) -> int:
        """See `SessionStore.purge`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        forgotten, more = 0, True
        while more and forgotten < limit:
            asked = min(_PURGED_AT_ONCE, limit - forgotten)
            count = int(await self._run(_PURGE, _ALL, number_text(before), asked))
            forgotten += count
            more = count == asked
        return forgotten

    async def check(self) -> HealthResult | None:
        """Ask the server whether it can be written and keeps what is, and look that the names are ours; see `Store.check`."""
        result = await self._link.check(durable=True)
        await check_types(self._link, _STANDING, self._timeout_seconds)
        return result

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._link.aclose()

    async def _run(
        self, script: Script, keys: Sequence[str], *args: str | bytes | int
    ) -> Any:  # what the script returns
        with asking(f"one of {', '.join(keys)}"):
            return await self._link.run(script, keys, args, timeout_seconds=self._timeout_seconds)


_TEXTS: Final = ("id", "subject", "principal")
_MOMENTS: Final = ("created_at", "expires_at")
# `seen_at` and `revoked_at` change, and stand beside the text: to end a thousand sessions no text is read or written.


def _mark(subject: str) -> str:
    """What the places of one subject begin with, and no place of any other, however it is named."""
    return f"{len(subject.encode())}:{subject}:"


def _sortable(moment: float) -> str:
    """Sixteen signs in the order of the numbers they stand for."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", moment + 0.0))  # -0.0 is 0.0
    return f"{bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN:016x}"
