"""What goes on after its response began keeps nobody waiting, and is bounded all the same."""

from __future__ import annotations

import asyncio

from prodkit.core.context import RequestContext
from prodkit.core.features import Layer
from tests.load_shedding.driving import Call, House
from tests.support.asgi import http_scope
from tests.support.recording import Contributes


async def test_stream_gives_its_place_back_when_it_begins():
    """A stream that goes on for hours does not keep others from being served; it is counted apart."""
    house = House(max_in_flight=1, queue_length=1)
    stream = house.get("/stream")
    await house.turn()
    work = house.get("/work")
    await house.turn(0.05)
    assert house.begun == ["/work"]
    assert (house.places.used, house.places.begun) == (1, 1)
    house.door.set()
    assert [await call.end() for call in (stream, work)] == [200, 200]
    assert house.nothing_is_left()


async def test_waiters_get_the_place_of_a_stream_that_begins():
    """Nothing ends, and yet somebody who waits is served."""
    opened = asyncio.Event()

    async def hold(context: RequestContext) -> None:
        if context.scope["path"] == "/stream":
            await opened.wait()

    house = House(
        max_in_flight=1, queue_length=1, more=[Contributes("hold", guards=[(Layer.ADMISSION, hold)])]
    )
    stream = house.get("/stream")
    await house.turn()
    work = house.get("/work")
    await house.turn()
    assert house.places.waiting == 1
    opened.set()
    await house.turn(0.1)
    assert house.begun == ["/work"]
    house.door.set()
    assert [await call.end() for call in (stream, work)] == [200, 200]
    assert house.nothing_is_left()


async def test_streams_have_a_bound_of_their_own():
    """Beyond it a stream keeps its place, so that everything together is bounded."""
    house = House(max_in_flight=2, queue_length=0, max_streams=1)
    streams = []
    for _ in range(3):
        streams.append(house.get("/stream"))
        await house.turn(0.03)
    assert (house.places.used, house.places.begun) == (2, 1)
    assert await house.get("/work").end() == 503
    house.door.set()
    assert [await call.end() for call in streams] == [200, 200, 200]
    assert house.nothing_is_left()


async def test_background_work_is_counted_with_streams():
    """A client that has its answer does not keep the place for what goes on behind it."""
    house = House(max_in_flight=1, queue_length=0)
    tail = house.get("/tail")
    await house.turn(0.03)
    assert tail.status == 200
    work = house.get("/work")
    await house.turn()
    assert (house.places.used, house.places.begun) == (1, 1)
    house.door.set()
    assert await work.end() == 200
    await tail.end()
    assert house.nothing_is_left()


async def test_sockets():
    """A socket holds a place until it is accepted; beyond the bound a handshake is refused with a denial response."""
    house = House(max_in_flight=1, queue_length=0, max_streams=1)
    first = house.socket()
    await house.turn(0.03)
    assert first.status == 101
    denied = house.socket(extensions={"websocket.http.response": {}})
    assert await denied.end() == 503
    assert int(denied.headers["retry-after"]) >= 5
    assert house.decisions()["streams", "denied"] == 1
    closed = house.socket()
    await closed.end()
    assert closed.messages[-1]["type"] == "websocket.close"
    first.leave()
    await first.end()
    assert house.outcomes() == ["shed", "shed", "ok"]
    assert house.nothing_is_left()


async def test_slow_bodies_keep_nobody_out():
    """Who waits for a body uses nothing others want: others are let in, and it is at work again when the body is there."""
    house = House(max_in_flight=2, queue_length=2)
    slow = [house.post("/echo", None) for _ in range(2)]
    await house.turn()
    work = [house.get("/work") for _ in range(2)]
    await house.turn(0.1)
    assert house.begun == []  # a moment is granted
    await house.turn(0.4)
    assert house.begun == ["/work", "/work"]
    assert (house.places.used, house.places.reading) == (2, 2)
    slow[0].sent(b"tr", more=True)
    await house.turn(0.05)
    assert house.places.reading == 2
    slow[0].sent(b"ickle")
    assert await slow[0].end() == 200
    slow[1].leave()
    await slow[1].end()
    house.door.set()
    assert [await call.end() for call in work] == [200, 200]
    assert house.nothing_is_left()


async def test_work_that_had_to_wait_for_its_body_is_counted_again():
    """Whoever is at work again keeps others out, also where that makes more than the limit."""
    house = House(max_in_flight=1, queue_length=0)
    slow = Call(house.app, http_scope("/work-with-body", "POST"), None)
    await house.turn()
    assert await house.get("/work").end() == 503
    await house.turn(0.3)
    first = house.get("/work")
    await house.turn()
    assert (house.places.used, house.places.reading) == (1, 1)
    slow.sent(b"all of it")
    await house.turn(0.05)
    assert await house.get("/work").end() == 503
    assert (house.places.used, house.places.reading) == (2, 0)
    house.door.set()
    assert [await call.end() for call in (slow, first)] == [200, 200]
    assert house.nothing_is_left()


async def test_slow_bodies_have_a_bound_of_their_own():
    """Beyond it they keep their places, so that everything together is bounded."""
    house = House(max_in_flight=2, queue_length=0, max_streams=1)
    slow = [house.post("/echo", None) for _ in range(2)]
    await house.turn()
    assert await house.get("/work").end() == 503
    await house.turn(0.3)
    work = house.get("/work")
    await house.turn()
    assert await house.get("/work").end() == 503
    assert (house.places.used, house.places.reading) == (2, 1)
    for call in slow:
        call.leave()
        await call.end()
    house.door.set()
    assert await work.end() == 200
    assert house.nothing_is_left()
