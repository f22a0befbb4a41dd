"""Media types of bodies: which ones an application, or one of its routes, takes.

Source: RFC 9110, 8.3 (Content-Type), 12.5.1 (Accept in a response) and 15.5.16 (415); Accept-Post is of the Linked Data
Platform 1.0, 7.1, Accept-Patch of RFC 5789, 3.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fastapi import Depends

from prodkit.core.context import CURRENT, CurrentContext
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.openapi import problem_response
from prodkit.core.problems import Problem
from prodkit.request_limits.nearest import is_overridden
from prodkit.request_limits.refusals import refusals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext

__all__ = [
    "MediaRanges",
    "RouteContentTypes",
    "UnannouncedBody",
    "content_types",
    "fault_of_range",
    "has_body",
    "is_json",
    "may_have_body",
    "media_type_of",
]

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9a-z]+"  # noqa: S105 - a token of RFC 9110, 5.6.2
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}")
_RANGE: Final = re.compile(
    r"(?P<type>[!#$%&'+\-.^_`|~0-9a-z]+)/(\*|\*\+(?P<suffix>[!#$%&'\-.^_`|~0-9a-z]+)|[!#$%&'+\-.^_`|~0-9a-z]+)"
)


def media_type_of(context: RequestContext) -> str:
    """Type and subtype of the body, lower-case, without parameters; empty where the request names none.

    White space is taken off as FastAPI does it, that of Latin-1 included: both have to see the same type.
    """
    value: bytes = context.headers.get(b"content-type", b"")
    if value == b"application/json":  # nearly all
        return "application/json"
    return value.decode("latin-1").partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether bodies of *media_type* are one JSON text (RFC 6839, 3.1)."""
    return media_type.endswith(("/json", "+json"))


def has_body(context: RequestContext) -> bool:
    """Whether the request announces a body that is not empty (RFC 9112, 6).

    One of HTTP/2 and later need not announce it, and is taken to have one where it says of what kind it is.
    """
    headers = context.headers
    if b"transfer-encoding" in headers:
        return True
    if b"content-length" in headers:
        return bool(headers[b"content-length"].strip(b"0"))
    return _frames_bodies(context) and (b"content-type" in headers or b"content-encoding" in headers)


def may_have_body(context: RequestContext) -> bool:
    """Whether a body may come, announced or not: what is surely without one says so (RFC 9113, 8.1: END_STREAM)."""
    return has_body(context) or (_frames_bodies(context) and b"content-length" not in context.headers)


def _frames_bodies(context: RequestContext) -> bool:
    version: str = (context.scope or {}).get("http_version", "1.1")
    return not version.startswith("1")


class UnannouncedBody:
    """Refuses a body that nothing announced, at its first byte: until then the request may well have none.

    Args:
        refuse: raises the `Problem` for the context it is given; is not asked for an empty body.
    """

    def __init__(self, refuse: Callable[[RequestContext], object]) -> None:
        self._refuse = refuse
        self._problem: Problem | None = None

    def __call__(self, message: Message) -> None:
        """Look at one `http.request` message.

        Raises:
            Problem: what `refuse` raises, and again on each further message.
        """
        if self._problem is not None:
            raise self._problem
        context = CURRENT.get()  # not held: the context holds this
        if context is not None and message.get("body"):
            try:
                self._refuse(context)
            except Problem as problem:
                self._problem = problem
                raise


def fault_of_range(media_range: str) -> str | None:
    """What is wrong with *media_range* and its cure; None where it is right."""
    if _RANGE.fullmatch(media_range):
        return None
    return "is not a media type | Give `type/subtype`, `type/*` or `type/*+suffix`, lower-case, without parameters."


class MediaRanges:
    """Some media types, `image/*` and `application/*+json` among them."""

    def __init__(self, ranges: Sequence[str]) -> None:
        self.text = ", ".join(ranges)
        self._exact = frozenset(media_range for media_range in ranges if "*" not in media_range)
        parts = [media_range.split("*", 1) for media_range in ranges if "*" in media_range]
        self._open = tuple((prefix, suffix) for prefix, suffix in parts)

    def __contains__(self, media_type: object) -> bool:
        """Whether it is one of them."""
        if media_type in self._exact:
            return True
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            return False
        return any(
            media_type.startswith(prefix) and media_type.endswith(suffix) for prefix, suffix in self._open
        )

    def refusal(self, context: RequestContext) -> Problem:
        """The 415 that names them to the caller of *context*."""
        headers = {"Accept": self.text}
        method = (context.scope or {}).get("method")
        if method in {"POST", "PATCH"}:
            headers["Accept-Post" if method == "POST" else "Accept-Patch"] = self.text
        return Problem(415, f"A body has to be one of: {self.text}.", headers=headers)


class RouteContentTypes:
    """A route's own media types, in place of the application's; declared with `content_types`."""

    replaces_outer: Final = True  # see `nearest`, and what is documented

    def __init__(self, ranges: Sequence[str]) -> None:
        self.ranges = MediaRanges(ranges)
        text = f"The media type of the body is none of: {self.ranges.text}."
        self.responses: Mapping[str, Mapping[str, object]] = {"415": problem_response(text)}

    def enforce(self, context: RequestContext) -> None:
        """Refuse a body of another type, before it is read; one that nothing announced at its first byte.

        Raises:
            Problem: 415.
        """
        if is_overridden(self, context):
            return
        if has_body(context):
            if media_type_of(context) not in self.ranges:
                self._refuse(context)
        elif may_have_body(context):
            context.watch_body(UnannouncedBody(self._refuse))

    def _refuse(self, context: RequestContext) -> NoReturn:
        """Count the refusal and raise it.

        Raises:
            Problem: 415, always.
        """
        refusals = refusals_of(context)
        if refusals is not None:
            refusals.counts["content_type"] += 1
        raise self.ranges.refusal(context)

    async def __call__(self, context: CurrentContext) -> None:
        """As a dependency: for a route that never asked for its body."""
        await context.enforce(self)


def content_types(*ranges: str) -> Any:  # Any: what Depends() returns is not for the reader of a signature
    """A dependency: this route takes bodies of these media types only, in place of the application's `content_types`.

    A body without a type is refused too; a request without a body is not. It is decided before the body is read, and
    stands in the OpenAPI document. Where a router or the application declares some too, those nearest to the route hold
    alone.

    Raises:
        SettingsError: there is none, or one is not a media type.
    """
    faults = []
    for media_range in ranges:
        message, _, cure = (fault_of_range(media_range) or "").partition(" | ")
        if message:
            faults.append(SettingsFault(f"content_types({media_range!r})", f"this {message}.", cure))
    if not ranges:
        faults = [SettingsFault("content_types()", "no body could be sent.", "Name a media type.")]
    if faults:
        raise SettingsError(faults)
    return Depends(RouteContentTypes(ranges))
