"""API keys in PostgreSQL, and how the processes that share it learn of each other's changes."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from prodkit.core.breaker import Breaker
from prodkit.stores import KeyRecord
from prodkit.stores.postgres_ledger_rows import is_storable
from prodkit.stores.postgres_link import PostgresLink
from prodkit.stores.records import merged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.core.features import HealthResult
    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.postgres_link import Keep, Undo

__all__ = ["PostgresKeyStore"]

R = TypeVar("R")

# The columns are the fields of a KeyRecord, by name and in order.
_FIELDS: Final = tuple(field.name for field in fields(KeyRecord))
_COLUMNS: Final = ", ".join(_FIELDS)
_SELECT: Final = f"SELECT {_COLUMNS} FROM {{s}}.api_keys"  # noqa: S608  our own names
_PUT: Final = (
    f"INSERT INTO {{s}}.api_keys ({_COLUMNS}) VALUES ({', '.join(f'${n + 1}' for n in range(len(_FIELDS)))}) "  # noqa: S608  see above
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS[1:])}"
)
_TOUCH: Final = (
    "UPDATE {s}.api_keys SET last_used_at = greatest(coalesce(last_used_at, $2), $2) WHERE id = $1"
)
_REVOKE: Final = "UPDATE {s}.api_keys SET revoked_at = least(coalesce(revoked_at, $2), $2) WHERE id = $1"
_REDIGEST: Final = "UPDATE {s}.api_keys SET digest = $2, pepper_id = $3 WHERE id = $1 AND digest = $4"
# Replaced in vain: by a key that was revoked before anybody used it, because the answer with it was lost.
_DEPRECATE: Final = """
    UPDATE {s}.api_keys AS k SET replaced_by = $2, deprecated_at = coalesce(deprecated_at, $3),
        expires_at = least(coalesce(expires_at, $4), $4)
    WHERE id = $1 AND revoked_at IS NULL AND (replaced_by IS NULL OR EXISTS (
        SELECT FROM {s}.api_keys AS lost
        WHERE lost.id = k.replaced_by AND lost.revoked_at IS NOT NULL AND lost.last_used_at IS NULL
    ))
"""

# Writers of keys take turns, so that changes become visible in the order of their sequences.
_TURN_LOCK: Final = "LOCK TABLE {s}.api_key_changes IN SHARE ROW EXCLUSIVE MODE"
_NOTE: Final = """
    INSERT INTO {s}.api_key_changes (sequence, tag, id)
    SELECT coalesce(max(sequence), 0) + 1, $2, $1 FROM {s}.api_key_changes
"""
_TRIM: Final = """
    DELETE FROM {s}.api_key_changes WHERE sequence IN (
        SELECT sequence FROM {s}.api_key_changes
        WHERE sequence <= (SELECT max(sequence) FROM {s}.api_key_changes) - $1 ORDER BY sequence LIMIT $2
    )
