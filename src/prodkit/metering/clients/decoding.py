"""Content encodings of answers that asked for none: undone in small pieces, so that no answer is larger in memory than allowed.

httpx decodes a network read at once, whatever comes of it: some kilobytes become a gigabyte before anybody can count.

Source: RFC 9110, 8.4.1 (content codings); RFC 1950, 1951 and 1952.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Inflater", "UndecodableError", "encodings_of"]

_PIECE_BYTES: Final = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
# What a client of HTTP undoes. Other words are no encoding, and some servers write such there.
_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})


class UndecodableError(ValueError):
    """The body is not in the encoding it is said to be in, or in one that cannot be undone within bounds."""


class Inflater:
    """Undoes `gzip` or `deflate`.

    Args:
        encoding: which.

    Raises:
        UndecodableError: it is another one; a few bytes of `br` could be any number of them.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            message = f"the answer is in the encoding {encoding[:16]}, and was asked for in none"
            raise UndecodableError(message)
        self._is_deflate = encoding == "deflate"
        self._inner = zlib.decompressobj(zlib.MAX_WBITS if self._is_deflate else _GZIP)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What *data* says, in pieces of 64 KiB at most.

        Raises:
            UndecodableError: it is not in the encoding.
        """
        while data:
            piece = self._inflated(data)
            data = self._inner.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> bytes:
        """What was held back."""
        return self._inner.flush()

    def _inflated(self, data: bytes) -> bytes:
        is_first, self._is_deflate = self._is_deflate, False
        try:
            return self._inner.decompress(data, _PIECE_BYTES)
        except zlib.error as error:
            if is_first:  # some call it so without the frame of RFC 1950
                self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
                return self._inflated(data)
            message = "the answer is not in the encoding it is said to be in"
            raise UndecodableError(message) from error


def encodings_of(header: str) -> str:
    """The encodings that a `content-encoding` names, with commas; empty where there is nothing to undo."""
    named = (word.strip().lower() for word in header.split(","))
    return ", ".join(word for word in named if word in _ENCODINGS)
