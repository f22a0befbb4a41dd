"""Compression: answers become smaller on the way, without delaying a stream and without telling a secret by their length.

Off until encodings are named: compression takes processor time of the event loop's machine, and a proxy in front often
does it already. What is on then is safe: an answer that a browser may have asked for on somebody else's behalf is not
compressed unless it is known to hold no secret, see `prodkit.compression.policy`.

Source: RFC 9110, 8.4 and 12.5.3 (content codings); RFC 9659 (window of zstd); "BREACH" (2013).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from prodkit.compression.choices import RouteCompression, compress, no_compression
from prodkit.compression.gate import Gate
from prodkit.compression.middleware import CompressionMiddleware
from prodkit.compression.policy import Policy, type_fault
from prodkit.core.features import FeatureSettings, Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.asgi import ASGIApp
    from prodkit.core.features import Kit

__all__ = ["Compression", "CompressionSettings", "RouteCompression", "compress", "no_compression"]

Encoding = Literal["zstd", "br", "gzip"]

CONTENT_TYPES: Final = (
    "text/*",
    "+json",
    "+xml",
    "application/json",
    "application/jsonl",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "font/otf",
    "font/ttf",
)
_HEADERS: Final = ("Cookie",)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class CompressionSettings(FeatureSettings):
    """Settings of `Compression`; environment prefix `PRODKIT_COMPRESSION__`."""

    encodings: Annotated[
        tuple[Encoding, ...],
        Field(
            description='Content codings, the preferred one first, e.g. `["zstd", "br", "gzip"]`: it decides where a client '
            "likes several equally. `gzip` needs nothing, the others the extra `compression`. Default: none, and the feature "
            "is off.",
        ),
    ] = ()
    effort: Annotated[
        Literal["fast", "balanced", "small"],
        Field(
            description="How hard to try: `fast` (gzip 1, br 1, zstd 1), `balanced` (5, 4, 3), `small` (7, 5, 6; one percent "
            "more for twice the work). Default balanced.",
        ),
    ] = "balanced"
    min_body_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=1_048_576,
            description="Bodies known to be smaller are sent as they are. Default 1024: below, everything fits into one packet "
            "either way.",
        ),
    ] = 1024
    content_types: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="What is compressed: exact types, `text/*` for all of one kind, `+json` for all that end so. Problems "
            "never are. Default: text, JSON, XML, scripts, WebAssembly and plain fonts; pictures and archives are compressed "
            "already.",
        ),
    ] = CONTENT_TYPES
    with_credentials: Annotated[
        Literal["never", "same-origin", "always"],
        Field(
            description="Whether to compress an answer to a request that carries credentials a browser sends by itself, where "
            "it is neither public nor static: its length may then tell a secret in it (BREACH). `same-origin`: where the "
            "browser says that one of our own pages asked. Default never; a route that holds no secret says `compress()`.",
        ),
    ] = "never"
    ambient_headers: Annotated[
        tuple[str, ...],
        Field(
            description="Request headers with credentials that a browser, or a proxy before us, adds by itself. Basic, Digest, "
            "NTLM and Negotiate in Authorization and TLS client certificates count always. Default Cookie.",
        ),
    ] = _HEADERS
    padding_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=4096,
            description="The most random bytes added to a compressed answer where credentials came along, which is gzip then. "
            "It makes guessing by length take about as many times more requests as there are bytes, and is no cure. Default 0.",
        ),
    ] = 0
    event_streams: Annotated[
        bool,
        Field(
            description="Compress text/event-stream too, and send each event at once. Default off: events are small, and each "
            "open stream would hold 0.3 (gzip) to 1.8 MiB (br).",
        ),
    ] = False
    flush_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="How long pieces of other streams may be kept back to be compressed together, in seconds; the first "
            "one after a pause never is. 0 sends each at once. Default 0.02: no person sees it.",
        ),
    ] = 0.02
    max_active: Annotated[
        int,
        Field(
            ge=1,
            description="How many compressors may be at work at once in a process; further answers are sent as they are. "
            "Default 128: at most 240 MiB with br, 40 with gzip.",
        ),
    ] = 128

    @property
    def is_on(self) -> bool:
        """Whether any encoding is named."""
        return bool(self.encodings)

    @field_validator("encodings")
    @classmethod
    def _encodings_differ(cls, value: tuple[Encoding, ...]) -> tuple[Encoding, ...]:
        if len(set(value)) < len(value):
            message = "an encoding is named twice | Name each once, the preferred one first."
            raise ValueError(message)
        return value

    @field_validator("content_types")
    @classmethod
    def _content_types_are_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, pattern in enumerate(value, start=1):
            fault = type_fault(pattern)
            if fault is not None:
                message = f"entry {position} {fault}"
                raise ValueError(message)
        return value

    @field_validator("ambient_headers")
    @classmethod
    def _headers_are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, name in enumerate(value, start=1):
            if not _TOKEN.fullmatch(name):
                message = f"entry {position} is not the name of a header | Names are such as Cookie."
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _others_mean_something(self) -> Self:
        if not self.encodings:
            for name, field in type(self).model_fields.items():
                if getattr(self, name) != field.default:
                    message = f"{name} is set and no encoding is, so nothing is compressed | Name the encodings, or remove it."
                    raise ValueError(message)
        elif self.padding_bytes and "gzip" not in self.encodings:
            message = "padding_bytes is set, which only gzip can carry | Name gzip among the encodings, or remove it."
            raise ValueError(message)
        return self


class Compression:
    """The feature `compression`; off, and free of cost, while no encoding is named.

    Raises:
        SettingsError: a setting is wrong.
        MissingExtraError: the library of an encoding is not installed.
    """

    name = "compression"

    def __init__(
        self,
        *,
        encodings: Sequence[Encoding] = (),
        effort: Literal["fast", "balanced", "small"] = "balanced",
        min_body_bytes: int = 1024,
        content_types: Sequence[str] = CONTENT_TYPES,
        with_credentials: Literal["never", "same-origin", "always"] = "never",
        ambient_headers: Sequence[str] = _HEADERS,
        padding_bytes: int = 0,
        event_streams: bool = False,
        flush_seconds: float = 0.02,
        max_active: int = 128,
    ) -> None:
        self.settings = settings = CompressionSettings.of(
            "Compression",
            encodings=encodings,
            effort=effort,
            min_body_bytes=min_body_bytes,
            content_types=content_types,
            with_credentials=with_credentials,
            ambient_headers=ambient_headers,
            padding_bytes=padding_bytes,
            event_streams=event_streams,
            flush_seconds=flush_seconds,
            max_active=max_active,
        )
        policy = Policy(
            content_types=settings.content_types,
            min_body_bytes=settings.min_body_bytes,
            event_streams=settings.event_streams,
            with_credentials=settings.with_credentials,
            ambient_headers=[name.lower().encode("ascii") for name in settings.ambient_headers],
        )
        self._gate = Gate(
            policy,
            encodings=settings.encodings,
            effort=settings.effort,
            padding_bytes=settings.padding_bytes,
            min_body_bytes=settings.min_body_bytes,
            flush_seconds=settings.flush_seconds,
            max_active=settings.max_active,
        )
        self.provides: Sequence[object] = (self._gate,) if settings.is_on else ()

    @classmethod
    def from_settings(cls, section: CompressionSettings) -> Compression:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A middleware around the application, or nothing.

        It stands outside of what replays answers (idempotency, response cache), so that those keep plain bytes.
        """
        del kit
        if not self.settings.is_on:
            return Parts()

        def compression(app: ASGIApp) -> CompressionMiddleware:
            return CompressionMiddleware(app, gate=self._gate)

        return Parts(middleware=[compression])
