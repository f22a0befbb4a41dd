"""Shared state behind atomic verbs: the protocols, and the values they take and return.

A store promises verbs, never storage: there is no get and set from which two workers could build a race. The
implementations are modules beside this one (`memory`, `sqlite`), opened by URL with
`prodkit.stores.urls.open_store`; `prodkit.testing` holds the contract suite that every one of them passes,
and that yours can pass too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from prodkit.stores.rules import (
    CalendarWindow,
    FixedWindow,
    MovingWindow,
    Permit,
    Rate,
    Rule,
    SlidingWindow,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from prodkit.core.features import HealthResult

__all__ = [
    "Ask",
    "CalendarWindow",
    "Decision",
    "FixedWindow",
    "ImmediateStore",
    "KeyRecord",
    "KeyStore",
    "MovingWindow",
    "ParticularStore",
    "Permit",
    "Rate",
    "RateLimitStore",
    "Rule",
    "Settlement",
    "SlidingWindow",
    "Store",
]

Ask: TypeAlias = "tuple[str, Rule, int]"
"""One question: key, rule, cost. A plain tuple because at least one is made on every request.

Cost 0 looks without consuming; a `Permit` costs 1. A key may be any text; it should be short, bounded in length by the
caller of the store, and hold no credential or address in the clear. What stands in it between the first `{` and the next `}`
is its *partition*, as in Redis Cluster: see `RateLimitStore.is_partitioned`.
"""

Settlement: TypeAlias = "tuple[str, Rule, int, int]"
"""What an admitted ask turned out to cost: key, rule, what is added to its cost (negative gives back), `Decision.at_ns`."""


@dataclass(slots=True)
class Decision:
    """What became of one ask.

    Not frozen: a frozen dataclass costs several times as much to build, and one is built on every request.

    Attributes:
        allowed: whether this ask fits. Something was consumed only if *every* binding ask of the call fits, or where the rule
            counts what is denied.
        remaining: whole units left after this call, from 0 to the most that the rule admits at once; of a permit the free
            places.
        reset_seconds: seconds until everything is there again if nothing more is asked; 0.0 when it is. Of a fixed or calendar
            window, seconds until it begins anew. Of a permit 0.0: nobody knows.
        retry_seconds: 0.0 when allowed; else seconds until the same ask fits if nothing else is consumed,
            rounded up by at most 2 microseconds so that waiting just that long is enough; `math.inf` when the
            cost can never fit. Of a permit a guess, at most 1 second.
        at_ns: when it was decided, in nanoseconds of the store's own clock; what `RateLimitStore.settle` wants to know.
        queued: which place in the queue a permit has, from 1; 0 when it does not wait in one.
    """

    allowed: bool
    remaining: int
    reset_seconds: float
    retry_seconds: float
    at_ns: int = 0
    queued: int = 0


@runtime_checkable
class Store(Protocol):
    """What every store can do besides its verbs."""

    async def check(self) -> HealthResult | None:
        """Return if the store can do its work now, reads and writes.

        Returns:
            What an operator should know although it works, e.g. that a restart of the server forgets everything; else None.

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
    """What was used, one state for each key and kind of rule.

    A key that was never asked about has used nothing. Different kinds of rules never see one another's state, also under the
    same key. A key belongs to one rate at a time: asked with a smaller one, its bucket counts as overdrawn by at most one burst
    of that rate and refills from there. And to windows of one length: asked with another one, what was counted may be forgotten,
    so whoever has several puts the length into the key. Every verb raises `StoreUnavailableError` when the store does not answer within its
    bound; what happens to the request then is a setting of the feature, not of the store.
    """

    @property
    def is_partitioned(self) -> bool:
        """Whether only asks of one partition can be decided together; see `Ask`."""

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Awaitable[tuple[Decision, ...]]:
        """Consume the cost of every ask if all binding ones fit, and nothing at all otherwise.

        Of asks that are not binding those consume that fit, where the call is admitted. Where it is refused, asks whose rule
        counts what is denied consume all the same, as far as there is something left.

        Returns:
            One decision per ask, in order. A store that needs no I/O returns the tuple itself, any other an
            awaitable of it; `if type(answer) is not tuple: answer = await answer` serves both and costs the
            fast one no coroutine. In a refused call `remaining` and `reset_seconds` describe the untouched
            buckets, and `allowed` tells which asks would have fitted. Asks of one call that share a key are
            counted one after the other.

        Raises:
            ValueError: a cost is negative, that of a permit is not 1, or the store is partitioned and the asks are not of one
                partition.
            StoreUnavailableError: no answer within the bound. The cost may or may not have been consumed.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Add to, or give back of, what admitted asks have cost, where that still counts.

        What is added is taken also where it does not fit: a window counts beyond its limit, a bucket is overdrawn by at most
        one burst. What is given back never makes more than everything. A permit is settled with -1: its place is free, or its
        wait is over. What nothing is known of (any more) is ignored. Settlements are independent of one another, so they may be
        of any partitions.

        Raises:
            StoreUnavailableError: no answer within the bound; some may have been settled.
        """

    async def peek(self, key: str, rule: Rule) -> Decision:
        """Tell what an ask of cost 1 would get now, without consuming; `remaining` is what is left now."""

    async def reset(self, key: str) -> None:
        """Forget what was used under *key*, by every kind of rule; places that are taken become free."""


@runtime_checkable
class ImmediateStore(Protocol):
    """What a store that answers without I/O may offer in addition, for the path of every request."""

    def admit(self, key: str, rate: Rate, cost: int) -> int | None:
        """Consume *cost* and return the nanoseconds until the bucket is full again, if that is quickly decided.

        None means that nothing was consumed and `hit_many` has to be asked: the ask is refused, or it is not an everyday
        one. What is admitted is exactly what `hit_many` would have admitted.
        """


@runtime_checkable
class ParticularStore(Protocol):
    """What a store offers in addition that cannot decide by every rule, so that a policy is refused before requests come."""

    def require(self, rule: Rule, *, settles: bool = False) -> None:
        """Return if it can decide by *rule*, and settle what was consumed if *settles*.

        Raises:
            ValueError: it cannot; says what to do, after a bar.
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
