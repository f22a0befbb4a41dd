"""What is to be shown: the counts of one process, or of all workers of a machine added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from prodkit.metrics.cells import OVERFLOW, SOCKET_BUCKETS, HttpKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prodkit.core.features import Sample

__all__ = ["Totals"]

_FORMAT: Final = 1
ACTIVE: Final = "http_server_active_requests"

SampleKey = tuple[str, tuple[tuple[str, str], ...]]

# How the readings of several processes become one; those not named here: the largest.
_ACROSS: Final[dict[str, Callable[[float, float], float]]] = {
    ACTIVE: lambda one, other: one + other,
    "prodkit_health_check_status": min,
}


class Totals:
    """Counts that can be added to others, written as JSON and shown as metric families.

    Args:
        buckets: of the request histograms, in seconds.
    """

    def __init__(self, buckets: Sequence[float]) -> None:
        self.buckets = tuple(buckets)
        self.http: dict[HttpKey, list[float]] = {}
        self.sockets: dict[str, list[float]] = {}
        self.counters: dict[SampleKey, float] = {}
        self.gauges: dict[SampleKey, float] = {}
        self.documentation: dict[str, str] = {}

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Add the readings of a `MetricSource` of this process."""
        for sample in samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            self.documentation[sample.name] = sample.documentation
            if sample.kind == "counter":
                self.counters[key] = self.counters.get(key, 0) + sample.value
            else:
                self._gauge(key, sample.value)

    def _gauge(self, key: SampleKey, value: float) -> None:
        self.gauges[key] = _ACROSS.get(key[0], max)(self.gauges[key], value) if key in self.gauges else value

    def add(self, other: Totals, *, max_series: int, only_counters: bool = False) -> None:
        """Add *other*; beyond *max_series* its requests are counted under the route `(overflow)`.

        With *only_counters* its gauges are left out: they were readings of a process that is gone.
        """
        for key, cell in other.http.items():
            place = key
            if key not in self.http and len(self.http) >= max_series:
                place = (key[0], OVERFLOW, key[2], key[3])
            _add(self.http, place, cell)
        for route, cell in other.sockets.items():
            known = route in self.sockets or len(self.sockets) < max_series
            _add(self.sockets, route if known else OVERFLOW, cell)
        for name, value in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value
        if not only_counters:
            for name, value in other.gauges.items():
                self._gauge(name, value)
        self.documentation |= other.documentation

    # -------------------------------------------------------------------------------------------------- JSON

    def to_json(self) -> dict[str, Any]:
        """A JSON document of it; Any: JSON values."""
        return {
            "format": _FORMAT,
            "buckets": self.buckets,
            "http": list(self.http.items()),
            "sockets": list(self.sockets.items()),
            "counters": list(self.counters.items()),
            "gauges": list(self.gauges.items()),
            "documentation": self.documentation,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any], buckets: Sequence[float]) -> Totals | None:
        """What `to_json` wrote; None when another release or other buckets wrote it, so that it cannot be added.

        Raises:
            ValueError, TypeError, KeyError: the document is broken.
        """
        if document["format"] != _FORMAT or tuple(document["buckets"]) != tuple(buckets):
            return None
        totals = cls(buckets)
        for (method, route, status, outcome), cell in document["http"]:
            totals.http[method, route, status, outcome] = cell
        totals.sockets = dict(document["sockets"])
        totals.counters = {_sample_key(key): value for key, value in document["counters"]}
        totals.gauges = {_sample_key(key): value for key, value in document["gauges"]}
        totals.documentation = document["documentation"]
        return totals

    # --------------------------------------------------------------------------------------------- exposition

    def families(self) -> Iterator[Metric]:
        """The metrics as prometheus_client writes them."""
        yield self._requests()
        yield from self._durations()
        lifetime = HistogramMetricFamily(
            "websocket_connection_duration_seconds",
            "How long accepted WebSockets lived.",
            labels=("route",),
        )
        for route, cell in self.sockets.items():
            lifetime.add_metric((route,), _cumulative(SOCKET_BUCKETS, cell[1:]), cell[0])
        yield lifetime
        yield from self._of_samples(self.counters, CounterMetricFamily, "_total")
        yield from self._of_samples(self.gauges, GaugeMetricFamily, "")

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(
            "http_server_requests",
            "Requests by how they ended; accepted WebSockets have status 101.",
            labels=("method", "route", "status", "outcome"),
        )
        last = 3 + len(self.buckets)
        for (method, route, status, outcome), cell in self.http.items():
            requests.add_metric((method, route, _shown(status), outcome), sum(cell[2:last]))
        return requests

    def _durations(self) -> Iterator[Metric]:
        size = 1 + len(self.buckets)
        durations: dict[tuple[str, ...], list[float]] = {}
        firsts: dict[tuple[str, ...], list[float]] = {}
        for (method, route, status, _), cell in self.http.items():
            _add(durations, (method, route, _shown(status)), [cell[0], *cell[2 : 2 + size]])
            _add(firsts, (method, route), [cell[1], *cell[2 + size :]])
        duration = HistogramMetricFamily(
            "http_server_request_duration_seconds",
            "From the first byte of the request to the last of the response; of a WebSocket, its handshake.",
            labels=("method", "route", "status"),
        )
        for labels, cell in durations.items():
            duration.add_metric(labels, _cumulative(self.buckets, cell[1:]), cell[0])
        yield duration
        first = HistogramMetricFamily(
            "http_server_first_byte_seconds",
            "From the first byte of the request to the start of the response.",
            labels=("method", "route"),
        )
        for labels, cell in firsts.items():
            first.add_metric(labels, _cumulative(self.buckets, cell[1:]), cell[0])
        yield first

    def _of_samples(
        self,
        readings: dict[SampleKey, float],
        family_type: type[CounterMetricFamily | GaugeMetricFamily],
        suffix: str,
    ) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for (name, labels), value in readings.items():
            family = found.get(name)
            if family is None:
                family = family_type(name.removesuffix(suffix), self.documentation.get(name, name))
                found[name] = family
            family.add_sample(name, dict(labels), value)
        yield from found.values()


def _add(table: dict[Any, list[float]], key: object, cell: Sequence[float]) -> None:
    known = table.get(key)
    table[key] = list(cell) if known is None else [a + b for a, b in zip(known, cell, strict=True)]


def _sample_key(key: Sequence[Any]) -> SampleKey:
    return key[0], tuple((str(name), str(value)) for name, value in key[1])


def _shown(status: int | None) -> str:
    return "none" if status is None else str(status)


def _cumulative(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    buckets = []
    running = 0.0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        running += count
        label: str = floatToGoString(bound)  # type: ignore[no-untyped-call] # it is not typed
        buckets.append((label, running))
    return buckets
