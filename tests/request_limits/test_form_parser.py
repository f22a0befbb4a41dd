"""What is measured of a form is never less than what the parser of forms takes from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from prodkit.request_limits.form_scanning import FormLimits, MultipartScanner, boundary_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FIELD = b'Content-Disposition: form-data; name="a"'
FILE = FIELD + b'; filename="f"'


def pieces(body: bytes, sizes: list[int]) -> list[bytes]:
    """*body* in pieces of *sizes*, the last one repeated."""
    found, at, left = [], 0, list(sizes)
    while at < len(body):
        size = left.pop(0) if len(left) > 1 else left[0]
        found.append(body[at : at + size])
        at += size
    return found


class Reference(MultiPartParser):
    """Starlette's parser; counts what it takes, also of a form that it refuses in the end.

    Attributes:
        is_over: whether it came to the closing delimiter.
        is_refused: whether the application would get nothing of the form.
    """

    def __init__(self, content_type: str, body: list[bytes]) -> None:
        async def stream() -> AsyncGenerator[bytes, None]:
            for piece in body:
                yield piece

        super().__init__(Headers({"content-type": content_type}), stream())
        self.ended_bytes = 0
        self.is_over = False
        self.is_refused = False
        try:
            asyncio.run(self.parse())
        except MultiPartException:
            self.is_refused = True
        for file in self._files_to_close_on_error:  # all that it has opened
            file.close()

    def on_part_end(self) -> None:
        super().on_part_end()
        if self._current_part.file is None:
            self.ended_bytes += len(self._current_part.data)

    def on_end(self) -> None:
        self.is_over = True

    @property
    def taken(self) -> tuple[int, int, int]:
        """Fields, files, and the bytes of the fields that have ended."""
        return self._current_fields, self._current_files, self.ended_bytes


def excess(body: list[bytes], boundary: bytes, fields: int, files: int, field_bytes: int) -> str | None:
    scanner = MultipartScanner(boundary, FormLimits(fields, files, field_bytes, 10_000))
    return next((found for piece in body if (found := scanner.feed(piece))), None)


def check(content_type: str, body: list[bytes]) -> Reference:
    """Hold the scanner against the parser; returns what the parser has found."""
    boundary = boundary_of(content_type.encode())
    assert boundary is not None
    reference = Reference(content_type, body)
    fields, files, field_bytes = reference.taken
    if reference.is_over and not reference.is_refused:
        assert excess(body, boundary, fields, files, field_bytes) is None
    many = 10**6
    if fields:
        assert excess(body, boundary, fields - 1, many, many) == "fields"
    if files:
        assert excess(body, boundary, many, files - 1, many) == "files"
    if field_bytes:
        assert excess(body, boundary, many, many, field_bytes - 1) == "field_bytes"
    return reference


def near_delimiters(boundary: bytes) -> list[bytes]:
    delimiter = b"\r\n--" + boundary
    after = [b"x", b" ", b" x", b"\t\r", b"\r", b"\rx", b"-", b"-x", b"\n", b"", b" \r\n", b"\r\n", b"--"]
    return [delimiter + more for more in after] + [delimiter[:-1], b"\r\n-", b"\r", b"\n", b"-", b"x", b""]


HEADERS = [
    FIELD,
    FILE,
    FIELD + b"; filename=",
    FIELD + b"; FileName = f",
    FIELD + b";filename",
    FIELD + b"; filename*=utf-8''f",
    FIELD + b'; x=";filename=f',
    FIELD + b'; x="\\";filename=f"',
    FIELD + b"\r\nX-A: filename=f",
    FILE + b"\r\n" + FIELD.lower(),
    FIELD + b"; filename\x0b",
    b"Content-Disposition:" + FILE[20:] + b"\t",
    b"X: a",
    b"\r",
]


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A form, most of them one that is taken, with everything in it that is nearly a delimiter."""
    boundary = draw(st.sampled_from([b"B", b"", b"-", b"--", b"bound"]))
    near = st.sampled_from(near_delimiters(boundary))
    body = draw(
        st.sampled_from([b"", b"", b"\n", b"\r\n", b"\nfoo", b"\r\r\n", b"\n-", b"foo\r\n", b"\nfoo\r\n"])
    )
    body += b"--" + boundary
    for _ in range(draw(st.integers(0, 4))):
        body += draw(st.sampled_from([b"\r\n"] * 4 + [b" \t\r\n"]))
        body += draw(st.sampled_from(HEADERS)) + b"\r\n\r\n"
        body += b"".join(draw(st.lists(near, max_size=4)))
        body += b"\r\n--" + boundary
    body += draw(st.sampled_from([b"--", b"--\r\n", b"--" + FILE, b"-", b"\r\n", b""]))
    sizes = draw(st.just([len(body)]) | st.lists(st.integers(1, 12), min_size=1, max_size=6))
    return f'multipart/form-data; boundary="{boundary.decode()}"', pieces(body, sizes)


