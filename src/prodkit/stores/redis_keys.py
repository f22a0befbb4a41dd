"""API keys in Redis, and how the processes that share it learn of each other's changes."""

from __future__ import annotations

import json
import secrets
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from prodkit.stores import KeyRecord
from prodkit.stores.redis_link import RedisLink, Script
from prodkit.stores.redis_values import asking, check_types, number_text, packed, reading, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import HealthResult

__all__ = ["RedisKeyStore"]

# One hash tag: on a cluster all of it is on one machine, where a script sees it as one. The number changes when what stands
# there changes its meaning.
_NAME: Final = "pk:keys:1:{keys}"
_RECORDS: Final = f"{_NAME}:records"
_IDS: Final = f"{_NAME}:ids"
_TENANTS: Final = f"{_NAME}:tenants"
_CHANGES: Final = f"{_NAME}:changes"
_STANDING: Final = {_RECORDS: b"hash", _IDS: b"zset", _TENANTS: b"zset", _CHANGES: b"stream"}
_WRITTEN: Final = tuple(_STANDING)

_FIND: Final = Script.load("keys_find")
_LIST: Final = Script.load("keys_list")
_LOOK: Final = Script.load("keys_changes")
_WRITE: Final = Script.load("keys_write")

# Half a millisecond of the server, which does nothing else meanwhile.
_PAGE: Final = 500
_LONGEST_TAG_BITS: Final = 63
_TAG_BITS: Final = 64


class RedisKeyStore:
    """API keys in Redis: shared by every worker of every machine; each verb is one script, so one round trip.

    What a write that returned is worth is decided by the server's settings. With `appendonly yes` and `appendfsync always` it
    survives a power cut; with `appendfsync everysec`, the default, a power cut loses up to about a second; without a log,
    everything since the last snapshot. A failover loses what the replica had not received, a revocation too, and the key
    is good again: `min-replicas-to-write 1` with `min-replicas-max-lag 1` bounds that to about a second and refuses writes
    where there is no replica. A process that had been told of a change that is lost forgets all it had cached. A server that
    evicts (`maxmemory-policy` other than `noeviction`) may lose any of it at any time.

    Revoked keys stay for ever, about 1 kB each; of changes the last 1000 are kept.

    Args:
        redis: where the server is, or the link to it.
        timeout_seconds: the longest any verb but `list` may take. 0.1: a healthy server answers in under 1 ms. A disk that
            is slower under `appendfsync always` needs more.
        list_timeout_seconds: the longest each 500 records of `list` may take. 1: only operators list.
    """

    def __init__(
        self, redis: RedisLink | str, *, timeout_seconds: float = 0.1, list_timeout_seconds: float = 1.0
    ) -> None:
        """Open nothing yet."""
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._timeout_seconds = timeout_seconds
        self._list_timeout_seconds = list_timeout_seconds

    async def find(self, key_id: str) -> KeyRecord | None:
        """See `KeyStore.find`."""
        text = await self._run(_FIND, (_RECORDS,), key_id.encode())
        return None if text is None else _record(key_id, text)

    async def put(self, record: KeyRecord) -> None:
        """See `KeyStore.put`."""
        await self._write("put", record.id, packed(_values(record)))

    async def revoke(self, key_id: str, at: float) -> bool:
        """See `KeyStore.revoke`."""
        return await self._write("revoke", key_id, number_text(at))

    async def deprecate(self, key_id: str, *, replaced_by: str, at: float, expires_at: float) -> bool:
        """See `KeyStore.deprecate`."""
        return await self._write(
            "deprecate", key_id, replaced_by.encode(), number_text(at), number_text(expires_at)
        )

    async def redigest(self, key_id: str, *, known: bytes, digest: bytes, pepper_id: str) -> bool:
        """See `KeyStore.redigest`."""
        return await self._write("redigest", key_id, known.hex(), digest.hex(), pepper_id.encode())

    async def touch(self, key_id: str, at: float) -> None:
        """See `KeyStore.touch`."""
        await self._write("touch", key_id, number_text(at))

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """See `KeyStore.list`. More than 500 are asked for one page after the other, and may change in between."""
        if limit < 1:
            message = f"limit must be at least 1, not {limit}"
            raise ValueError(message)
        records: list[KeyRecord] = []
        more = True
        while more and len(records) < limit:
            asked = min(_PAGE, limit - len(records))
            page = await self._page(tenant, after, asked)
            records += page
            more = len(page) == asked
            after = records[-1].id if records else None
        return records

    async def changes_since(self, cursor: int | None) -> tuple[int, Sequence[str] | None]:
        """See `KeyStore.changes_since`; one look at the end of a stream where nothing was written meanwhile.

        Each change has a number and 63 random bits, and the cursor is both, of the last one seen. Of another history, of a
        server that was emptied, restored or failed over, no change has the same two.
        """
        newest, ids = await self._run(_LOOK, (_CHANGES,), _entry(cursor), _tag())
        with reading(_CHANGES):
            return _cursor(newest), None if ids is None else [key_id.decode() for key_id in ids]

    async def check(self) -> HealthResult | None:
        """Ask the server whether it can be written and keeps what is, and look that the names are ours; see `Store.check`."""
        result = await self._link.check(durable=True)
        await check_types(self._link, _STANDING, self._timeout_seconds)
        return result

    async def aclose(self) -> None:
        """See `Store.aclose`. The link is closed for this event loop, also to other stores; whoever asks next opens it again."""
        await self._link.aclose()

    async def _page(self, tenant: str | None, after: str | None, limit: int) -> Sequence[KeyRecord]:
        # As in `keys_write.lua`: no tenant's name can be made to begin another's place.
        owned = b"" if tenant is None else b"%d:%b" % (len(tenant.encode()), tenant.encode())
        before = b"" if tenant is None else owned + b":"
        end = b"+" if tenant is None else b"(" + owned + b";"
        begin = b"[" + before if after is None else b"(" + before + after.encode()
        rows = await self._run(
            _LIST,
            (_RECORDS, _IDS if tenant is None else _TENANTS),
            begin,
            end,
            limit,
            len(before),
            timeout_seconds=self._list_timeout_seconds,
        )
        with reading(_IDS):
            ids = [key_id.decode() for key_id in rows[::2]]
        return [_record(key_id, text) for key_id, text in zip(ids, rows[1::2], strict=True)]

    async def _write(self, verb: str, key_id: str, *args: bytes | str) -> bool:
        return bool(await self._run(_WRITE, _WRITTEN, verb, key_id.encode(), _tag(), *args))

    async def _run(
        self,
        script: Script,
        keys: Sequence[str],
        *args: str | bytes | int,
        timeout_seconds: float | None = None,
    ) -> Any:  # what the script returns
        with asking(f"one of {', '.join(keys)}"):
            return await self._link.run(
                script, keys, args, timeout_seconds=timeout_seconds or self._timeout_seconds
            )


