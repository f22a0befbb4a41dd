"""Answering a scrape: everything there is to show, rendered off the event loop, once for all who ask at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics

from prodkit.core.asgi import Answer
from prodkit.core.features import MetricSource, Sample
from prodkit.core.single_flight import SingleFlight
from prodkit.metrics.totals import ACTIVE, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from prodkit.core.features import Kit
    from prodkit.metrics.cells import Cells
    from prodkit.metrics.directory import SharedDirectory

__all__ = ["Scrape"]

_CACHE_SECONDS: Final = 1.0
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = openmetrics.CONTENT_TYPE_LATEST.encode("ascii")


class Scrape:
    """Renders the metrics of one application.

    Args:
        kit: whose sources are read, and whose requests are under way.
        cells: the counts of this process.
        directory: where other processes leave theirs, or None.
        max_series: see `Totals.add`.
    """

    def __init__(self, kit: Kit, cells: Cells, directory: SharedDirectory | None, max_series: int) -> None:
        self._kit = kit
        self._cells = cells
        self._directory = directory
        self._max_series = max_series
        self._flights: SingleFlight[Answer] = SingleFlight()
        self._writing = threading.Lock()
        self._rendered: dict[bool, tuple[float, Answer]] = {}

    async def answer(self, accept: bytes) -> Answer:
        """The metrics in the format *accept* asks for; at most a second old."""
        as_openmetrics = b"application/openmetrics-text" in accept
        known = self._rendered.get(as_openmetrics)
        if known is not None and self._kit.clock.monotonic() - known[0] < _CACHE_SECONDS:
            return known[1]
        return await self._flights.run(as_openmetrics, lambda: self._render_in_thread(as_openmetrics))

    async def _render_in_thread(self, as_openmetrics: bool) -> Answer:  # noqa: FBT001 - the key of the cache
        answer = await asyncio.to_thread(self.render, as_openmetrics=as_openmetrics)
        self._rendered[as_openmetrics] = (self._kit.clock.monotonic(), answer)
        return answer

    def render(self, *, as_openmetrics: bool) -> Answer:
        """All metrics as a response. Takes milliseconds to tenths of a second: not for the event loop."""
        collector = _Fixed(list(self._families()))
        if as_openmetrics:
            body: bytes = openmetrics.generate_latest(collector)  # type: ignore[no-untyped-call] # it is not typed
        else:
            body = generate_latest(collector)
        media_type = _OPENMETRICS if as_openmetrics else _TEXT
        headers = [(b"content-type", media_type), (b"cache-control", b"no-store"), (b"vary", b"accept")]
        return Answer(200, body, headers)

    def write(self) -> None:
        """Leave the counts of this process in the directory.

        Raises:
            OSError: that was not possible.
        """
        self._own_written()

    def _own_written(self) -> Totals:
        if self._directory is None:
            return self._own()
        # An older count must not replace a newer one: to Prometheus that would be a restart.
        with self._writing:
            totals = self._own()
            self._directory.write(totals)
        return totals

    def _own(self) -> Totals:
        kit = self._kit
        totals = Totals(self._cells.buckets)
        totals.http = self._cells.http()
        totals.sockets = self._cells.sockets()
        for source in kit.all(MetricSource):  # type: ignore[type-abstract] # a protocol is found by what it can do
            try:
                totals.add_samples(source.samples())
            except Exception as error:  # noqa: BLE001 - one source's fault must not hide all metrics
                kit.failed("metric source", error)
        totals.add_samples(self._of_kit())
        return totals

    def _of_kit(self) -> Iterable[Sample]:
        kit = self._kit
        yield Sample(ACTIVE, {}, kit.in_flight, "gauge", "Requests and WebSockets under way.")
        documentation = "Failures of observers, callbacks and other parts that reached no caller."
        for part, failures in kit.failures.copy().items():
            yield Sample(
                "prodkit_internal_failures_total", {"part": part}, failures, "counter", documentation
            )

    def _totals(self) -> Totals:
        if self._directory is None:
            return self._own()
        try:
            totals = self._own_written()
            totals.add(self._directory.others(), max_series=self._max_series)
        except OSError as error:
            self._kit.failed("metrics directory", error)
            return self._own()
        return totals

    def _families(self) -> Iterator[Metric]:
        totals = self._totals()
        names = set()
        for family in totals.families():
            names.add(family.name)
            yield family
        for family in self._of_others():
            # A second family of one name would make the whole page unreadable.
            if family.name not in names:
                names.add(family.name)
                yield family

    def _of_others(self) -> Iterable[Metric]:
        """What the application and its libraries count with prometheus_client, and the process itself."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry(auto_describe=False)
            try:
                MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # it is not typed
                return list(registry.collect())
            except (ValueError, OSError) as error:
                self._kit.failed("PROMETHEUS_MULTIPROC_DIR", error)
                return []
        families = REGISTRY.collect()
        if self._directory is None:
            return families
        # Of one process among several: they would jump from scrape to scrape.
        return [family for family in families if not family.name.startswith(("process_", "python_"))]


class _Fixed(CollectorRegistry):
    """Families that were collected already, in the shape prometheus_client renders."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
