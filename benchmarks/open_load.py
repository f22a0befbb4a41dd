"""Load on a server by callers who know nothing of each other: a request is sent when it is due, whatever became of the others.

Latency counts from the moment at which a request was due, so that a client that is held up hides nothing. Run by
`benchmarks.overload` in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

__all__ = ["DEADLINE_SECONDS", "KEPT_CONNECTIONS", "Load", "closed_load", "open_load"]

DEADLINE_SECONDS: Final = 1.0
"""Nobody waits longer for an answer."""

# Open before the load begins, as a proxy in front keeps them. More are opened where all are busy.
KEPT_CONNECTIONS: Final = 600
_MOST_CONNECTIONS: Final = 4000
_WARM_SECONDS: Final = 1.0


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: Any = None  # a transport of whichever loop it is
        self.due: float | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes, due: float) -> None:
        self.due, self.received = due, b""
        self.load.open_requests += 1
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator or self.due is None:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = 0 if at < 0 else int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        due, self.due = self.due, None
        self.load.answered(self, due, int(head[9:12]), reusable=b"connection: close" not in lower)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.due is not None:
            due, self.due = self.due, None
            self.load.answered(self, due, 0, reusable=False)
        self.load.lost(self)


class Load:
    """Sends what is due and notes what comes back."""

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self.loop = asyncio.get_running_loop()
        self.idle: list[Connection] = []
        self.connections = 0
        self.from_due = float("inf")
        self.results: list[tuple[int, float]] = []
        self.open_requests = 0
        self.on_answer: Callable[[], None] | None = None

    def answered(self, connection: Connection, due: float, status: int, *, reusable: bool) -> None:
        self.open_requests -= 1
        if due >= self.from_due:
            self.results.append((status, self.loop.time() - due))
        if reusable:
            self.idle.append(connection)
        elif connection.transport is not None:
            connection.transport.close()
        if self.on_answer is not None:
            self.on_answer()

    def lost(self, connection: Connection) -> None:
        self.connections -= 1
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)

    async def open(self, number: int) -> None:
        """Have *number* connections ready."""
        for _ in range(number):
            self.connections += 1
            _, connection = await self.loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self.port
            )
            self.idle.append(connection)

    async def send(self, due: float) -> None:
        """Send one request, over a connection that is idle or a new one."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.ask(self.request, due)
                return
        if self.connections >= _MOST_CONNECTIONS:
            return  # counted as lost
        self.connections += 1
        try:
            _, connection = await self.loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self.port
            )
        except OSError:
            self.connections -= 1
            return
        connection.ask(self.request, due)


async def open_load(
    port: int, path: str, rate: float, seconds: float, kept: int = KEPT_CONNECTIONS
) -> dict[str, Any]:
    """Requests at random moments, *rate* a second on average, and a probe ten times a second."""
    load, probes = Load(port, path), Load(port, "/livez")
    await load.open(kept)
    await probes.open(1)
    chance = random.Random(7)
    begins = load.loop.time()
    ends = begins + _WARM_SECONDS + seconds
    load.from_due = probes.from_due = begins + _WARM_SECONDS
    running: set[asyncio.Task[None]] = set()

    async def probe() -> None:
        due = begins
        while due < ends:
            await probes.send(due)
            due += 0.1
            await asyncio.sleep(due - load.loop.time())

    probing = asyncio.ensure_future(probe())
    due, sent = begins, 0
    while due < ends:
        now = load.loop.time()
        while due <= now:
            task = load.loop.create_task(load.send(due))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += due >= load.from_due
            due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - load.loop.time()))
    await probing
    given_up = load.loop.time() + DEADLINE_SECONDS + 1.0
    while (load.open_requests or running) and load.loop.time() < given_up:  # noqa: ASYNC110 - for either of two
        await asyncio.sleep(0.02)
    good = sorted(taken for status, taken in load.results if status == 200 and taken <= DEADLINE_SECONDS)
    refused = sorted(taken for status, taken in load.results if status == 503)
    statuses = Counter(str(status) for status, _ in load.results)
    late = sum(1 for status, taken in load.results if status == 200 and taken > DEADLINE_SECONDS)
    bad_probes = sum(1 for status, _ in probes.results if status != 200)
    return {
        "sent": sent / seconds,
        "goodput": len(good) / seconds,
        "p50_ms": _quantile(good, 0.5),
        "p99_ms": _quantile(good, 0.99),
        "admitted_p99_ms": _quantile(sorted(taken for status, taken in load.results if status == 200), 0.99),
        "shed": len(refused) / seconds,
        "shed_p99_ms": _quantile(refused, 0.99),
        "late_or_lost": (sent - len(load.results) + late + statuses["0"]) / seconds,
        "statuses": dict(statuses),
        "probes_failed": bad_probes,
        "probe_p99_ms": _quantile(sorted(taken for _, taken in probes.results), 0.99),
    }


async def closed_load(port: int, path: str, connections: int, seconds: float) -> dict[str, Any]:
    """As many at a time as *connections*: what the server can do."""
    load = Load(port, path)
    load.from_due = load.loop.time() + _WARM_SECONDS / 2
    ends = load.from_due + seconds
    running: set[asyncio.Task[None]] = set()

    def next_one() -> None:
        if load.loop.time() < ends:
            task = load.loop.create_task(load.send(load.loop.time()))
            running.add(task)
            task.add_done_callback(running.discard)

    load.on_answer = next_one
    for _ in range(connections):
        next_one()
    await asyncio.sleep(ends - load.loop.time() + 0.5)
    return {"capacity": sum(1 for status, _ in load.results if status == 200) / seconds}


def _quantile(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 1) if ordered else None
