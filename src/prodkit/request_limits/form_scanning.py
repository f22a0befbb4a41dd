"""The shape of a form, measured while its bytes pass: fields, files, bytes of fields, headers of a part.

Starlette's parser has limits of its own for `Form()` and `request.form()`; here they hold for whatever reads the body,
over all fields together, and before anything is kept in memory or in a file.

Source: RFC 7578 (multipart/form-data), RFC 2046, 5.1.1 (boundaries); the URL Standard, 5.1 (urlencoded).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from starlette import formparsers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_LOOKALIKES",
    "MAX_PARAMETERS",
    "FormExcess",
    "FormLimits",
    "MultipartScanner",
    "UrlencodedScanner",
    "boundary_of",
]

FormExcess = Literal["fields", "files", "field_bytes", "part_header_bytes", "parameters", "lookalikes"]

# Of python-multipart, which is optional: where it is missing nobody parses a form.
_parse_options: Final = cast(
    "Callable[[bytes | None], tuple[bytes, dict[bytes, bytes]]] | None",
    getattr(formparsers, "parse_options_header", None),
)
MAX_PARAMETERS: Final = 30
"""The most semicolons of one Content-Type, or of the headers of one part: the parser splits at each in Python, 1 µs a piece."""

MAX_LOOKALIKES: Final = 1000
"""The most lines of a form that begin with its delimiter and go on in another way: RFC 2046, 5.1.1 allows none, and the parser
spends as much on each as on a kilobyte of other content."""

_END_OF_HEADERS: Final = b"\r\n\r\n"
_DISPOSITION: Final = b"content-disposition:"
_QUOTED: Final = re.compile(rb'"[^"]*(?:"|\Z)')
# A name without a value is not put into lower case by the parser.
_FILE_NAME: Final = re.compile(rb";[ \t]*(?:(?i:filename)[ \t]*=|filename[ \t]*(?:;|\Z))")
# What makes a delimiter of a line that begins like one; and what may become that with the next piece.
_AFTER_DELIMITER: Final = re.compile(rb"(--)|[ \t]*\r\n")
_MAY_COME: Final = re.compile(rb"-|[ \t]*\r?")


@dataclass(frozen=True, slots=True)
class FormLimits:
    """How large a form may be in each way.

    Attributes:
        fields: that are not files.
        files: their number.
        field_bytes: of all fields together.
        part_header_bytes: of the headers of one part.
    """

    fields: int
    files: int
    field_bytes: int
    part_header_bytes: int


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary as the parser of forms will read it, which may be empty; None where there is none, or no parser.

    Args:
        content_type: with no more than `MAX_PARAMETERS` semicolons.
    """
    return None if _parse_options is None else _parse_options(content_type)[1].get(b"boundary")


class UrlencodedScanner:
    """Measures a form of one line."""

    __slots__ = ("_bytes", "_fields", "limits")

    def __init__(self, limits: FormLimits) -> None:
        self.limits = limits
        self._fields = 0
        self._bytes = 0

    def feed(self, data: bytes) -> FormExcess | None:
        """Which limit the form exceeds with *data*, or None."""
        if data and not self._bytes:
            self._fields = 1
        self._bytes += len(data)
        self._fields += data.count(b"&")
        if self._fields > self.limits.fields:
            return "fields"
        return "field_bytes" if self._bytes > self.limits.field_bytes else None


