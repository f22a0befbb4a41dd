"""Compressed bodies are refused, or decompressed within bounds."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from fastapi import Body, FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.request_limits import RequestLimits, body_limit
from prodkit.request_limits.decompression import PIECE_BYTES, Decompressor
from tests.support.hardening import assert_problem, hardened

GZIP = {"Content-Encoding": "gzip"}


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/size")
    async def size(request: Request) -> list[int]:
        return [len(piece) async for piece in request.stream() if piece]

    @app.post("/json")
    async def value(value: Any = Body()) -> Any:
        return value

    @app.post("/small", dependencies=[body_limit(100)])
    async def small(request: Request) -> int:
        return len(await request.body())

    return app


def client_of(**options: Any) -> Any:
    return hardened(application(), RequestLimits(**options))[0]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x", "gzip, gzip"])
def test_refused_by_default(coding: str):
    """415 that says what is taken, before anything is read: nobody would decompress it."""
    answer = client_of().post("/size", content=b"x", headers={"Content-Encoding": coding})
    assert_problem(answer, 415)
    assert answer.headers["accept-encoding"] == "identity"
    assert client_of().post("/size", content=b"x", headers={"Content-Encoding": "Identity"}).json() == [1]


def test_taken_where_it_is_named():
    """The application sees the body as it was, with neither a coding nor a length; other codings are still refused."""
    client = client_of(content_encodings=["gzip"])
    headers = {"Content-Type": "application/json"} | GZIP
    assert client.post("/json", content=gzip.compress(b'{"a": [1]}'), headers=headers).json() == {"a": [1]}
    pieces = (bytes([byte]) for byte in gzip.compress(b'{"a": [1]}'))
    assert client.post("/json", content=pieces, headers=headers).json() == {"a": [1]}
    assert client.post("/json", json=[1]).json() == [1]
    answer = client.post("/size", content=zlib.compress(b"x"), headers={"Content-Encoding": "deflate"})
    assert_problem(answer, 415)
    assert answer.headers["accept-encoding"] == "gzip"
    both = client_of(content_encodings=["gzip", "deflate"])
    assert both.post(
        "/size", content=zlib.compress(b"xy"), headers={"Content-Encoding": "deflate"}
    ).json() == [2]
    assert both.post("/size", content=b"", headers=GZIP).json() == []


def test_size_is_that_of_what_comes_out():
    """413 as soon as more comes out than a body may have, also by a route's own limit."""
    client = client_of(content_encodings=["gzip"], max_body_bytes=200_000, max_decompression_ratio=2000)
    assert sum(client.post("/size", content=gzip.compress(bytes(200_000)), headers=GZIP).json()) == 200_000
    for path, size in (("/size", 200_001), ("/small", 101)):
        assert_problem(client.post(path, content=gzip.compress(bytes(size)), headers=GZIP), 413)


def test_bomb_is_refused_by_its_ratio():
    """A thousand times its size is refused although the limit on bodies would let it through; no piece is large."""
    client = client_of(content_encodings=["gzip"], max_body_bytes=10**9)
    bomb = gzip.compress(bytes(20_000_000))
    assert (
        assert_problem(client.post("/size", content=bomb, headers=GZIP), 413)["max_decompression_ratio"]
        == 100
    )
    free = client_of(content_encodings=["gzip"], max_body_bytes=10**9, max_decompression_ratio=2000)
    pieces = free.post("/size", content=gzip.compress(bytes(1_000_000)), headers=GZIP).json()
    assert sum(pieces) == 1_000_000
    assert max(pieces) <= PIECE_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"not gzip",
        gzip.compress(b"hello")[:-1],
        gzip.compress(b"hello") + b"x",
        gzip.compress(b"hello") * 2,
        gzip.compress(b"hello")[:-8] + bytes(8),
        zlib.compress(b"hello"),
    ],
    ids=["other", "cut", "longer", "two", "checksum", "zlib"],
)
def test_broken_streams(body: bytes):
    """400 for what is not one whole stream, in one piece or in many."""
    client = client_of(content_encodings=["gzip"])
    assert_problem(client.post("/size", content=body, headers=GZIP), 400)
    assert_problem(client.post("/size", content=iter([body[:4], body[4:]]), headers=GZIP), 400)


def test_shape_is_that_of_what_comes_out():
    """JSON that is deep once it is decompressed is refused as any other."""
    client = client_of(content_encodings=["gzip"])
    headers = {"Content-Type": "application/json"} | GZIP
    deep = gzip.compress(b"[" * 1000 + b"]" * 1000)
    assert_problem(client.post("/json", content=deep, headers=headers), 400)


def test_mounted_application_sees_it_decompressed():
    """One decompresses for both, and the stricter limits of the inner application hold for what comes out."""
    inner, outer = application(), application()
    install(inner, RequestLimits(content_encodings=["gzip"], max_json_depth=2))
    outer.mount("/inner", inner)
    client, _ = hardened(outer, RequestLimits(content_encodings=["gzip"]))
    headers = {"Content-Type": "application/json"} | GZIP
    assert client.post("/inner/json", content=gzip.compress(b"[[1]]"), headers=headers).json() == [[1]]
    assert_problem(client.post("/inner/json", content=gzip.compress(b"[[[1]]]"), headers=headers), 400)


@given(
    st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.sampled_from([31, 15])
)
@settings(database=None, deadline=None, max_examples=100)
def test_what_comes_out_is_what_went_in(data: bytes, sizes: list[int], window: int):
    """Whatever the pieces are."""
    packer = zlib.compressobj(wbits=window)
    packed = packer.compress(data) + packer.flush()
    stream = Decompressor("gzip" if window == 31 else "deflate", 100)
    out, at = b"", 0
    while at < len(packed):
        size = sizes[at % len(sizes)]
        stream.feed(packed[at : at + size])
        at += size
        out += stream.take()
        while stream.has_more:
            out += stream.take()
    assert out == data
    assert stream.is_complete


@given(st.binary(max_size=200))
@settings(database=None, deadline=None, max_examples=100)
def test_garbage_is_refused_or_incomplete(data: bytes):
    """Nothing but a problem is ever raised."""
    stream = Decompressor("deflate", 100)
    stream.feed(data)
    try:
        while stream.has_more:
            stream.take()
    except Problem as problem:
        assert problem.status_code in {400, 413}  # noqa: PT017 - the text is looked at for each
