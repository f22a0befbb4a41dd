"""structlog processors: who asked, what may not be written, and exceptions of a bounded size.

They work in anybody's structlog configuration, too: `add_request_context`, `Redact`, `render_exception`.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.context import CURRENT
from prodkit.core.identity import ANONYMOUS
from prodkit.core.redaction import MASK, redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

__all__ = [
    "Redact",
    "add_request_context",
    "add_timestamp",
    "escape_controls",
    "render_exception",
    "to_json",
]

# The last frames are where it happened; a log store that cuts a line at 16 to 32 KiB must not cut ours.
_MAX_FRAMES: Final = 40
_MAX_EXCEPTION: Final = 12_000
_HEAD: Final = 2_000
# Looking through more would hold up the event loop.
_MAX_REDACTED: Final = 64_000

# C0, DEL, C1, and the two separators that some viewers break lines at; tab is harmless.
_CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_IN_TRACEBACK: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def add_request_context(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add `correlation_id`, and where known `trace_id` and `principal`, of the request this code runs for."""
    del logger, method
    context = CURRENT.get()
    if context is not None:
        event.setdefault("correlation_id", context.correlation_id)
        if context.trace_id is not None:
            event.setdefault("trace_id", context.trace_id)
        if context.principal is not ANONYMOUS:
            event.setdefault("principal", context.principal.id)
    return event


def add_timestamp(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add `timestamp`: ISO 8601 in UTC with milliseconds, as access lines have it."""
    del logger, method
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def render_exception(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Turn `exc_info` into `exception` and `exception_type`: without local variables, credentials or unbounded text."""
    del logger, method
    given = event.pop("exc_info", None)
    if not given:
        return event
    if isinstance(given, tuple):
        error = given[1]
    else:
        error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is None:
        return event
    event["exception_type"] = f"{type(error).__module__}.{type(error).__qualname__}"
    told = traceback.TracebackException(
        type(error), error, error.__traceback__, limit=-_MAX_FRAMES, capture_locals=False, compact=True
    )
    event["exception"] = _bounded("".join(told.format()).rstrip("\n"))
    return event


def _bounded(text: str) -> str:
    """*text* redacted and cut in the middle. Redacted first, because half a credential no longer looks like one."""
    if len(text) > _MAX_REDACTED:
        text = f"{text[:_MAX_REDACTED].rpartition(' ')[0]} ..."
    text = redact_text(text)
    cut = len(text) - _MAX_EXCEPTION
    if cut <= 0:
        return text
    return f"{text[:_HEAD]}\n... {cut} characters left out ...\n{text[_HEAD + cut :]}"


class Redact:
    """Masks what looks or is called like a credential, and whatever has one of *names*.

    Args:
        names: further field names, in any case, at any depth.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.casefold() for name in names)

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """The event, redacted. What cannot be looked through is replaced whole."""
        del logger, method
        redacted = redact(self._mask(event, 8) if self._names else event)
        return redacted if isinstance(redacted, dict) else {"event": MASK}

    def _mask(self, value: object, depth: int) -> object:
        if isinstance(value, Mapping):
            if depth == 0:
                return MASK
            return {
                key: MASK
                if isinstance(key, str) and key.casefold() in self._names
                else self._mask(item, depth - 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return MASK if depth == 0 else [self._mask(item, depth - 1) for item in value]
        return value


def escape_controls(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make control characters visible, so that no text can add a line or steer a terminal (CWE-117, CWE-150)."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str):
            pattern = _CONTROLS_IN_TRACEBACK if key in ("exception", "stack") else _CONTROLS
            event[key] = pattern.sub(_visible, value)
    return event


def _visible(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def to_json(event: Mapping[str, Any], **_: object) -> str:
    """*event* as one line of ASCII JSON; cannot fail: what JSON does not know is written as its redacted `repr`."""
    try:
        return json.dumps(event, default=_shown, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        # A key that is no text, a number that is none, a cycle.
        return json.dumps({str(key): _simple(value) for key, value in event.items()}, separators=(",", ":"))


def _simple(value: object) -> object:
    return value if value is None or isinstance(value, (str, int)) else _shown(value)


def _shown(value: object) -> str:
    try:
        return redact_text(repr(value))[:_MAX_EXCEPTION]
    except Exception:  # noqa: BLE001 - a repr may do anything, and a log line must not fail
        return f"<{type(value).__name__}>"
