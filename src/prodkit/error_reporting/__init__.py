"""Error reporting: unexpected exceptions go to whoever collects them, with safe facts and nothing else.

The pipeline's own error boundary tells about failures, so a request that succeeds costs nothing, and no framework is
patched. What is reported: the exception, the correlation and trace id, method, route template and the principal's id.
Never a body, a header, a query string or a local variable.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, runtime_checkable

from pydantic import Field, SecretStr, field_validator

from prodkit.core.events import BackgroundFailed, RequestFailed
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, Parts, Sample
from prodkit.core.methods import KNOWN_METHODS, OTHER_METHOD
from prodkit.core.routes import UNROUTED
from prodkit.core.threads import call_in_daemon_thread
from prodkit.error_reporting.sentry import SentryReporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["ErrorFacts", "ErrorReporter", "ErrorReporting", "ErrorReportingSettings", "SentryReporter"]

_CLOSE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFacts:
    """What may be told about the request in which something failed.

    Attributes:
        phase: `request`, or `background` when the response was complete already.
        correlation_id: the one the client was given.
        trace_id: 32 hexadecimal digits, or None.
        method: one of the ten known methods, or `_OTHER`.
        route: the route template, `(unmatched)` or `(unrouted)`.
        principal_id: who called; `anonymous` when nobody was identified.
    """

    phase: Literal["request", "background"]
    correlation_id: str
    trace_id: str | None
    method: str
    route: str
    principal_id: str


@runtime_checkable
class ErrorReporter(Protocol):
    """Takes exceptions to where people look at them."""

    def report(self, error: BaseException, facts: ErrorFacts) -> None:
        """Take *error* over. Called on the event loop: must not block, so queue it. What it raises is counted and logged."""

    def close(self) -> None:
        """Send what is still queued, within about two seconds. Called once, in a thread, when the application stops."""


class ErrorReportingSettings(FeatureSettings):
    """Settings of `ErrorReporting`; environment prefix `PRODKIT_ERROR_REPORTING__`."""

    sentry_dsn: Annotated[
        SecretStr | None,
        Field(
            description="Where a Sentry-compatible service takes events: https://KEY@HOST/PROJECT. Needs the extra `sentry`. "
            "Default none: nothing is reported.",
        ),
    ] = None
    max_per_minute: Annotated[
        int,
        Field(
            ge=1,
            le=6000,
            description="At most this many reports in a minute; further ones are counted and dropped, so that a flood of errors "
            "stays an error and does not become an outage. Default 60.",
        ),
    ] = 60

    @field_validator("sentry_dsn")
    @classmethod
    def _is_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        # An empty variable is how a deployment template says "none".
        if dsn is None or not dsn.get_secret_value().strip():
            return None
        scheme, separator, rest = dsn.get_secret_value().partition("://")
        key, at, place = rest.partition("@")
        if scheme not in ("http", "https") or not (separator and key and at and "/" in place):
            message = "it is not a DSN | Copy it from the project's settings: https://KEY@HOST/PROJECT."
            raise ValueError(message)
        return dsn

    @property
    def is_on(self) -> bool:
        """Whether there is anywhere to report to."""
        return self.sentry_dsn is not None


class ErrorReporting:
    """The feature `error_reporting`.

    Args:
        reporter: where errors go; positional. Without it, a `SentryReporter` for *sentry_dsn*.
        sentry_dsn: see `ErrorReportingSettings`.
        max_per_minute: see `ErrorReportingSettings`.

    Raises:
        SettingsError: neither a reporter nor a DSN is given, or both are.
        MissingExtraError: a DSN is given, and the extra `sentry` is not installed.
    """

    name = "error_reporting"

    def __init__(
        self,
        reporter: ErrorReporter | None = None,
        /,
        *,
        sentry_dsn: str | SecretStr | None = None,
        max_per_minute: int = 60,
    ) -> None:
        self.settings = ErrorReportingSettings.of(
            "ErrorReporting", sentry_dsn=sentry_dsn, max_per_minute=max_per_minute
        )
        dsn = self.settings.sentry_dsn
        if (reporter is None) == (dsn is None):
            found = "neither a reporter nor a DSN is" if reporter is None else "both a reporter and a DSN are"
            fault = SettingsFault("ErrorReporting(...)", f"{found} given.", "Give one of the two.")
            raise SettingsError([fault])
        self.reporter: ErrorReporter = reporter if reporter is not None else _sentry(dsn)
        self._counts = _Counts()
        self.provides: Sequence[object] = (self._counts,)

    @classmethod
    def from_settings(cls, section: ErrorReportingSettings) -> ErrorReporting:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Observers of failures, and a lifespan that sends the rest off."""
        reports = _Reports(
            self.reporter, self._counts, self.settings.max_per_minute, kit.clock.monotonic, kit.failed
        )

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                yield
            finally:
                try:
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await call_in_daemon_thread(self.reporter.close, "error-reporter-close")
                except Exception as error:  # noqa: BLE001 - whatever the reporter does, the application has to stop
                    kit.failed("error reporter", error)

        return Parts(
            observers=[
                (RequestFailed, reports.request_failed),
                (BackgroundFailed, reports.background_failed),
            ],
            lifespan=lifespan,
        )


