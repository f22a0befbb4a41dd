"""What goes on beside the runs: leases are extended, those of dead processes reaped, and lost verbs said again.

One task for each process, started with the first envelope: an application that meters nothing has none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar
from weakref import WeakSet

from prodkit.core.exceptions import StoreError, StoreUnavailableError
from prodkit.metering.notes import Notes
from prodkit.stores.ledger import LedgerConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from prodkit.core.clock import Clock
    from prodkit.core.events import CostSaved
    from prodkit.stores.ledger import BudgetAsk, LedgerStore, Reaped

__all__ = ["Keeper", "Unfinished", "Watched", "note_of"]

T = TypeVar("T")

LOGGER = logging.getLogger("prodkit.metering")

MAX_UNFINISHED: Final = 10_000
"""Verbs kept while the ledger is away, about 1 KiB each. Of what is dropped beyond it, the estimate is charged when the
lease ends: nothing is lost but exactness."""

_WRITTEN_LATE: Final = "spent while the ledger was away, and written down when it was back"
_FIRST_RETRY_SECONDS: Final = 0.1
_CLOSING_SECONDS: Final = 5.0
# Holds of one transaction; other writers wait meanwhile.
_BATCH: Final = 500
_REAPED: Final = 100


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A verb that the ledger has to hear, now or later.

    Attributes:
        verb: of `LedgerStore`.
        hold: its id.
        amount_nano, units, estimated, attributes: of `settle` and `adjust`; of `cached`, the amount is what was saved.
        certain: whether the hold is known to be in the ledger; else it is no fault if it is not.
        asks: of `adjust`, which writes down late what was spent while the ledger was away.
    """

    verb: Literal["settle", "presume", "release", "adjust", "cached"]
    hold: str
    amount_nano: int = 0
    units: Mapping[str, int] = field(default_factory=dict)
    estimated: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    certain: bool = True
    asks: tuple[BudgetAsk, ...] = ()

    async def say(self, ledger: LedgerStore) -> None:
        """Have *ledger* do it."""
        if self.verb == "settle":
            await ledger.settle(
                self.hold,
                self.amount_nano,
                units=self.units,
                estimated=self.estimated,
                attributes=self.attributes,
            )
        elif self.verb == "presume":
            await ledger.presume(self.hold)
        elif self.verb == "adjust":
            await ledger.adjust(
                self.hold,
                self.amount_nano,
                reason=_WRITTEN_LATE,
                asks=self.asks,
                attributes=self.attributes,
                units=self.units,
            )
        elif self.verb == "cached":
            await ledger.cached(self.hold, self.amount_nano, units=self.units, attributes=self.attributes)
        else:
            await ledger.release(self.hold)


def note_of(saved: CostSaved) -> Unfinished:
    """What the ledger has to hear of *saved*."""
    return Unfinished(
        "cached",
        saved.entry,
        amount_nano=saved.saved_nano,
        units=saved.units,
        attributes=saved.attributes,
    )


class Watched(Protocol):
    """Something whose holds live as long as it is watched."""

    @property
    def open_ids(self) -> list[str]:
        """Holds whose leases have to be extended."""

    def open_states(self) -> Mapping[str, int]:
        """How many of them are in which state."""


