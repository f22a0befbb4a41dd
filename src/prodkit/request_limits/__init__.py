"""Request limits: how large and of what kind a request may be, refused before anything of it is read or parsed.

Every limit is a bound on work and memory that a caller can cause before anybody has looked at who he is. The declared
size of a body is checked here; what really arrives is counted by the pipeline against the same number, so a body
without Content-Length, or with a wrong one, ends at the same place. What the bytes are, JSON or a form or compressed, is
measured while they pass.

Source: RFC 9110, 15.5 (status codes) and 8.6 (Content-Length); RFC 6585, 5 (431); OWASP API4:2023; ASVS 5.0, 4.1, 4.2 and
15.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prodkit.core.features import Layer, Parts
from prodkit.request_limits.bodies import RouteBodyLimit, body_limit, body_limit_guard
from prodkit.request_limits.content_types import RouteContentTypes, content_types
from prodkit.request_limits.decompression import DecompressionMiddleware
from prodkit.request_limits.limiter import Limiter
from prodkit.request_limits.own_limits import RouteFormLimits, RouteJSONLimits, form_limits, json_limits
from prodkit.request_limits.refusals import Refusals
from prodkit.request_limits.settings import METHODS, RequestLimitsSettings
from prodkit.request_limits.watching import json_limits_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import Kit

__all__ = [
    "Limiter",
    "Refusals",
    "RequestLimits",
    "RequestLimitsSettings",
    "RouteBodyLimit",
    "RouteContentTypes",
    "RouteFormLimits",
    "RouteJSONLimits",
    "body_limit",
    "body_limit_guard",
    "content_types",
    "form_limits",
    "json_limits",
]


class RequestLimits:
    """The feature `request_limits`."""

    name = "request_limits"

    def __init__(
        self,
        *,
        max_body_bytes: int = 1_048_576,
        methods: Sequence[str] = METHODS,
        methods_without_body: Sequence[str] = ("GET", "HEAD"),
        max_url_bytes: int = 8192,
        max_path_segments: int = 64,
        max_headers: int = 100,
        max_header_name_bytes: int = 1024,
        max_header_value_bytes: int = 8192,
        max_total_header_bytes: int = 32_768,
        max_cookies: int = 100,
        max_query_parameters: int = 100,
        max_query_name_bytes: int = 256,
        content_types: Sequence[str] = (),
        content_encodings: Sequence[Literal["gzip", "deflate"]] = (),
        max_decompression_ratio: int = 100,
        max_json_depth: int = 64,
        max_json_elements: int = 100_000,
        max_json_number_bytes: int = 1000,
        max_json_string_bytes: int | None = None,
        max_form_fields: int = 1000,
        max_form_files: int = 100,
        max_form_field_bytes: int = 1_048_576,
        max_form_part_header_bytes: int = 8192,
    ) -> None:
        self.settings = RequestLimitsSettings.of(
            "RequestLimits",
            max_body_bytes=max_body_bytes,
            methods=methods,
            methods_without_body=methods_without_body,
            max_url_bytes=max_url_bytes,
            max_path_segments=max_path_segments,
            max_headers=max_headers,
            max_header_name_bytes=max_header_name_bytes,
            max_header_value_bytes=max_header_value_bytes,
            max_total_header_bytes=max_total_header_bytes,
            max_cookies=max_cookies,
            max_query_parameters=max_query_parameters,
            max_query_name_bytes=max_query_name_bytes,
            content_types=content_types,
            content_encodings=content_encodings,
            max_decompression_ratio=max_decompression_ratio,
            max_json_depth=max_json_depth,
            max_json_elements=max_json_elements,
            max_json_number_bytes=max_json_number_bytes,
            max_json_string_bytes=max_json_string_bytes,
            max_form_fields=max_form_fields,
            max_form_files=max_form_files,
            max_form_field_bytes=max_form_field_bytes,
            max_form_part_header_bytes=max_form_part_header_bytes,
        )
        self._refusals = Refusals()
        # The limits of JSON too: rules of routes change some of them, and keep the others.
        self.provides: Sequence[object] = (self._refusals, json_limits_of(self.settings))

    @classmethod
    def from_settings(cls, section: RequestLimitsSettings) -> RequestLimits:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in EDGE, and a middleware where compressed bodies are taken."""
        limiter = Limiter(self.settings, kit, self._refusals)
        settings = self.settings
        return Parts(
            guards=[(Layer.EDGE, limiter.guard)],
            middleware=[DecompressionMiddleware] if settings.content_encodings else [],
            order={
                Layer.EDGE: f"methods, {settings.max_url_bytes} bytes of URL, {settings.max_body_bytes} bytes of body"
            },
        )
