"""The plug-in protocol: a feature declares its parts as data, and `install` puts them where they belong.

Built-in features use exactly this door.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from prodkit.core.asgi import Answer, ASGIApp
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.faults import faults_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from prodkit.core.clock import Clock
    from prodkit.core.routes import RouteTable
    from prodkit.core.time_limits import TimeLimits

__all__ = [
    "Feature",
    "FeatureSettings",
    "Guard",
    "HealthCheck",
    "HealthResult",
    "Kit",
    "Layer",
    "MetricSource",
    "Observer",
    "Parts",
    "RouteRule",
    "Sample",
]

T = TypeVar("T")

LOGGER = logging.getLogger("prodkit")

Guard = Callable[[RequestContext], "Answer | Response | Awaitable[Answer | Response | None] | None"]
"""Decides before the handler runs: returns None to go on or an answer to send, raises `Problem` to refuse.

A guard is a plain function by choice: it returns an awaitable only when it has to wait.
"""

Observer = tuple[type, Callable[[Any], None]]
"""An event type and what is called with each event of exactly that type; synchronous, must not raise."""

Lifespan = Callable[[], AbstractAsyncContextManager[None]]

MiddlewareFactory = Callable[[ASGIApp], ASGIApp]


class Layer(IntEnum):
    """Where a guard stands; lower values run earlier. Within one layer the order of installation holds."""

    OBSERVE = 10
    """Knows and refuses nothing: client address, correlation id, trace context."""
    PROBES = 20
    """Answered before host checks, authentication and limits, so that an orchestrator is never refused."""
    BROWSER = 30
    """Outside all refusals, so that a browser may read them: CORS, security headers."""
    EDGE = 50
    """What the request looks like: host, scheme, method, size; draining and load shedding."""
    ADDRESS = 60
    """Limits by client address: protects what follows from anonymous floods."""
    IDENTITY = 70
    """Credentials become a principal."""
    ADMISSION = 80
    """Limits, quotas and budgets by principal."""


class FeatureSettings(BaseModel):
    """What an operator may set for one feature: immutable, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    @classmethod
    def of(cls, section: str, **options: object) -> Self:
        """Validate keyword arguments of the feature *section*.

        Raises:
            SettingsError: listing every fault, never showing a value.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            raise SettingsError(
                faults_of(
                    error,
                    lambda path: f"{section}({'.'.join(path) + '=' if path else ''}...)",
                    cls,
                    in_code=True,
                )
            ) from None


@dataclass(frozen=True, slots=True)
class HealthResult:
    """What a health check found.

    Attributes:
        status: `degraded` is still ready; `unhealthy` of a critical check is not.
        detail: for people with permission to see it; no credentials.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A named, timed probe of something the application depends on.

    Attributes:
        name: unique within the application.
        check: returns None or a `HealthResult`; an exception means unhealthy. Plain functions run in a thread.
        critical: whether *unhealthy* makes the application not ready; otherwise it only degrades it.
        timeout_seconds: how long one run may take. Default 2 s: a probe has 1 s, and results are kept between probes.
        interval_seconds: how old a result may be before the next one is fetched.
    """

    name: str
    check: Callable[[], HealthResult | Awaitable[HealthResult | None] | None]
    critical: bool = True
    timeout_seconds: float = 2.0
    interval_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a metric at the moment of a scrape.

    Attributes:
        name: as Prometheus shall see it; a counter's ends in `_total`.
        labels: bounded names and values.
        value: a count or a gauge's reading, in the unit the name ends in.
        kind: whether it only ever grows.
        documentation: the HELP text.
    """

    name: str
    labels: Mapping[str, str]
    value: float
    kind: Literal["counter", "gauge"]
    documentation: str


@runtime_checkable
class MetricSource(Protocol):
    """Counts for itself and is read at scrape time, so that counting costs the request nothing but an addition."""

    def samples(self) -> Iterable[Sample]:
        """The present readings; called off the event loop, must not block."""


