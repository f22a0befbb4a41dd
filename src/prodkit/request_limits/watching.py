"""What looks at a body while it passes: the scanners, put where the bytes are.

A scanner sees each piece before the application does, so a refusal comes before the piece is kept or parsed. Which one
is chosen by the media type: JSON, forms, and all else that begins like JSON, since a handler may read it as such. None of
them knows the context, which knows them: that would be a cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.core.problems import Problem
from prodkit.request_limits.content_types import is_json, media_type_of
from prodkit.request_limits.decompression import Decompressing
from prodkit.request_limits.form_scanning import (
    MAX_LOOKALIKES,
    MAX_PARAMETERS,
    FormLimits,
    MultipartScanner,
    UrlencodedScanner,
    boundary_of,
)
from prodkit.request_limits.json_scanning import JSONLimits, JSONScanner, names_constants
from prodkit.request_limits.json_sniffing import JSONSniffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext
    from prodkit.request_limits.form_scanning import FormExcess
    from prodkit.request_limits.json_scanning import JSONExcess
    from prodkit.request_limits.refusals import Refusals
    from prodkit.request_limits.settings import RequestLimitsSettings

__all__ = [
    "FormWatcher",
    "JSONWatcher",
    "SmallJSONWatcher",
    "form_limits_of",
    "is_form",
    "json_limits_of",
    "watch_content",
    "watch_form",
    "watch_json",
]

_URLENCODED: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_FORMS: Final = frozenset({_URLENCODED, _MULTIPART})


def json_limits_of(settings: RequestLimitsSettings) -> JSONLimits:
    """The limits of the whole application."""
    return JSONLimits(
        settings.max_json_depth,
        settings.max_json_elements,
        settings.max_json_number_bytes,
        settings.max_json_string_bytes,
    )


def form_limits_of(settings: RequestLimitsSettings) -> FormLimits:
    """The limits of the whole application."""
    return FormLimits(
        settings.max_form_fields,
        settings.max_form_files,
        settings.max_form_field_bytes,
        settings.max_form_part_header_bytes,
    )


class JSONWatcher:
    """Refuses a JSON body that exceeds its limits.

    Args:
        limits: in force; a route's own replace them.
        refusals: counts what is refused.
        sniffer: where the request does not say that it is JSON: tells what of it would be read as such.
        outer: watches for the application that this one is mounted in.
    """

    def __init__(
        self,
        limits: JSONLimits,
        refusals: Refusals | None,
        sniffer: JSONSniffer | None = None,
        outer: JSONWatcher | None = None,
    ) -> None:
        self._refusals = refusals
        self._scanner: JSONScanner | None = JSONScanner(limits, strict=sniffer is None)
        self._sniffer = sniffer
        self._outer = outer
        self._problem: Problem | None = None

    def limit(self, limits: Callable[[JSONLimits], JSONLimits], *, is_json: bool) -> None:
        """Have what *limits* makes of the ones in force; with *is_json* the body is taken for JSON whatever it says."""
        if self._scanner is not None:
            self._scanner.limits = limits(self._scanner.limits)
            if is_json:
                self._sniffer, self._scanner.strict = None, True
        if self._outer is not None:
            self._outer.limit(limits, is_json=is_json)

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: 400 or 413, and again on each further message.
        """
        if self._problem is not None:
            raise self._problem
        data: bytes = message.get("body", b"")
        scanner, sniffer = self._scanner, self._sniffer
        if scanner is None or not data:
            return
        if sniffer is None:
            excess = scanner.feed(data, last=not message.get("more_body", False))
        else:
            data = sniffer.sift(data)
            last = sniffer.is_over or not message.get("more_body", False)
            excess = "encoding" if sniffer.is_refused else scanner.feed(data, last=last) if data else None
            if sniffer.is_over:
                self._scanner = None
        if excess is not None:
            if self._refusals is not None:
                self._refusals.counts["json"] += 1
            self._problem = _json_problem(excess, scanner.limits)
            raise self._problem


class SmallJSONWatcher:
    """Refuses what is no JSON to Python's parser only, in a body too small to exceed a limit; an instant for each.

    Args:
        refusals: counts what is refused.
    """

    __slots__ = ("_refusals", "_seen")

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._seen = b""

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: 400.
        """
        data: bytes = self._seen + message.get("body", b"")
        if message.get("more_body", False):
            self._seen = data
        elif 0 in data or names_constants(data):
            size = len(data)
            limits = JSONLimits(size, size, size)
            excess = JSONScanner(limits, strict=True).feed(data, last=True)
            if excess is not None:
                self._refusals.counts["json"] += 1
                raise _json_problem(excess, limits)


def _json_problem(excess: JSONExcess, limits: JSONLimits) -> Problem:
    if excess == "encoding":
        return Problem(
            400, "The body is not UTF-8, or holds a NUL byte: JSON is written in UTF-8 and holds none."
        )
    if excess == "constant":
        return Problem(400, "NaN and Infinity are no JSON.")
    if excess == "depth":
        return Problem(
            400, f"The JSON is nested deeper than {limits.depth} levels.", max_json_depth=limits.depth
        )
    if excess == "elements":
        detail = f"The JSON has more than {limits.elements} members and elements."
        return Problem(413, detail, max_json_elements=limits.elements)
    if excess == "number":
        detail = f"A number in the JSON is longer than {limits.number_bytes} characters."
        return Problem(413, detail, max_json_number_bytes=limits.number_bytes)
    detail = f"A string in the JSON is longer than {limits.string_bytes} bytes."
    return Problem(413, detail, max_json_string_bytes=limits.string_bytes)


class FormWatcher:
    """Refuses a form that exceeds its limits.

    Args:
        scanner: for its media type, with the limits in force.
        refusals: counts what is refused.
        outer: watches for the application that this one is mounted in.
    """

    def __init__(
        self,
        scanner: MultipartScanner | UrlencodedScanner,
        refusals: Refusals | None,
        outer: FormWatcher | None = None,
    ) -> None:
        self._refusals = refusals
        self._scanner = scanner
        self._outer = outer
        self._problem: Problem | None = None

    def limit(self, limits: Callable[[FormLimits], FormLimits]) -> None:
        """Have what *limits* makes of the ones in force."""
        self._scanner.limits = limits(self._scanner.limits)
        if self._outer is not None:
            self._outer.limit(limits)

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: 400 or 413, and again on each further message.
        """
        if self._problem is not None:
            raise self._problem
        excess = self._scanner.feed(message.get("body", b""))
        if excess is not None:
            if self._refusals is not None:
                self._refusals.counts["form"] += 1
            self._problem = _form_problem(excess, self._scanner.limits)
            raise self._problem


