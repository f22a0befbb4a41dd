"""Health: three probes for orchestrators, and checks of what the application depends on.

| probe | asks | answers 503 when |
|---|---|---|
| `/livez` | restart me? | the event loop is always late, or `Health.declare_dead` was called. Never because of a dependency |
| `/readyz` | send traffic? | the process drains, or a critical check is unhealthy or has not answered yet |
| `/startupz` | booted? | a check has not had its first result, good or bad, yet |

The body says `pass`, `warn` (a check is degraded, or one that is not critical is unhealthy) or `fail`, and nothing
else; with `?verbose` and permission (see `operations`) it tells about each check.

Source: Kubernetes, "Liveness, Readiness, and Startup Probes"; words and media type of draft-inadarei-api-health-check-06.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from prodkit.core.asgi import Answer
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import FeatureSettings, HealthCheck, HealthResult, Layer, Parts
from prodkit.core.operations import OperationsAccess, refuse_other_methods
from prodkit.health.monitor import Monitor
from prodkit.health.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit, Sample

__all__ = ["Health", "HealthCheck", "HealthResult", "HealthSettings"]

LOGGER = logging.getLogger("prodkit.health")

_LIVE: Final = "/livez"
_READY: Final = "/readyz"
_STARTED: Final = "/startupz"
# An orchestrator waits 1 s by default (Kubernetes, timeoutSeconds).
_DEADLINE_SECONDS: Final = 0.8
_HEADERS: Final = [(b"content-type", b"application/health+json"), (b"cache-control", b"no-store")]
_ANSWERS: Final = {
    word: Answer(status, b'{"status":"%s"}' % word.encode("ascii"), _HEADERS)
    for word, status in (("pass", 200), ("warn", 200), ("fail", 503))
}


class HealthSettings(FeatureSettings):
    """Settings of `Health`; environment prefix `PRODKIT_HEALTH__`."""

    fail_after: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="How many unhealthy results in a row make a check unhealthy. Default 1; more where a dependency flaps.",
        ),
    ] = 1
    recover_after: Annotated[
        int,
        Field(ge=1, le=100, description="How many good results in a row make it well again. Default 1."),
    ] = 1
    max_loop_lag_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="By how much the event loop may be late, in seconds, before `/livez` asks for a restart. Default 10: "
            "far beyond what a slow handler does.",
        ),
    ] = 10.0


class Health:
    """The feature `health`.

    Args:
        checks: what readiness depends on, in addition to the checks that other features bring.
        fail_after: see `HealthSettings`.
        recover_after: see `HealthSettings`.
        max_loop_lag_seconds: see `HealthSettings`.

    Raises:
        SettingsError: an option is wrong.
        InstallationError: two checks of one name; also at start-up, when another feature brings the second one.
    """

    name = "health"

    def __init__(
        self,
        *checks: HealthCheck,
        fail_after: int = 1,
        recover_after: int = 1,
        max_loop_lag_seconds: float = 10.0,
    ) -> None:
        self.settings = HealthSettings.of(
            "Health",
            fail_after=fail_after,
            recover_after=recover_after,
            max_loop_lag_seconds=max_loop_lag_seconds,
        )
        self.checks = checks
        self.provides: Sequence[object] = (self,)
        self._kit: Kit | None = None
        self._watchdog: Watchdog | None = None
        self._monitor: Monitor | None = None
        self._dead: str | None = None
        _monitor_of(
            checks, lambda: 0.0, self.settings
        )  # refuses two of one name while the application is built

    @classmethod
    def from_settings(cls, section: HealthSettings) -> Health:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard that answers the probes, and a lifespan that keeps the checks running."""
        self._kit = kit
        self._watchdog = Watchdog(kit.clock.monotonic)
        probes = _Probes(self, kit, self._watchdog)
        return Parts(
            paths={_LIVE: probes.live, _READY: probes.ready, _STARTED: probes.started},
            health_checks=self.checks,
            lifespan=probes.lifespan,
            order={Layer.PROBES: f"{_LIVE}, {_READY}, {_STARTED}"},
        )

    def declare_dead(self, reason: str) -> None:
        """Make `/livez` fail from now on: this process cannot recover, and only a restart helps. Logged once."""
        if self._dead is None:
            LOGGER.critical("declared dead: %s", reason)
        self._dead = reason

    @property
    def dead(self) -> str | None:
        """Why this process asks to be restarted, or None."""
        return self._dead

    @property
    def monitor(self) -> Monitor:
        """What runs the checks of all features; made when first asked for, when all features have told theirs.

        Raises:
            InstallationError: two checks of one name, or it is asked before the installation.
        """
        if self._monitor is None:
            if self._kit is None:
                message = "this Health is not installed: give it to install(app, ...) or harden(app, ...)"
                raise InstallationError(message)
            checks = [check for parts in self._kit.parts.values() for check in parts.health_checks]
            self._monitor = _monitor_of(checks, self._kit.clock.monotonic, self.settings)
        return self._monitor

    def samples(self) -> Iterable[Sample]:
        """Status of the checks and lag of the event loop, for metrics."""
        if self._monitor is not None:
            yield from self._monitor.samples()
        if self._watchdog is not None:
            yield from self._watchdog.samples()


