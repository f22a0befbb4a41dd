"""Limits of a single route on the shape of its bodies: `json_limits` and `form_limits`.

They are in force before the body is read, in place of the application's, and may be larger or smaller. Of several, of
routers and of the route, the one nearest to the route holds alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends

from prodkit.core.context import CurrentContext  # noqa: TC001 - FastAPI resolves it at run time
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response
from prodkit.request_limits.bodies import is_whole
from prodkit.request_limits.content_types import may_have_body, media_type_of
from prodkit.request_limits.form_scanning import FormLimits
from prodkit.request_limits.json_scanning import JSONLimits
from prodkit.request_limits.json_sniffing import JSONSniffer
from prodkit.request_limits.nearest import is_overridden
from prodkit.request_limits.refusals import refusals_of
from prodkit.request_limits.watching import FormWatcher, JSONWatcher, is_form, watch_form, watch_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.context import RequestContext

__all__ = ["RouteFormLimits", "RouteJSONLimits", "form_limits", "json_limits"]

# Where the application has no limits.
_UNBOUNDED: Final = 10**9
_ANY_JSON: Final = JSONLimits(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED)
_ANY_FORM: Final = FormLimits(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED, _UNBOUNDED)


class RouteJSONLimits:
    """A route's own limits on JSON; declared with `json_limits`."""

    replaces_outer: Final = True  # see `nearest`, and what is documented

    def __init__(self, changes: Mapping[str, int]) -> None:
        self._changes: dict[str, Any] = dict(changes)  # Any: what `replace` takes, by name
        text = "The JSON is nested too deeply, or has too many elements or too long a literal."
        self.responses: Mapping[str, Mapping[str, object]] = {
            "400": problem_response(text),
            "413": problem_response(text),
        }

    def enforce(self, context: RequestContext) -> None:
        """Put the limits in force for *context*, before its body is read; what is no form is JSON, whatever it says."""
        if is_overridden(self, context) or not may_have_body(context):
            return
        watcher = context.get(JSONWatcher)
        is_json = not is_form(media_type_of(context))
        if watcher is None:
            of_application = context.provided(JSONLimits)
            limits = of_application[-1] if of_application else _ANY_JSON
            sniffer = None if is_json else JSONSniffer(refuses_wide=True)
            watcher = watch_json(context, limits, refusals_of(context), sniffer)
        watcher.limit(lambda limits: replace(limits, **self._changes), is_json=is_json)

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


class RouteFormLimits:
    """A route's own limits on forms; declared with `form_limits`."""

    replaces_outer: Final = True  # see `nearest`, and what is documented

    def __init__(self, changes: Mapping[str, int]) -> None:
        self._changes: dict[str, Any] = dict(changes)  # Any: what `replace` takes, by name
        self.responses: Mapping[str, Mapping[str, object]] = {
            "413": problem_response("The form has too many fields or files, or too large ones.")
        }

    def enforce(self, context: RequestContext) -> None:
        """Put the limits in force for *context*, before its body is read.

        Raises:
            Problem: 400 where Content-Type cannot be read at a bounded cost.
        """
        if is_overridden(self, context) or not is_form(media_type_of(context)) or not may_have_body(context):
            return
        watcher = context.get(FormWatcher) or watch_form(context, _ANY_FORM, refusals_of(context))
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

    What is left out stays as it is for the application; see `RequestLimitsSettings` for what each one means. Every body of
    the route is taken for JSON, whatever its media type, since `request.json()` does so too; only a form is let alone
    unless it begins like JSON. Where a router or the application declares one too, the one nearest to the route holds alone.

    Raises:
        SettingsError: nothing is given, or a limit is no whole number or below 1.
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
    or files, or a field of more than 1 MiB, the route needs FastAPI's `form_limits=` too. Where a router or the application
    declares one too, the one nearest to the route holds alone.

    Raises:
        SettingsError: nothing is given, or a limit is no whole number or negative.
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
    faults = []
    for limit, value in changes.items():
        setting = f"{name}(max_{limit}={value!r})"
        if not is_whole(value):
            faults.append(SettingsFault(setting, "this is not a whole number.", "Give an int, such as 1000."))
        elif value < lowest:
            faults.append(SettingsFault(setting, "nothing could be sent.", f"Give {lowest} or more."))
    if not changes:
        faults = [SettingsFault(f"{name}()", "it limits nothing.", "Give at least one limit.")]
    if faults:
        raise SettingsError(faults)
    return changes
