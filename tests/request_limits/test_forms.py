"""A form has a bounded number of fields and files, whoever reads it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Form, Request, UploadFile
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.exceptions import SettingsError
from prodkit.request_limits import RequestLimits, form_limits
from prodkit.request_limits.form_scanning import FormLimits, MultipartScanner
from tests.support.hardening import assert_problem, hardened
from tests.support.timing import cpu_within

MULTIPART = {"Content-Type": "multipart/form-data; boundary=bound"}


def part(content: bytes, filename: str | None = None, more: bytes = b"") -> bytes:
    disposition = 'form-data; name="a"' + (f'; filename="{filename}"' if filename else "")
    return b"--bound\r\n" + more + f"Content-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--bound--\r\n"


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/raw")
    async def raw(request: Request) -> int:
        async with request.form() as found:
            return len(found.multi_items())

    @app.post("/declared")
    async def declared(a: list[str] = Form()) -> int:  # noqa: B008 - FastAPI takes it there
        return len(a)

    @app.post("/files")
    async def files(a: list[UploadFile]) -> int:
        return len(a)

    @app.post("/own", dependencies=[form_limits(max_fields=4, max_field_bytes=50)])
    async def own(request: Request) -> int:
        async with request.form() as found:
            return len(found.multi_items())

    @app.post("/fastapis", form_limits={"max_files": 2})
    async def fastapis(a: list[UploadFile]) -> int:
        return len(a)

    return app


def client_of(**options: Any) -> Any:
    return hardened(application(), RequestLimits(**options))[0]


@pytest.mark.parametrize("path", ["/raw", "/declared"])
def test_number_of_fields(path: str):
    """As many as there may be pass, one more is a 413, multipart or urlencoded, in one piece or in many."""
    client = client_of(max_form_fields=5)
    for count, status in ((5, 200), (6, 413)):
        body = form(*[part(b"x")] * count)
        pieces = (body[at : at + 7] for at in range(0, len(body), 7))
        for content in (body, pieces):
            answer = client.post(path, content=content, headers=MULTIPART)
            assert answer.status_code == status
        assert client.post(path, data={"a": ["x"] * count}).status_code == status
    assert assert_problem(answer, 413)["max_form_fields"] == 5


@pytest.mark.parametrize("path", ["/raw", "/files"])
def test_number_of_files(path: str):
    """Files are counted apart."""
    client = client_of(max_form_files=2, max_form_fields=0)
    assert client.post(path, content=form(*[part(b"x", "f")] * 2), headers=MULTIPART).json() == 2
    answer = client.post(path, content=form(*[part(b"x", "f")] * 3), headers=MULTIPART)
    assert assert_problem(answer, 413)["max_form_files"] == 2


def test_bytes_of_fields():
    """What is kept in memory is bounded over all fields together; a file is not in it."""
    client = client_of(max_form_field_bytes=100)
    assert client.post("/raw", content=form(part(b"x" * 50), part(b"x" * 50)), headers=MULTIPART).json() == 2
    assert_problem(
        client.post("/raw", content=form(part(b"x" * 50), part(b"x" * 51)), headers=MULTIPART), 413
    )
    assert client.post("/raw", content=form(part(b"x" * 500, "f")), headers=MULTIPART).json() == 1
    assert_problem(client.post("/raw", data={"a": "x" * 100}), 413)
    # A file name in another header makes no file of a field.
    sly = form(part(b"x" * 101, more=b"X-A: filename=f\r\n"))
    assert_problem(client.post("/raw", content=sly, headers=MULTIPART), 413)


def test_headers_of_a_part():
    """The headers of a part end somewhere."""
    client = client_of(max_form_part_header_bytes=1000)
    assert client.post(
        "/raw", content=form(part(b"", more=b"X: " + b"a" * 900 + b"\r\n")), headers=MULTIPART
    ).json()
    endless = (b"--bound\r\n", *[b"X: " + b"a" * 100 + b"\r\n"] * 20)
    assert_problem(client.post("/raw", content=iter(endless), headers=MULTIPART), 413)


def test_semicolons():
    """Each costs the parser a microsecond: there are 30 of them, in a Content-Type and in the headers of a part."""
    client = client_of()
    for count, status in ((28, 200), (29, 400)):  # two stand there already
        body = form(part(b"x", "f", more=b"X: " + b";" * count + b"\r\n"))
        answer = client.post("/raw", content=body, headers=MULTIPART)
        assert answer.status_code == status
    assert "30 semicolons" in assert_problem(answer, 400)["detail"]
    for media_type in ("multipart/form-data", "application/x-www-form-urlencoded", "text/plain"):
        for count, status in ((29, 200), (30, 400)):
            headers = {"Content-Type": f"{media_type}; boundary=bound" + ";" * count}
            answer = client.post("/raw", content=form(part(b"x")), headers=headers)
            assert answer.status_code == status
        assert "30 semicolons" in assert_problem(answer, 400)["detail"]


@pytest.mark.parametrize("semicolons", [25, 7900])
def test_semicolons_cost_little(semicolons: int):
    """A mebibyte of parts full of them takes milliseconds; the parser would take half a second."""
    client = client_of(max_form_files=50_000, max_form_fields=50_000)
    one = part(b"x", more=b'Content-Disposition: form-data; filename="f"' + b";" * semicolons + b"\r\n")
    body = form(*[one] * (1_000_000 // len(one)))
    scanner = MultipartScanner(b"bound", FormLimits(50_000, 50_000, 10**6, 8192))
    with cpu_within(0.1):
        found = scanner.feed(body)
    assert found == (None if semicolons < 30 else "parameters")
    if found:
        with cpu_within(0.1):
            answer = client.post("/raw", content=body, headers=MULTIPART)
        assert "30 semicolons" in assert_problem(answer, 400)["detail"]


def test_lookalikes_of_a_delimiter():
    """A form of nothing but lines that begin like its delimiter is none, and cheap to refuse."""
    body = form(part(b"\r\n--boundx" * 50_000))
    with cpu_within(0.1):
        answer = client_of().post("/raw", content=body, headers=MULTIPART)
    assert "begin like a delimiter" in assert_problem(answer, 400)["detail"]


def test_what_looks_like_a_part_is_data():
    """A line that only begins like a delimiter starts no part: what follows it is bounded like the field it stands in."""
    client = client_of(max_form_field_bytes=1000)
    sly = b"\r\n--boundx\r\n" + part(b"x" * 2000, "f").removeprefix(b"--bound\r\n")
    answer = client.post("/raw", content=form(part(sly)), headers=MULTIPART)
    assert assert_problem(answer, 413)["max_form_field_bytes"] == 1000
    answer = client.post("/raw", content=b"\nfoo" + form(part(b"x" * 1001)), headers=MULTIPART)
    assert assert_problem(answer, 413)["max_form_field_bytes"] == 1000
    empty = {"Content-Type": 'multipart/form-data; boundary=""'}
    body = form(part(b"x" * 1001)).replace(b"bound", b"")
    assert (
        assert_problem(client.post("/raw", content=body, headers=empty), 413)["max_form_field_bytes"] == 1000
    )


def test_errors_of_the_parser_are_problems():
    """FastAPI's own limits and a form that is none are 400 problems."""
    client = client_of()
    assert client.post("/fastapis", content=form(*[part(b"x", "f")] * 2), headers=MULTIPART).json() == 2
    for content in (form(*[part(b"x", "f")] * 3), b"nonsense"):
        assert_problem(client.post("/fastapis", content=content, headers=MULTIPART), 400)
    no_boundary = {"Content-Type": "multipart/form-data"}
    assert_problem(client.post("/raw", content=form(part(b"x")), headers=no_boundary), 400)


