"""Answers in Redis: shared by every worker of every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.cache import MOST_VALUE_BYTES, Claim, require_key, require_owner, require_seconds
from prodkit.stores.redis_link import RedisLink, Script
from prodkit.stores.redis_values import asking, check_types, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import HealthResult

__all__ = ["RedisCacheStore"]

# One hash tag: on a cluster all of it is on one machine, so that its size can be bounded. The number changes when what stands
# there changes its meaning.
_NAME: Final = "pk:cache:1:{cache}"
_ANSWERS: Final = f"{_NAME}:answer:"
_LEASES: Final = f"{_NAME}:lease:"
_ENDS: Final = f"{_NAME}:ends"
_SIZES: Final = f"{_NAME}:sizes"
_STANDING: Final = {_ENDS: b"zset", _SIZES: b"hash"}

_CLAIM: Final = Script.load("cache_claim")
_EXTEND: Final = Script.load("cache_extend")
_FILL: Final = Script.load("cache_fill")
_ABANDON: Final = Script.load("cache_abandon")
_FORGET: Final = Script.load("cache_forget")

_MOST_ENTRIES: Final = 100_000
_MOST_BYTES: Final = 256 * 1024 * 1024


class RedisCacheStore:
    """Answers in Redis; each verb is one script, so one round trip. Times are the server's, which removes what has expired.

    The bounds are there for the neighbours: keys and the ledger stand on the same server, which must not evict, and would
    take no more of them when its memory is full of answers.

    Args:
        redis: where the server is, or the link to it.
        timeout_seconds: the longest any verb may take. 0.1: a healthy server answers in under 1 ms.
        max_entries: how many answers are kept.
        max_bytes: of all answers together. Beyond either, those go that would expire first.
        max_value_bytes: of one answer.

    Raises:
        ValueError: a bound is under 1.
    """

    def __init__(
        self,
        redis: RedisLink | str,
        *,
        timeout_seconds: float = 0.1,
        max_entries: int = _MOST_ENTRIES,
        max_bytes: int = _MOST_BYTES,
        max_value_bytes: int = MOST_VALUE_BYTES,
    ) -> None:
        """Open nothing yet."""
        if min(max_entries, max_bytes, max_value_bytes) < 1:
            message = "max_entries, max_bytes and max_value_bytes must be at least 1"
            raise ValueError(message)
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._timeout_seconds = timeout_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_value_bytes = min(max_value_bytes, max_bytes)

    async def claim(self, key: str, owner: str, *, lease_seconds: float) -> Claim:
        """See `CacheStore.claim`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")
        keys = (_ANSWERS + key, _LEASES + key)
        said = await self._run(_CLAIM, keys, owner, _milliseconds(lease_seconds))
        with reading(keys[0]):
            state, milliseconds, value = said
            seconds = max(0, int(milliseconds)) / 1000
            if state == b"found":
                return Claim("found", seconds, value)
            return Claim("leading" if state == b"leading" else "taken", seconds)

    async def extend(self, key: str, owner: str, *, lease_seconds: float) -> bool:
        """See `CacheStore.extend`."""
        require_key(key)
        require_owner(owner)
        require_seconds(lease_seconds, "lease_seconds")
        return bool(await self._run(_EXTEND, (_LEASES + key,), owner, _milliseconds(lease_seconds)))

    async def fill(self, key: str, owner: str, value: bytes, *, ttl_seconds: float) -> bool:
        """See `CacheStore.fill`."""
        require_key(key)
        require_owner(owner)
        require_seconds(ttl_seconds, "ttl_seconds")
        if len(value) > self._max_value_bytes:
            await self.abandon(key, owner)
            return False
        keys = (_ANSWERS + key, _LEASES + key, _ENDS, _SIZES)
        bounds = (self._max_entries, self._max_bytes)
        done = await self._run(_FILL, keys, owner, value, _milliseconds(ttl_seconds), key, _ANSWERS, *bounds)
        return bool(done)

    async def abandon(self, key: str, owner: str) -> None:
        """See `CacheStore.abandon`."""
        require_key(key)
        require_owner(owner)
        await self._run(_ABANDON, (_LEASES + key,), owner)

    async def forget(self, key: str) -> None:
        """See `CacheStore.forget`."""
        require_key(key)
        await self._run(_FORGET, (_ANSWERS + key, _LEASES + key, _ENDS, _SIZES), key)

    async def check(self) -> HealthResult | None:
        """Ask the server whether it can be written, and look that the names are ours; see `Store.check`."""
        result = await self._link.check()
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


def _milliseconds(seconds: float) -> int:
    """What the server counts in; at least 1."""
    return max(1, int(seconds * 1000))
