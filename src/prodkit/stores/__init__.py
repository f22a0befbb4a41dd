"""Shared state behind atomic verbs: the protocols, and the values they take and return.

A store promises verbs, never storage: there is no get and set from which two workers could build a race. The
implementations are modules beside this one (`memory`, `sqlite`), opened by URL with
`prodkit.stores.urls.open_store`; `prodkit.testing` holds the contract suite that every one of them passes,
and that yours can pass too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

__all__ = ["Ask", "Decision", "ImmediateStore", "KeyRecord", "KeyStore", "Rate", "RateLimitStore", "Store"]

_NANOSECONDS = 1_000_000_000
# The wall clock is a float of about 1.8e9 seconds, which resolves a quarter of a microsecond: a shorter
# interval than one microsecond could not be told from none.
_SHORTEST_INTERVAL_SECONDS = 1e-6
# Unix time in nanoseconds plus this still fits the signed 64 bits of an SQLite integer.
_LONGEST_REFILL_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket refills, and how much it holds.

    A caller may spend `burst` at once; the bucket refills evenly with `limit` per `window_seconds`, so over
    any stretch of time at most `burst + limit * elapsed / window_seconds` is admitted.

    Attributes:
        limit: requests (or units of cost) per window, at least 1.
        window_seconds: length of the window in seconds, above 0.
        burst: size of the bucket, at least 1. 0, the default, means *the same as limit* and is
            replaced by it.
        interval_ns: derived: nanoseconds until one unit is refilled, rounded up so that rounding never admits
            more.
        capacity_ns: derived: nanoseconds an empty bucket needs to be full again.

    Raises:
        ValueError: a value is out of range, the interval is under a microsecond, or a refill takes over 100
            years.

    Source: ITU-T I.371 (Generic Cell Rate Algorithm: increment = interval, limit = capacity - interval).
    """

    limit: int
    window_seconds: float
    burst: int = 0
    interval_ns: int = field(init=False, repr=False, compare=False)
    capacity_ns: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what no bucket can do, and work out the two numbers that every request needs."""
        if not _is_whole(self.limit) or self.limit < 1:
            message = f"limit must be a whole number of at least 1, not {self.limit!r}"
            raise ValueError(message)
        if not _is_whole(self.burst) or self.burst < 0:
            message = (
                f"burst must be a whole number of at least 1 (or 0 for the same as limit), not {self.burst!r}"
            )
            raise ValueError(message)
        if not (math.isfinite(self.window_seconds) and self.window_seconds > 0):
            message = f"window_seconds must be a number above 0, not {self.window_seconds!r}"
            raise ValueError(message)
        if self.window_seconds / self.limit < _SHORTEST_INTERVAL_SECONDS:
            message = f"{self.limit} per {self.window_seconds} s is more than one per microsecond"
            raise ValueError(message)
        burst = self.burst or self.limit
        interval_ns = math.ceil(self.window_seconds * _NANOSECONDS / self.limit)
        if interval_ns * burst > _LONGEST_REFILL_SECONDS * _NANOSECONDS:
            message = f"{burst} at {self.limit} per {self.window_seconds} s take over 100 years to refill"
            raise ValueError(message)
        object.__setattr__(self, "burst", burst)
        object.__setattr__(self, "interval_ns", interval_ns)
        object.__setattr__(self, "capacity_ns", interval_ns * burst)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Ask: TypeAlias = "tuple[str, Rate, int]"
"""One question: key, rate, cost. A plain tuple because at least one is made on every request.