def test_route_with_limits_of_its_own():
    """They hold in place of the application's, larger or smaller, and are documented."""
    client = client_of(max_form_fields=2)
    assert client.post("/own", content=form(*[part(b"x")] * 4), headers=MULTIPART).json() == 4
    assert_problem(client.post("/own", content=form(*[part(b"x")] * 5), headers=MULTIPART), 413)
    assert_problem(client.post("/own", data={"a": "x" * 60}), 413)
    assert "413" in client.get("/openapi.json").json()["paths"]["/own"]["post"]["responses"]
    alone, _ = hardened(application())
    assert_problem(alone.post("/own", data={"a": ["x"] * 5}), 413)
    with pytest.raises(SettingsError, match="form_limits"):
        form_limits(max_files=-1)


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
@settings(database=None, deadline=None, max_examples=150)
def test_count_does_not_depend_on_pieces(parts: list[tuple[bytes, bool]], sizes: list[int]):
    """Fields, files and bytes are the same however the form is cut; the limits that just hold do."""
    parts = [(content, is_file) for content, is_file in parts if b"\r\n--bound" not in b"\r\n" + content]
    body = form(*[part(content, "f" if is_file else None) for content, is_file in parts])
    fields = [content for content, is_file in parts if not is_file]
    files = len(parts) - len(fields)
    total = sum(map(len, fields))

    def excess(limits: FormLimits) -> str | None:
        scanner, at, cut = MultipartScanner(b"bound", limits), 0, list(sizes)
        while at < len(body):
            size = cut.pop(0) if len(cut) > 1 else cut[0]
            found = scanner.feed(body[at : at + size])
            if found is not None:
                return found
            at += size
        return None

    assert excess(FormLimits(len(fields), files, total, 200)) is None
    if fields:
        assert excess(FormLimits(len(fields) - 1, files, total, 200)) == "fields"
    if files:
        assert excess(FormLimits(len(fields), files - 1, total, 200)) == "files"
    if total:
        assert excess(FormLimits(len(fields), files, total - 1, 200)) == "field_bytes"


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"--bound", b"\r\n", b"\r\n--bound--"]), max_size=20)
)
@settings(database=None, deadline=None, max_examples=100)
def test_garbage_never_raises(pieces: list[bytes]):
    """Whatever the bytes are, there is an answer."""
    scanner = MultipartScanner(b"bound", FormLimits(3, 3, 30, 128))
    for piece in pieces:
        assert scanner.feed(piece) in {None, "fields", "files", "field_bytes", "part_header_bytes"}
