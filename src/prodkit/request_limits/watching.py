"""What looks at a body while it passes: the scanners, put where the bytes are.

A scanner sees each piece before the application does, so a refusal comes before the piece is kept or parsed. Which one
is chosen by the media type: JSON, forms, and what names no type but begins like JSON. None of them knows the context,
which knows them: that would be a cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.core.problems import Problem
from prodkit.request_limits.content_types import is_json, media_type_of
from prodkit.request_limits.decompression import Decompressing
from prodkit.request_limits.form_scanning import FormLimits, MultipartScanner, UrlencodedScanner, boundary_of
from prodkit.request_limits.json_scanning import JSONLimits, JSONScanner

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
    "form_limits_of",
    "json_limits_of",
    "watch_content",
]

_WHITE_SPACE: Final = b" \t\r\n\xef\xbb\xbf"  # and the byte order mark that Python's parser takes
_URLENCODED: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"


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
        is_sure: whether the request says that it is JSON; if not, a body that does not begin like it is let alone.
    """

    def __init__(self, limits: JSONLimits, refusals: Refusals | None, *, is_sure: bool) -> None:
        self._refusals = refusals
        self._scanner: JSONScanner | None = JSONScanner(limits)
        self._is_sure = is_sure
        self._problem: Problem | None = None

    def limit(self, limits: Callable[[JSONLimits], JSONLimits]) -> None:
        """Have what *limits* makes of the ones in force."""
        if self._scanner is not None:
            self._scanner.limits = limits(self._scanner.limits)

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: 400 or 413, and again on each further message.
        """
        if self._problem is not None:
            raise self._problem
        data: bytes = message.get("body", b"")
        scanner = self._scanner
        if scanner is None or not data:
            return
        if not self._is_sure:
            begin = data.lstrip(_WHITE_SPACE)[:1]
            if begin and begin not in b"[{":
                self._scanner = None
                return
            self._is_sure = bool(begin)
        excess = scanner.feed(data, last=not message.get("more_body", False))
        if excess is not None:
            if self._refusals is not None:
                self._refusals.counts["json"] += 1
            self._problem = _json_problem(excess, scanner.limits)
            raise self._problem


def _json_problem(excess: JSONExcess, limits: JSONLimits) -> Problem:
    if excess == "encoding":
        return Problem(400, "JSON is written in UTF-8, and holds no NUL byte.")
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
    """

    def __init__(self, scanner: MultipartScanner | UrlencodedScanner, refusals: Refusals | None) -> None:
        self._refusals = refusals
        self._scanner = scanner
        self._problem: Problem | None = None

    def limit(self, limits: Callable[[FormLimits], FormLimits]) -> None:
        """Have what *limits* makes of the ones in force."""
        self._scanner.limits = limits(self._scanner.limits)

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: 413, and again on each further message.
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
    bound: int = getattr(limits, excess)
    text = {
        "fields": f"The form has more than {bound} fields.",
        "files": f"The form has more than {bound} files.",
        "field_bytes": f"The fields of the form are larger than {bound} bytes together.",
        "part_header_bytes": f"The headers of a part of the form are larger than {bound} bytes.",
    }
    extension: dict[str, Any] = {f"max_form_{excess}": bound}  # Any: else it could be `headers`
    return Problem(413, text[excess], **extension)


def watch_content(
    context: RequestContext, json: JSONLimits, form: FormLimits, refusals: Refusals | None, smallest: int = 0
) -> None:
    """Have the body of *context* watched by the scanner for its media type, if there is one for it.

    Args:
        context: of a request that has a body.
        json: limits of JSON.
        form: limits of forms.
        refusals: counts what is refused.
        smallest: a JSON body that declares no more bytes than this cannot exceed a limit, and is not watched.
    """
    media_type = media_type_of(context)
    decompressing = context.get(Decompressing)
    watcher: JSONWatcher | FormWatcher
    if not media_type or is_json(media_type):
        if decompressing is None and _declares_at_most(context, smallest):
            return
        watcher = JSONWatcher(json, refusals, is_sure=bool(media_type))
    elif media_type == _URLENCODED:
        watcher = FormWatcher(UrlencodedScanner(form), refusals)
    elif media_type == _MULTIPART:
        boundary = boundary_of(context.headers[b"content-type"])
        if boundary is None:  # the parser refuses it
            return
        watcher = FormWatcher(MultipartScanner(boundary, form), refusals)
    else:
        return
    context.put(watcher)
    if decompressing is None:
        context.watch_body(watcher)
    else:
        decompressing.watchers.append(watcher)


def _declares_at_most(context: RequestContext, size: int) -> bool:
    length = context.headers.get(b"content-length", b"")
    # Compared as text first: a number of a thousand digits is not parsed. That there are digits only is known by now.
    return bool(length) and len(length) <= len(str(size)) and int(length) <= size
