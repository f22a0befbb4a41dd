"""Load shedding: refuse early what could not be served in time, so that what is admitted is served well.

Work that is accepted beyond capacity is not merely slow: everything behind it is late as well, clients give up and come again,
and in the end the process is busy with answers that nobody waits for. Three things can run out, and each has a limit of its own:
places for requests at work (a pool, a database, memory), the event loop (processor time of coroutines, where the number of
requests at work says nothing), and threads (plain functions). Off while none of them is set.

Source: RFC 9110, 15.6.4 (503) and 10.2.3 (Retry-After); Google, Site Reliability Engineering, ch. 21 (Handling Overload); OWASP
API4:2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.load_shedding.priority import Importance, RoutePriority, priority
from prodkit.load_shedding.shedder import Shedder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.features import Guard, Kit, Sample

__all__ = ["Importance", "LoadShedding", "LoadSheddingSettings", "RoutePriority", "priority"]

_LIMITS = ("max_in_flight", "max_loop_lag_seconds", "max_waiting_threads")


class LoadSheddingSettings(FeatureSettings):
    """Settings of `LoadShedding`; environment prefix `PRODKIT_LOAD_SHEDDING__`."""

    max_in_flight: Annotated[
        int | None,
        Field(
            ge=1,
            description="The most requests at work at once in one process, each from its admission to the beginning of its "
            "response. Default: no limit. Set it to what the scarcest thing behind it allows, such as the connections of a pool.",
        ),
    ] = None
    max_loop_lag_seconds: Annotated[
        float | None,
        Field(
            ge=0.005,
            le=60,
            description="A request that has waited longer than this for the event loop is refused, as far as one turn of the loop "
            "tells: what came during the turn before may have waited as long again. Default: no limit; 0.1 suits most services. "
            "The one limit that protects coroutines that compute.",
        ),
    ] = None
    max_waiting_threads: Annotated[
        int | None,
        Field(
            ge=1,
            description="While as many plain functions as this wait for a thread (there are 40), further requests for endpoints "
            "that are plain functions are refused. Default: no limit.",
        ),
    ] = None
    queue_length: Annotated[
        int | None,
        Field(
            ge=0,
            description="How many requests may wait for a place. Default: as many as `max_in_flight`, which doubles the time to an "
            "answer at worst; 0 refuses at once.",
        ),
    ] = None
    queue_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=30,
            description="How long a request may wait for a place. Default 0.5, so that a burst passes and nobody thinks of trying "
            "again. A tenth of it while the queue has not been empty for that long.",
        ),
    ] = 0.5
    max_streams: Annotated[
        int,
        Field(
            ge=0,
            description="The most streams and WebSockets of one process that are open without a place in `max_in_flight`. Further "
            "sockets are refused, further streams keep their place. Default 1000: with their connections upstream and in "
            "between that is below the usual 4096 file descriptors.",
        ),
    ] = 1000
    adaptive: Annotated[
        bool,
        Field(
            description="Whether the limit on requests at work finds itself, by their latency, between `min_in_flight` and "
            "`max_in_flight`. Default: off, since a number that somebody has measured is better."
        ),
    ] = False
    min_in_flight: Annotated[
        int,
        Field(
            ge=1,
            description="Where the adaptive limit begins, and never goes below. Default 10: enough to learn from, and little enough "
            "not to overload by itself.",
        ),
    ] = 10
    retry_after_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=300,
            description="The least that `Retry-After` says; the most is twice that, drawn anew for each refusal, so that clients do "
            "not come back together. Default 5.",
        ),
    ] = 5

    @model_validator(mode="after")
    def _limits_something(self) -> LoadSheddingSettings:
        if self.adaptive and self.max_in_flight is None:
            message = "adaptive needs an upper bound | Set MAX_IN_FLIGHT as well."
            raise ValueError(message)
        if self.adaptive and self.max_in_flight is not None and self.min_in_flight > self.max_in_flight:
            message = "min_in_flight is above max_in_flight | Make it smaller."
            raise ValueError(message)
        if not self.is_on:
            fields = type(self).model_fields
            changed = [name for name, field in fields.items() if getattr(self, name) != field.default]
            if changed:
                message = f"there is no limit, so {', '.join(changed)} would mean nothing | Set one of {', '.join(_LIMITS)}."
                raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether anything is limited."""
        return any(getattr(self, name) is not None for name in _LIMITS)


class LoadShedding:
    """The feature `load_shedding`. Without a limit it adds nothing to a request.

    Raises:
        SettingsError: a setting is impossible, or set in vain.
    """

    name = "load_shedding"

    def __init__(
        self,
        *,
        max_in_flight: int | None = None,
        max_loop_lag_seconds: float | None = None,
        max_waiting_threads: int | None = None,
        queue_length: int | None = None,
        queue_seconds: float = 0.5,
        max_streams: int = 1000,
        adaptive: bool = False,
        min_in_flight: int = 10,
        retry_after_seconds: int = 5,
    ) -> None:
        self.settings = LoadSheddingSettings.of(
            "LoadShedding",
            max_in_flight=max_in_flight,
            max_loop_lag_seconds=max_loop_lag_seconds,
            max_waiting_threads=max_waiting_threads,
            queue_length=queue_length,
            queue_seconds=queue_seconds,
            max_streams=max_streams,
            adaptive=adaptive,
            min_in_flight=min_in_flight,
            retry_after_seconds=retry_after_seconds,
        )
        self._shedder: Shedder | None = None
        self.provides: Sequence[object] = (self,) if self.settings.is_on else ()

    @classmethod
    def from_settings(cls, section: LoadSheddingSettings) -> LoadShedding:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Guards in EDGE, where most is refused, and in ADMISSION, where the caller is known; nothing without a limit."""
        settings = self.settings
        if not settings.is_on:
            return Parts()
        self._shedder = shedder = Shedder(settings, kit)
        guards: list[tuple[Layer, Guard]] = [(Layer.EDGE, shedder.at_edge)]
        order = {Layer.EDGE: f"refused when too much: {_told(settings)}"}
        if shedder.asks_again:
            guards.append((Layer.ADMISSION, shedder.at_admission))
            order[Layer.ADMISSION] = (
                "a place for the request, or a short wait: by priority, then known callers first"
            )
        return Parts(guards=guards, observers=shedder.observers, order=order)

    def samples(self) -> Iterable[Sample]:
        """What was decided, and how full it is."""
        return () if self._shedder is None else self._shedder.samples()


def _told(settings: LoadSheddingSettings) -> str:
    parts = []
    if settings.max_in_flight is not None:
        parts.append(f"{'up to ' if settings.adaptive else ''}{settings.max_in_flight} requests at work")
    if settings.max_loop_lag_seconds is not None:
        parts.append(f"{settings.max_loop_lag_seconds:g} s of loop lag")
    if settings.max_waiting_threads is not None:
        parts.append(f"{settings.max_waiting_threads} waiting for a thread")
    return ", ".join(parts)
