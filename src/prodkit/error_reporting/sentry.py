"""Sentry as an `ErrorReporter`: the SDK's client alone, without what it patches.

The SDK's Starlette and FastAPI integrations wrap every middleware and read bodies before the handler does; on the
path of a successful request they cost more than all of prodkit. Captured at our own error boundary, errors cost
nothing until there is one. Nothing global is configured: an SDK that the application set up itself is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from prodkit.core.extras import require
from prodkit.core.redaction import redact_text

if TYPE_CHECKING:
    from prodkit.error_reporting import ErrorFacts

__all__ = ["SentryReporter"]

_CLOSE_SECONDS: Final = 2.0


class SentryReporter:
    """Sends exceptions to Sentry, or to what speaks its protocol.

    Each event has a scope of its own, so nothing of another request or of the application's breadcrumbs is in it.
    Events wait in the SDK's bounded queue for its own thread; what does not fit is dropped there.

    Args:
        dsn: where events go: https://KEY@HOST/PROJECT.
        release: the version that runs; by default what `SENTRY_RELEASE` says.
        environment: by default what `SENTRY_ENVIRONMENT` says, else `production`.

    Raises:
        MissingExtraError: the extra `sentry` is not installed.
        ValueError: *dsn* is not a DSN.
    """

    def __init__(
        self, dsn: SecretStr | str, *, release: str | None = None, environment: str | None = None
    ) -> None:
        sdk = require("sentry_sdk", extra="sentry", purpose="Error reporting to Sentry")
        utils = require("sentry_sdk.utils", extra="sentry", purpose="Error reporting to Sentry")
        self._scope_type: Any = sdk.Scope  # Any: the module is imported here, so its types are not known
        self._event_of: Any = utils.event_from_exception
        try:
            self._client: Any = sdk.Client(
                dsn=dsn.get_secret_value() if isinstance(dsn, SecretStr) else dsn,
                release=release,
                environment=environment,
                default_integrations=False,
                auto_enabling_integrations=False,
                include_local_variables=False,
                before_send=_redacted,
                shutdown_timeout=_CLOSE_SECONDS,
            )
        except (utils.BadDsn, ValueError):
            # Not what the SDK says: it may repeat the key.
            message = "the Sentry SDK does not take the DSN"
            raise ValueError(message) from None

    def report(self, error: BaseException, facts: ErrorFacts) -> None:
        """Queue *error* for sending."""
        event, hint = self._event_of(
            (type(error), error, error.__traceback__),
            client_options=self._client.options,
            mechanism={"type": "prodkit", "handled": False},
        )
        scope = self._scope_type()
        scope.set_transaction_name(f"{facts.method} {facts.route}", source="route")
        scope.set_user({"id": facts.principal_id})
        scope.set_tag("correlation_id", facts.correlation_id)
        scope.set_tag("phase", facts.phase)
        scope.set_tag("method", facts.method)
        scope.set_tag("route", facts.route)
        if facts.trace_id is not None:
            scope.set_tag("trace_id", facts.trace_id)
        self._client.capture_event(event, hint, scope=scope)

    def close(self) -> None:
        """Send what is queued, for at most two seconds, and stop."""
        self._client.close(timeout=_CLOSE_SECONDS)


def _redacted(event: dict[str, Any], hint: object) -> dict[str, Any]:
    """The event with credentials masked in messages and in the lines of source code around each frame.

    Any: the SDK's event is a JSON document.
    """
    del hint
    for exception in event.get("exception", {}).get("values", ()):
        _redact_texts(exception, "value")
        for frame in (exception.get("stacktrace") or {}).get("frames", ()):
            _redact_texts(frame, "context_line", "pre_context", "post_context")
    return event


def _redact_texts(place: dict[str, Any], *names: str) -> None:
    for name in names:
        found = place.get(name)
        if isinstance(found, str):
            place[name] = redact_text(found)
        elif isinstance(found, list):
            place[name] = [redact_text(line) if isinstance(line, str) else line for line in found]