Cost 0 looks without consuming. A key may be any text; it should be short, bounded in length by the caller of
the store, and hold no credential or address in the clear.
"""


@dataclass(slots=True)
class Decision:
    """What became of one ask.

    Not frozen: a frozen dataclass costs several times as much to build, and one is built on every request.

    Attributes:
        allowed: whether this ask fits. Something was consumed only if *every* ask of the call fits.
        remaining: whole units left after this call, from 0 to the burst.
        reset_seconds: seconds until the bucket is full again if nothing more is asked; 0.0 when it is full.
        retry_seconds: 0.0 when allowed; else seconds until the same ask fits if nothing else is consumed,
            rounded up by at most 2 microseconds so that waiting just that long is enough; `math.inf` when the
            cost exceeds the burst.
    """

    allowed: bool
    remaining: int
    reset_seconds: float
    retry_seconds: float


@runtime_checkable
class Store(Protocol):
    """What every store can do besides its verbs."""

    async def check(self) -> None:
        """Return if the store can do its work now, reads and writes.

        Raises:
            StoreUnavailableError: it cannot, or did not say so within its time bound.
            StoreIncompatibleError: the data belongs to another program or to a newer release.
        """

    async def aclose(self) -> None:
        """Give back threads and connections; answer whoever waits with an error.

        May be called twice, and is no end: the next use opens again, because the lifespan of one application
        is run many times by its tests.
        """


@runtime_checkable
class RateLimitStore(Store, Protocol):
    """Buckets, one per key.

    A bucket that was never asked about is full. A key belongs to one rate at a time: asked with a smaller
    one, its bucket counts as empty by that rate and refills from there. Every verb raises
    `StoreUnavailableError` when the store does not answer within its bound; what happens to the request then
    is a setting of the feature, not of the store.
    """

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Awaitable[tuple[Decision, ...]]:
        """Consume the cost of every ask if all of them fit, and nothing at all otherwise.

        Returns:
            One decision per ask, in order. A store that needs no I/O returns the tuple itself, any other an
            awaitable of it; `if type(answer) is not tuple: answer = await answer` serves both and costs the
            fast one no coroutine. In a refused call `remaining` and `reset_seconds` describe the untouched
            buckets, and `allowed` tells which asks would have fitted. Asks of one call that share a key are
            counted one after the other.

        Raises:
            ValueError: a cost is negative.
            StoreUnavailableError: no answer within the bound. The cost may or may not have been consumed.
        """

    async def peek(self, key: str, rate: Rate) -> Decision:
        """Tell what an ask of cost 1 would get now, without consuming; `remaining` is what is left now."""

    async def reset(self, key: str) -> None:
        """Make the bucket of *key* full again."""


@runtime_checkable
class ImmediateStore(Protocol):
    """What a store that answers without I/O may offer in addition, for the path of every request."""

    def admit(self, key: str, rate: Rate, cost: int) -> int | None:
        """Consume *cost* and return the nanoseconds until the bucket is full again, if that is quickly decided.

        None means that nothing was consumed and `hit_many` has to be asked: the ask is refused, or it is not an everyday
        one. What is admitted is exactly what `hit_many` would have admitted.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is kept about one API key: never the key, only a keyed digest of it.

    Times are unix seconds. `None` means: no such bound, or never happened.

    Attributes:
        id: the public part of the key, by which it is found and listed.
        digest: keyed hash of the whole key; not in the repr.
        pepper_id: which pepper the digest was made with, so that peppers can be rotated.
        owner: the principal the key acts for.
        tenant: the tenant of that principal, or None.
        scopes: what the key may do.
        plan: name of the plan whose limits apply, or None.
        created_at: when it was issued.
        not_before: not valid before this moment.
        expires_at: not valid from this moment on.
        revoked_at: when it was revoked: not valid any more; a store never forgets it.
        last_used_at: about when it was last accepted; may lag.
        networks: CIDR blocks it may be used from; empty for anywhere.
        name: what people call it; empty for nothing.
        created_by: the principal that issued it, or None.
        replaced_by: the id of the key that took its place, or None.
        deprecated_at: when it was replaced: it goes on working until it ends, and its callers are told.
    """

    id: str
    digest: bytes = field(repr=False)
    pepper_id: str
    owner: str
    created_at: float
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()
    plan: str | None = None
    not_before: float | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    networks: tuple[str, ...] = ()
    name: str = ""
    created_by: str | None = None
    replaced_by: str | None = None
    deprecated_at: float | None = None


@runtime_checkable
class KeyStore(Store, Protocol):
    """API keys by id.

    A write that returned is durable: it survives a power cut where the store survives one at all. When a
    write raises `StoreUnavailableError` it is unknown whether it was made; all of them may be repeated
    safely.
    """

    async def find(self, key_id: str) -> KeyRecord | None:
        """Return the record of that id, revoked or not, or None."""

    async def put(self, record: KeyRecord) -> None:
        """Insert the record, or replace the one with its id.

        A revocation is final: the earliest `revoked_at` ever written stays, and `last_used_at` never goes
        back, so an editor working on an old copy can neither revive a key nor unsee its use.
        """

    async def revoke(self, key_id: str, at: float) -> bool:
        """Revoke from *at* on, or earlier if it already was; return whether there is such a key."""

    async def deprecate(self, key_id: str, *, replaced_by: str, at: float, expires_at: float) -> bool:
        """Note that another key took the place of this one from *at* on, and end it at *expires_at* if not earlier.

        Returns:
            False, with nothing changed, when there is no such key, or it is revoked or replaced already: of two who
            replace a key at once, one learns that it came too late. A key whose replacement was revoked before anybody
            used it counts as not replaced, so that a replacement nobody ever got can be made again; `deprecated_at` stays.
        """

    async def redigest(self, key_id: str, *, known: bytes, digest: bytes, pepper_id: str) -> bool:
        """Replace the digest if it still is *known*, and nothing else; return whether it was."""

    async def touch(self, key_id: str, at: float) -> None:
        """Note a use at *at*. Never goes back, ignores unknown ids; the one write that a crash may lose."""

    async def list(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[KeyRecord]:
        """Return at most *limit* records with ids above *after*, in the order of their ids (by code point).

        Args:
            tenant: only the keys of this one; None for all.
            after: the last id of the page before.
            limit: at least 1.

        Raises:
            ValueError: *limit* is under 1.
        """

    async def changes_since(self, cursor: int | None) -> tuple[int, Sequence[str] | None]:
        """Tell which keys were written since *cursor*, in this process or in any other; uses do not count.

        Cheap when nothing happened: whoever caches records asks about once a second.

        Args:
            cursor: what the last answer began with, or None for the first time.

        Returns:
            The next cursor, and the ids, which may repeat. In place of the ids None, when not everything that
            happened since is still known: whatever was cached has to go.
        """
