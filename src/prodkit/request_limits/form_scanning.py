"""The shape of a form, measured while its bytes pass: fields, files, bytes of fields, headers of a part.

Starlette's parser has limits of its own for `Form()` and `request.form()`; here they hold for whatever reads the body,
over all fields together, and before anything is kept in memory or in a file.

Source: RFC 7578 (multipart/form-data), RFC 2046, 5.1.1 (boundaries); the URL Standard, 5.1 (urlencoded).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from starlette import formparsers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FormExcess", "FormLimits", "MultipartScanner", "UrlencodedScanner", "boundary_of"]

FormExcess = Literal["fields", "files", "field_bytes", "part_header_bytes"]

# Of python-multipart, which is optional: where it is missing nobody parses a form.
_parse_options: Final = cast(
    "Callable[[bytes | None], tuple[bytes, dict[bytes, bytes]]] | None",
    getattr(formparsers, "parse_options_header", None),
)
_END_OF_HEADERS: Final = b"\r\n\r\n"
_DISPOSITION: Final = b"content-disposition:"


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
    """The boundary as the parser of forms will read it; None where there is none, or no parser."""
    return None if _parse_options is None else _parse_options(content_type)[1].get(b"boundary") or None


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
        "_in_headers",
        "_is_file",
        "_is_over",
        "_kept",
        "limits",
    )

    def __init__(self, boundary: bytes, limits: FormLimits) -> None:
        self.limits = limits
        self._delimiter = b"\r\n--" + boundary
        self._kept = b"\r\n"  # the first delimiter has no line before it
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
        data = self._kept + data
        self._kept = b""
        at: int | None = 0
        while at is not None and self._excess is None:
            at = self._headers(data, at) if self._in_headers else self._content(data, at)
        return self._excess

    def _headers(self, data: bytes, at: int) -> int | None:
        """Where the content of the part begins; None where *data* does not tell yet, or there is no further part."""
        if data.startswith(b"--", at):
            self._is_over = True
            return None
        limits = self.limits
        end = data.find(_END_OF_HEADERS, at)
        if (len(data) if end < 0 else end) - at > limits.part_header_bytes:
            self._excess = "part_header_bytes"
        elif end < 0:
            self._kept = data[at:]
            return None
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
        delimiter = self._delimiter
        end = found = data.find(delimiter, at)
        if found < 0:
            end = max(at, len(data) - len(delimiter) + 1)
            self._kept = data[end:]  # it may be the beginning of a delimiter
        if not self._is_file:
            self._field_bytes += end - at
            if self._field_bytes > self.limits.field_bytes:
                self._excess = "field_bytes"
        self._in_headers = found >= 0
        return None if found < 0 else found + len(delimiter)


def _is_file(headers: bytes) -> bool:
    """Whether a part with these headers is a file for the parser: the last Content-Disposition counts."""
    if b"filename" not in headers.lower() or _parse_options is None:
        return False
    disposition: bytes | None = None
    for line in headers.split(b"\r\n"):
        if line.lower().startswith(_DISPOSITION):
            disposition = line[len(_DISPOSITION) :].strip()
    options: dict[bytes, Any] = _parse_options(disposition)[1]
    return b"filename" in options
