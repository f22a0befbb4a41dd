"""How late the event loop is, known at the moment at which a request could still be refused for it.

A timer that ticks now and then tells of the past: by the time it is late, hundreds of requests stand behind it, each of which
will hold the loop. Here each turn of the loop is measured by the requests in it. The first one sends a marker to the next turn
(`call_soon`); while the marker is not back, the loop has been busy with one and the same turn since, and so long has every
request waited that comes to its guard meanwhile. Without requests nothing runs.

Source: asyncio, `BaseEventLoop._run_once` (ready callbacks run in order, those added meanwhile in the next turn); uvloop and
libuv do the same.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoopLag"]

# The loop may also be late because of what requests do after they were let in. Then no turn need be seen from its beginning;
# but markers come back late, one after the other.
_STANDING_TURNS: Final = 2
_STANDING_FACTOR: Final = 2.0
# What was measured longer ago than this says nothing of now.
_STALE_SECONDS: Final = 1.0


class LoopLag:
    """Measures the turns of the running event loop.

    Args:
        limit_seconds: what is late.
        monotonic: the clock.

    Attributes:
        seconds: how long the latest marker was under way.
        limit_seconds: see above.
    """

    __slots__ = (
        "_context",
        "_late_turns",
        "_loop",
        "_measured_at",
        "_monotonic",
        "_sent_at",
        "limit_seconds",
        "seconds",
    )

    def __init__(self, limit_seconds: float, monotonic: Callable[[], float]) -> None:
        self.limit_seconds = limit_seconds
        self.seconds = 0.0
        self._monotonic = monotonic
        self._sent_at: float | None = None
        self._measured_at = 0.0
        self._late_turns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        # Its own, so that a marker holds nothing of the request that sent it.
        self._context = Context()

    def waited(self, now: float) -> float:
        """For how many seconds, at least, a request that is looked at now has waited for the loop."""
        sent_at = self._sent_at
        if sent_at is not None:
            waited = now - sent_at
            # A loop that ended has lost its marker; which loop this is matters only where it says something.
            if waited <= self.limit_seconds / 2 or self._loop is asyncio.get_running_loop():
                return waited
            self._late_turns = 0
        self._sent_at = now
        self._loop = loop = asyncio.get_running_loop()
        loop.call_soon(self._back, loop, context=self._context)
        if self._late_turns >= _STANDING_TURNS and now - self._measured_at < _STALE_SECONDS:
            return self.seconds
        return 0.0

    def pending(self, now: float) -> float:
        """The same, without sending a marker: 0 where none is under way."""
        return 0.0 if self._sent_at is None else now - self._sent_at

    def _back(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._sent_at is None or loop is not self._loop:
            return
        self._measured_at = now = self._monotonic()
        self.seconds = seconds = now - self._sent_at
        self._sent_at = None
        if seconds > self.limit_seconds * _STANDING_FACTOR:
            self._late_turns += 1
        else:
            self._late_turns = 0
