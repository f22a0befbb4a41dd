"""Timeouts: how long a handler, a body, a stream or a socket may take before the caller is told and the work ends.

A handler has its time until the response begins; what the caller needs to send a body is counted apart, against the body's own
pace. From then on only silence counts, so that a stream may last. The caller has his answer in time also where the work cannot
be stopped, as in a thread. Of `context.deadline` whoever calls other services learns how long it pays to wait for them.

Source: RFC 9110, 15.5.9 (408) and 15.6.5 (504); OWASP API4:2023; ASVS 5.0, 15.2.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends
from pydantic import Field

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, Layer, Parts
from prodkit.core.openapi import problem_response
from prodkit.core.pipeline.deadlines import SWEEP_SECONDS, Deadlines
from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.time_limits import TimeLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["RouteTimeout", "Timeouts", "TimeoutsSettings", "timeout"]

# Shorter than this, the sweep alone would be late by a noticeable part.
_SHORT_SECONDS: Final = 8 * SWEEP_SECONDS


class TimeoutsSettings(FeatureSettings):
    """Settings of `Timeouts`; environment prefix `PRODKIT_TIMEOUTS__`."""

    handler_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long a handler may take until its response begins; 504 after it. What the caller needs to send the "
            "body is not counted. 0 for no limit. Routes may have their own, see `timeout`. Default 30.",
        ),
    ] = 30.0
    idle_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long a response under way may stay silent, as an event stream without an event or a client that "
            "does not read; the connection is closed after it. 0 for no limit. Default 300, as Envoy's streams.",
        ),
    ] = 300.0
    websocket_idle_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long an open WebSocket may stay without a message in either direction; closed with 1001 after it. "
            "Pings of the protocol do not count. 0 for no limit. Default 600.",
        ),
    ] = 600.0
    body_start_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long a body may keep its reader waiting beyond what its bytes account for at "
            "`body_bytes_per_second`; 408 after it. 0 for no limit. Default 10.",
        ),
    ] = 10.0
    body_bytes_per_second: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="The pace that a body has to keep, in bytes per second. 0 for none. Default 1024.",
        ),
    ] = 1024.0
    body_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long a body may keep its reader waiting in all, for each MiB that it may have, at least for one; "
            "408 after it. 0 for no limit. Default 60.",
        ),
    ] = 60.0
    cleanup_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="How long a handler whose time is over may need to clean up before the log tells of it. Default 1.",
        ),
    ] = 1.0

    def limits(self) -> TimeLimits:
        """The same as the pipeline's watchdog takes it."""
        return TimeLimits(
            handler_seconds=self.handler_seconds or inf,
            idle_seconds=self.idle_seconds or inf,
            websocket_idle_seconds=self.websocket_idle_seconds or inf,
            body_start_seconds=self.body_start_seconds or inf,
            body_seconds=self.body_seconds or inf,
            body_bytes_per_second=self.body_bytes_per_second,
            cleanup_seconds=self.cleanup_seconds,
        )


class RouteTimeout:
    """A route's own limits, longer or shorter than the application's; declared with `timeout`."""

    responses: Mapping[str, Mapping[str, object]] = {
        "408": problem_response("The request body did not arrive in time."),
        "504": problem_response("The handler did not answer in time."),
    }

    def __init__(self, seconds: float | None, idle_seconds: float | None, body_seconds: float | None) -> None:
        given = {
            "handler_seconds": seconds,
            "idle_seconds": idle_seconds,
            "websocket_idle_seconds": idle_seconds,
            "body_seconds": body_seconds,
            # A route that says how long its body may take in all has its own idea of a pace.
            "body_start_seconds": body_seconds,
        }
        self._own = {name: value or inf for name, value in given.items() if value is not None}

    def enforce(self, context: RequestContext) -> None:
        """Put the limits in force for *context*; without the feature `timeouts` nobody watches them."""
        limits = context.rare.time_limits or context.kit.time_limits
        if limits is None:
            return
        limits = replace(limits, **self._own)
        context.limit_time(limits)
        if isinstance(context, Exchange) and limits.handler_seconds < _SHORT_SECONDS:
            remaining = context.remaining_seconds()
            for watchdog in context.kit.all(Deadlines):
                watchdog.look_soon(context, remaining or 0.0)

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def timeout(
    seconds: float | None = None,
    *,
    idle_seconds: float | None = None,
    body_seconds: float | None = None,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route has its own time, in place of the application's.

    It is in force before the body is read, and stands in the OpenAPI document.

    Args:
        seconds: until the response begins, from the request or from the last byte of its body; 0 for no limit.
        idle_seconds: of silence in a response under way, or in a WebSocket; 0 for no limit.
        body_seconds: for the body, in all and for each MiB that the route allows; 0 for no limit.

    Raises:
        SettingsError: a negative number, or one that is none; or nothing at all.
    """
    given = {"seconds": seconds, "idle_seconds": idle_seconds, "body_seconds": body_seconds}
    faults = [
        SettingsFault(f"timeout({name}={value})", "this is not a duration.", "Give seconds, 0 or more.")
        for name, value in given.items()
        if value is not None and not 0 <= value < inf
    ]
    if all(value is None for value in given.values()):
        faults.append(SettingsFault("timeout()", "nothing is given.", "Give seconds, such as timeout(5)."))
    if faults:
        raise SettingsError(faults)
    return Depends(RouteTimeout(seconds, idle_seconds, body_seconds))


class Timeouts:
    """The feature `timeouts`."""

    name = "timeouts"

    def __init__(
        self,
        *,
        handler_seconds: float = 30.0,
        idle_seconds: float = 300.0,
        websocket_idle_seconds: float = 600.0,
        body_start_seconds: float = 10.0,
        body_bytes_per_second: float = 1024.0,
        body_seconds: float = 60.0,
        cleanup_seconds: float = 1.0,
    ) -> None:
        self.settings = TimeoutsSettings.of(
            "Timeouts",
            handler_seconds=handler_seconds,
            idle_seconds=idle_seconds,
            websocket_idle_seconds=websocket_idle_seconds,
            body_start_seconds=body_start_seconds,
            body_bytes_per_second=body_bytes_per_second,
            body_seconds=body_seconds,
            cleanup_seconds=cleanup_seconds,
        )
        self.provides: Sequence[object] = ()

    @classmethod
    def from_settings(cls, section: TimeoutsSettings) -> Timeouts:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """No guard: the limits go to the pipeline's watchdog."""
        kit.time_limits = self.settings.limits()
        settings = self.settings
        told = f"{settings.handler_seconds:g} s until a response begins, {settings.body_seconds:g} s for a body, "
        return Parts(order={Layer.EDGE: f"{told}{settings.idle_seconds:g} s of silence in a stream"})
