"""Metrics: what was asked, how it ended and how long it took, in the words Prometheus understands.

Counting costs a request two searches in a short list. What is counted is read when somebody with permission scrapes
`/metrics`, in a thread, at most once a second.

Source: OpenTelemetry semantic conventions for HTTP metrics (names, units, buckets); Prometheus text format 0.0.4 and
OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, field_validator

from prodkit.core.events import RequestFinished
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.core.operations import OperationsAccess, refuse_other_methods
from prodkit.core.problems import Problem
from prodkit.metrics.cells import Cells
from prodkit.metrics.directory import SharedDirectory
from prodkit.metrics.scrape import Scrape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from prodkit.core.asgi import Answer
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["Cells", "Metrics", "MetricsSettings"]

# OpenTelemetry's advice for http.server.request.duration, and two more: agents think for longer than 10 s.
_BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
# A worker that is killed loses at most this much.
_WRITE_SECONDS: Final = 1.0


class MetricsSettings(FeatureSettings):
    """Settings of `Metrics`; environment prefix `PRODKIT_METRICS__`."""

    path: Annotated[
        str,
        Field(
            pattern=r"^(/[A-Za-z0-9._~/\-]+)?$",
            description="Where they are read, by operators only: see PRODKIT_OPERATIONS__*. Default /metrics; empty for nowhere.",
        ),
    ] = "/metrics"
    buckets_seconds: Annotated[
        tuple[float, ...],
        Field(
            min_length=1,
            max_length=50,
            description="Ascending upper bounds of the duration histograms in seconds, as a JSON list. Default: OpenTelemetry's "
            "advice, 5 ms to 10 s, then 30 s and 60 s.",
        ),
    ] = _BUCKETS
    max_series: Annotated[
        int,
        Field(
            ge=10,
            le=100_000,
            description="How many combinations of method, route, status and outcome are told apart; later ones are counted under "
            "the route `(overflow)`. Default 2000.",
        ),
    ] = 2000
    directory: Annotated[
        Path | None,
        Field(
            description="A directory that the workers of one machine share, so that each shows the sum of all. One application, "
            "one local directory. Default none: each process shows its own counts.",
        ),
    ] = None

    @field_validator("buckets_seconds")
    @classmethod
    def _ascending(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        finite = all(math.isfinite(bound) and bound > 0 for bound in buckets)
        if not finite or list(buckets) != sorted(set(buckets)):
            message = "bounds are not positive, finite and ascending | Write them as [0.1, 0.5, 1.0]."
            raise ValueError(message)
        return buckets


class Metrics:
    """The feature `metrics`; its options are those of `MetricsSettings`."""

    name = "metrics"

    def __init__(
        self,
        *,
        path: str = "/metrics",
        buckets_seconds: Sequence[float] = _BUCKETS,
        max_series: int = 2000,
        directory: Path | str | None = None,
    ) -> None:
        self.settings = MetricsSettings.of(
            "Metrics",
            path=path,
            buckets_seconds=tuple(buckets_seconds),
            max_series=max_series,
            directory=directory,
        )
        self.cells = Cells(self.settings.buckets_seconds, self.settings.max_series)
        self.provides: Sequence[object] = (self.cells,)

    @classmethod
    def from_settings(cls, section: MetricsSettings) -> Metrics:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """An observer that counts, and a guard that answers scrapes.

        Raises:
            SettingsError: the directory cannot be used.
        """
        settings = self.settings
        directory = None
        if settings.directory is not None:
            try:
                directory = SharedDirectory(
                    settings.directory, settings.buckets_seconds, settings.max_series, kit.failed
                )
            except OSError as error:
                fault = SettingsFault(
                    "PRODKIT_METRICS__DIRECTORY",
                    f"{error}.",
                    "Name a directory this process may make and write.",
                )
                raise SettingsError([fault]) from error
        scrape = Scrape(kit, self.cells, directory, settings.max_series)
        access = kit.one(OperationsAccess)

        def answer(context: RequestContext) -> Awaitable[Answer]:
            if access is None or not access.allows(context):
                raise Problem(404)
            refuse_other_methods(context)
            return scrape.answer(context.headers.get(b"accept", b""))

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            writing = asyncio.create_task(_write_for_ever(kit, scrape))
            try:
                yield
            finally:
                writing.cancel()
                await asyncio.wait([writing])
                await asyncio.to_thread(_write, kit, scrape)

        return Parts(
            paths={settings.path: answer} if settings.path else {},
            observers=[(RequestFinished, self.cells.observe)],
            lifespan=None if directory is None else lifespan,
            order={Layer.PROBES: f"metrics for operators at {settings.path}"} if settings.path else {},
        )


async def _write_for_ever(kit: Kit, scrape: Scrape) -> None:
    while True:
        await asyncio.to_thread(_write, kit, scrape)
        await asyncio.sleep(_WRITE_SECONDS)


def _write(kit: Kit, scrape: Scrape) -> None:
    try:
        scrape.write()
    except OSError as error:
        kit.failed("metrics directory", error)
