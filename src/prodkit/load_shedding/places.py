"""Places for requests at work, a short queue for those that find none, and streams beside them.

**Who is next.** A better rank goes first. Among equals the one that has waited longest, as is fair, while the queue is what it
is meant for: a burst that is over in a moment. A queue that has not been empty for as long as anybody may wait at all is
standing: more comes than can be served, and whoever has waited longest has the least patience and deadline left. Then the newest
goes first, and nobody waits longer than a tenth of the time; so what is served is served at once, and the others learn soon
that they should come again later. (FIFO would give everybody who is served the longest wait there is.)

**Streams.** A request holds its place until its response begins. What goes on after that, a stream, a socket, background work,
is counted apart, up to a bound of its own; beyond it, it keeps its place, so that the total is bounded whatever comes. Beginnings
are not told but looked for, and only while places are wanting: requests that do not have to wait pay nothing for it.

**Slow bodies.** Who is sent to work and then waits for a body that does not come uses nothing that others want; a few such clients would
else keep everybody out. After a moment their place is free, up to the same bound as for streams; when the body is there they are at work
again, place or not, and nobody else is let in until there are fewer.

Every request is in exactly one state, and whatever ends it ends there: what it held is given back once.

Source: Nichols and Jacobson, Controlling Queue Delay (2012); Maurer, Fail at Scale (2015), for CoDel and adaptive LIFO on
requests.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from prodkit.load_shedding.priority import RANKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.context import RequestContext

__all__ = ["Place", "Places"]

_ENTERED: Final = 0
_AT_WORK: Final = 1
_WAITING: Final = 2
_BEGUN: Final = 3
_REFUSED: Final = 4
_READING: Final = 5

_TICK_SECONDS: Final = 0.01
_STANDING_SHARE: Final = 0.1
# A body within a network is there long before.
_SLOW_BODY_SECONDS: Final = 0.25


class Place:
    """What one request holds or waits for.

    Attributes:
        admitted_at: monotonic seconds at which it got a place, None before.
        rank: see `prodkit.load_shedding.priority`.
        since: monotonic seconds at which it began to wait, or was first seen waiting for its body; None while it is not.
        until: after which it waits no longer.
        turn: done when the waiting is over; whether with a place.
    """

    __slots__ = ("admitted_at", "rank", "since", "state", "turn", "until")

    def __init__(self) -> None:
        self.state = _ENTERED
        self.admitted_at: float | None = None
        self.rank = 0
        self.since: float | None = None
        self.until = math.inf
        self.turn: asyncio.Future[bool] | None = None


class Places:
    """The requests of one process, by what they hold.

    Args:
        most: how many may be at work; also how many may be between their entry and their question for a place.
        queue_length: how many may wait.
        queue_seconds: how long.
        max_streams: how many may go on after their response began, without a place.
        monotonic: seconds.

    Attributes:
        limit: how many may be at work now, at most *most*.
        used, waiting, begun, entered: how many hold a place, wait for one, go on without, or have not asked yet.
        reading: how many wait for the rest of their body, without a place.
        taken: how many got a place without waiting, so far.
        held: every request that is in one of these states.
    """

    def __init__(
        self,
        *,
        most: int,
        queue_length: int,
        queue_seconds: float,
        max_streams: int,
        monotonic: Callable[[], float],
    ) -> None:
        self.limit = most
        self.used = self.waiting = self.begun = self.entered = self.taken = self.reading = 0
        self._most = most
        self._queue_length = queue_length
        self._queue_seconds = queue_seconds
        self._max_streams = max_streams
        self._monotonic = monotonic
        self.held: dict[RequestContext, Place] = {}
        # Dictionaries keep their order, and let go of what stands in their middle.
        self._queue: tuple[dict[Place, None], ...] = tuple({} for _ in range(RANKS))
        self._standing_since: float | None = None
        self._looked_at = -math.inf
        self._ticking: asyncio.AbstractEventLoop | None = None

    # ----------------------------------------------------------------------------------------------------- coming

    def enter(self, context: RequestContext) -> bool:
        """Count *context* in, before anybody knows who it is; False where too many are in that state already."""
        if self.entered >= self._most:
            return False
        self.held[context] = Place()
        self.entered += 1
        return True

    def is_crowded(self) -> bool:
        """Whether there is neither a place nor room to wait for one."""
        if self.used < self.limit or self.waiting < self._queue_length:
            return False
        self._look()
        return self.used >= self.limit and self.waiting >= self._queue_length

    def is_full_for(self, rank: int) -> bool:
        """Whether nobody would make room for a request of *rank*, where it is crowded."""
        return self._worst_behind(rank) is None

    def take(self, place: Place) -> bool:
        """Take a place if there is one that nobody waits for."""
        if self.used >= self.limit or self.waiting or self.reading:
            self._look()
            if self.used >= self.limit or self.waiting:
                return False
        self.entered -= 1
        self.used += 1
        self.taken += 1
        place.state = _AT_WORK
        place.admitted_at = self._monotonic()
        return True

    def queue(
        self, context: RequestContext, place: Place, rank: int, now: float
    ) -> asyncio.Future[bool] | None:
        """Have *context* wait; None where it may not. Somebody of a worse rank makes room for it."""
        if self.waiting >= self._queue_length:
            worst = self._worst_behind(rank)
            if worst is None:
                return None
            # Whoever would be served last of them.
            self._refuse(
                next(iter(self._queue[worst])) if self._is_standing(now) else _last(self._queue[worst])
            )
        loop = asyncio.get_running_loop()
        self.entered -= 1
        self.waiting += 1
        place.state, place.rank, place.since = _WAITING, rank, now
        place.until = now + self._queue_seconds
        deadline = context.deadline
        if deadline is not None and deadline < place.until:
            place.until = deadline
        place.turn = loop.create_future()
        self._queue[rank][place] = None
        if self._standing_since is None:
            self._standing_since = now
        if self._ticking is not loop:  # also where the loop that ticked is gone
            self._ticking = loop
            loop.call_later(_TICK_SECONDS, self._tick, loop)
        return place.turn

    # ------------------------------------------------------------------------------------------------------ going

    def release(self, context: RequestContext) -> Place | None:
        """*context* is over, however it ended: what it held is free."""
        place = self.held.pop(context, None)
        if place is None:
            return None
        state = place.state
        place.state = _REFUSED
        if state == _AT_WORK:
            self.used -= 1
            if self.waiting:
                self.serve()
        elif state == _BEGUN:
            self.begun -= 1
        elif state == _READING:
            self.reading -= 1
        elif state == _ENTERED:
            self.entered -= 1
        elif state == _WAITING:
            self._remove(place)
        return place

    def give_up(self, place: Place) -> None:
        """Whoever waits at *place* is gone; one that was just given a place gives it back at its end."""
        if place.state == _WAITING:
            self._refuse(place)

    def serve(self) -> None:
        """Give what is free to who waits."""
        now = self._monotonic()
        is_standing = self._is_standing(now)
        while self.waiting and self.used < self.limit:
            queue = next(queue for queue in self._queue if queue)
            place = _last(queue) if is_standing else next(iter(queue))
            self._remove(place)
            self.used += 1
            place.state, place.admitted_at, place.since = _AT_WORK, now, None
            _tell(place, granted=True)

    # ------------------------------------------------------------------------------------------------------- time

    def look(self) -> None:
        """Look for responses that have begun, for bodies that do not come, and for waiters whose time is over."""
        now = self._monotonic()
        self._looked_at = now
        for context, place in self.held.items():
            if place.state == _AT_WORK:
                if context.first_byte_at is not None:
                    if self.begun < self._max_streams:
                        place.state = _BEGUN
                        self.used -= 1
                        self.begun += 1
                elif not _is_reading(context):
                    place.since = None
                elif place.since is None:
                    place.since = now
                elif now - place.since >= _SLOW_BODY_SECONDS and self.reading < self._max_streams:
                    place.state = _READING
                    self.used -= 1
                    self.reading += 1
            elif place.state == _READING and not _is_reading(context):
                place.state, place.since = _AT_WORK, None
                self.reading -= 1
                self.used += 1
        if self.waiting:
            longest = self._queue_seconds * (_STANDING_SHARE if self._is_standing(now) else 1.0)
            for queue in self._queue:
                for place in [one for one in queue if now >= min(one.until, (one.since or 0.0) + longest)]:
                    self._refuse(place)
            self.serve()

    def has_room_for_sockets(self) -> bool:
        """Whether one more may go on without a place."""
        if self.begun < self._max_streams:
            self._look()
        return self.begun < self._max_streams

    def _look(self) -> None:
        # Each look goes past everybody: not on every request of a flood.
        if self._monotonic() - self._looked_at >= _TICK_SECONDS:
            self.look()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._ticking is not loop:
            return
        self.look()
        if self.waiting:
            loop.call_later(_TICK_SECONDS, self._tick, loop)
        else:
            self._ticking = None

    def _is_standing(self, now: float) -> bool:
        since = self._standing_since
        return since is not None and now - since > self._queue_seconds

    def _worst_behind(self, rank: int) -> int | None:
        """The worst rank of which somebody waits, if it is worse than *rank*."""
        return next((worse for worse in range(RANKS - 1, rank, -1) if self._queue[worse]), None)

    def _refuse(self, place: Place) -> None:
        self._remove(place)
        place.state = _REFUSED
        _tell(place, granted=False)

    def _remove(self, place: Place) -> None:
        del self._queue[place.rank][place]
        self.waiting -= 1
        if not self.waiting:
            self._standing_since = None


def _is_reading(context: RequestContext) -> bool:
    """Whether it waits for the rest of its body; a WebSocket has none."""
    return getattr(context, "is_reading", False)


def _last(queue: dict[Place, None]) -> Place:
    return next(reversed(queue))


def _tell(place: Place, *, granted: bool) -> None:
    turn: Any = place.turn
    if (
        turn is not None and not turn.done()
    ):  # else it was cancelled, and its end gives back what it was given
        turn.set_result(granted)
