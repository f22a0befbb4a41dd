"""Entity tags of compressed answers: a suffix outwards, taken off inwards.

A strong tag names one sequence of bytes, so the compressed answer needs another one. Making the tag weak, as many
servers do, keeps `If-None-Match` and breaks `If-Match`: it compares strongly, so whoever read a compressed answer could
never again update what he had read. With a suffix that we take off again, the application sees its own tags only.

Source: RFC 9110, 8.8.3 (ETag), 13.1.1 (If-Match), 13.1.2 (If-None-Match) and 13.1.5 (If-Range).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from prodkit.core.asgi import header_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.asgi import Headers

__all__ = ["as_sent", "with_own_tags", "with_suffix"]

# Not in If-Range: a part of the plain body must never be appended to compressed bytes. With the suffix the application
# does not know the tag, and sends the whole.
_CONDITIONS = (b"if-none-match", b"if-match")
_ENCODINGS: Final = ("gzip", "br", "zstd")
_SUFFIX = re.compile(rb'--(?:%b)(?=")' % "|".join(_ENCODINGS).encode("ascii"))
_STRONG = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')


def with_suffix(tag: bytes, encoding: str) -> bytes:
    """The tag of the answer in *encoding* that was *tag*. A weak tag stays: it names all variants."""
    if _STRONG.fullmatch(tag) is None:
        return tag
    return b'%b--%b"' % (tag[:-1], encoding.encode("ascii"))


def with_own_tags(headers: Iterable[tuple[bytes, bytes]]) -> Headers | None:
    """Request *headers* with the application's own tags in conditions, or None when they are so already."""
    lines = list(headers)
    own = [
        (name, _SUFFIX.sub(b"", value)) if name in _CONDITIONS and b"--" in value else (name, value)
        for name, value in lines
    ]
    return own if own != lines else None


def as_sent(tag: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The form of the application's *tag* that stood in the request's If-None-Match: what a 304 must name.

    *headers* are those of the client. Several variants may stand there, and each is fresh.
    """
    if _STRONG.fullmatch(tag) is None:
        return tag
    conditions = b", ".join(header_lines(headers, b"if-none-match"))
    variants = (with_suffix(tag, encoding) for encoding in _ENCODINGS)
    return next((variant for variant in variants if variant in conditions), tag)
