"""A limit on requests at work that finds itself: more while answers are as quick as they can be, fewer when they are not.

Once in a window, each route's median latency is compared with its own baseline, the best median it has shown. How many times
slower the answers are, weighted by how many each route gave, is the slowdown: comparing per route keeps a change in what is
asked for (more of a slow route) from looking like congestion. Then

    limit = limit * min(1, max(1/2, tolerance / slowdown)) + sqrt(limit)

so that while answers are within the tolerance the limit grows by its square root, if it was in use at all, and otherwise it
shrinks in proportion. It settles where the two are equal, at a short queue inside the service. A request that ran into its
deadline counts as a sign of congestion in itself and takes a tenth.

A baseline falls at once, and rises slowly, only in windows in which the limit was not reached: were it learnt under
congestion, congestion would become the norm. Where the service itself became slower, this would keep the limit at its lower
bound; five windows there in a row set the baseline anew, since with so few requests at work nothing better can be measured.

Source: the gradient of Envoy's adaptive concurrency filter (with its re-measurement at the minimum, envoyproxy/envoy#10647) and
of Netflix's concurrency-limits, whose idea is TCP Vegas (Brakmo and Peterson, 1995). They compare one latency for all routes.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AdaptiveLimit"]

_WINDOW_SECONDS: Final = 0.5
_MIN_SAMPLES: Final = 10
_MAX_SAMPLES: Final = 100  # of one route in one window: a median of a hundred is good to a few percent
_MAX_ROUTES: Final = 500
_TOLERANCE: Final = 1.5
_LEAST_GRADIENT: Final = 0.5
_TIMEOUT_GRADIENT: Final = 0.9
_RISE: Final = 0.1
_IN_USE: Final = 0.5
_WINDOWS_AT_LEAST: Final = 5


class AdaptiveLimit:
    """Follows the latency of one process.

    Args:
        least: the limit never goes below, and begins here: a baseline is to be learnt before there is congestion.
        most: the limit never goes above.
        monotonic: seconds.

    Attributes:
        limit: how many requests may be at work now.
        peak: the most that were at work in this window; kept by whoever counts them.
    """

    def __init__(self, least: int, most: int, monotonic: Callable[[], float]) -> None:
        self.limit = least
        self.peak = 0
        self._exact = float(least)
        self._least = least
        self._most = most
        self._monotonic = monotonic
        self._samples: dict[str, list[float]] = {}
        self._count = 0
        self._timeouts = 0
        self._at_least = 0
        self._baselines: dict[str, float] = {}
        self._ends_at: float | None = None

    def note(self, route: str, seconds: float) -> None:
        """An answer of *route* began *seconds* after its request was admitted."""
        samples = self._samples.get(route)
        if samples is None:
            if len(self._samples) >= _MAX_ROUTES:
                return
            samples = self._samples[route] = []
        if len(samples) < _MAX_SAMPLES:
            samples.append(seconds)
        self._count += 1
        self._turn()

    def note_timeout(self) -> None:
        """A request ran into its deadline."""
        self._timeouts += 1
        self._turn()

    def _turn(self) -> None:
        now = self._monotonic()
        if self._ends_at is None:
            self._ends_at = now + _WINDOW_SECONDS
        elif now >= self._ends_at and (self._count >= _MIN_SAMPLES or self._timeouts):
            self._ends_at = now + _WINDOW_SECONDS
            self._adjust()
            self._samples, self._count, self._timeouts, self.peak = {}, 0, 0, 0

    def _adjust(self) -> None:
        medians = {route: median(samples) for route, samples in self._samples.items()}
        gradient = min(1.0, max(_LEAST_GRADIENT, _TOLERANCE / self._slowdown(medians)))
        if self._timeouts:
            gradient = min(gradient, _TIMEOUT_GRADIENT)
        self._learn(medians, may_rise=self.peak < self.limit)
        if gradient == 1.0 and self.peak < self._exact * _IN_USE:
            return  # nobody needs more than there is
        exact = self._exact * gradient + (0.0 if self._timeouts else math.sqrt(self._exact))
        self._exact = min(float(self._most), max(float(self._least), exact))
        self.limit = int(self._exact)
        self._at_least = self._at_least + 1 if self.limit == self._least and gradient < 1.0 else 0
        if self._at_least >= _WINDOWS_AT_LEAST:
            self._at_least = 0
            self._baselines.update(medians)

    def _slowdown(self, medians: dict[str, float]) -> float:
        """How many times as long as at their best answers take now; at least 1."""
        total, weight = 0.0, 0
        for route, seconds in medians.items():
            baseline = self._baselines.get(route)
            if baseline is not None:
                count = len(self._samples[route])
                total += count * max(1.0, seconds / baseline)
                weight += count
        return total / weight if weight else 1.0

    def _learn(self, medians: dict[str, float], *, may_rise: bool) -> None:
        for route, seconds in medians.items():
            baseline = self._baselines.get(route)
            if baseline is None:
                if len(self._baselines) >= _MAX_ROUTES:
                    self._baselines.clear()  # routes made up as the application goes: forget, and learn again
                self._baselines[route] = max(seconds, 1e-6)
            elif seconds < baseline:
                self._baselines[route] = max(seconds, 1e-6)
            elif may_rise:
                self._baselines[route] = baseline + (seconds - baseline) * _RISE