def _monitor_of(checks: Sequence[HealthCheck], monotonic: Any, settings: HealthSettings) -> Monitor:
    try:
        return Monitor(
            checks, monotonic, fail_after=settings.fail_after, recover_after=settings.recover_after
        )
    except ValueError as error:
        message = f"{error}: give each its own name"
        raise InstallationError(message) from None


class _Probes:
    """Answers the three probes of one application."""

    def __init__(self, health: Health, kit: Kit, watchdog: Watchdog) -> None:
        self._health = health
        self._kit = kit
        self._watchdog = watchdog
        self._access = kit.one(OperationsAccess)
        self._was_ready: bool | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Run checks and watchdog in the background."""
        monitor = self._health.monitor
        running = [
            asyncio.create_task(monitor.run_for_ever()),
            asyncio.create_task(self._watchdog.run_for_ever()),
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await monitor.close()

    def live(self, context: RequestContext) -> Answer:
        """Restart me? Knows nothing of dependencies: restarting does not cure them."""
        refuse_other_methods(context)
        lag = self._watchdog.lag_seconds
        late = lag > self._health.settings.max_loop_lag_seconds
        word = "fail" if late or self._health.dead is not None else "pass"
        return self._answer(context, word)

    def ready(self, context: RequestContext) -> Answer | Awaitable[Answer]:
        """Send traffic? Waits for checks only where nothing keeps them fresh, as without a lifespan."""
        refuse_other_methods(context)
        if self._health.monitor.is_fresh():
            return self._readiness(context)
        return self._refreshed(context, self._readiness)

    def started(self, context: RequestContext) -> Answer | Awaitable[Answer]:
        """Booted? A server asks nothing of an application whose lifespan has not begun to serve (ASGI, lifespan)."""
        refuse_other_methods(context)
        if self._health.monitor.has_first_results():
            return self._answer(context, "pass")
        return self._refreshed(context, self._startup)

    async def _refreshed(
        self, context: RequestContext, answer: Any
    ) -> Answer:  # Any: one of the two methods below
        await self._health.monitor.refresh(_DEADLINE_SECONDS)
        result: Answer = answer(context)
        return result

    def _startup(self, context: RequestContext) -> Answer:
        return self._answer(context, "pass" if self._health.monitor.has_first_results() else "fail")

    def _readiness(self, context: RequestContext) -> Answer:
        word = "fail" if self._kit.is_draining else "pass"
        for state in self._health.monitor.states:
            if state.status == "healthy":
                continue
            if state.status is None or state.status == "unhealthy":
                word = "fail" if state.check.critical else max(word, "warn", key=_SEVERITY.index)
            else:
                word = max(word, "warn", key=_SEVERITY.index)
        self._note(word)
        return self._answer(context, word)

    def _note(self, word: str) -> None:
        """Say once that readiness changed; the probes themselves leave no access lines."""
        is_ready = word != "fail"
        if is_ready is not self._was_ready and (self._was_ready is not None or not is_ready):
            LOGGER.log(logging.INFO if is_ready else logging.WARNING, "ready" if is_ready else "not ready")
        self._was_ready = is_ready

    def _answer(self, context: RequestContext, word: str) -> Answer:
        plain = _ANSWERS[word]
        scope = context.scope
        if self._access is None or scope is None or not scope["query_string"]:
            return plain
        asked = {pair.partition(b"=")[0] for pair in scope["query_string"].split(b"&")}
        if b"verbose" not in asked or not self._access.allows(context):
            return plain
        return Answer(plain.status, json.dumps(self._details(word)).encode("ascii"), _HEADERS)

    def _details(self, word: str) -> dict[str, object]:
        now = self._kit.clock.monotonic()
        return {
            "status": word,
            "draining": self._kit.is_draining,
            "in_flight": self._kit.in_flight,
            "event_loop_lag_seconds": round(self._watchdog.lag_seconds, 3),
            "declared_dead": self._health.dead,
            "checks": {
                state.check.name: {
                    "status": state.status or "unknown",
                    "critical": state.check.critical,
                    "detail": state.detail,
                    "age_seconds": None if state.checked_at is None else round(now - state.checked_at, 3),
                    "duration_seconds": round(state.duration_seconds, 4),
                }
                for state in self._health.monitor.states
            },
        }


_SEVERITY: Final = ("pass", "warn", "fail")