def _sentry(dsn: SecretStr | None) -> SentryReporter:
    try:
        return SentryReporter(dsn or "")
    except ValueError as error:
        cure = "Copy it from the project's settings: https://KEY@HOST/PROJECT."
        raise SettingsError(
            [SettingsFault("PRODKIT_ERROR_REPORTING__SENTRY_DSN", f"{error}.", cure)]
        ) from None


class _Counts:
    """How many reports were made, dropped or failed."""

    def __init__(self) -> None:
        self.by_outcome = {"reported": 0, "dropped": 0, "failed": 0}

    def samples(self) -> Iterable[Sample]:
        for outcome, number in self.by_outcome.items():
            yield Sample(
                "prodkit_error_reports_total",
                {"outcome": outcome},
                number,
                "counter",
                "Unexpected exceptions: reported, dropped beyond max_per_minute, or refused by the reporter.",
            )


class _Reports:
    """Hands failures to *reporter*, never more than *max_per_minute*."""

    def __init__(
        self,
        reporter: ErrorReporter,
        counts: _Counts,
        max_per_minute: int,
        monotonic: Callable[[], float],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._reporter = reporter
        self._counts = counts.by_outcome
        self._max = max_per_minute
        self._monotonic = monotonic
        self._failed = failed
        # A bucket of tokens: full at first, refilled evenly.
        self._tokens = float(max_per_minute)
        self._filled_at = monotonic()

    def request_failed(self, event: RequestFailed) -> None:
        """Report the exception that became a 500."""
        self._report(event.error, event.context, "request")

    def background_failed(self, event: BackgroundFailed) -> None:
        """Report what failed after the response."""
        self._report(event.error, event.context, "background")

    def _report(
        self, error: BaseException, context: RequestContext, phase: Literal["request", "background"]
    ) -> None:
        now = self._monotonic()
        self._tokens = min(self._max, self._tokens + (now - self._filled_at) * self._max / 60)
        self._filled_at = now
        if self._tokens < 1:
            self._counts["dropped"] += 1
            return
        self._tokens -= 1
        try:
            self._reporter.report(error, _facts(context, phase))
        except Exception as failure:  # noqa: BLE001 - a reporter's fault must not replace the error it was given
            self._counts["failed"] += 1
            self._failed("error reporter", failure)
        else:
            self._counts["reported"] += 1


def _facts(context: RequestContext, phase: Literal["request", "background"]) -> ErrorFacts:
    scope = context.scope
    route, method = context.route or UNROUTED, "GET"  # a WebSocket's handshake is a GET (RFC 6455, 4.1)
    if scope is not None:
        method = scope.get("method", "GET")
        if context.routed and context.kit.routes is not None:
            # Starlette's Mount keeps the root path of the outermost application beside the one it extends.
            root_path = scope.get("app_root_path", scope["root_path"])
            route = context.kit.routes.template(scope, root_path)
    return ErrorFacts(
        phase=phase,
        correlation_id=context.correlation_id,
        trace_id=context.trace_id,
        method=method if method in KNOWN_METHODS else OTHER_METHOD,
        route=route,
        principal_id=context.principal.id,
    )
