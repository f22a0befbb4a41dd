"""Which answers may be compressed, and which must not be because their length would tell a secret.

Who can make a browser send requests that carry its credentials, put a guess into them that the answer repeats beside a
secret, and watch the length of the compressed answer, reads the secret: a right guess compresses better (BREACH). TLS
hides no length. So what a browser may have asked for on somebody else's behalf is not compressed, unless the answer is
known to hold no secret.

Source: Gluck, Harris, Prado, "BREACH: Reviving the CRIME attack" (2013); RFC 9110, 8.4, 14 and 15; RFC 9111, 5.2
(no-transform, public); RFC 9530 (digests); Fetch Metadata (Sec-Fetch-Site).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prodkit.core.ambient import is_ambient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["STATIC_TYPES", "Answered", "Asked", "Policy", "type_fault"]

STATIC_TYPES: Final = frozenset(
    {
        b"application/javascript",
        b"application/wasm",
        b"font/otf",
        b"font/ttf",
        b"image/svg+xml",
        b"text/css",
        b"text/javascript",
    }
)
"""What is the same for everybody, unless the answer says that it is not."""

EVENT_STREAM: Final = b"text/event-stream"

# Of bytes that would be others once they are compressed.
_DIGESTS: Final = frozenset({b"content-digest", b"repr-digest", b"digest", b"content-md5"})
# An answer that is not for everybody.
_PRIVATE: Final = (b"private", b"no-store")
_PROBLEM: Final = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request matters.

    Attributes:
        headers: lower-case names.
        has_certificate: whether the client has shown one to the server.
        choice: what the route says: True where its answers hold no secret, False where they stay as they are.
    """

    headers: Mapping[bytes, bytes]
    has_certificate: bool = False
    choice: bool | None = None


class Answered:
    """What of an answer's beginning matters.

    Args:
        status: the HTTP status.
        headers: lower-case names.
    """

    __slots__ = (
        "cache_control",
        "content_type",
        "has_digest",
        "is_encoded",
        "is_part",
        "length",
        "sets_cookie",
        "status",
    )

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.content_type = self.cache_control = b""
        self.length: int | None = None
        self.has_digest = self.is_encoded = self.is_part = self.sets_cookie = False
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value.partition(b";")[0].strip().lower()
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else None
            elif name == b"cache-control":
                self.cache_control += b"," + value.lower()
            elif name == b"content-encoding":
                self.is_encoded = True
            elif name == b"content-range":
                self.is_part = True
            elif name == b"set-cookie":
                self.sets_cookie = True
            elif name in _DIGESTS:
                self.has_digest = True

    def says(self, directive: bytes) -> bool:
        """Whether *directive* stands in Cache-Control."""
        directives = self.cache_control.split(b",") if self.cache_control else ()
        return any(part.partition(b"=")[0].strip() == directive for part in directives)


def type_fault(pattern: str) -> str | None:
    """Why *pattern* is no entry of the list of content types, with the cure; None when it is one."""
    if pattern.startswith("+"):
        kind, subtype = "any", pattern[1:]
    else:
        kind, _, subtype = pattern.partition("/")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.+-_*"
    if (
        not kind
        or not subtype
        or not set(kind + subtype) <= set(letters)
        or "*" in kind
        or "*" in subtype[:-1]
    ):
        return "is not a type | Write a type, text/* for all of its kind, or +json for all that end so; lower case."
    if len(subtype) > 1 and subtype.endswith("*"):
        return "has a star beside letters | Write text/* for all of one kind."
    if pattern == EVENT_STREAM.decode():
        return (
            "is a stream of events, which has to be sent event by event | Remove it, and set event_streams."
        )
    if kind == "multipart":
        return "consists of parts with lengths of their own | Remove it."
    return None


class Policy:
    """Decides about answers. Each verdict has the name of the rule that made it, for the metric.

    Args:
        content_types: exact ones, `text/*`, and `+json` for a suffix.
        min_body_bytes: what is known to be smaller stays as it is.
        event_streams: whether text/event-stream is compressed.
        with_credentials: `never`, `same-origin` or `always`.
        ambient_headers: lower-case names of request headers that a browser or a proxy adds by itself.
    """

    def __init__(
        self,
        *,
        content_types: Sequence[str],
        min_body_bytes: int,
        event_streams: bool,
        with_credentials: str,
        ambient_headers: Sequence[bytes],
    ) -> None:
        patterns = [pattern.encode("ascii") for pattern in content_types]
        self._types = frozenset(p for p in patterns if not p.startswith(b"+") and not p.endswith(b"/*"))
        self._kinds = frozenset(p[:-1] for p in patterns if p.endswith(b"/*"))
        self._suffixes = frozenset(p for p in patterns if p.startswith(b"+"))
        self._min_body_bytes = min_body_bytes
        self._event_streams = event_streams
        self._with_credentials = with_credentials
        self._ambient = frozenset(ambient_headers)

    def unfit(self, answered: Answered) -> str | None:
        """The rule by which this answer is never compressed, whoever asks; None when it may be."""
        if not 200 <= answered.status < 300 or answered.status in (204, 205, 206):
            return "status"
        if answered.is_encoded:
            return "encoded"
        if not self._is_listed(answered.content_type):
            return "type"
        if answered.length is not None and answered.length < self._min_body_bytes:
            return "size"
        if answered.is_part or answered.has_digest:
            return "bytes"
        return "no_transform" if answered.says(b"no-transform") else None

    def secret(self, asked: Asked, answered: Answered) -> str | None:
        """The rule by which its length must not depend on its content; None when it may."""
        if asked.choice:
            return None
        if answered.sets_cookie:
            return "set_cookie"
        if not self.is_ambient(asked) or self._with_credentials == "always" or _is_public(answered):
            return None
        if self._with_credentials == "same-origin" and asked.headers.get(b"sec-fetch-site") in (
            b"same-origin",
            b"none",
        ):
            return None
        return "credentials"

    def is_ambient(self, asked: Asked) -> bool:
        """Whether the request carries a credential that a browser sends by itself, whoever caused the request."""
        headers = asked.headers
        if asked.has_certificate or not self._ambient.isdisjoint(headers):
            return True
        return b"authorization" in headers and is_ambient(headers[b"authorization"])

    def _is_listed(self, content_type: bytes) -> bool:
        if content_type == EVENT_STREAM:
            return self._event_streams
        if content_type == _PROBLEM:
            return False
        if content_type in self._types:
            return True
        kind, slash, subtype = content_type.partition(b"/")
        plus = subtype.rfind(b"+")
        return kind + slash in self._kinds or (plus >= 0 and subtype[plus:] in self._suffixes)


def _is_public(answered: Answered) -> bool:
    if any(answered.says(directive) for directive in _PRIVATE):
        return False
    return answered.says(b"public") or answered.content_type in STATIC_TYPES