@given(forms())
@settings(database=None, deadline=None, max_examples=300)
def test_never_less_than_the_parser_takes(form: tuple[str, list[bytes]]):
    """Fields, files and bytes are the parser's, wherever pieces begin and whatever looks like a delimiter."""
    check(*form)


DISPOSITIONS = [
    b";",
    b" ",
    b"\t",
    b"=",
    b'"',
    b"\\",
    b"filename",
    b"FileName",
    b"filename*",
    b"x",
    b"\n",
    b"\x0b",
    b"\xe9",
]


@given(st.lists(st.sampled_from(DISPOSITIONS), max_size=12).map(b"".join))
@settings(database=None, deadline=None, max_examples=400)
def test_a_file_is_what_the_parser_takes_for_one(disposition: bytes):
    """Quotes, backslashes, white space and letters as it reads them."""
    is_file = b"filename" in parse_options_header(disposition.lstrip(b" "))[1]
    scanner = MultipartScanner(b"B", FormLimits(0, 0, 0, 10_000))
    found = scanner.feed(b"--B\r\nContent-Disposition:" + disposition + b"\r\n\r\n")
    assert found == ("files" if is_file else "fields")


@pytest.mark.parametrize("before", [b"", b"\n", b"\r\n\r\n", b"\nfoo"])
@pytest.mark.parametrize("boundary", ["B", ""])
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_first_part_is_measured(before: bytes, boundary: str, size: int):
    """The parser passes over line breaks and what follows them, and takes an empty boundary: the first part counts."""
    delimiter = b"--" + boundary.encode()
    body = before + delimiter + b"\r\n" + FIELD + b"\r\n\r\n" + b"x" * 500 + b"\r\n" + delimiter + b"--\r\n"
    pieced = [body] if size > len(body) or before == b"\nfoo" else pieces(body, [size])
    reference = check(f'multipart/form-data; boundary="{boundary}"', pieced)
    assert reference.taken == (1, 0, 500)


@pytest.mark.parametrize("after", [b"x", b"-x", b"\rx", b" "])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_looks_like_a_delimiter_hides_nothing(after: bytes, size: int):
    """Behind it stands data of the field, also where that looks like the headers of a file."""
    sly = b"\r\n--B" + after + b"\r\n" * (after != b" ") + FILE + b"\r\n\r\n"
    body = b"--B\r\n" + FIELD + b"\r\n\r\n" + sly + b"x" * 500 + b"\r\n--B--"
    reference = check("multipart/form-data; boundary=B", pieces(body, [size]))
    if after == b" ":
        assert reference.is_refused
    else:
        assert reference.taken == (1, 0, 500 + len(sly))
    assert excess(pieces(body, [size]), b"B", 10, 0, 500) == "field_bytes"


def test_white_space_behind_a_delimiter_ends():
    """It is kept until a line break comes, so it is bounded like the headers it stands before."""
    scanner = MultipartScanner(b"B", FormLimits(1, 1, 1, 200))
    found: list[Any] = [scanner.feed(piece) for piece in [b"--B\r\n\r\n", b"\r\n--B", *[b" " * 10] * 21]]
    assert found == [None] * 22 + ["part_header_bytes"]


def test_lookalikes_end():
    """A thousand lines that begin like a delimiter are data; more are no form: each costs the parser a microsecond."""
    head = b"--B\r\n" + FIELD + b"\r\n\r\n"
    for count, expected in ((1000, None), (1001, "lookalikes")):
        body = pieces(head + b"\r\n--Bx" * count + b"\r\n--B--", [1000])
        assert excess(body, b"B", 1, 0, 10_000) == expected