"""
_NEWEST: Final = "SELECT sequence, tag FROM {s}.api_key_changes ORDER BY sequence DESC LIMIT 1"
_SINCE: Final = (
    "SELECT sequence, tag, id FROM {s}.api_key_changes WHERE sequence >= $1 ORDER BY sequence LIMIT $2"
)
# A worker that slept longer than so many changes forgets all it had cached, which costs it one look-up a key.
_MOST_TOLD: Final = 1000
_KEPT_CHANGES: Final = 10_000
# More than one write adds, so that the table shrinks; few enough to be no pause.
_TRIMMED_AT_ONCE: Final = 20
_TAG_BITS: Final = 63


class PostgresKeyStore:
    """API keys in a table; shared by every worker of every machine that uses the same schema.

    Issuing, replacing and revoking wait as long as the server's `synchronous_commit` says; uses are written without waiting for
    the disk. A failover to a standby that had not received everything loses the last writes, a revocation among them; a process
    that had been told of a change that is lost forgets all it had cached.

    Args:
        postgres: where the server is, or the link to it.
        timeout_seconds: the longest `find`, `list`, `changes_since` and `touch` may take.
        durable_timeout_seconds: the longest the other writes may take. 5: an operator rather waits for a slow disk than wonders
            whether the key was revoked.
    """

    def __init__(
        self,
        postgres: PostgresLink | str,
        *,
        timeout_seconds: float = 0.1,
        durable_timeout_seconds: float = 5.0,
    ) -> None:
        """Open nothing yet."""
        self._link = (
            PostgresLink.shared(postgres, setting="PRODKIT_API_KEYS__STORE")
            if isinstance(postgres, str)
            else postgres
        )
        self._sql = self._link.sql
        self._timeout_seconds = timeout_seconds
        self._durable_timeout_seconds = durable_timeout_seconds
        # One of each: that somebody who waits 0.1 s had no answer is no reason to refuse whoever would wait for 5.
        self._breaker = Breaker()
        self._durable_breaker = Breaker()

    async def find(self, key_id: str) -> KeyRecord | None:
        """See `KeyStore.find`."""
        if not is_storable(key_id):
            return None
        row = await self._run(
            lambda connection: connection.fetchrow(self._sql(f"{_SELECT} WHERE id = $1"), key_id), "nothing"
        )
        return None if row is None else _record(tuple(row))

    async def put(self, record: KeyRecord) -> None:
        """See `KeyStore.put`."""
        find = self._sql(f"{_SELECT} WHERE id = $1 FOR UPDATE")

        async def work(connection: Connection) -> None:
            await self._take_turn(connection)
            row = await connection.fetchrow(find, record.id)
            kept = record if row is None else merged(_record(tuple(row)), record)
            await connection.execute(self._sql(_PUT), *_values(kept))
            await self._note(connection, record.id)

        await self._run(work, "durable")

    async def revoke(self, key_id: str, at: float) -> bool:
        """See `KeyStore.revoke`."""
        return await self._update(_REVOKE, key_id, at)

    async def deprecate(self, key_id: str, *, replaced_by: str, at: float, expires_at: float) -> bool:
        """See `KeyStore.deprecate`."""
        return await self._update(_DEPRECATE, key_id, replaced_by, at, expires_at)

    async def redigest(self, key_id: str, *, known: bytes, digest: bytes, pepper_id: str) -> bool:
        """See `KeyStore.redigest`."""
        return await self._update(_REDIGEST, key_id, digest, pepper_id, known)

    async def touch(self, key_id: str, at: float) -> None:
        """See `KeyStore.touch`."""
        if is_storable(key_id):
            await self._run(
                lambda connection: connection.execute(self._sql(_TOUCH), key_id, float(at)), "lazy"
            )

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """See `KeyStore.list`."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        of_tenant = "" if tenant is None else "tenant = $3 AND "
        values = (after or "", limit) if tenant is None else (after or "", limit, tenant)
        query = self._sql(f"{_SELECT} WHERE {of_tenant}id > $1 ORDER BY id LIMIT $2")
        rows = await self._run(lambda connection: connection.fetch(query, *values), "nothing")
        return [_record(tuple(row)) for row in rows]

    async def changes_since(self, cursor: int | None) -> tuple[int, Sequence[str] | None]:
        """See `KeyStore.changes_since`; one look at the end of an index where nothing was written meanwhile.

        The cursor is the sequence and the tag of the last change seen. Of another history, of a server that was restored or
        failed over, no change has the same two.
        """
        sequence, tag = divmod(cursor or 0, 1 << _TAG_BITS)
        is_possible = cursor is not None and 0 <= sequence < 1 << _TAG_BITS

        async def work(connection: Connection) -> tuple[int, Sequence[str] | None]:
            if is_possible:
                rows = await connection.fetch(self._sql(_SINCE), sequence, _MOST_TOLD + 2)
                # Before the first change there is nothing that could be recognised.
                told = [tuple(row) for row in rows] if sequence else [(0, 0, ""), *map(tuple, rows)]
                if _goes_on(told, sequence, tag):
                    return _cursor(*told[-1][:2]), [key_id for _, _, key_id in told[1:]]
            newest = await connection.fetchrow(self._sql(_NEWEST))
            return (0 if newest is None else _cursor(*newest)), None

        return await self._run(work, "nothing")

    async def check(self) -> HealthResult | None:
        """Write something, and look how the server keeps it; see `Store.check`."""
        deadline = asyncio.get_running_loop().time() + self._durable_timeout_seconds
        return await self._link.check(deadline, self._durable_breaker)

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._link.aclose()

    async def _update(self, statement: str, key_id: str, *values: object) -> bool:
        """Whether the row was there and fit; on the disk when it returns."""
        if not is_storable(key_id):
            return False

        async def work(connection: Connection) -> bool:
            await self._take_turn(connection)
            done = await connection.execute(self._sql(statement), key_id, *values)
            if done == "UPDATE 0":
                return False
            await self._note(connection, key_id)
            return True

        return await self._run(work, "durable")

    async def _take_turn(self, connection: Connection) -> None:
        await connection.execute(self._sql(_TURN_LOCK))

    async def _note(self, connection: Connection, key_id: str) -> None:
        await connection.execute(self._sql(_NOTE), key_id, secrets.randbits(_TAG_BITS))
        await connection.execute(self._sql(_TRIM), _KEPT_CHANGES, _TRIMMED_AT_ONCE)

    async def _run(self, work: Callable[[Connection], Awaitable[R | Undo[R]]], keep: Keep) -> R:
        durable = keep == "durable"
        seconds = self._durable_timeout_seconds if durable else self._timeout_seconds
        breaker = self._durable_breaker if durable else self._breaker
        return await self._link.run(
            work, asyncio.get_running_loop().time() + seconds, keep=keep, breaker=breaker
        )


def _record(row: tuple[Any, ...]) -> KeyRecord:  # Any: asyncpg does not know the types of columns
    values = dict(zip(_FIELDS, row, strict=True))
    values["scopes"] = frozenset(json.loads(values["scopes"]))
    values["networks"] = tuple(json.loads(values["networks"]))
    return KeyRecord(**values)


def _values(record: KeyRecord) -> list[Any]:  # Any: what asyncpg takes
    values: dict[str, Any] = {name: getattr(record, name) for name in _FIELDS}
    values["scopes"] = json.dumps(sorted(record.scopes))
    values["networks"] = json.dumps(record.networks)
    return list(values.values())


def _cursor(sequence: int, tag: int) -> int:
    return (sequence << _TAG_BITS) | tag


def _goes_on(told: list[tuple[Any, ...]], sequence: int, tag: int) -> bool:  # Any: see _record
    """Whether *told* begins with the change seen last, and is all that followed."""
    is_known = bool(told) and told[0][:2] == (sequence, tag) and len(told) <= _MOST_TOLD + 1
    return is_known and (len(told) == 1 or told[1][0] == sequence + 1)
