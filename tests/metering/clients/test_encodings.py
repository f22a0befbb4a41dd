"""Encodings that nobody asked for: an answer never is larger in memory than it may be."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable

import httpx
import pytest

from prodkit.metering.clients.answers import AnswerBody
from tests.metering.clients.asking import FAST, FOUND, ask
from tests.support.paid_provider import Reply, provider


def bomb(mebibytes: int, *, layers: int = 1) -> bytes:
    """That many MiB of nothing, gzipped so many times."""
    packer, packed = zlib.compressobj(9, zlib.DEFLATED, 31), b""
    for _ in range(mebibytes):
        packed += packer.compress(bytes(1024 * 1024))
    packed += packer.flush()
    return packed if layers == 1 else gzip.compress(packed)


async def read_body(body: bytes, encoding: str, *, most: int) -> tuple[int, str]:
    """How many bytes of an answer are in memory at once at the most, and how reading it ends."""
    reply = Reply(body=body, headers={"content-encoding": encoding})
    async with provider(reply) as other, httpx.AsyncHTTPTransport() as pool:
        request = httpx.Request("GET", other.url)
        answer = await pool.handle_async_request(request)
        answer.request = request
        largest = 0
        tracemalloc.start()
        try:
            async for chunk in AnswerBody(answer, None, most).chunks():
                largest = max(largest, len(chunk))
        except httpx.ReadError as error:
            return tracemalloc.get_traced_memory()[1], str(error)
        finally:
            tracemalloc.stop()
        return largest, ""


@pytest.mark.parametrize(
    ("layers", "encoding", "why"),
    [(1, "gzip", "larger than allowed"), (2, "gzip, gzip", "was asked for in none")],
)
async def test_an_answer_that_unpacks_to_more_than_allowed_never_is_in_memory(
    layers: int, encoding: str, why: str
) -> None:
    """Some kilobytes that would become a quarter of a gigabyte cost a few MiB, and reading fails."""
    peak, ended = await read_body(bomb(256, layers=layers), encoding, most=1024 * 1024)
    assert why in ended
    assert peak < 8 * 1024 * 1024


async def test_what_follows_a_packed_answer_counts() -> None:
    """It unpacks to nothing, and is held all the same."""
    _, ended = await read_body(gzip.compress(b"{}") + bytes(1024 * 1024), "gzip", most=64 * 1024)
    assert "larger than allowed" in ended


async def test_an_encoding_that_cannot_be_bounded_is_not_read() -> None:
    """Of brotli, a few bytes may be any number; nobody asked for it. The call is charged at its estimate."""
    entries, _, answer = await ask(Reply(body=b"\x0b\x02\x80[]\x03", headers={"content-encoding": "br"}))
    assert isinstance(answer, httpx.ReadError)
    assert entries == [("presumed", FAST, True)]


@pytest.mark.parametrize("packed", [zlib.compress, lambda body: zlib.compress(body, wbits=-15)])
async def test_deflated_answers_are_read(packed: Callable[[bytes], bytes]) -> None:
    """With the frame that the standard wants, and without it as some servers send it."""
    reply = Reply(body=packed(json.dumps(FOUND).encode()), headers={"content-encoding": "deflate"})
    entries, _, answer = await ask(reply)
    assert isinstance(answer, httpx.Response)
    assert answer.json() == FOUND
    assert entries == [("settled", FAST, False)]


async def test_an_answer_that_is_not_in_its_encoding_is_charged_at_its_estimate() -> None:
    """It was accepted, and nobody can read what it says."""
    entries, _, answer = await ask(Reply(body=b"{}", headers={"content-encoding": "gzip"}))
    assert isinstance(answer, httpx.ReadError)
    assert entries == [("presumed", FAST, True)]
