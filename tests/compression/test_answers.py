"""A compressed answer says so, keeps its meaning, and can be cached; what must stay as it is stays."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from prodkit.compression import Compression
from prodkit.core.problems import Problem
from prodkit.correlation import Correlation
from prodkit.cors import CORS
from prodkit.installation import install
from tests.compression.world import (
    ALL,
    TEXT,
    answering,
    client_of,
    drive,
    encoding_of,
    is_whole,
    piece,
    saying,
    start,
)


@pytest.mark.parametrize("encoding", ALL)
def test_a_client_reads_what_was_written(encoding: str):
    """Each coding, decoded by httpx; the length is that of the compressed bytes."""
    answer = client_of(answering(), encodings=[encoding]).get("/")
    assert answer.content == TEXT
    assert encoding_of(answer) == encoding
    assert int(answer.headers["content-length"]) == answer.num_bytes_downloaded < len(TEXT) / 10
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("encoding", ALL)
async def test_nothing_stands_after_the_end(encoding: str):
    """One complete stream, whole and in pieces."""
    for messages in ([piece(TEXT, more=False)], [piece(TEXT), piece(TEXT), piece(b"", more=False)]):
        wire = await drive(saying(start(), *messages), accept=encoding.encode())
        assert wire.encoding == encoding
        assert is_whole(encoding, wire.body)


@pytest.mark.parametrize("effort", ["fast", "balanced", "small"])
@pytest.mark.parametrize("encoding", ALL)
def test_every_effort_is_read(encoding: Any, effort: Any):
    """Levels exist in each library."""
    answer = client_of(answering(), encodings=[encoding], effort=effort).get("/")
    assert (encoding_of(answer), answer.content) == (encoding, TEXT)


def test_without_a_wish_the_answer_is_plain_and_says_what_it_depends_on():
    """A cache must not give the plain body to everybody, nor the compressed one."""
    client = client_of(answering())
    answer = client.get("/", headers={"Accept-Encoding": "identity"})
    assert (encoding_of(answer), answer.content) == ("", TEXT)
    assert answer.headers["vary"] == "accept-encoding"
    del client.headers["Accept-Encoding"]
    answer = client.get("/")
    assert (encoding_of(answer), answer.headers["vary"]) == ("", "accept-encoding")


@pytest.mark.parametrize(
    ("vary", "merged"),
    [
        ("Origin", "Origin, accept-encoding"),
        ("Accept-Encoding", "Accept-Encoding"),
        ("accept-encoding, Origin", "accept-encoding, Origin"),
        ("*", "*"),
    ],
)
def test_vary_is_merged_once(vary: str, merged: str):
    """One line, each name once; what varies by everything stays so."""
    answer = client_of(answering(Vary=vary)).get("/")
    assert answer.headers.get_list("vary") == [merged]


def test_vary_of_cors_and_ours_are_one_line():
    """Features that both say what an answer depends on do not hide one another."""
    client = client_of(answering(), CORS(origins=["https://a.example", "https://b.example"]))
    answer = client.get("/", headers={"Origin": "https://a.example"})
    (line,) = answer.headers.get_list("vary")
    assert sorted(line.lower().split(", ")) == ["accept-encoding", "origin"]


@pytest.mark.parametrize(
    ("media_type", "is_compressed"),
    [
        ("application/json", True),
        ("application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("image/svg+xml", True),
        ("text/html; charset=utf-8", True),
        ("text/anything", True),
        ("application/x-ndjson", True),
        ("application/problem+json", False),
        ("text/event-stream", False),
        ("image/png", False),
        ("application/octet-stream", False),
        ("application/zip", False),
        ("multipart/byteranges; boundary=x", False),
        ("application/grpc", False),
        ("json", False),
    ],
)
def test_only_types_on_the_list(media_type: str, is_compressed: bool):
    """Text is; what is compressed already, made of parts, or a problem is not, and does not vary."""
    answer = client_of(answering(media_type=media_type)).get("/")
    assert answer.content == TEXT
    assert bool(encoding_of(answer)) == is_compressed
    assert ("vary" in answer.headers) == is_compressed


def test_the_list_of_types_is_a_setting():
    """What an operator names is compressed, and nothing else."""
    options: dict[str, Any] = {"content_types": ["application/octet-stream"]}
    assert (
        encoding_of(client_of(answering(media_type="application/octet-stream"), **options).get("/")) == "gzip"
    )
    assert encoding_of(client_of(answering(), **options).get("/")) == ""


def test_small_answers_stay():
    """Below the bound by a byte, and at it."""
    assert encoding_of(client_of(answering(b"x" * 1023)).get("/")) == ""
    assert encoding_of(client_of(answering(b"x" * 1024)).get("/")) == "gzip"
    assert encoding_of(client_of(answering(b"x" * 100), min_body_bytes=0).get("/")) == "gzip"


def test_what_does_not_become_smaller_stays():
    """Random bytes under a text's name go out as they are, with their length."""
    noise = random.Random(7).randbytes(2000)
    answer = client_of(answering(noise, "text/plain")).get("/")
    assert (encoding_of(answer), answer.content) == ("", noise)
    assert (answer.headers["content-length"], answer.headers["vary"]) == ("2000", "accept-encoding")


