"""A load generator for machines without wrk: keep-alive connections that ask again as soon as they are answered.

One process, one thread; it needs less processor time per request than any of the servers, which is all that is asked of
it. Arguments: port, connections, seconds, and the request's head as one string. Prints requests per second and requests.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    def __init__(self, head: bytes) -> None:
        self.head = head
        self.answered = 0
        self.failed = 0
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol's
        self.lost.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self.head)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._transport is None:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        if length is None or not self._buffer.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            self._transport.close()
        elif len(self._buffer) >= end + 4 + int(length[1]):
            self._buffer = b""
            self.answered += 1
            self._transport.write(self.head)


async def requests_per_second(port: int, connections: int, seconds: float, head: bytes) -> tuple[float, int]:
    """What the server on *port* answers per second during *seconds*, and how many requests that were.

    Raises:
        RuntimeError: an answer was not a 200 with a Content-Length.
    """
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(connections):
        made.append(await loop.create_connection(lambda: _Connection(head), "127.0.0.1", port))
    started, before = time.perf_counter(), sum(connection.answered for _, connection in made)
    await asyncio.sleep(seconds)
    answered = sum(connection.answered for _, connection in made) - before
    taken = time.perf_counter() - started
    for transport, _ in made:
        transport.close()
    await asyncio.gather(*(connection.lost for _, connection in made))
    if any(connection.failed for _, connection in made):
        message = "the server gave another answer than 200"
        raise RuntimeError(message)
    return answered / taken, answered


def main() -> None:
    port, connections, seconds, head = sys.argv[1:]
    print(
        asyncio.run(requests_per_second(int(port), int(connections), float(seconds), head.encode("latin-1")))
    )


if __name__ == "__main__":
    main()
