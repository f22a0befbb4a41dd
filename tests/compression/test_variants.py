"""HEAD, parts of files, and entity tags: the compressed variant and the plain one are told apart."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Header, Response
from fastapi.responses import FileResponse
from fastapi.testclient import TestClient
from starlette.staticfiles import StaticFiles

from prodkit.core.problems import Problem
from tests.compression.world import TEXT, answering, client_of, drive, encoding_of, piece, saying, start


def test_head_tells_what_get_would():
    """The same headers, without the length that only compressing would tell."""
    client = client_of(answering(ETag='"v1"', Accept_Ranges="bytes"))
    get, head = client.get("/"), client.head("/")
    assert head.content == b""
    assert "content-length" not in head.headers
    ignored = {"content-length"}
    assert {n: v for n, v in head.headers.items() if n not in ignored} == {
        n: v for n, v in get.headers.items() if n not in ignored
    }
    small = client_of(answering(b"small"))
    assert small.head("/").headers["content-length"] == "5"


async def test_head_has_no_body():
    """Also where the application sends one, which servers drop: bytes that nobody gets are not counted."""
    wire = await drive(saying(start(), piece(TEXT), piece(TEXT, more=False)), method="HEAD")
    assert (wire.encoding, wire.body) == ("gzip", b"")
    assert wire.is_complete


def test_parts_of_a_file_are_plain(tmp_path: Any):
    """Range works on the plain bytes, and a compressed answer does not invite to ask for parts of it."""
    path = tmp_path / "file.txt"
    path.write_bytes(TEXT)
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=tmp_path))

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(path)

    client = client_of(app)
    for address in ("/file", "/static/file.txt"):
        answer = client.get(address)
        assert (encoding_of(answer), answer.content) == ("gzip", TEXT)
        assert "accept-ranges" not in answer.headers
        part = client.get(address, headers={"Range": "bytes=10-19"})
        assert (part.status_code, encoding_of(part), part.content) == (206, "", TEXT[10:20])
        # Continued from compressed bytes: the whole, and not a part of the plain ones.
        tag = answer.headers["etag"]
        whole = client.get(address, headers={"Range": "bytes=10-19", "If-Range": tag})
        assert (whole.status_code, whole.content) == (200, TEXT)
        plain = client.get(address, headers={"Accept-Encoding": "identity"}).headers["etag"]
        assert client.get(address, headers={"Range": "bytes=10-19", "If-Range": plain}).status_code == 206


def test_static_files_are_revalidated(tmp_path: Any):
    """Starlette's own handling of If-None-Match knows the tag of the compressed variant, and so does its 304."""
    (tmp_path / "file.css").write_bytes(TEXT)
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=tmp_path))
    client = client_of(app)
    tag = client.get("/static/file.css").headers["etag"]
    assert tag.endswith('--gzip"')
    again = client.get("/static/file.css", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["vary"] == "accept-encoding"


# ------------------------------------------------------------------------------------------------------ entity tags


def versions() -> TestClient:
    """Tags compared as text, as many applications do."""
    app = FastAPI()

    @app.get("/")
    async def read(if_none_match: str | None = Header(None)) -> Response:
        if if_none_match == '"v1"':
            return Response(status_code=304, headers={"ETag": '"v1"'})
        return Response(TEXT, media_type="text/plain", headers={"ETag": '"v1"'})

    @app.put("/")
    async def write(if_match: str | None = Header(None)) -> str:
        if if_match != '"v1"':
            raise Problem(412)
        return "written"

    return client_of(app)


def test_what_was_read_compressed_can_be_updated():
    """If-Match compares strongly, so a weakened tag would refuse every update."""
    client = versions()
    tag = client.get("/").headers["etag"]
    assert tag == '"v1--gzip"'
    assert client.put("/", headers={"If-Match": tag}).json() == "written"
    assert client.put("/", headers={"If-Match": '"v0--gzip"'}).status_code == 412


def test_what_was_read_compressed_is_fresh():
    """The 304 names the variant that the client has."""
    client = versions()
    for tag in ('"v1"', '"v1--gzip"'):
        answer = client.get("/", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (304, tag)
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert plain.headers["etag"] == '"v1"'


@pytest.mark.parametrize("tag", ['W/"v1"', "v1", '"a"b"', ""])
def test_other_tags_stay(tag: str):
    """A weak tag names all variants; what is no tag is the application's affair."""
    answer = client_of(answering(ETag=tag)).get("/")
    assert (encoding_of(answer), answer.headers["etag"]) == ("gzip", tag)


async def test_conditions_reach_the_application_in_its_own_words():
    """Lists, several lines, weak forms made on the way; If-Range stays, and so does what only looks alike."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await saying(start((b"etag", b'"b"'), status=304), piece(b"", more=False))(scope, receive, send)

    sent = [
        (b"if-none-match", b'"a--br", W/"b--gzip"'),
        (b"if-none-match", b'"c--zstd"'),
        (b"if-match", b'"d--gzip--gzip"'),
        (b"if-range", b'"e--gzip"'),
        (b"x-other", b'"f--gzip"'),
        (b"if-match", b'"g--gzip-more"'),
    ]
    wire = await drive(app, headers=sent)
    assert [pair for pair in seen if pair[0] in dict(sent)] == [
        (b"if-none-match", b'"a", W/"b"'),
        (b"if-none-match", b'"c"'),
        (b"if-match", b'"d--gzip"'),
        (b"if-range", b'"e--gzip"'),
        (b"x-other", b'"f--gzip"'),
        (b"if-match", b'"g--gzip-more"'),
    ]
    assert wire.headers[b"etag"] == b'"b--gzip"'
