"""A stream arrives as it is made, costs a bounded amount, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from prodkit.compression import Compression, encoders
from prodkit.compression.gate import Gate
from prodkit.compression.middleware import Answering
from prodkit.core.pipeline import Pipeline
from prodkit.request_limits import RequestLimits
from prodkit.timeouts import Timeouts
from tests.compression.world import (
    ALL,
    TEXT,
    Wire,
    client_of,
    drive,
    encoding_of,
    is_whole,
    nothing,
    piece,
    saying,
    start,
)
from tests.support.asgi import http_scope
from tests.support.recording import Recorder

EVENTS = (b"content-type", b"text/event-stream")


class Listening(Wire):
    """Knows when the client can read something."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = asyncio.Condition()

    async def send(self, message: Any) -> None:
        await super().send(message)
        async with self._heard:
            self._heard.notify_all()

    async def until_read(self, text: bytes) -> None:
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: text in self.text)


@pytest.mark.parametrize("encoding", ALL)
async def test_every_piece_can_be_read_at_once(encoding: str):
    """Without a delay the client knows the start before the first piece, and each piece before the next one."""
    wire, seen = Wire(), []
    messages = [start(), piece(b"one"), piece(b"two"), piece(b""), piece(b"three", more=False)]
    app = saying(*messages, after=lambda: seen.append(wire.text))
    await drive(app, wire=wire, accept=encoding.encode(), flush_seconds=0)
    assert seen == [b"", b"one", b"onetwo", b"onetwo", b"onetwothree"]
    assert wire.encoding == encoding


async def test_pieces_in_quick_succession_go_together():
    """The first one at once; those within the delay wait, and the end brings them all."""
    wire, seen = Wire(), []
    app = saying(
        start(),
        *[piece(b"%d," % n) for n in range(50)],
        piece(b"", more=False),
        after=lambda: seen.append(wire.text),
    )
    await drive(app, wire=wire, flush_seconds=10)
    assert seen[1] == b"0,"
    assert seen[-2] == b"0,"
    assert seen[-1] == b"".join(b"%d," % n for n in range(50))
    assert len(wire.messages) == 3
    # Nothing is left that would fire behind the end.
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


async def test_what_is_kept_back_is_sent_in_time():
    """Also when the application has nothing more to say: the client reads it while the handler waits."""
    wire = Listening()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for text in (b"one", b"two", b"three"):
            await send(piece(text))
            if text != b"one":
                await wire.until_read(text)
        await send(piece(b"", more=False))

    await drive(app, wire=wire, flush_seconds=0.01)
    assert wire.text == b"onetwothree"


async def test_events_pass_untouched():
    """By default a stream of events is not compressed and not delayed."""
    wire, seen = Wire(), []
    app = saying(
        start(EVENTS),
        piece(b"data: 1\n\n"),
        piece(b"data: 2\n\n"),
        piece(b"", more=False),
        after=lambda: seen.append(wire.body),
    )
    await drive(app, wire=wire)
    assert seen[:3] == [b"", b"data: 1\n\n", b"data: 1\n\ndata: 2\n\n"]
    assert (wire.encoding, b"vary" in wire.headers) == ("", False)


@pytest.mark.parametrize("encoding", ALL)
async def test_each_event_is_sent_at_once(encoding: str):
    """Where events are compressed no delay holds them back, whatever is set for other streams."""
    wire, seen = Wire(), []
    events = [piece(b"data: %d\n\n" % n) for n in range(3)]
    app = saying(start(EVENTS), *events, piece(b"", more=False), after=lambda: seen.append(wire.text))
    await drive(app, wire=wire, accept=encoding.encode(), event_streams=True, flush_seconds=10)
    assert seen == [
        b"",
        *[b"".join(b"data: %d\n\n" % n for n in range(last + 1)) for last in range(3)],
        wire.text,
    ]
    assert wire.encoding == encoding


async def test_a_file_keeps_its_order_and_loses_its_length():
    """An answer of known size in pieces: nothing is sent twice, and no length is promised."""
    length = (b"content-length", b"%d" % (3 * len(TEXT)))
    wire = await drive(saying(start(length), piece(TEXT), piece(TEXT), piece(TEXT, more=False)))
    assert (wire.encoding, wire.text) == ("gzip", TEXT * 3)
    assert b"content-length" not in wire.headers


