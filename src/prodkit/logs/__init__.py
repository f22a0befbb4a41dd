"""Logs: one line for each request, every other line in the same shape, and nothing secret in either.

Nothing is configured by importing or installing: the lifespan does it and restores what was there before.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from prodkit.core.events import BackgroundFailed, CallbackFailed, RequestFailed, RequestFinished
from prodkit.core.features import FeatureSettings, Parts
from prodkit.logs.access import ACCESS_LOGGER, AccessLog
from prodkit.logs.configuration import configure, mark_logged
from prodkit.logs.processors import Redact, add_request_context, render_exception
from prodkit.logs.sink import Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = [
    "ACCESS_LOGGER",
    "AccessLog",
    "Logs",
    "LogsSettings",
    "Redact",
    "Sink",
    "add_request_context",
    "configure",
    "render_exception",
]

Format = Literal["auto", "json", "console", "logger"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# Named here and not taken from `health` and `metrics`: features do not know each other.
_PROBES: Final = ("/livez", "/readyz", "/startupz", "/metrics")

REQUESTS = logging.getLogger("prodkit.requests")


class LogsSettings(FeatureSettings):
    """Settings of `Logs`; environment prefix `PRODKIT_LOGS__`."""

    format: Annotated[
        Format,
        Field(
            description="`json`: one object a line, for collectors. `console`: for people. `auto` (default): console on a "
            "terminal, json otherwise. `logger`: your own configuration of logging stays, access lines go to the logger "
            "`prodkit.access`.",
        ),
    ] = "auto"
    level: Annotated[
        Level,
        Field(description="Lines below it are not written, access lines included. Default INFO."),
    ] = "INFO"
    access: Annotated[
        bool, Field(description="Whether each request gets a line when its last byte is sent. Default on.")
    ] = True
    access_sample: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The share of successful requests (below 400) that gets a line, 0 to 1. Default 1. Refused, failed, "
            "broken and slow ones always get theirs.",
        ),
    ] = 1.0
    access_path: Annotated[
        bool,
        Field(
            description="Whether the path stands beside the route template. Default on; off where paths hold personal data. "
            "The query string is never written.",
        ),
    ] = True
    slow_seconds: Annotated[
        float,
        Field(gt=0, description="A request whose answer begins later is marked `slow`. Default 1 second."),
    ] = 1.0
    skip_routes: Annotated[
        tuple[str, ...],
        Field(
            description="Route templates without access lines, as a JSON list. Default: probes and metrics."
        ),
    ] = _PROBES
    redact: Annotated[
        tuple[str, ...],
        Field(
            description="Field names to mask, as a JSON list, in addition to those that look like credentials. Default none.",
        ),
    ] = ()

    @field_validator("level", mode="before")
    @classmethod
    def _in_any_case(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level


class Logs:
    """The feature `logs`; its options are those of `LogsSettings`."""

    name = "logs"

    def __init__(
        self,
        *,
        format: Format = "auto",  # noqa: A002 - the name an operator looks for
        level: Level = "INFO",
        access: bool = True,
        access_sample: float = 1.0,
        access_path: bool = True,
        slow_seconds: float = 1.0,
        skip_routes: Sequence[str] = _PROBES,
        redact: Sequence[str] = (),
    ) -> None:
        self.settings = LogsSettings.of(
            "Logs",
            format=format,
            level=level,
            access=access,
            access_sample=access_sample,
            access_path=access_path,
            slow_seconds=slow_seconds,
            skip_routes=tuple(skip_routes),
            redact=tuple(redact),
        )
        self.sink = Sink()
        self.provides: Sequence[object] = (self.sink,)

    @classmethod
    def from_settings(cls, section: LogsSettings) -> Logs:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Observers for requests and for what failed in them; a lifespan that configures logging."""
        settings, sink = self.settings, self.sink
        level = logging.getLevelNamesMapping()[settings.level]
        shape = settings.format
        if shape == "auto":
            shape = "console" if sink.is_terminal() else "json"
        observers: list[tuple[type, Callable[[Any], None]]] = [
            (RequestFailed, _request_failed),
            (BackgroundFailed, _background_failed),
            (CallbackFailed, _callback_failed),
        ]
        if settings.access:
            access = AccessLog(
                sink,
                kit.clock.wall,
                level=level,
                sample=settings.access_sample,
                with_path=settings.access_path,
                slow_seconds=settings.slow_seconds,
                skip_routes=settings.skip_routes,
            )
            shapes = {"json": access.json, "console": access.console, "logger": access.logger}
            observers.append((RequestFinished, shapes[shape]))

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            restore = configure(
                shape, level, sink, redacted_names=settings.redact, own_access_lines=settings.access
            )
            try:
                yield
            finally:
                restore()

        return Parts(observers=observers, lifespan=lifespan)


def _request_failed(event: RequestFailed) -> None:
    REQUESTS.error("request failed", exc_info=event.error, extra=_where(event.context))
    mark_logged(event.error)


def _background_failed(event: BackgroundFailed) -> None:
    REQUESTS.error("background task failed", exc_info=event.error, extra=_where(event.context))
    mark_logged(event.error)


def _callback_failed(event: CallbackFailed) -> None:
    REQUESTS.warning("end-of-request callback failed", exc_info=event.error, extra=_where(event.context))
    mark_logged(event.error)


def _where(context: RequestContext) -> dict[str, object]:
    """Which request it was, for lines that are written when the ContextVar may be gone."""
    return {"correlation_id": context.correlation_id}
