"""A provider that costs money, as a process: `python -m tests.metering.load_provider LOG`, which prints its port.

What it accepts it writes to LOG before it does anything else: a line each with what was bought, the caller's reference and what it
will ask for it. So the log is what an invoice would say. `/sound` then answers; `/faulty` fails in one of several ways, which one
the reference decides.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

PRICE_NANO = 1_000_000
# Of ten calls. `refused` is not accepted, and not in the log.
WAYS = ("good", "good", "good", "late", "twice", "bad gateway", "cut", "reset", "refused", "slow")


class Provider:
    """Answers a `POST` with an `x-reference`."""

    def __init__(self, log):
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, reader, writer):
        try:
            while await self.answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked is gone
        finally:
            writer.close()

    async def answer(self, reader, writer):
        """Answer one request; whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields.get("content-length", 0)))
        goods, reference = head.split(" ", 2)[1].strip("/"), fields["x-reference"]
        number = int(reference.rpartition(".")[2], 16)
        is_faulty = goods == "faulty"
        way = WAYS[number % len(WAYS)] if is_faulty else "good"
        if way == "refused":
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
            return True
        cost = PRICE_NANO * (1 + number // 16 % 4) // 4 if is_faulty else PRICE_NANO
        os.write(self.log, f"{goods} {reference} {cost}\n".encode())
        await asyncio.sleep({"late": 0.2, "slow": 0.5}.get(way, 0.005))
        body = json.dumps({"cost_nano": cost}).encode()
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        if way == "bad gateway":
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        elif way == "reset":
            return False
        else:
            writer.write(whole[:-5] if way == "cut" else whole * (2 if way == "twice" else 1))
        await writer.drain()
        return way not in {"cut", "twice"}


async def main(log):
    provider = Provider(log)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