@runtime_checkable
class RouteRule(Protocol):
    """A rule of one route, declared as a dependency and enforced before the route's body is read.

    Attributes:
        responses: OpenAPI Response Objects by status, added to the routes that declare the rule.
        replaces_outer: optional, False where it is absent: of several rules of this type the nearest to the route holds alone.
    """

    responses: Mapping[str, Mapping[str, object]]

    def enforce(self, context: RequestContext) -> Awaitable[None] | None:
        """Let the request go on, or refuse it.

        Raises:
            Problem: the rule does not hold.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a feature contributes; every field is optional, so a new one breaks no plug-in.

    Attributes:
        guards: in which layer, and the guard; one feature may guard in several layers.
        paths: what it answers itself, by exact path from the root, in PROBES: before hosts, credentials and limits.
            HTTP only. Requests to other paths pay nothing for it.
        observers: which events it watches.
        response_headers: static headers of every response, lower-case; the route's own win.
        removed_headers: names of headers that no response carries, lower-case, whoever sets them; a static header of that
            name is sent all the same.
        middleware: pure-ASGI factories for what transforms whole responses; run after all guards, before the
            application's own middleware.
        routes: added to the application, after its own.
        lifespan: entered before the application's own lifespan and left after it.
        exception_handlers: added where the application has none of that type.
        health_checks: what readiness depends on.
        openapi: changes the OpenAPI document in place, once after it is generated.
        order: for `prodkit config`: one line on what its guards do, by layer.
    """

    guards: Sequence[tuple[Layer, Guard]] = ()
    paths: Mapping[str, Guard] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    response_headers: Mapping[str, str] = field(default_factory=dict)
    removed_headers: Collection[str] = ()
    middleware: Sequence[MiddlewareFactory] = ()
    routes: Sequence[BaseRoute] = ()
    lifespan: Lifespan | None = None
    exception_handlers: Mapping[type[Exception], Callable[..., Any]] = field(default_factory=dict)
    health_checks: Sequence[HealthCheck] = ()
    openapi: Sequence[Callable[[dict[str, Any], Kit], None]] = ()
    order: Mapping[Layer, str] = field(default_factory=dict)


class Feature(Protocol):
    """One concern of hardening.

    Attributes:
        name: unique within an application; installing another feature of this name replaces a standard one.
        provides: what other features may find by type through the `Kit`; collected before any `parts` is asked for.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def provides(self) -> Sequence[object]:
        """See above."""

    def parts(self, kit: Kit) -> Parts:
        """What this feature contributes to the application of *kit*. Called once, at installation."""


class Kit:
    """What is installed in one application.

    Attributes:
        clock: the time every feature uses.
        problem_type_base: the base URI of problem types.
        features: the installed features, by name, in the order of installation.
        routes: resolves requests to route templates and rules; None in a stand-alone pipeline.
        under_way: the requests under way in this process, by their contexts. Writer: pipeline.
        open_sockets: how many WebSockets are under way in this process. Writer: pipeline.
        is_draining: whether the process is about to stop and should get no new work.
        time_limits: of every request that has none of its own, or None. Writer: timeouts.
        failures: how often observers, callbacks and health checks of ours failed, by name.
    """

    def __init__(self, clock: Clock, problem_type_base: str) -> None:
        self.clock = clock
        self.problem_type_base = problem_type_base
        self.features: dict[str, Feature] = {}
        self.parts: dict[str, Parts] = {}
        self.routes: RouteTable | None = None
        # Not a set, which is written by a call.
        self.under_way: dict[RequestContext, None] = {}
        self.open_sockets = 0
        self.is_draining = False
        self.time_limits: TimeLimits | None = None
        self.failures: dict[str, int] = {}
        self._provided: list[object] = []
        self._observers: dict[type, tuple[Callable[[Any], None], ...]] = {}

    @property
    def in_flight(self) -> int:
        """Requests and sockets under way in this process."""
        return len(self.under_way) + self.open_sockets

    def provide(self, parts: Iterable[object]) -> None:
        """Offer *parts* to every feature, by type."""
        self._provided.extend(parts)

    def all(self, part_type: type[T]) -> tuple[T, ...]:
        """Everything provided that is a *part_type*; a runtime-checkable protocol counts."""
        return tuple(part for part in self._provided if isinstance(part, part_type))

    def one(self, part_type: type[T]) -> T | None:
        """The only *part_type* provided, or None.

        Raises:
            InstallationError: there are several, and choosing one would be a guess.
        """
        found = self.all(part_type)
        if len(found) > 1:
            names = ", ".join(type(part).__name__ for part in found)
            message = f"several features provide a {part_type.__name__} ({names}): install only one of them"
            raise InstallationError(message)
        return found[0] if found else None

    def observe(self, observers: Iterable[Observer]) -> None:
        """Register *observers*, each for its one event type."""
        for event_type, observer in observers:
            self._observers[event_type] = (*self._observers.get(event_type, ()), observer)

    def observers_of(self, event_type: type) -> tuple[Callable[[Any], None], ...]:
        """Who watches *event_type*, in the order of installation."""
        return self._observers.get(event_type, ())

    def emit(self, event: object) -> None:
        """Tell *event* to its observers. Never raises: a failing observer is counted and logged."""
        for observer in self._observers.get(type(event), ()):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - an observer's fault must not become the request's
                self.failed("observer", error)

    def failed(self, what: str, error: BaseException) -> None:
        """Count and log a failure of our own that no caller can do anything about."""
        count = self.failures.get(what, 0) + 1
        self.failures[what] = count
        # The 1st, 2nd, 4th, 8th ... so that a flood stays readable.
        if count & (count - 1) == 0:
            LOGGER.error("prodkit %s failed (%d so far)", what, count, exc_info=error)
