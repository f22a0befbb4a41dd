"""Clients that wait for a place: who leaves gives up its turn, and a body survives the wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, Request

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting, rate_limit
from prodkit.rate_limiting.queueing import TURNS
from tests.support.asgi import http_scope
from tests.support.server import serving, status_of, wait_until

PLACES = Policy("places", by="global", concurrent=1, queue=20, queue_seconds=30)
GONE = {"type": "http.disconnect"}


class Served:
    """An application with one place, at the door or at its route, whose work lasts until it is told to end."""

    def __init__(self, where: str) -> None:
        app = FastAPI()
        rules = [rate_limit(PLACES)] if where == "route" else []
        policies = [PLACES] if where == "stage" else []
        self.kit = install(app, RateLimiting(address=None, policies=policies), clock=SYSTEM_CLOCK)
        self.app = app
        self.end = asyncio.Event()
        self.worked: list[bytes] = []

        @app.post("/", dependencies=rules)
        async def work(request: Request) -> int:
            self.worked.append(await request.body())
            await self.end.wait()
            return 1

        @app.get("/", dependencies=rules)
        async def read() -> int:
            return await work(Request({"type": "http", "headers": []}, _nothing))

    def ask(self, *said: Any, method: str = "POST") -> tuple[asyncio.Task[int | None], asyncio.Queue[Any]]:
        """A request under way: its status in the end, and what its client says."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        for message in said:
            queue.put_nowait(message)
        return asyncio.ensure_future(self._serve(queue, method)), queue

    async def _serve(self, queue: asyncio.Queue[Any], method: str) -> int | None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", b"9")] if method == "POST" else []
        await self.app(http_scope("/", method, headers=headers), queue.get, send)
        return sent[0]["status"] if sent else None

    async def waiting(self, count: int) -> None:
        """Return when so many wait for their turn."""
        for _ in range(2000):
            if sum(len(events) for events in TURNS._waiting.values()) == count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def body(text: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": text, "more_body": more}


@pytest.mark.parametrize("where", ["stage", "route"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_leaves_gives_up_its_turn(where: str, method: str) -> None:
    """At once, and not after the half minute that it may wait; nothing is done for it, and the next one moves up."""
    served = Served(where)
    first, _ = served.ask(body(b"one"))
    while not served.worked:
        await asyncio.sleep(0)
    second, said = served.ask(body(b"two"), method=method)
    await served.waiting(1)
    third, _ = served.ask(body(b"three"))
    await served.waiting(2)
    said.put_nowait(GONE)
    async with asyncio.timeout(5):
        await second
    await served.waiting(1)
    assert served.worked == [b"one"]
    served.end.set()
    async with asyncio.timeout(5):
        assert [await first, await third] == [200, 200]
    assert served.worked == [b"one", b"three"]


@pytest.mark.parametrize("where", ["stage", "route"])
@pytest.mark.parametrize(
    "said",
    [[body(b"whole")], [body(b"who", more=True), body(b"le")], [body(b"", more=True), body(b"whole")]],
    ids=["one message", "two messages", "an empty one first"],
)
async def test_a_body_survives_the_wait(where: str, said: list[Any]) -> None:
    """What was read while looking out for the client is what the handler reads."""
    served = Served(where)
    first, _ = served.ask(body(b"one"))
    while not served.worked:
        await asyncio.sleep(0)
    second, _ = served.ask(*said)
    await served.waiting(1)
    served.end.set()
    async with asyncio.timeout(5):
        assert [await first, await second] == [200, 200]
    assert served.worked == [b"one", b"whole"]


async def test_who_waits_goes_on_waiting_while_the_process_drains() -> None:
    """It was let in before: like a request under way it is served, within its bound."""
    served = Served("stage")
    first, _ = served.ask(body(b"one"))
    while not served.worked:
        await asyncio.sleep(0)
    second, _ = served.ask(body(b"two"))
    await served.waiting(1)
    served.kit.is_draining = True
    served.end.set()
    async with asyncio.timeout(5):
        assert [await first, await second] == [200, 200]


async def test_a_crowd_is_turned_away_and_leaves_nothing_behind() -> None:
    """Of 5000 at the same time one works, twenty wait, the rest is refused; in the end nobody holds or waits."""
    served = Served("stage")
    asked = [served.ask(body(b"x"))[0] for _ in range(5000)]
    await served.waiting(20)
    served.end.set()
    statuses = await asyncio.gather(*asked)
    assert sorted({status: statuses.count(status) for status in set(statuses)}.items()) == [
        (200, 21),
        (429, 4979),
    ]
    assert len(TURNS) == 0
    again, _ = served.ask(body(b"x"))
    assert await again == 200


@pytest.mark.process
@pytest.mark.parametrize("request_bytes", [b"GET /work", b"POST /work"], ids=["get", "post"])
def test_on_a_real_server_who_hangs_up_gives_up_its_turn(request_bytes: bytes) -> None:
    """The server tells of it while the request waits, and the place goes to the next client."""
    app = FastAPI()
    gate: list[bool] = []

    @app.api_route("/work", methods=["GET", "POST"])
    async def work() -> int:
        while not gate:
            await asyncio.sleep(0.005)
        return 1

    kit = install(app, RateLimiting(address=None, policies=[PLACES]))
    head = request_bytes + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    with serving(app) as served, served.connect() as first, served.connect() as second:
        first.sendall(head)
        wait_until(lambda: kit.in_flight == 1)
        second.sendall(head)
        wait_until(lambda: len(TURNS) == 1)
        second.close()
        wait_until(lambda: len(TURNS) == 0)
        wait_until(lambda: kit.in_flight == 1)
        gate.append(True)
        assert status_of(served.exchange(head)) == 200
        assert b" 200 " in first.recv(4096)