class Keeper:
    """Keeps the holds of this process alive while they live, and closes those nobody keeps.

    Args:
        ledger: where the holds are.
        clock: `monotonic` paces it.
        lease_seconds: how long a hold outlives its process; extended three times within that.
        reap_interval_seconds: how often expired holds are looked for.
        on_reaped: told what was closed.
        on_failure: told the verb, and the error where it is a fault of ours and not the store being away.
    """

    def __init__(
        self,
        ledger: LedgerStore,
        clock: Clock,
        *,
        lease_seconds: float,
        reap_interval_seconds: float,
        on_reaped: Callable[[Reaped], None],
        on_failure: Callable[[str, Exception | None], None],
    ) -> None:
        self._ledger = ledger
        self._monotonic = clock.monotonic
        self._lease_seconds = lease_seconds
        self._reap_interval = reap_interval_seconds
        self._on_reaped = on_reaped
        self._on_failure = on_failure
        # Weak: an envelope that nobody can close any more loses its lease, as if its process had died.
        self._watched: WeakSet[Watched] = WeakSet()
        # An event loop in another thread may open envelopes while this one goes through them.
        self._watching = Lock()
        self._unfinished: deque[Unfinished] = deque()
        self._notes: Notes[Unfinished] = Notes(on_failure)
        self._open_holds: dict[str, int] = {}
        self._is_behind = False
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._extended_at = self._reaped_at = clock.monotonic()
        self._tasks: set[asyncio.Task[Any]] = set()  # Any: each returns what its verb does
        self._loop: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None

    @property
    def unfinished(self) -> int:
        """How many verbs the ledger has not heard yet."""
        return len(self._unfinished)

    @property
    def open_holds(self) -> dict[str, int]:
        """How many envelopes and calls were open here at the last round; read by other threads."""
        return self._open_holds

    def _count_open(self) -> None:
        count = Counter({"held": 0, "dispatched": 0})
        for watched in self._all_watched():
            count.update(watched.open_states())
        self._open_holds = dict(count)

    def _all_watched(self) -> list[Watched]:
        with self._watching:
            return list(self._watched)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for the ledger that nothing should be begun that has to wait too."""
        return len(self._unfinished) >= MAX_UNFINISHED // 2

    @property
    def is_running(self) -> bool:
        """Whether its task is at work; one event loop of a process is enough, where there are several."""
        loop = self._loop
        # Each test client brings an event loop of its own, and its end takes the task along.
        return loop is not None and not loop.done() and loop.get_loop().is_running()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *coroutine* apart from its caller, held until it is done."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self) -> None:
        """Begin, unless it has begun."""
        if not self.is_running:
            self._wake = asyncio.Event()
            self._loop = asyncio.create_task(self._run(self._wake), name="prodkit ledger keeper")

    def watch(self, watched: Watched) -> None:
        """Extend the leases of *watched* until it is forgotten or collected."""
        with self._watching:
            self._watched.add(watched)
        self.start()

    def forget(self, watched: Watched) -> None:
        """Leave the leases of *watched* to their end."""
        with self._watching:
            self._watched.discard(watched)

    def failed(self, verb: str, error: Exception | None = None) -> None:
        """Count that *verb* was not answered."""
        self._on_failure(verb, error)

    async def do(self, unfinished: Unfinished) -> None:
        """Say it to the ledger now; where that does not answer, again until it does.

        Raises:
            LedgerConflictError: it contradicts what the ledger knows.
            ValueError: an argument is none a ledger takes.
        """
        try:
            await unfinished.say(self._ledger)
        except LedgerConflictError as error:
            self._on_failure(unfinished.verb, error)
            raise
        except StoreError as error:
            self._on_failure(unfinished.verb, None if isinstance(error, StoreUnavailableError) else error)
            if not self._is_behind:
                self._is_behind = True
                LOGGER.warning(
                    "the ledger does not answer; what it did not hear is kept and said again: %s", error
                )
            self.later(unfinished)

    def later(self, unfinished: Unfinished) -> None:
        """Say it as soon as the ledger answers. Bounded: see `MAX_UNFINISHED`.

        What is only `cached` waits apart: it is no money, comes as fast as a cache can answer, and must not push out what is.
        """
        if unfinished.verb == "cached":
            self._notes.add(unfinished)
            self._awake()
            return
        if len(self._unfinished) >= MAX_UNFINISHED:
            # Not what was spent unseen, if there is anything else: no lease charges that.
            dropped = next((one for one in self._unfinished if one.verb != "adjust"), self._unfinished[0])
            self._unfinished.remove(dropped)
            self._on_failure("dropped", None)
            LOGGER.error(
                "too many verbs wait for the ledger; %s of %s is dropped", dropped.verb, dropped.hold
            )
        self._unfinished.append(unfinished)
        self._awake()

    def undo(self, verb: str, done: asyncio.Task[Any], unfinished: Unfinished) -> None:
        """Say *unfinished* later, unless *verb*, whose caller has gone, is *done* and has provably made nothing."""
        error = None if done.cancelled() else done.exception()
        if isinstance(error, LedgerConflictError | ValueError):
            return  # a hold of that id is somebody else's
        if isinstance(error, Exception):
            self._on_failure(verb, None if isinstance(error, StoreUnavailableError) else error)
        self.later(unfinished)

    def _awake(self) -> None:
        """Have a round begin, also when told by a thread that has no event loop; where there is none at all, by the next envelope."""
        try:
            present = asyncio.get_running_loop()
        except RuntimeError:
            present = None
        if present is not None:
            self.start()
        loop, wake = self._loop, self._wake
        if loop is None or wake is None:
            return
        if loop.get_loop() is present:
            wake.set()
        elif self.is_running:
            with suppress(RuntimeError):  # it was closed just now
                loop.get_loop().call_soon_threadsafe(wake.set)

    # ------------------------------------------------------------------------------------------- the task

    async def _run(self, wake: asyncio.Event) -> None:
        while True:
            pause = min(self._reap_interval, self._lease_seconds / 3)
            if self._unfinished or self._notes:
                pause = min(pause, self._retry_seconds)
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
                wake.clear()
                # A moment later, so that what comes together is said together.
                await asyncio.sleep(min(pause, self._retry_seconds) if self._unfinished or self._notes else 0)
            except TimeoutError:
                pass
            await self.beat()

    async def beat(self) -> None:
        """One round: say what was lost, extend, reap; each as far as the ledger answers."""
        self._count_open()
        await self._guarded("retry", self._finish(self._lease_seconds / 6))
        await self._guarded("cached", self._notes.say(self._ledger))
        now = self._monotonic()
        if now - self._extended_at >= self._lease_seconds / 3:
            await self._guarded("extend", self._extend(now))
        if now - self._reaped_at >= self._reap_interval:
            self._reaped_at = now
            await self._guarded("reap", self._reap())

    async def _guarded(self, verb: str, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except StoreUnavailableError:
            self._on_failure(verb, None)
        except Exception as error:  # noqa: BLE001  a round that fails must not end the rounds: it is reported
            self._on_failure(verb, error)

    async def _finish(self, seconds: float) -> None:
        """Say what waits, for so long: leases have to be extended in between."""
        fault = None
        until = self._monotonic() + seconds
        for _ in range(len(self._unfinished)):
            if not self._unfinished or self._monotonic() >= until:
                break
            unfinished = self._unfinished[0]
            try:
                await unfinished.say(self._ledger)
            except (LedgerConflictError, ValueError) as error:
                # Saying it again would not help.
                if unfinished.certain:
                    self._on_failure(unfinished.verb, error)
            except StoreUnavailableError:
                self._retry_seconds = min(2 * self._retry_seconds, self._reap_interval)
                raise
            except Exception as error:  # noqa: BLE001  raised below: of one hold, it must not keep back the others
                fault = error
                if self._unfinished and self._unfinished[0] is unfinished:
                    self._unfinished.rotate(-1)
                continue
            if self._unfinished and self._unfinished[0] is unfinished:  # else it was dropped meanwhile
                self._unfinished.popleft()
            self._retry_seconds = _FIRST_RETRY_SECONDS
        if fault is not None:
            self._retry_seconds = min(2 * self._retry_seconds, self._reap_interval)
            raise fault
        if self._is_behind and not self._unfinished:
            self._is_behind = False
            LOGGER.info("the ledger has heard everything again")

    async def _extend(self, now: float) -> None:
        ids = [hold for watched in self._all_watched() for hold in watched.open_ids]
        for start in range(0, len(ids), _BATCH):
            await self._ledger.extend(ids[start : start + _BATCH], self._lease_seconds)
        self._extended_at = now  # not after a failure: the next round tries again

    async def _reap(self) -> None:
        while True:
            reaped = await self._ledger.reap(limit=_REAPED)
            if reaped.released or reaped.presumed:
                self._on_reaped(reaped)
            if len(reaped.released) + len(reaped.presumed) < _REAPED:
                return

    async def aclose(self) -> None:
        """Stop; wait for verbs under way and say the lost ones once more, at most some seconds long."""
        if self._loop is not None and self.is_running:
            if self._loop.get_loop() is asyncio.get_running_loop():
                self._loop.cancel()
                await asyncio.wait([self._loop])
            else:
                self._loop.get_loop().call_soon_threadsafe(self._loop.cancel)
        self._loop = None
        here = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        if here:
            await asyncio.wait(here, timeout=_CLOSING_SECONDS)
        # Time may not be enough for all, and for what was spent unseen there is no lease.
        self._unfinished = deque(sorted(self._unfinished, key=lambda one: one.verb != "adjust"))
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._guarded("retry", self._finish(_CLOSING_SECONDS))
                await self._guarded("cached", self._notes.say(self._ledger, everything=True))
        except TimeoutError:
            self._on_failure("retry", None)
        if self._unfinished:
            LOGGER.error(
                "the ledger did not hear %d verbs before the end of this process; their estimates will be charged, "
                "but nothing of the %d that were spent while it was away",
                len(self._unfinished),
                sum(one.verb == "adjust" for one in self._unfinished),
            )