@pytest.mark.parametrize("status", [204, 304, 205])
async def test_answers_without_a_body_have_none(status: int):
    """Not even as a stream, where an empty gzip file would be 20 bytes."""
    wire = await drive(saying(start(status=status), piece(b""), piece(b"", more=False)))
    assert (wire.encoding, wire.body) == ("", b"")
    wire = await drive(saying(start(status=status), piece(b"", more=False)), min_body_bytes=0)
    assert (wire.encoding, wire.body) == ("", b"")


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_errors_are_not_compressed(status: int):
    """Whatever their type: they are short, and read by people with simple tools."""
    wire = await drive(saying(start(status=status), piece(TEXT, more=False)))
    assert (wire.encoding, wire.body) == ("", TEXT)


def test_problems_are_not_compressed():
    """Raised by the handler, or by the router."""
    app = answering()

    @app.get("/problem")
    async def problem() -> None:
        raise Problem(409, "x" * 4000)

    client = client_of(app, min_body_bytes=0)
    for path, status in (("/problem", 409), ("/nowhere", 404)):
        answer = client.get(path)
        assert (answer.status_code, encoding_of(answer)) == (status, "")
        assert "vary" not in answer.headers


def test_a_failure_is_a_problem_with_its_headers():
    """A handler that raises gets the pipeline's 500."""
    app = answering()

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError

    answer = client_of(app, Correlation()).get("/breaks")
    assert (answer.status_code, encoding_of(answer)) == (500, "")
    assert answer.json()["correlation_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("encoding", ["br", "gzip", "identity", ""])
def test_what_has_an_encoding_is_left_alone(encoding: str):
    """Compressed by the application, or told by it not to be."""
    client = client_of(answering(Content_Encoding=encoding))
    with client.stream("GET", "/") as answer:
        raw = b"".join(answer.iter_raw())
    assert raw == TEXT
    assert answer.headers["content-encoding"] == encoding


def test_not_twice():
    """Starlette's middleware inside of ours, and a hardened application inside of another."""
    app = answering()
    app.add_middleware(GZipMiddleware)
    answer = client_of(app).get("/")
    assert (answer.content, encoding_of(answer)) == (TEXT, "gzip")
    inner = answering(ETag='"v1"')
    install(inner, Compression(encodings=["gzip"]))
    outer = FastAPI()
    outer.mount("/in", inner)
    client = client_of(outer)
    answer = client.get("/in/")
    assert (answer.content, encoding_of(answer), answer.headers["etag"]) == (TEXT, "gzip", '"v1--gzip"')
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache_Control": "public, no-transform"},
        {"Cache_Control": "No-Transform"},
        {"Content_Digest": "sha-256=:x:"},
        {"Repr_Digest": "sha-256=:x:"},
        {"Digest": "sha-256=x"},
        {"Content_MD5": "x"},
        {"Content_Range": "bytes 0-1/2"},
    ],
    ids=str,
)
def test_bytes_that_are_spoken_of_are_not_changed(headers: dict[str, str]):
    """A digest would be wrong, a part would be a part of something else, and no-transform means it."""
    answer = client_of(answering(**headers)).get("/")
    assert (encoding_of(answer), answer.content) == ("", TEXT)
