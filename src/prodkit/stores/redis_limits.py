"""Limits in Redis: shared by every worker of every machine."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.coalescing import Coalescer
from prodkit.stores.redis_library import ResponseError, key_slot
from prodkit.stores.redis_limits_wire import AgainError, Packer, partition, state_keys, unpack
from prodkit.stores.redis_link import RedisLink, Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.core.features import HealthResult
    from prodkit.stores import Ask, Decision, Rule, Settlement
    from prodkit.stores.redis_limits_wire import Answer, Parcel

__all__ = ["RedisRateLimitStore"]

# One script, in files that can be read one at a time.
_PARTS: Final = (
    "limits_time",
    "limits_buckets",
    "limits_windows",
    "limits_moving",
    "limits_permits",
    "limits",
)
_RESET: Final = Script.load("limits_reset")
_MOST_NODES: Final = 1000
_SETTLED_TOGETHER: Final = 100
_SHORTEST_SECONDS: Final = 0.001


def _load() -> Script:
    text = "\n".join(Script.load(name).text for name in _PARTS)
    return Script("limits", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_LIMITS: Final = _load()


class RedisRateLimitStore:
    """Every kind of rule in one Redis; any number of processes on any number of machines admit exactly what one would.

    What concurrent requests ask travels together, as one call of a script that decides them one after the other; a request
    that finds nothing under way leaves at once. Time is that of the server, so the clocks of the workers do not matter. Each
    key expires as soon as what it says means nothing more.

    On a cluster all that is decided in one call has to be of one partition, so that it is on one machine; each machine is
    asked on its own, and a slow one does not hold up the others.

    What it cannot promise:

    * A call that was not answered in time may have been carried out all the same, and may yet be.
    * A failover forgets what the replica had not received yet, usually the last milliseconds: as much more is admitted, and
      a permit taken in that time is not known any more. A replica whose clock is behind finds states of the future: buckets
      and moving windows are cut to what they could have at most, and windows of another time count for nothing.
    * A server that evicts (`maxmemory-policy` other than `noeviction`) forgets whom it likes: that caller starts afresh.
      With `noeviction` a full server refuses, and the failure policy of the limit decides.
    * A restart without a snapshot or a log forgets everything.

    Args:
        redis: where the server is, or the link to it.
        clock: where `wall` is read, in place of the server's own clock; for tests.
        timeout_seconds: the longest any verb may take, the time it waits for others included. 0.1: a healthy server answers
            in under 1 ms, and a request that waits longer for its limiter than for its work is badly served.
    """

    def __init__(
        self, redis: RedisLink | str, *, clock: Clock | None = None, timeout_seconds: float = 0.1
    ) -> None:
        """Open nothing yet."""
        self._link = (
            RedisLink.shared(redis, timeout_seconds=timeout_seconds) if isinstance(redis, str) else redis
        )
        self._timeout_seconds = timeout_seconds
        self._wall: Callable[[], float] | None = None if clock is None else clock.wall
        self._packer = Packer((clock or SYSTEM_CLOCK).wall)
        self._only: Coalescer[Parcel, Answer] = self._coalescer(self._send)
        self._nodes: dict[str, Coalescer[Parcel, Answer]] = {}

    @property
    def is_partitioned(self) -> bool:
        """See `RateLimitStore.is_partitioned`: of a cluster."""
        return self._link.is_cluster

    def hit_many(self, asks: Sequence[Ask]) -> tuple[Decision, ...] | Awaitable[tuple[Decision, ...]]:
        """See `RateLimitStore.hit_many`; an awaitable, but for no asks at all.

        Raises:
            StoreIncompatibleError: what is kept under one of the keys was not written here. Nothing was consumed.
        """
        if not asks:
            return ()
        parcel = self._packer.pack(asks)
        coalescer = self._only
        if self._link.is_cluster:
            self._require_one_partition(asks)
            coalescer = self._coalescer_of(parcel)
        for _, rule, _ in asks:
            if rule.code == "c":
                return self._ask_by_calendar(lambda: self._packer.pack(asks), [rule for _, rule, _ in asks])
        return coalescer.ask(parcel)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `RateLimitStore.settle`; one round trip with what others ask, on a cluster one for each partition."""
        groups: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            if settlement[2]:
                place = partition(settlement[0]) if self._link.is_cluster else ""
                groups.setdefault(place, []).append(settlement)
        waits = [
            self._settle(group[start : start + _SETTLED_TOGETHER])
            for group in groups.values()
            for start in range(0, len(group), _SETTLED_TOGETHER)
        ]
        if len(waits) == 1:
            await waits[0]
            return
        for answer in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer

    async def peek(self, key: str, rule: Rule) -> Decision:
        """See `RateLimitStore.peek`."""
        return (await self._ask_by_calendar(lambda: self._packer.pack_look(key, rule), [rule]))[0]

    async def reset(self, key: str) -> None:
        """See `RateLimitStore.reset`."""
        await self._link.run(_RESET, state_keys(key), timeout_seconds=self._timeout_seconds)

    async def check(self) -> HealthResult | None:
        """See `Store.check`."""
        return await self._link.check()

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        coalescers = [self._only, *self._nodes.values()]
        self._nodes.clear()
        for coalescer in coalescers:
            await coalescer.aclose()
        await self._link.aclose()

    # ------------------------------------------------------------------------------ sending

    async def _ask_by_calendar(self, pack: Callable[[], Parcel], rules: Sequence[Rule]) -> Answer:
        """Send what may depend on a calendar, and once more if the server's clock reads another time than we thought."""
        for _ in range(2):
            parcel = pack()
            try:
                return await self._coalescer_of(parcel).ask(parcel)
            except AgainError as error:
                self._packer.correct(rules, error.now_us)
        message = "the clock of the store jumps"
        raise StoreUnavailableError(message)

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        await self._ask_by_calendar(
            lambda: self._packer.pack_settlements(settlements), [rule for _, rule, _, _ in settlements]
        )

    def _coalescer(
        self, send: Callable[[list[Parcel], float], Awaitable[Sequence[Answer | Exception]]]
    ) -> Coalescer[Parcel, Answer]:
        return Coalescer(send_by=send, timeout_seconds=self._timeout_seconds)

    def _coalescer_of(self, parcel: Parcel) -> Coalescer[Parcel, Answer]:
        if not self._link.is_cluster:
            return self._only
        node = self._link.node_of(parcel[0][0])
        coalescer = self._nodes.get(node)
        if coalescer is None:
            if len(self._nodes) >= _MOST_NODES:
                self._nodes.clear()  # machines come and go; who is on the way is answered all the same
            coalescer = self._nodes[node] = self._coalescer(self._send_by_slot)
        return coalescer

    async def _send(self, parcels: list[Parcel], deadline: float) -> Sequence[Answer | Exception]:
        try:
            reply: Any = await self._link.run(*self._call(parcels), timeout_seconds=_until(deadline))
        except ResponseError as error:
            raise _unrunnable(error) from error
        return unpack(parcels, reply)

    async def _send_by_slot(self, parcels: list[Parcel], deadline: float) -> Sequence[Answer | Exception]:
        """A machine of a cluster runs a script on keys of one slot only; what is for one machine is sent together."""
        slots: dict[int, list[int]] = {}
        for index, parcel in enumerate(parcels):
            slots.setdefault(key_slot(parcel[0][0].encode()), []).append(index)
        if len(slots) == 1:
            return await self._send(parcels, deadline)
        groups = [[parcels[index] for index in indexes] for indexes in slots.values()]
        replies = await self._link.run_many(
            [self._call(group) for group in groups], timeout_seconds=_until(deadline)
        )
        answers: list[Any] = [None] * len(parcels)
        for group, indexes, reply in zip(groups, slots.values(), replies, strict=True):
            if isinstance(reply, ResponseError):
                of_group: Sequence[Any] = [_unrunnable(reply)] * len(group)
            else:
                of_group = [reply] * len(group) if isinstance(reply, Exception) else unpack(group, reply)
            for index, answer in zip(indexes, of_group, strict=True):
                answers[index] = answer
        return answers

    def _call(self, parcels: Sequence[Parcel]) -> tuple[Script, list[str], tuple[bytes, bytes]]:
        keys: list[str] = []
        for of_parcel, _, _, _ in parcels:
            keys += of_parcel
        now = b"" if self._wall is None else b"%d" % int(self._wall() * 1e6)
        return _LIMITS, keys, (b"".join([body for _, body, _, _ in parcels]), now)

    def _require_one_partition(self, asks: Sequence[Ask]) -> None:
        first = partition(asks[0][0])
        for key, _, _ in asks:
            if partition(key) != first:
                message = "on a cluster only asks of one partition can be decided together"
                raise ValueError(message)


def _until(deadline: float) -> float:
    """Seconds left, above 0: the link is to see that it is too late, and to draw its conclusions."""
    return max(deadline - asyncio.get_running_loop().time(), _SHORTEST_SECONDS)


def _unrunnable(error: ResponseError) -> StoreIncompatibleError:
    return StoreIncompatibleError(f"the server cannot run our script: {error}")
