"""Whether a body that does not say it is JSON would be read as such: `json.loads` asks for no media type.

Source: `json.detect_encoding`, which looks at the first bytes; RFC 8259, 8.1 (UTF-8).
"""

from __future__ import annotations

from typing import Final

__all__ = ["JSONSniffer"]

# White space in each encoding, and the byte order marks that Python's parser takes.
_BLANK: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
_WIDE_MARKS: Final = frozenset({b"\xff\xfe", b"\xfe\xff"})
_HEAD_BYTES: Final = 2


class JSONSniffer:
    """Sifts out of one body what the parser would read as JSON.

    A body in UTF-8 is read to the first NUL, which no JSON holds: what comes behind it is of no concern, so that a binary
    body that happens to begin with a bracket is let alone. One in UTF-16 or UTF-32 cannot be measured.

    Args:
        refuses_wide: whether a body that begins like JSON in UTF-16 or UTF-32 is refused; if not, it is let alone.

    Attributes:
        is_over: nothing that comes is read as JSON.
        is_refused: see `refuses_wide`.
    """

    __slots__ = ("_begins", "_head", "_refuses_wide", "is_over", "is_refused")

    def __init__(self, *, refuses_wide: bool) -> None:
        self._refuses_wide = refuses_wide
        self._head = b""
        self._begins = False
        self.is_over = False
        self.is_refused = False

    def sift(self, data: bytes) -> bytes:
        """What of *data*, the next piece, the parser would read; may be empty."""
        if len(self._head) < _HEAD_BYTES:
            self._head = (self._head + data)[:_HEAD_BYTES]
        if not self._begins:
            begin = data.lstrip(_BLANK)[:1]
            if not begin:  # nothing but white space, so far
                return b""
            if begin not in b"[{":
                self.is_over = True
                return b""
            self._begins = True
        if b"\0" in self._head or self._head in _WIDE_MARKS:
            self.is_over, self.is_refused = True, self._refuses_wide
            return b""
        end = data.find(b"\0")
        if end < 0:
            return data
        self.is_over = True
        return data[:end]
