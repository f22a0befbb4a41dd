"""What is decided about a request before its body: the head, and whether and how there is a body.

Source: RFC 9110, 15.5 (status codes), 8.6 (Content-Length), 9.3 (methods); RFC 6585, 5 (431); RFC 9112, 6 (framing).
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final, NoReturn

from prodkit.core.context import CURRENT
from prodkit.core.problems import Problem
from prodkit.request_limits.bodies import check_declared
from prodkit.request_limits.content_types import (
    MediaRanges,
    RouteContentTypes,
    UnannouncedBody,
    has_body,
    media_type_of,
)
from prodkit.request_limits.decompression import Decompressing, Decompressor, encodings_of
from prodkit.request_limits.nearest import nearest
from prodkit.request_limits.refusals import CLOSE, closing
from prodkit.request_limits.watching import form_limits_of, json_limits_of, watch_content

if TYPE_CHECKING:
    from prodkit.core.asgi import Headers, Message, Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit
    from prodkit.request_limits.refusals import Refusals
    from prodkit.request_limits.settings import RequestLimitsSettings

__all__ = ["Limiter"]

# Two lines of one of these say two things about one request, and whoever else reads it may have taken the other one.
# Content-Encoding is a list, and is read as one value here.
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"proxy-authorization",
        b"transfer-encoding",
    }
)
_FRAMING: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})
# C0, DEL and C1: a log line, a file name or a C library takes each for something else.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Methods that an ordinary request has no body with; with the others it has one even where nothing announces it.
_MOSTLY_EMPTY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Limiter:
    """Refuses what is too large or unexpected.

    Args:
        settings: see `RequestLimitsSettings`.
        kit: knows the routes, for those with a limit of their own.
        refusals: counts them.
    """

    def __init__(self, settings: RequestLimitsSettings, kit: Kit, refusals: Refusals) -> None:
        self._kit = kit
        self._refusals = refusals
        self._refuse = refusals.refuse
        self._methods = frozenset(settings.methods)
        self._quiet = self._methods & _MOSTLY_EMPTY
        self._allow = ", ".join(settings.methods)
        # Read on every request.
        self._max_url = settings.max_url_bytes
        self._max_segments = settings.max_path_segments
        self._surely_short = min(self._max_url, self._max_segments)
        self._max_headers = settings.max_headers
        self._max_name = settings.max_header_name_bytes
        self._max_value = settings.max_header_value_bytes
        self._max_head = settings.max_total_header_bytes
        # By the number of lines: of what is no larger than this none is too large, nor are all together.
        longest = min(self._max_name, self._max_value)
        self._small = [
            min(longest, self._max_head // max(1, count)) for count in range(self._max_headers + 1)
        ]
        self._max_cookies = settings.max_cookies
        self._max_query_parameters = settings.max_query_parameters
        self._max_query_name = settings.max_query_name_bytes
        self._max_body = settings.max_body_bytes
        # Read where there is a body.
        self._without_body = frozenset(settings.methods_without_body)
        self._content_types = MediaRanges(settings.content_types) if settings.content_types else None
        self._encodings = frozenset(settings.content_encodings)
        self._accept_encoding = {"Accept-Encoding": ", ".join(settings.content_encodings) or "identity"}
        self._max_ratio = settings.max_decompression_ratio
        self._json = json_limits_of(settings)
        self._form = form_limits_of(settings)
        string_bytes = settings.max_json_string_bytes
        self._smallest_json = min(
            self._json.depth,
            self._json.elements,
            self._json.number_bytes,
            self._json.depth if string_bytes is None else string_bytes,
        )

    def guard(self, context: RequestContext) -> None:
        """Check everything that is known before the body; put the limits on the body in force.

        Raises:
            Problem: 400, 405, 413, 414, 415, 431 or 501.
        """
        scope = context.scope or {}
        lines, query = scope["headers"], scope["query_string"]
        headers = context.headers
        count = len(lines)
        if count > self._max_headers or context.has_repeated_headers:
            self._check_headers(context, lines)
        else:
            # `len` in a loop has an instruction of its own since Python 3.11; joining or summing takes twice as many.
            small = self._small[count]
            for name, value in lines:
                if len(name) + len(value) > small:
                    self._check_headers(context, lines)
                    break
        if b"cookie" in headers:
            self._check_cookies(context, lines)
        try:
            raw: bytes | None = scope["raw_path"]
        except KeyError:  # optional in ASGI
            raw = None
        path = raw or scope["path"].encode("utf-8", "surrogatepass")
        if len(path) > self._surely_short:
            self._check_long_path(path)
        if query:
            self._check_query(path, query)
        if not scope["path"].isprintable() and _CONTROLS.search(scope["path"]):
            self._refuse("url", 400, "The path holds control characters.")
        if scope["type"] != "http":
            return
        if context.max_body_bytes is None or self._max_body < context.max_body_bytes:
            context.max_body_bytes = self._max_body
        method = scope["method"]
        if b"content-length" in headers or b"transfer-encoding" in headers or method not in self._quiet:
            if method not in self._methods:
                self._refuse("method", 405, "This method is not used here.", headers={"Allow": self._allow})
            self._check_body(context, scope)

    def _check_headers(self, context: RequestContext, lines: Headers) -> None:
        if len(lines) > self._max_headers:
            self._refuse("headers", 431, f"More than {self._max_headers} header lines.")
        if context.has_repeated_headers:
            self._check_repeated(lines)
        size = sum(map(len, chain.from_iterable(lines)))
        if size > self._max_name and max(len(name) for name, _ in lines) > self._max_name:
            self._refuse("headers", 431, f"A header name is longer than {self._max_name} bytes.")
        if size > self._max_value and max(len(value) for _, value in lines) > self._max_value:
            self._refuse("headers", 431, f"A header value is longer than {self._max_value} bytes.")
        if size > self._max_head:
            self._refuse("headers", 431, f"The headers are larger than {self._max_head} bytes together.")

    def _check_repeated(self, lines: Headers) -> None:
        names = set()
        for name, _ in lines:
            if name in names and name in _SINGLE:
                close = CLOSE if name in _FRAMING else None
                self._refuse("headers", 400, f"{name.decode().title()} stands on more than one line.", close)
            names.add(name)

    def _check_long_path(self, path: bytes) -> None:
        if len(path) > self._max_url:
            self._refuse("url", 414, f"The path is longer than {self._max_url} bytes.")
        if path.count(b"/") > self._max_segments:
            self._refuse("url", 414, f"The path has more than {self._max_segments} segments.")

    def _check_cookies(self, context: RequestContext, lines: Headers) -> None:
        count = context.headers[b"cookie"].count(b";") + 1
        if context.has_repeated_headers:
            count = sum(value.count(b";") + 1 for name, value in lines if name == b"cookie")
        if count > self._max_cookies:
            self._refuse("headers", 431, f"More than {self._max_cookies} cookies.")

    def _check_query(self, path: bytes, query: bytes) -> None:
        if (path + query)[self._max_url - 1 :]:  # the question mark counts
            self._refuse("url", 414, f"Path and query are longer than {self._max_url} bytes.")
        if not query.isascii():  # RFC 3986, 2: percent-encoded, or it is none. Starlette's URL raises on it.
            self._refuse("query", 400, "The query holds bytes that have to be percent-encoded.")
        if query.count(b"&") >= self._max_query_parameters:
            self._refuse("query", 400, f"More than {self._max_query_parameters} query parameters.")
        longest = self._max_query_name
        if query[longest:] and any(len(part.partition(b"=")[0]) > longest for part in query.split(b"&")):
            self._refuse("query", 400, f"The name of a query parameter is longer than {longest} bytes.")

    # ------------------------------------------------------------------------------------------------------- bodies

    def _check_body(self, context: RequestContext, scope: Scope) -> None:
        headers = context.headers
        if b"transfer-encoding" in headers:
            self._check_framing(context, scope)
        elif b"content-length" in headers:
            length = headers[b"content-length"]
            # An ordinary number within the limit needs no look at routes; nine digits are quickly parsed.
            if length[9:] or not length.isdigit() or int(length) > self._max_body:
                self._check_length(context)
        elif scope.get("http_version", "1.1").startswith("1"):
            return  # without either of them there is no body (RFC 9112, 6.3)
        if has_body(context):
            self._check_announced(context, scope)
        elif b"content-length" in headers:  # of nothing
            return
        elif self._content_types is not None or scope["method"] in self._without_body:
            context.watch_body(UnannouncedBody(self._check_unannounced))
        watch_content(context, self._json, self._form, self._refusals, self._smallest_json)

    def _check_announced(self, context: RequestContext, scope: Scope) -> None:
        if scope["method"] in self._without_body:
            self._refuse_body(context)
        if b"content-encoding" in context.headers:
            self._check_encoding(context)
        if self._content_types is not None and media_type_of(context) not in self._content_types:
            own = self._own_content_types(context)
            if own is None:
                self._refuse_content_type(context, self._content_types)
            own.enforce(context)

    def _check_unannounced(self, context: RequestContext) -> None:
        """Refuse a body, of no type, that came without a word: in HTTP/2 and later it may."""
        if (context.scope or {}).get("method") in self._without_body:
            self._refuse_body(context)
        if self._content_types is not None:
            own = self._own_content_types(context)
            self._refuse_content_type(context, self._content_types if own is None else own.ranges)

    def _refuse_body(self, context: RequestContext) -> NoReturn:
        detail = f"A {(context.scope or {})['method']} request has no body here."
        self._refuse("body", 400, detail, headers=closing(context))

    def _own_content_types(self, context: RequestContext) -> RouteContentTypes | None:
        """The media types of the route that would take the request, or took it; None where it has none of its own."""
        routes, scope = self._kit.routes, context.scope
        if routes is None or scope is None:
            return None
        return nearest(routes.rules(scope) or routes.rules_at(scope), RouteContentTypes)

    def _refuse_content_type(self, context: RequestContext, ranges: MediaRanges) -> NoReturn:
        self._refusals.counts["content_type"] += 1
        raise ranges.refusal(context)

    def _check_framing(self, context: RequestContext, scope: Scope) -> None:
        """Refuse a body whose end two readers may see at different places; let an unread one end its connection.

        Source: RFC 9112, 6.1 and 6.3. h11 lets a Content-Length beside it through, httptools other codings, both HTTP/1.0.
        """
        coding = context.headers[b"transfer-encoding"].strip().lower()
        if b"content-length" in context.headers:
            self._refuse("framing", 400, "Both Content-Length and Transfer-Encoding.", headers=CLOSE)
        if scope["http_version"] == "1.0":
            self._refuse("framing", 400, "HTTP/1.0 has no Transfer-Encoding.", headers=CLOSE)
        if coding != b"chunked":
            context.outcome = "refused"  # the 501 of RFC 9112, 6.1 is the caller's doing
            self._refuse("framing", 501, "The only Transfer-Encoding here is chunked.", headers=CLOSE)
        # Counted is what the application reads. What it leaves, a server receives to the end, however far that is: unless
        # the connection ends with the response.
        context.response_headers[b"connection"] = b"close"
        context.watch_body(_keep_open_when_read)

    def _check_length(self, context: RequestContext) -> None:
        try:
            check_declared(context, self._max_body, self._kit.routes)
        except Problem:
            self._refusals.counts["body"] += 1
            raise

    def _check_encoding(self, context: RequestContext) -> None:
        encodings = encodings_of(context)
        if not encodings:
            return
        if len(encodings) > 1 or encodings[0] not in self._encodings:
            detail = "A body with this Content-Encoding is not taken."
            self._refuse("content_encoding", 415, detail, headers=self._accept_encoding)
        context.put(Decompressing(Decompressor(encodings[0], self._max_ratio), self._refusals))


def _keep_open_when_read(message: Message) -> None:
    """The body was read to its end: the connection can serve another request."""
    if not message.get("more_body", False):
        context = CURRENT.get()
        if context is not None:
            context.response_headers.pop(b"connection", None)
