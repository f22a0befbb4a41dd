"""What load shedding decides on a request: at the edge, before anything is spent on it, and again when its caller is known.

At the edge everything is refused of which it is certain already: the loop is late, no thread is to be had, or neither a place nor
the queue has room for the best that the request may turn out to be. So a refusal touches no store and verifies no credential.
What is uncertain there, because a verified caller would go first, is decided in ADMISSION.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette._utils import is_async_callable

from prodkit.core.asgi import Answer
from prodkit.core.events import RequestFinished
from prodkit.core.features import Sample
from prodkit.core.identity import Authenticator
from prodkit.core.pipeline.leaving import look_out
from prodkit.load_shedding.adaptive import AdaptiveLimit
from prodkit.load_shedding.lag import LoopLag
from prodkit.load_shedding.places import Place, Places
from prodkit.load_shedding.priority import Priorities
from prodkit.load_shedding.refusing import Refusals

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit, Observer
    from prodkit.load_shedding import LoadSheddingSettings

__all__ = ["Shedder"]

# By rank: how much of a limit on lag or waiting threads a request endures. Half for the background; anonymous callers leave the
# last quarter to known ones, where the two can be told apart.
_ENDURED: Final = (2.0, 2.0, 1.0, 0.75, 0.5, 0.5)
_LEAST_ENDURED: Final = 0.5


class Shedder:
    """Decides for one application.

    Args:
        settings: see `LoadSheddingSettings`.
        kit: what is installed.

    Attributes:
        asks_again: whether there is something to decide once the caller is known.
    """

    def __init__(self, settings: LoadSheddingSettings, kit: Kit) -> None:
        self._kit = kit
        self._monotonic = monotonic = kit.clock.monotonic
        authenticators = kit.all(Authenticator)  # type: ignore[type-abstract] # looked for by protocol
        self._priorities = Priorities(kit, monotonic, authenticators)
        self.refusals = Refusals(kit, settings.retry_after_seconds, self._state)
        self._counts = self.refusals.counts
        self._seen = 0
        self._endured = _ENDURED if self._priorities.tells_callers_apart else (2.0, 2.0, 1.0, 1.0, 0.5, 0.5)
        lag = settings.max_loop_lag_seconds
        self._lag = None if lag is None else LoopLag(lag, monotonic)
        self._some_lag = (lag or 0.0) * _LEAST_ENDURED
        self._max_waiting_threads = settings.max_waiting_threads
        self._waiting_threads = 0
        self._places: Places | None = None
        self._adaptive: AdaptiveLimit | None = None
        most = settings.max_in_flight
        if most is not None:
            self._places = Places(
                most=most,
                queue_length=most if settings.queue_length is None else settings.queue_length,
                queue_seconds=settings.queue_seconds,
                max_streams=settings.max_streams,
                monotonic=monotonic,
            )
            if settings.adaptive:
                self._adaptive = AdaptiveLimit(settings.min_in_flight, most, monotonic)
                self._places.limit = self._adaptive.limit
        self.asks_again = self._places is not None or (
            (self._lag is not None or self._max_waiting_threads is not None)
            and self._priorities.tells_callers_apart
        )

    @property
    def observers(self) -> Sequence[Observer]:
        """Where a place is given back: told once of every request, whatever became of it."""
        return () if self._places is None else [(RequestFinished, self.finished)]

    # ----------------------------------------------------------------------------------------------------- guards

    def at_edge(self, context: RequestContext) -> Answer | None:
        """Refuse what is certain to be refused."""
        self._seen += 1
        lag = self._lag
        if lag is not None:
            now = context.started_at if context.kit is self._kit else self._monotonic()
            waited = lag.waited(now)
            if waited > self._some_lag:
                rank = self._priorities.best_rank(context)
                if self._is_beyond(waited / lag.limit_seconds, rank, "loop_lag"):
                    return self.refusals.answer(context, "loop_lag")
        most = self._max_waiting_threads
        if most is not None and self._lacks_threads(context, most, self._priorities.best_rank):
            return self.refusals.answer(context, "threads")
        return None if self._places is None else self._enter(context, self._places)

    def at_admission(self, context: RequestContext) -> Answer | Awaitable[Answer | None] | None:
        """Give *context* a place, have it wait for one, or refuse it."""
        if self._priorities.tells_callers_apart and context.principal.is_anonymous:
            policy = self._undeserved(context)
            if policy is not None:
                return self.refusals.answer(context, policy)
        places = self._places
        if places is not None:
            place = places.held.get(context)
            found_one = place is None or places.take(place)
            if self._adaptive is not None and places.used > self._adaptive.peak:
                self._adaptive.peak = places.used
            if place is not None and not found_one:
                return self._without_place(context, places, place)
        return None

    def finished(self, event: RequestFinished) -> None:
        """A request is over."""
        places, adaptive, context = self._places, self._adaptive, event.context
        if places is None:
            return
        place = places.release(context)
        if adaptive is None or place is None or place.admitted_at is None or event.kind != "http":
            return
        if event.outcome == "timeout":
            adaptive.note_timeout()
        elif event.outcome == "ok" and context.first_byte_at is not None:
            adaptive.note(event.route, context.first_byte_at - place.admitted_at)
        if places.limit != adaptive.limit:
            places.limit = adaptive.limit
            if places.waiting:
                places.serve()

    # ------------------------------------------------------------------------------------------------------ parts

    def _enter(self, context: RequestContext, places: Places) -> Answer | None:
        if places.is_crowded():
            rank = self._priorities.best_rank(context)
            if places.is_full_for(rank):
                return self.refusals.answer(context, "in_flight")
        if (context.scope or {}).get("type") == "websocket" and not places.has_room_for_sockets():
            return self.refusals.answer(context, "streams")
        if not places.enter(context):
            return self.refusals.answer(context, "in_flight")
        if (
            context.kit is not self._kit
        ):  # inside another application: its end is told to that one's observers only
            context.on_end(partial(self._ended_inside, context))
        return None

    def _ended_inside(self, context: RequestContext) -> None:
        if self._places is not None:
            self._places.release(context)

    def _without_place(
        self, context: RequestContext, places: Places, place: Place
    ) -> Answer | Awaitable[Answer | None]:
        turn = places.queue(context, place, self._priorities.rank(context), self._monotonic())
        if turn is None:
            return self.refusals.answer(context, "in_flight")
        return self._wait(context, places, place, turn)

    async def _wait(
        self, context: RequestContext, places: Places, place: Place, turn: asyncio.Future[bool]
    ) -> Answer | None:
        # A client that leaves meanwhile should not be given a place. Cancelled, the request ends, and `finished` sees to it.
        lookout = look_out(context, partial(places.give_up, place))
        try:
            granted = await turn
        finally:
            if lookout is not None:
                await lookout.stop()
        if granted:
            self._counts["in_flight", "degraded"] += 1
            return None
        if lookout is not None and lookout.is_gone:
            return Answer(503)  # nobody hears it
        return self.refusals.answer(context, "in_flight")

    def _undeserved(self, context: RequestContext) -> str | None:
        """By what *context* is refused that was let in because a credential might have been good, and is anonymous after all."""
        lag = self._lag
        if lag is not None:
            waited = lag.pending(context.started_at)
            if waited > self._some_lag:
                rank = self._priorities.rank(context)
                if waited / lag.limit_seconds > self._endured[rank]:
                    return "loop_lag"
        most = self._max_waiting_threads
        if most is not None and self._lacks_threads(context, most, self._priorities.rank):
            return "threads"
        return None

    def _lacks_threads(
        self, context: RequestContext, most: int, rank_of: Callable[[RequestContext], int]
    ) -> bool:
        """Whether *context* would wait for a thread behind too many others."""
        limiter = anyio.to_thread.current_default_thread_limiter()
        if limiter.available_tokens > 0:
            self._waiting_threads = 0
            return False
        waiting = self._waiting_threads = limiter.statistics().tasks_waiting
        share = (waiting + 1) / most
        if share <= _LEAST_ENDURED:
            return False
        routes, scope = self._kit.routes, context.scope
        endpoint = None if routes is None or scope is None else routes.find(scope)
        if endpoint is not None and is_async_callable(endpoint):
            return False
        return self._is_beyond(share, rank_of(context), "threads")

    def _is_beyond(self, share: float, rank: int, policy: str) -> bool:
        """Whether *share* of a limit is more than *rank* endures; that it endures more than the limit is counted."""
        if share > self._endured[rank]:
            return True
        if share > 1.0:
            self._counts[policy, "bypassed"] += 1
        return False

    # ---------------------------------------------------------------------------------------------------- telling

    def _state(self) -> str:
        told = []
        if self._places is not None:
            places = self._places
            told.append(
                f"{places.used} at work of {places.limit}, {places.waiting} waiting, {places.begun} streams, "
                f"{places.reading} slow bodies"
            )
        if self._lag is not None:
            late = max(self._lag.seconds, self._lag.pending(self._monotonic()))
            told.append(f"the loop was {late:.3f} s late")
        if self._max_waiting_threads is not None:
            told.append(f"{self._waiting_threads} waiting for a thread")
        return "; ".join(told)

    def samples(self) -> Iterable[Sample]:
        """Decisions, and how full it is."""
        counts = self._counts
        passed = self._seen
        for policy, is_on in (("loop_lag", self._lag), ("threads", self._max_waiting_threads)):
            if is_on is not None:
                passed -= counts[policy, "denied"]
                counts[policy, "allowed"] = passed - counts[policy, "bypassed"]
        places = self._places
        if places is not None:
            counts["in_flight", "allowed"] = places.taken
        yield from self.refusals.samples()
        if places is not None:
            for name, value, text in (
                ("in_flight", places.used, "Requests that hold a place."),
                ("limit", places.limit, "How many may hold one."),
                ("waiting", places.waiting, "Requests that wait for a place."),
                ("reading", places.reading, "Requests whose body is slow to come, without a place."),
                ("streams", places.begun, "Requests and sockets that go on after their response began."),
            ):
                yield Sample(f"prodkit_load_shedding_{name}", {}, value, "gauge", text)
        if self._lag is not None:
            text = "How long the latest turn of the event loop was that a request began."
            yield Sample("prodkit_load_shedding_loop_lag_seconds", {}, self._lag.seconds, "gauge", text)
        if self._max_waiting_threads is not None:
            text = "Plain functions that waited for a thread when the latest request came."
            yield Sample("prodkit_load_shedding_waiting_threads", {}, self._waiting_threads, "gauge", text)