# ------------------------------------------------------------------------------------------------------------- cost


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Size of each piece that gzip is given, and whether on the event loop's thread."""
    seen: list[tuple[int, bool]] = []
    feed, loop_thread = encoders.Gzip.feed, threading.get_ident()

    def watched(self: Any, data: Any, *, flush: bool) -> bytes:
        seen.append((len(data), threading.get_ident() == loop_thread))
        return feed(self, data, flush=flush)

    monkeypatch.setattr(encoders.Gzip, "feed", watched)
    return seen


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_large_bodies_do_not_hold_up_the_loop(work: list[tuple[int, bool]], is_stream: bool):
    """What takes more than a millisecond is done in a thread, a quarter of a mebibyte at a time, and sent as it is made."""
    body = random.Random(5).randbytes(600_000).hex().encode()
    messages = [piece(body), piece(b"", more=False)] if is_stream else [piece(body, more=False)]
    length = [] if is_stream else [(b"content-length", b"%d" % len(body))]
    wire = await drive(saying(start(*length), *messages))
    assert wire.text == body
    assert {size for size, on_loop in work if on_loop} <= {0}
    assert max(size for size, _ in work) == 262_144
    assert len(wire.messages) > 3


async def test_small_bodies_need_no_thread(work: list[tuple[int, bool]]):
    """A thread would cost more than compressing them."""
    await drive(saying(start((b"content-length", b"%d" % len(TEXT))), piece(TEXT, more=False)))
    assert work == [(len(TEXT), True)]


async def test_there_is_a_bound_on_compressors():
    """Beyond it answers are sent as they are, at once, and counted; what ends makes room."""
    feature = Compression(encodings=["gzip"], max_active=1)
    (gate,) = [part for part in feature.provides if isinstance(part, Gate)]
    wires = [Wire(), Wire(), Wire(), Wire()]
    length = (b"content-length", b"%d" % (len(TEXT) * 10))

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await saying(start(), piece(b"first"))(scope, receive, send)
        assert gate.active == 1
        for wire, messages in (
            (wires[1], [start(), piece(TEXT), piece(b"", more=False)]),
            (wires[2], [start(length), piece(TEXT * 10, more=False)]),
            (wires[3], [start(length), piece(TEXT * 9), piece(TEXT, more=False)]),
        ):
            inner = Pipeline(saying(*messages), features=[feature])
            await inner(http_scope("/", headers=[(b"accept-encoding", b"gzip")]), nothing, wire.send)
        await send(piece(b"", more=False))

    pipeline = Pipeline(outer, features=[feature])
    scope = http_scope("/", headers=[(b"accept-encoding", b"gzip")])
    await pipeline(scope, nothing, wires[0].send)
    assert [wire.encoding for wire in wires] == ["gzip", "", "", ""]
    assert [wire.body for wire in wires[1:]] == [TEXT, TEXT * 10, TEXT * 10]
    counts = {
        (s.labels["policy"], s.labels["outcome"]): s.value for s in gate.samples() if "policy" in s.labels
    }
    assert counts == {("gzip", "allowed"): 1, ("capacity", "degraded"): 3}
    assert gate.active == 0


# -------------------------------------------------------------------------------------------------------- ending it


async def test_an_error_before_the_first_byte_is_an_answer():
    """A start that is still held back does not make a 500 impossible."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start((b"content-length", b"5000")))
        raise RuntimeError

    wire = Wire()
    with pytest.raises(RuntimeError):
        await drive(app, wire=wire)
    assert (wire.status, wire.encoding, wire.is_complete) == (500, "", True)
    assert b"application/problem+json" in wire.headers.values()


async def test_a_handler_that_hangs_before_the_first_byte_is_answered_for():
    """The timeout of the handler holds while a start is held back, since the client has nothing yet."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start((b"content-length", b"5000")))
        await asyncio.Event().wait()

    wire = Wire()
    pipeline = Pipeline(app, features=[Timeouts(handler_seconds=0.02), Compression(encodings=["gzip"])])
    await pipeline(http_scope("/", headers=[(b"accept-encoding", b"gzip")]), nothing, wire.send)
    assert (wire.status, wire.encoding, wire.is_complete) == (504, "", True)