_TIMES: Final = ("created_at", "not_before", "expires_at", "revoked_at", "last_used_at", "deprecated_at")
_TEXTS: Final = tuple(
    one.name for one in fields(KeyRecord) if one.name not in {*_TIMES, "digest", "scopes", "networks"}
)


def _values(record: KeyRecord) -> dict[str, str | None]:
    """Every field that this release knows, None where it is not set."""
    values: dict[str, str | None] = {name: getattr(record, name) for name in _TEXTS}
    for name in _TIMES:
        at = getattr(record, name)
        values[name] = None if at is None else number_text(at)
    values["digest"] = record.digest.hex()
    values["scopes"] = json.dumps(sorted(record.scopes))
    values["networks"] = json.dumps(record.networks)
    return values


def _record(key_id: str, text: bytes | None) -> KeyRecord:
    with reading(f"{key_id!r} of {_RECORDS}"):
        values = unpacked(text or b"")
        known: dict[str, Any] = {name: values[name] for name in _TEXTS if name in values}
        known |= {name: float(values[name]) for name in _TIMES if name in values}
        return KeyRecord(
            **known,
            digest=bytes.fromhex(values["digest"]),
            scopes=frozenset(json.loads(values["scopes"])),
            networks=tuple(json.loads(values["networks"])),
        )


def _tag() -> str:
    return str(secrets.randbits(_LONGEST_TAG_BITS))


def _cursor(entry: bytes) -> int:
    number, _, tag = entry.partition(b"-")
    return (int(number) << _TAG_BITS) | int(tag)


def _entry(cursor: int | None) -> str:
    """The entry that *cursor* stands for; empty for none, also where there can be no such entry."""
    if cursor is None or not 0 < cursor < 1 << 2 * _TAG_BITS:
        return ""
    return f"{cursor >> _TAG_BITS}-{cursor & (1 << _TAG_BITS) - 1}"
