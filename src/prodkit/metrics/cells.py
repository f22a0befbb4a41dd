"""Counting requests: plain lists, because a metrics library's own objects cost five times as much per request."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prodkit.core.features import Sample
from prodkit.core.methods import KNOWN_METHODS, OTHER_METHOD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.events import RequestFinished

__all__ = ["OVERFLOW", "SOCKET_BUCKETS", "Cells", "HttpKey"]

HttpKey = tuple[str, str, int | None, str]
"""Method, route template, status, outcome."""

OVERFLOW: Final = "(overflow)"
"""The route of requests that came when the budget of series was used up."""

SOCKET_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Seconds: WebSockets live for a page view or for a working day."""


class Cells:
    """The counts of one process. Written by the event loop, copied by any thread.

    Args:
        buckets: ascending upper bounds in seconds.
        max_series: how many combinations of method, route, status and outcome are told apart.

    A cell is `[sum of durations, sum of first-byte times, durations by bucket ..., first-byte times by bucket ...]`;
    the last bucket of each is what exceeded every bound.
    """

    def __init__(self, buckets: Sequence[float], max_series: int) -> None:
        self.buckets = tuple(buckets)
        self.overflowed = 0
        self._max_series = max_series
        self._cells: dict[HttpKey, list[float]] = {}
        self._sockets: dict[str, list[float]] = {}
        self._first = 3 + len(self.buckets)
        self._length = 2 + 2 * (1 + len(self.buckets))

    def observe(self, event: RequestFinished) -> None:
        """Count *event*. An observer: two searches in the buckets are all it calls."""
        key = (event.method, event.route, event.status, event.outcome)
        try:  # asking first would hash the key twice
            cell = self._cells[key]
        except KeyError:
            cell = self._cell(key)
        seconds = event.duration_seconds
        first = event.first_byte_seconds
        if event.status == 101 and first is not None:
            # The handshake is the request; how long the socket lived says nothing about this server.
            self._observe_socket(event.route, seconds)
            seconds = first
        buckets = self.buckets
        bucket = bisect_left(buckets, seconds)
        if first is seconds:  # an answer in one piece: one moment for both
            cell[0] += seconds
            cell[1] += seconds
            cell[2 + bucket] += 1
            cell[self._first + bucket] += 1
            return
        cell[0] += seconds
        cell[2 + bucket] += 1
        if first is not None:
            cell[1] += first
            cell[self._first + bisect_left(buckets, first)] += 1

    def _cell(self, key: HttpKey) -> list[float]:
        method, route, status, outcome = key
        if method not in KNOWN_METHODS:
            key = (OTHER_METHOD, route, status, outcome)
        if key not in self._cells and len(self._cells) >= self._max_series:
            self.overflowed += 1
            key = (key[0], OVERFLOW, status, outcome)
        return self._cells.setdefault(key, [0] * self._length)

    def _observe_socket(self, route: str, seconds: float) -> None:
        if route not in self._sockets:
            if len(self._sockets) >= self._max_series:
                route = OVERFLOW
            self._sockets.setdefault(route, [0] * (2 + len(SOCKET_BUCKETS)))
        cell = self._sockets[route]
        cell[0] += seconds
        cell[1 + bisect_left(SOCKET_BUCKETS, seconds)] += 1

    def http(self) -> dict[HttpKey, list[float]]:
        """A copy of the counts of requests. Safe from any thread: a copy of a dict or a list is one step."""
        return {key: cell[:] for key, cell in self._cells.copy().items()}

    def sockets(self) -> dict[str, list[float]]:
        """A copy of the lifetimes of WebSockets, by route: sum, then the count of each bucket."""
        return {route: cell[:] for route, cell in self._sockets.copy().items()}

    def samples(self) -> Iterable[Sample]:
        """How often the budget of series was exceeded."""
        yield Sample(
            "prodkit_metrics_overflow_total",
            {},
            self.overflowed,
            "counter",
            "Requests counted under the route (overflow), because max_series was reached.",
        )
