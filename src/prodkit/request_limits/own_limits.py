"""Limits of a single route on the shape of its bodies: `json_limits` and `form_limits`.

They are in force before the body is read, in place of the application's, and may be larger or smaller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response
from prodkit.request_limits.content_types import has_body
from prodkit.request_limits.form_scanning import FormLimits
from prodkit.request_limits.json_scanning import JSONLimits
from prodkit.request_limits.refusals import refusals_of
from prodkit.request_limits.watching import FormWatcher, JSONWatcher, watch_content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import RequestContext

__all__ = ["RouteFormLimits", "RouteJSONLimits", "form_limits", "json_limits"]

# Where nobody watches yet, either the body is too small for the application's limits or there are none.
_UNBOUNDED: Final = 10**9
_ANY_JSON: Final = JSONLimits(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED)
_ANY_FORM: Final = FormLimits(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED, _UNBOUNDED)


class RouteJSONLimits:
    """A route's own limits on JSON; declared with `json_limits`."""

    def __init__(self, changes: Mapping[str, int]) -> None:
        self._changes: dict[str, Any] = dict(changes)  # Any: what `replace` takes, by name
        text = "The JSON is nested too deeply, or has too many elements or too long a literal."
        self.responses: Mapping[str, Mapping[str, object]] = {
            "400": problem_response(text),
            "413": problem_response(text),
        }

    def enforce(self, context: RequestContext) -> None:
        """Put the limits in force for *context*, before its body is read."""
        watcher = context.get(JSONWatcher)
        if watcher is None and has_body(context):
            watch_content(context, _ANY_JSON, _ANY_FORM, refusals_of(context))
            watcher = context.get(JSONWatcher)
        if watcher is not None:
            watcher.limit(lambda limits: replace(limits, **self._changes))

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


class RouteFormLimits:
    """A route's own limits on forms; declared with `form_limits`."""

    def __init__(self, changes: Mapping[str, int]) -> None:
        self._changes: dict[str, Any] = dict(changes)  # Any: what `replace` takes, by name
        self.responses: Mapping[str, Mapping[str, object]] = {
            "413": problem_response("The form has too many fields or files, or too large ones.")
        }

    def enforce(self, context: RequestContext) -> None:
        """Put the limits in force for *context*, before its body is read."""
        watcher = context.get(FormWatcher)
        if watcher is None and has_body(context):
            watch_content(context, _ANY_JSON, _ANY_FORM, refusals_of(context))
            watcher = context.get(FormWatcher)
        if watcher is not None:
            watcher.limit(lambda limits: replace(limits, **self._changes))

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def json_limits(
    *,
    max_depth: int | None = None,
    max_elements: int | None = None,
    max_number_bytes: int | None = None,
    max_string_bytes: int | None = None,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route's JSON may be so deep and so large, in place of the application's limits.

    What is left out stays as it is for the application; see `RequestLimitsSettings` for what each one means.

    Raises:
        SettingsError: nothing is given, or a limit below 1.
    """
    given = {
        "depth": max_depth,
        "elements": max_elements,
        "number_bytes": max_number_bytes,
        "string_bytes": max_string_bytes,
    }
    return Depends(RouteJSONLimits(_checked("json_limits", given, lowest=1)))


def form_limits(
    *,
    max_fields: int | None = None,
    max_files: int | None = None,
    max_field_bytes: int | None = None,
    max_part_header_bytes: int | None = None,
) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route's forms may have so many fields and files, in place of the application's limits.

    What is left out stays as it is for the application. Starlette's own limits stay in force: for more than 1000 fields
    or files, or a field of more than 1 MiB, the route needs FastAPI's `form_limits=` too.

    Raises:
        SettingsError: nothing is given, or a negative limit.
    """
    given = {
        "fields": max_fields,
        "files": max_files,
        "field_bytes": max_field_bytes,
        "part_header_bytes": max_part_header_bytes,
    }
    return Depends(RouteFormLimits(_checked("form_limits", given, lowest=0)))


def _checked(name: str, given: Mapping[str, int | None], lowest: int) -> dict[str, int]:
    changes = {limit: value for limit, value in given.items() if value is not None}
    faults = [
        SettingsFault(f"{name}(max_{limit}={value})", "nothing could be sent.", f"Give {lowest} or more.")
        for limit, value in changes.items()
        if value < lowest
    ]
    if not changes:
        faults = [SettingsFault(f"{name}()", "it limits nothing.", "Give at least one limit.")]
    if faults:
        raise SettingsError(faults)
    return changes