async def test_an_error_in_the_middle_leaves_the_answer_incomplete():
    """No end is put under a broken stream: the client has to notice."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(piece(TEXT))
        raise RuntimeError

    wire = Wire()
    with pytest.raises(RuntimeError):
        await drive(app, wire=wire)
    assert not wire.is_complete
    assert not is_whole("gzip", wire.body)


def test_a_body_too_large_is_refused_behind_a_start():
    """413 while a start is held back, as a problem."""
    app = FastAPI()

    @app.post("/")
    async def upload(request: Request) -> StreamingResponse:
        async def echo() -> AsyncIterator[bytes]:
            async for part in request.stream():
                yield part

        return StreamingResponse(echo(), media_type="text/plain", headers={"Content-Length": "2000"})

    client = client_of(app, RequestLimits(max_body_bytes=1000))
    answer = client.post("/", content=iter([b"x" * 2000]))
    assert (answer.status_code, encoding_of(answer)) == (413, "")
    assert answer.json()["max_body_bytes"] == 1000


class Leaving(Wire):
    """A client that is gone after *count* messages: the server raises."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    async def send(self, message: Any) -> None:
        if len(self.messages) >= self._count:
            raise OSError
        await super().send(message)


async def run(app: Any, wire: Wire, **options: Any) -> tuple[Gate, Recorder]:
    """Serve one request as a server of ASGI 2.4 does; the gate and what observers were told."""
    feature, recorder = Compression(encodings=["gzip"], **options), Recorder()
    (gate,) = [part for part in feature.provides if isinstance(part, Gate)]
    pipeline = Pipeline(app, features=[recorder, feature])
    scope = http_scope("/", headers=[(b"accept-encoding", b"gzip")])
    scope["asgi"]["spec_version"] = "2.4"
    await pipeline(scope, nothing, wire.send)
    return gate, recorder


async def test_a_client_that_leaves():
    """The application is told where it sends next; the compressor is let go of."""
    sent = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for number in range(10):
            await send(piece(b"%d" % number))
            sent.append(number)

    gate, recorder = await run(app, Leaving(2), flush_seconds=0)
    assert sent == [0]
    assert recorder.last.outcome == "disconnected"
    assert gate.active == 0


async def test_a_client_that_leaves_while_something_is_kept_back():
    """The failure of the late sending is raised where the application sends next, and not lost."""
    left = asyncio.Event()

    class Late(Leaving):
        async def send(self, message: Any) -> None:
            try:
                await super().send(message)
            except OSError:
                left.set()
                raise

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(piece(b"one"))
        await send(piece(b"two"))
        async with asyncio.timeout(5):
            await left.wait()
        with pytest.raises(OSError):
            await send(piece(b"three"))
        raise OSError

    gate, recorder = await run(app, Late(2), flush_seconds=0.01)
    assert recorder.last.outcome == "disconnected"
    assert gate.active == 0


async def test_a_cancelled_request_leaves_nothing():
    """No task, no timer, no compressor: cancelled while it waits, and while a late piece waits for a slow client."""
    before = asyncio.all_tasks()
    slow = asyncio.Event()

    class Slow(Wire):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if len(self.messages) == 3:
                slow.set()
                await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(piece(b"one"))
        await send(piece(b"two"))
        await asyncio.Event().wait()

    feature = Compression(encodings=["gzip"], flush_seconds=0.01)
    (gate,) = [part for part in feature.provides if isinstance(part, Gate)]
    pipeline = Pipeline(app, features=[feature])
    scope = http_scope("/", headers=[(b"accept-encoding", b"gzip")])
    task = asyncio.ensure_future(pipeline(scope, nothing, Slow().send))
    async with asyncio.timeout(5):
        await slow.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    assert gate.active == 0


@pytest.mark.parametrize("flush_seconds", [0, 10])
async def test_a_finished_request_leaves_no_cycle(flush_seconds: float):
    """What a request used is freed when it is over, without the garbage collector."""
    messages = [start(), piece(TEXT), piece(TEXT), piece(b"", more=False)]
    gc.collect()  # what failed requests of other tests have left
    gc.disable()
    try:
        await drive(saying(*messages), flush_seconds=flush_seconds)
        assert [thing for thing in gc.get_objects() if type(thing) is Answering] == []
    finally:
        gc.enable()
