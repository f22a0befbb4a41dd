"""Looking out for a client that leaves: it is noticed, and nothing that it sent is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.pipeline.exchange import Exchange
from prodkit.core.pipeline.leaving import LookOut, look_out
from tests.support.asgi import http_scope

GONE = {"type": "http.disconnect"}


def body(text: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": text, "more_body": more}


class Client:
    """One request of a client that says what it is told to, and no more."""

    def __init__(self, *said: Any, headers: Any = ()) -> None:
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        for message in said:
            self.said.put_nowait(message)
        self.exchange = Exchange(assemble([]), http_scope("/", headers=headers), 0.0)
        self.exchange._from_server = self.receive
        self.calls: list[bool] = []

    async def receive(self) -> Any:
        message = await self.said.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def look_out(self) -> LookOut:
        lookout = look_out(self.exchange, lambda: self.calls.append(True))
        assert lookout is not None
        for _ in range(5):
            await asyncio.sleep(0)
        return lookout


async def test_who_leaves_is_noticed_and_everybody_reads_so() -> None:
    """Told once; the body is still there for whoever reads it, and the end after it."""
    client = Client(body(b"abc"), GONE)
    lookout = await client.look_out()
    assert (lookout.is_gone, client.calls, client.exchange.disconnected) == (True, [True], True)
    assert [await client.exchange.receive() for _ in range(2)] == [body(b"abc"), GONE]
    assert client.exchange.bytes_received == 3


async def test_who_stays_loses_nothing() -> None:
    """What was read, and what comes later, is read in order."""
    client = Client(body(b"abc"))
    lookout = await client.look_out()
    await lookout.stop()
    client.said.put_nowait(GONE)
    assert (lookout.is_gone, client.calls) == (False, [])
    assert [await client.exchange.receive() for _ in range(2)] == [body(b"abc"), GONE]


async def test_of_a_long_body_only_the_first_message_is_taken() -> None:
    """The rest stays with the server, so that nobody fills our memory by waiting."""
    parts = [body(b"a" * 10, more=True), body(b"b" * 10, more=True), body(b"c"), GONE]
    client = Client(*parts)
    lookout = await client.look_out()
    assert (client.said.qsize(), lookout.is_gone) == (3, False)
    assert [await client.exchange.receive() for _ in range(4)] == parts


async def test_a_server_that_never_says_it_is_over_fills_no_memory() -> None:
    """Two messages are kept at most."""
    client = Client(*[body(b"")] * 5)
    await client.look_out()
    assert client.said.qsize() == 3


async def test_a_body_is_not_asked_for() -> None:
    """A client that waits for 100 Continue goes on waiting; and a context without a channel has nothing to look at."""
    client = Client(body(b"abc"), headers=[(b"expect", b"100-continue")])
    assert look_out(client.exchange, list) is None
    assert client.said.qsize() == 1
    assert look_out(RequestContext(assemble([]), http_scope("/"), 0.0), list) is None


async def test_looking_out_twice_keeps_the_order() -> None:
    """Two stages of one request may wait one after the other."""
    client = Client(body(b"abc"))
    await (await client.look_out()).stop()
    second = await client.look_out()
    client.said.put_nowait(GONE)
    await asyncio.sleep(0.001)
    assert second.is_gone
    assert [await client.exchange.receive() for _ in range(2)] == [body(b"abc"), GONE]


async def test_who_reads_meanwhile_is_served() -> None:
    """Whoever reads ends the looking out and waits for what comes next."""
    client = Client(body(b"abc"))
    await client.look_out()
    assert await client.exchange.receive() == body(b"abc")
    reading = asyncio.ensure_future(client.exchange.receive())
    await asyncio.sleep(0)
    client.said.put_nowait(GONE)
    assert await reading == GONE


async def test_a_server_at_fault_is_at_fault_for_the_reader() -> None:
    """An error while looking out is nobody's; the next one is whoever reads."""
    client = Client(OSError("one"), OSError("two"))
    lookout = await client.look_out()
    assert not lookout.is_gone
    with pytest.raises(OSError, match="two"):
        await client.exchange.receive()
