"""The loop's lag is known to the very requests that are late, and a refusal for it costs next to nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio.to_thread
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import public
from prodkit.core.clock import FakeClock
from prodkit.installation import install
from prodkit.load_shedding import LoadShedding, priority
from prodkit.load_shedding.lag import LoopLag
from tests.load_shedding.driving import WITH_JUNK, WITH_KEY, Call, House
from tests.support.asgi import http_scope


class Burning:
    """An application whose requests compute for a while of a clock that only they move."""

    def __init__(self, limit_seconds: float = 1.0) -> None:
        self.clock = FakeClock()
        self.app = app = FastAPI()
        self.shedding = LoadShedding(max_loop_lag_seconds=limit_seconds)

        async def burn() -> str:
            self.clock.advance(0.3)
            return "done"

        app.get("/burn")(burn)
        app.get("/critical", dependencies=[priority("critical")])(burn)
        app.get("/background", dependencies=[priority("background")])(burn)
        self.kit = install(app, self.shedding, clock=self.clock)

    async def burst(self, paths: list[str]) -> list[int | None]:
        """All come in one turn of the loop."""
        calls = [Call(self.app, http_scope(path)) for path in paths]
        return [await call.end() for call in calls]


async def test_a_burst_is_served_as_far_as_it_can_be_in_time():
    """Requests that waited no longer than the limit are served, the others of the same turn refused; the next turn is new."""
    house = Burning()
    assert await house.burst(["/burn"] * 10) == [200] * 4 + [503] * 6
    assert await house.burst(["/burn"] * 10) == [200] * 4 + [503] * 6
    assert await house.burst(["/burn"]) == [200]


async def test_importance_against_lag():
    """What is critical endures twice as much, what is in the background half as much."""
    house = Burning()
    paths = ["/background", "/burn", "/background", "/burn", "/burn", "/burn", "/critical", "/critical"]
    # 0, 0.3, 0.6 (late for the background), 0.6, 0.9, 1.2 (late for all but), 1.2, 1.5
    assert await house.burst(paths) == [200, 200, 503, 200, 200, 503, 200, 200]
    assert await house.burst(["/critical"] * 12) == [200] * 7 + [503] * 5


async def test_bypassing_is_counted():
    """That something was let in although it is late is not the same as that nothing was late."""
    house = Burning()
    await house.burst(["/critical"] * 6)
    counts = {
        (s.labels["policy"], s.labels["outcome"]): s.value
        for s in house.shedding.samples()
        if s.name.endswith("decisions_total")
    }
    assert counts["loop_lag", "bypassed"] == 2
    assert counts["loop_lag", "allowed"] == 4


async def test_standing_lag_of_what_was_admitted_before():
    """Markers that come back late twice in a row say that the loop is late also at the beginning of a turn."""
    clock = FakeClock()
    lag = LoopLag(0.1, clock.monotonic)
    for _ in range(2):
        assert lag.waited(clock.monotonic()) == 0.0
        clock.advance(0.3)  # by tasks of requests that are under way
        await asyncio.sleep(0)
    assert lag.waited(clock.monotonic()) == pytest.approx(0.3)
    await asyncio.sleep(0)
    assert lag.waited(clock.monotonic()) == 0.0, "this turn was quick"
    await asyncio.sleep(0)
    for _ in range(2):
        lag.waited(clock.monotonic())
        clock.advance(0.3)
        await asyncio.sleep(0)
    clock.advance(2)
    assert lag.waited(clock.monotonic()) == 0.0, "what was long ago says nothing"


async def test_one_hiccup_refuses_nobody_afterwards():
    """A loop that was blocked once is not late when it goes on."""
    clock = FakeClock()
    lag = LoopLag(0.1, clock.monotonic)
    lag.waited(clock.monotonic())
    clock.advance(5)
    await asyncio.sleep(0)
    assert lag.seconds == pytest.approx(5)
    assert lag.waited(clock.monotonic()) == 0.0


def test_a_loop_that_ended_has_lost_its_marker():
    """Nobody waits for it, as in tests, where each request may have a loop of its own."""
    clock = FakeClock()
    lag = LoopLag(0.1, clock.monotonic)

    async def ask() -> float:
        return lag.waited(clock.monotonic())

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask())
    lag._sent_at = clock.monotonic()  # and the loop never came to it
    loop.close()
    clock.advance(10)
    assert asyncio.run(ask()) == 0.0
    app = FastAPI()
    install(app, LoadShedding(max_loop_lag_seconds=0.005))
    for _ in range(3):
        assert TestClient(app).get("/").status_code == 404


async def test_anonymous_callers_leave_the_last_quarter():
    """Near the limit known callers are still served; a credential that is not good does not help, nor does none."""
    house = House(max_loop_lag_seconds=5, with_keys=True)
    house.door.set()
    lag: Any = house.shedding._shedder._lag
    lag._loop = asyncio.get_running_loop()
    # As if the loop had been busy with this turn for 4.5 s.
    seen = []
    for headers in (WITH_KEY, WITH_JUNK, [], [(b"cookie", b"a=b")]):
        lag._sent_at = asyncio.get_running_loop().time() - 4.5
        seen.append(await house.get("/work", headers).end())
    assert seen == [200, 401, 503, 503]
    # Who has nothing that could be a credential is refused before anybody looks.
    assert house.identified == 2


async def test_refusing_is_much_cheaper_than_serving():
    """By the calls it makes, which no busy machine changes: less than half of those of the smallest answer there is."""
    house = House(max_in_flight=1, queue_length=0, max_loop_lag_seconds=60)

    async def calls() -> tuple[int, int]:
        made, statuses = 0, []

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        scope = http_scope("/unchanged")
        sys.setprofile(count)
        try:
            await house.app(scope, None, send)
        finally:
            sys.setprofile(None)
        return statuses[0], made

    for _ in range(5):  # what happens once
        await calls()
    status, served = await calls()
    assert status == 304
    first = house.get("/work")
    await house.turn()
    await calls()
    status, refused = await calls()
    assert status == 503
    assert refused < served / 2, f"{refused} calls against {served}"
    house.door.set()
    await first.end()


async def test_waiting_for_threads():
    """While too many plain functions wait for a thread, further ones are refused, and coroutines are not."""
    house = House(max_waiting_threads=2)
    limiter = anyio.to_thread.current_default_thread_limiter()
    threads = limiter.total_tokens
    entered: list[int] = []
    house.app.get("/plain")(lambda: entered.append(1))
    house.app.get("/plain/background", dependencies=[priority("background")])(lambda: entered.append(1))
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of("somebody")
    try:
        waiting = []
        for _ in range(2):
            waiting.append(house.get("/plain"))
            await house.turn()
        assert [call.status for call in waiting] == [None, None]
        assert await house.get("/plain").end() == 503
        assert await house.get("/plain/background").end() == 503
        assert await house.get("/unchanged").end() == 304
        assert house.decisions()["threads", "denied"] == 2
        read = {sample.name: sample.value for sample in house.shedding.samples()}
        assert read["prodkit_load_shedding_waiting_threads"] == 2
    finally:
        limiter.release_on_behalf_of("somebody")
        limiter.total_tokens = threads
    assert [await call.end() for call in waiting] == [200, 200]
    assert await house.get("/plain").end() == 200


async def test_a_made_up_credential_does_not_buy_a_thread():
    """What may be known is let in as if it were, and refused as everybody when nobody vouches for it."""
    house = House(max_waiting_threads=4, with_keys=True)
    limiter = anyio.to_thread.current_default_thread_limiter()
    threads = limiter.total_tokens
    house.app.get("/plain")(public(lambda: "done"))
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of("somebody")
    try:
        waiting = []
        for _ in range(3):  # three quarters are for everybody
            waiting.append(house.get("/plain"))
            await house.turn()
        refused = [await house.get("/plain", headers).end() for headers in ([], [(b"cookie", b"a=b")])]
        waiting.append(house.get("/plain", WITH_KEY))
        await house.turn()
        assert refused == [503, 503]
        assert [call.status for call in waiting] == [None] * 4
    finally:
        limiter.release_on_behalf_of("somebody")
        limiter.total_tokens = threads
    assert [await call.end() for call in waiting] == [200] * 4
