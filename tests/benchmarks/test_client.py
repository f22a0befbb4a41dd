"""The load generator for machines without wrk."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.client import requests_per_second

HEAD = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"


async def served(response: list[bytes]) -> tuple[asyncio.Server, list[int]]:
    """A server that sends *response* piece by piece to every request, and the count of requests it has seen."""
    seen = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen[0] += 1
                for piece in response:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0), seen


async def test_counts_whole_answers() -> None:
    """An answer that comes in pieces is one, and the next request waits for its end."""
    server, seen = await served([b"HTTP/1.1 200 OK\r\nContent-Len", b"gth: 5\r\n\r\nhel", b"lo"])
    async with server:
        rate, answered = await requests_per_second(server.sockets[0].getsockname()[1], 2, 0.2, HEAD)
    assert 0 < answered <= seen[0]
    assert 0 < rate <= answered / 0.2 * 1.01


async def test_other_answers_are_an_error() -> None:
    """A refusal is not throughput."""
    server, _ = await served([b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"])
    async with server:
        with pytest.raises(RuntimeError, match="another answer than 200"):
            await requests_per_second(server.sockets[0].getsockname()[1], 1, 0.1, HEAD)