class MultipartScanner:
    """Measures a form of parts; keeps at most one delimiter, or the headers of one part.

    It begins a part wherever the parser does. Where the parser gives up (a preamble, white space behind a delimiter that
    goes on in another way), nothing of the form comes to a handler that reads it, and what is measured matters no more.

    Args:
        boundary: see `boundary_of`.
        limits: may be replaced as long as nothing was fed.
    """

    __slots__ = (
        "_delimiter",
        "_excess",
        "_field_bytes",
        "_fields",
        "_files",
        "_has_begun",
        "_in_headers",
        "_is_file",
        "_is_over",
        "_kept",
        "_lookalikes",
        "limits",
    )

    def __init__(self, boundary: bytes, limits: FormLimits) -> None:
        self.limits = limits
        self._delimiter = b"\r\n--" + boundary
        self._kept = b""
        self._lookalikes = 0
        self._has_begun = False
        self._in_headers = False
        self._is_file = True  # so that what stands before the first part is no field
        self._is_over = False
        self._excess: FormExcess | None = None
        self._fields = 0
        self._files = 0
        self._field_bytes = 0

    def feed(self, data: bytes) -> FormExcess | None:
        """Which limit the form exceeds with *data*, or None. Never raises, whatever the bytes are."""
        if self._is_over:
            return None
        if not self._has_begun:
            # The parser passes over everything up to the first hyphen where the body begins with CR or LF.
            first = data.find(b"-")
            if first < 0:
                return None
            self._has_begun = True
            data = b"\r\n" + data[first:]  # the first delimiter has no line before it
        data = self._kept + data
        self._kept = b""
        at: int | None = 0
        while at is not None and self._excess is None:
            at = self._headers(data, at) if self._in_headers else self._content(data, at)
        return self._excess

    def _headers(self, data: bytes, at: int) -> int | None:
        """Where the content of the part begins; None where *data* does not tell yet."""
        limits = self.limits
        end = data.find(_END_OF_HEADERS, at)
        if (len(data) if end < 0 else end) - at > limits.part_header_bytes:
            self._excess = "part_header_bytes"
        elif end < 0:
            self._kept = data[at:]
            return None
        elif data.count(b";", at, end) > MAX_PARAMETERS:
            self._excess = "parameters"
        elif _is_file(data[at:end]):
            self._is_file = True
            self._files += 1
            if self._files > limits.files:
                self._excess = "files"
        else:
            self._is_file = False
            self._fields += 1
            if self._fields > limits.fields:
                self._excess = "fields"
        self._in_headers = False
        return end + len(_END_OF_HEADERS)

    def _content(self, data: bytes, at: int) -> int | None:
        """Where the headers of the next part begin; None where *data* holds no further delimiter."""
        size = len(self._delimiter)
        begin, after = data.find(self._delimiter, at), None
        while begin >= 0:
            after = _AFTER_DELIMITER.match(data, begin + size)
            if after is not None or _MAY_COME.fullmatch(data, begin + size):
                break
            self._lookalikes += 1
            if self._lookalikes > MAX_LOOKALIKES:
                self._excess = "lookalikes"
                return None
            begin = data.find(self._delimiter, begin + size)
        if after is not None:
            self._is_over = after[1] is not None
            self._in_headers = True
            self._count(begin - at)
            # The line break may belong to the end of headers that are none.
            return None if self._is_over else after.end() - 2
        if begin < 0:
            begin = max(at, len(data) - size + 1)  # it may be the beginning of a delimiter
        elif len(data) - begin - size > self.limits.part_header_bytes:
            self._excess = "part_header_bytes"
        self._count(begin - at)
        self._kept = data[begin:]
        return None

    def _count(self, size: int) -> None:
        if not self._is_file:
            self._field_bytes += size
            if self._field_bytes > self.limits.field_bytes:
                self._excess = "field_bytes"


def _is_file(headers: bytes) -> bool:
    """Whether a part with these headers is a file for the parser: the last Content-Disposition counts.

    It takes a semicolon for a separator where the number of quotes before it is even, those behind a backslash left out.
    Asking it would take a microsecond for each semicolon.
    """
    if b"filename" not in headers.lower():
        return False
    disposition = b""
    for line in headers.split(b"\r\n"):
        if line.lower().startswith(_DISPOSITION):
            disposition = line[len(_DISPOSITION) :]
    unquoted = _QUOTED.sub(b'"', disposition.replace(b'\\"', b"__"))
    return _FILE_NAME.search(unquoted) is not None