def _form_problem(excess: FormExcess, limits: FormLimits) -> Problem:
    if excess == "parameters":
        return Problem(400, f"The headers of a part of the form have more than {MAX_PARAMETERS} semicolons.")
    if excess == "lookalikes":
        return Problem(
            400, f"More than {MAX_LOOKALIKES} lines of the form begin like a delimiter and are none."
        )
    bound: int = getattr(limits, excess)
    text = {
        "fields": f"The form has more than {bound} fields.",
        "files": f"The form has more than {bound} files.",
        "field_bytes": f"The fields of the form are larger than {bound} bytes together.",
        "part_header_bytes": f"The headers of a part of the form are larger than {bound} bytes.",
    }
    extension: dict[str, Any] = {f"max_form_{excess}": bound}  # Any: else it could be `headers`
    return Problem(413, text[excess], **extension)


def is_form(media_type: str) -> bool:
    """Whether Starlette reads a body of *media_type* as a form."""
    return media_type in _FORMS


def watch_content(
    context: RequestContext, json: JSONLimits, form: FormLimits, refusals: Refusals, smallest: int
) -> None:
    """Have the body of *context* watched by the scanner for its media type.

    Args:
        context: of a request that has a body, or may have one.
        json: limits of JSON.
        form: limits of forms.
        refusals: counts what is refused.
        smallest: a body that declares no more bytes than this cannot exceed a limit of JSON, and is not measured.

    Raises:
        Problem: 400 where Content-Type cannot be read at a bounded cost.
    """
    media_type = media_type_of(context)
    if is_form(media_type) and watch_form(context, form, refusals) is not None:
        return
    _check_parameters(context, refusals)
    if context.get(Decompressing) is None and _declares_at_most(context, smallest):
        if is_json(media_type):
            context.watch_body(SmallJSONWatcher(refusals))
    elif is_json(media_type):
        watch_json(context, json, refusals)
    else:
        watch_json(context, json, refusals, JSONSniffer(refuses_wide=not media_type))


def watch_json(
    context: RequestContext, limits: JSONLimits, refusals: Refusals | None, sniffer: JSONSniffer | None = None
) -> JSONWatcher:
    """Have the body of *context* watched as JSON; see `JSONWatcher`."""
    watcher = JSONWatcher(limits, refusals, sniffer, context.get(JSONWatcher))
    _watch(context, watcher)
    return watcher


def watch_form(context: RequestContext, limits: FormLimits, refusals: Refusals | None) -> FormWatcher | None:
    """Have the body of *context* watched as a form of its media type; None where nobody could parse it as one.

    Raises:
        Problem: 400 where Content-Type cannot be read at a bounded cost.
    """
    _check_parameters(context, refusals)
    scanner: MultipartScanner | UrlencodedScanner
    if media_type_of(context) == _MULTIPART:
        boundary = boundary_of(context.headers[b"content-type"])
        if boundary is None:
            return None
        scanner = MultipartScanner(boundary, limits)
    else:
        scanner = UrlencodedScanner(limits)
    watcher = FormWatcher(scanner, refusals, context.get(FormWatcher))
    _watch(context, watcher)
    return watcher


def _watch(context: RequestContext, watcher: JSONWatcher | FormWatcher) -> None:
    context.put(watcher)
    decompressing = context.get(Decompressing)
    if decompressing is None:
        context.watch_body(watcher)
    else:
        decompressing.watchers.append(watcher)


def _check_parameters(context: RequestContext, refusals: Refusals | None) -> None:
    value: bytes = context.headers.get(b"content-type", b"")
    if len(value) > MAX_PARAMETERS and value.count(b";") > MAX_PARAMETERS:
        if refusals is not None:
            refusals.counts["content_type"] += 1
        raise Problem(400, f"Content-Type has more than {MAX_PARAMETERS} semicolons.")


def _declares_at_most(context: RequestContext, size: int) -> bool:
    length = context.headers.get(b"content-length", b"")
    # Compared as text first: a number of a thousand digits is not parsed. That there are digits only is known by now.
    return bool(length) and len(length) <= len(str(size)) and int(length) <= size
