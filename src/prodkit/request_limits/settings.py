"""What an operator may set for `RequestLimits`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from prodkit.core.features import FeatureSettings
from prodkit.request_limits.content_types import fault_of_range

__all__ = ["METHODS", "RequestLimitsSettings"]

# TRACE hands a caller's own headers to whoever can make him send it (ASVS 13.4); CONNECT is for proxies.
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}")


class RequestLimitsSettings(FeatureSettings):
    """Settings of `RequestLimits`; environment prefix `PRODKIT_REQUEST_LIMITS__`."""

    max_body_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="The largest request body, in bytes, declared or counted; 413 above. Routes may have their own, see "
            "`body_limit`. Default 1048576 (1 MiB), ample for JSON.",
        ),
    ] = 1_048_576
    methods: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Methods that reach the application; 405 for all others. Default: all common ones, without TRACE and "
            "CONNECT.",
        ),
    ] = METHODS
    methods_without_body: Annotated[
        tuple[str, ...],
        Field(
            description="Methods whose requests may not have a body; 400 for one. Default GET and HEAD, where a body means "
            "nothing and helps to smuggle a second request past a proxy (RFC 9110, 9.3.1).",
        ),
    ] = ("GET", "HEAD")
    max_url_bytes: Annotated[
        int,
        Field(
            ge=64,
            description="The longest path and query together, in bytes; 414 above. Default 8192, as in RFC 9112, 3.",
        ),
    ] = 8192
    max_path_segments: Annotated[
        int,
        Field(
            ge=1,
            description="The most segments of a path; 414 above. Default 64; the router matches each one.",
        ),
    ] = 64
    max_headers: Annotated[
        int,
        Field(
            ge=8,
            description="The most header lines; 431 above. Default 100; a browser behind two proxies sends 30.",
        ),
    ] = 100
    max_header_name_bytes: Annotated[
        int,
        Field(ge=32, description="The longest name of one header, in bytes; 431 above it. Default 1024."),
    ] = 1024
    max_header_value_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="The longest value of one header, in bytes; 431 above it. Default 8192, as most servers and proxies.",
        ),
    ] = 8192
    max_total_header_bytes: Annotated[
        int,
        Field(
            ge=256,
            description="The most bytes of all header names and values together; 431 above. Default 32768, as nginx: some "
            "servers have no bound of their own.",
        ),
    ] = 32_768
    max_cookies: Annotated[
        int,
        Field(
            ge=0, description="The most cookies; 431 above. Default 100; browsers keep up to 180 for a site."
        ),
    ] = 100
    max_query_parameters: Annotated[
        int,
        Field(ge=0, description="The most query parameters; 400 above. Default 100."),
    ] = 100
    max_query_name_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="The longest name of a query parameter as sent, in bytes; 400 above. Default 256.",
        ),
    ] = 256
    content_types: Annotated[
        tuple[str, ...],
        Field(
            description="Media types that a body may have, such as `application/json`, `image/*` or `application/*+json`; 415 "
            "for all others and for none. Routes may have their own, see `content_types`. Default empty: all.",
        ),
    ] = ()
    content_encodings: Annotated[
        tuple[Literal["gzip", "deflate"], ...],
        Field(
            description="Compressed bodies that are decompressed on their way to the application, within `max_body_bytes`; 415 "
            "for all others. Default empty: none, because a few bytes can become a thousand times as many.",
        ),
    ] = ()
    max_decompression_ratio: Annotated[
        int,
        Field(
            ge=2,
            description="How many times its compressed size a body may reach, beyond the first 64 KiB; 413 above. Default 100; "
            "JSON reaches 20, a bomb 1000.",
        ),
    ] = 100
    max_json_depth: Annotated[
        int,
        Field(
            ge=1,
            description="How deep arrays and objects of a JSON body may be nested; 400 above. Default 64: Python's parser "
            "gives up at about 1000, and what walks the result earlier. Routes may have their own, see `json_limits`.",
        ),
    ] = 64
    max_json_elements: Annotated[
        int,
        Field(
            ge=1,
            description="The most members and elements of all objects and arrays of a JSON body together; 413 above. "
            "Default 100000: as Python objects they take about 100 bytes each.",
        ),
    ] = 100_000
    max_json_number_bytes: Annotated[
        int,
        Field(
            ge=32,
            description="The longest number in a JSON body, in characters; 413 above. Default 1000: at 4300 digits Python "
            "refuses with an error of its own, and reading them takes time that grows with their square.",
        ),
    ] = 1000
    max_json_string_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            description="The longest string in a JSON body, in bytes as sent; 413 above. Default none beyond the body's.",
        ),
    ] = None
    max_form_fields: Annotated[
        int,
        Field(
            ge=0,
            description="The most fields of a form that are not files; 413 above. Default 1000. Above that Starlette's own "
            "limit has to be raised too, by `FastAPI(form_limits=)`. Routes may have their own, see `form_limits`.",
        ),
    ] = 1000
    max_form_files: Annotated[
        int,
        Field(
            ge=0,
            description="The most files of a form; 413 above. Default 100: each is an open temporary file.",
        ),
    ] = 100
    max_form_field_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="The most bytes of all fields together that are not files, which are kept in memory; 413 above. "
            "Default 1048576 (1 MiB).",
        ),
    ] = 1_048_576
    max_form_part_header_bytes: Annotated[
        int,
        Field(
            ge=128,
            description="The most bytes of the headers of one part of a form; 413 above. Default 8192.",
        ),
    ] = 8192

    @field_validator("methods", "methods_without_body")
    @classmethod
    def _methods_are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, method in enumerate(value, start=1):
            if not _TOKEN.fullmatch(method):
                message = f"entry {position} is not a method | Methods are upper-case words, such as GET."
                raise ValueError(message)
        return value

    @field_validator("content_types")
    @classmethod
    def _content_types_are_ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, media_range in enumerate(value, start=1):
            fault = fault_of_range(media_range)
            if fault is not None:
                message = f"entry {position} {fault}"
                raise ValueError(message)
        return value
