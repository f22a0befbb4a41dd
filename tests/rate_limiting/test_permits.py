"""Limits on what is under way at the same time: places, their queue, and that each is given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.problems import Problem
from prodkit.rate_limiting import Policy, RateLimiter, RateLimiting, rate_limit
from prodkit.rate_limiting.permits import Held
from tests.rate_limiting.bench import Bench
from tests.rate_limiting.limited import App

PLACES = Policy("places", concurrent=2)
QUEUE = Policy("places", concurrent=1, queue=2, queue_seconds=5)


async def admitted(bench: Bench, count: int, who: str = "ann") -> list[Any]:
    contexts = [bench.context(who) for _ in range(count)]
    for context in contexts:
        await bench.admit(context)
    return contexts


@pytest.fixture(params=[False, True], ids=["memory", "remote"])
def bench_of(request):
    """Makes a bench over a store in memory, or behind a socket."""

    def make(*policies: Policy, **options: Any) -> Bench:
        bench = Bench(*policies, **options)
        return (
            bench
            if request.param
            else Bench(*policies, store=bench.store.memory, clock=bench.clock, **options)
        )

    return make


async def test_as_many_as_there_are_places(bench_of):
    """Two at a time; the third is told so in the problem and the headers, and gets in when one has ended."""
    bench = bench_of(PLACES)
    first, second = await admitted(bench, 2)
    assert first.response_headers[b"ratelimit-policy"] == b'"places";q=2;qu="concurrent-requests"'
    assert first.response_headers[b"ratelimit"] == b'"places";r=1'
    third = bench.context("ann")
    with pytest.raises(Problem) as refused:
        await bench.admit(third)
    assert (refused.value.status_code, refused.value.headers["Retry-After"]) == (429, "1")
    assert refused.value.extensions["violated-policies"] == ["places"]
    await bench.end(third, 429)
    assert await bench.ask("bob") == 200
    await bench.end(second)
    assert [await bench.ask("ann") for _ in range(3)] == [200] * 3
    await bench.end(first)
    assert len(bench.limiter.permits) == 0


async def test_a_refused_request_costs_one_call():
    """It holds no place, and so does not give one back."""
    bench = Bench(PLACES)
    await admitted(bench, 2)
    calls = len(bench.store.calls)
    assert await bench.ask("ann") == 429
    assert len(bench.store.calls) == calls + 1
    assert bench.store.settled == []


async def test_what_another_policy_refuses_takes_no_place(bench_of):
    """All or nothing holds for places too."""
    bench = bench_of(PLACES, Policy("rate", "1/minute"))
    assert [await bench.ask("ann") for _ in range(5)] == [200, 429, 429, 429, 429]
    bench.clock.advance(60)
    await admitted(bench, 1)
    assert bench.counts("places")["allowed"] == 2


async def test_a_cancelled_request_gives_its_place_back():
    """Also where the store never said whether it gave one: the place is settled at the end."""
    bench = Bench(PLACES)
    contexts = [bench.context("ann") for _ in range(2)]
    hit_many, never = bench.store.hit_many, asyncio.Event()

    def stuck(asks: Any) -> Any:
        async def answer() -> Any:
            await hit_many(asks)
            await never.wait()

        return answer()

    bench.store.hit_many = stuck
    for context in contexts:
        task = asyncio.ensure_future(bench.admit(context))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    bench.store.hit_many = hit_many
    assert await bench.ask("ann") == 429
    for context in contexts:
        await bench.end(context, None)
    assert await bench.ask("ann") == 200


async def test_a_store_that_fails_may_have_given_the_place():
    """The fallback decides, and at the end both are told: what is unknown is not left taken."""
    bench = Bench(PLACES)
    bench.store.down = True
    contexts = await admitted(bench, 2)
    assert await bench.ask("ann") == 429
    bench.store.down = False
    for context in contexts:
        await bench.end(context)
    assert len(bench.store.settled) == 2
    bench.store.down = True
    await admitted(bench, 2)
    assert bench.counts("places") == {"degraded": 4, "denied": 1, "unsettled": 1}


async def test_a_place_that_cannot_be_given_back_is_counted():
    """It is free again when its lease is over."""
    bench = Bench(Policy("places", concurrent=1, lease_seconds=30))
    (context,) = await admitted(bench, 1)
    bench.store.down = True
    await bench.end(context)
    bench.store.down = False
    assert bench.counts() == {"allowed": 1, "unsettled": 1}
    assert await bench.ask("ann") == 429
    bench.clock.advance(30)
    assert await bench.ask("ann") == 200


class TestRenewal:
    async def test_long_requests_keep_their_places(self):
        """Renewed at each third of the lease, they last ten leases; a dead worker's does not last one."""
        bench = Bench(Policy("places", concurrent=1, lease_seconds=30))
        (context,) = await admitted(bench, 1)
        for _ in range(30):
            bench.clock.advance(10)
            await bench.limiter.permits.renew()
            assert await bench.ask("ann") == 429
        await bench.end(context)
        await bench.limiter.permits.renew()
        assert await bench.ask("ann") == 200

    async def test_only_what_is_due_is_renewed(self):
        """A fresh place costs nothing, and one renewal fails as often as it likes before the lease ends."""
        bench = Bench(Policy("places", concurrent=1, lease_seconds=30))
        await admitted(bench, 1)
        calls = len(bench.store.calls)
        await bench.limiter.permits.renew()
        assert len(bench.store.calls) == calls
        for down in (True, True, False, True, True, False):
            bench.clock.advance(9.9)
            bench.store.down = down
            await bench.limiter.permits.renew()
        assert await bench.ask("ann") == 429

    async def test_renewing_sends_no_waiter_away(self):
        """Who waits keeps the turn while the holder's lease is prolonged."""
        bench = Bench(QUEUE)
        await admitted(bench, 1)
        waiting = asyncio.ensure_future(bench.admit(bench.context("ann")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        bench.clock.advance(1)
        (held,) = bench.limiter.permits._held.values()
        held.renew_at = 0.0
        await bench.limiter.permits.renew()
        asked_first = bench.store.calls[1][0]
        newcomer = (asked_first[0], QUEUE.permit("newcomer"), 1)
        assert [bench.store.memory.hit_many((ask,))[0].queued for ask in (newcomer, asked_first)] == [2, 1]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def test_a_timer_renews_while_something_is_held(self):
        """The loop's timer is armed with the first place and not again when none is left."""
        bench = Bench(Policy("places", concurrent=1, lease_seconds=1))
        (context,) = await admitted(bench, 1)
        permits: Any = bench.limiter.permits
        assert permits._timer is not None
        bench.clock.advance(0.5)
        calls = len(bench.store.calls)
        permits._timer.cancel()
        permits._fire()
        assert permits._renewal is not None
        await permits._renewal
        assert len(bench.store.calls) == calls + 1
        await bench.end(context)
        assert permits._timer is not None
        permits._timer.cancel()
        permits._fire()
        assert permits._timer is None
        await permits.aclose()

    async def test_what_ends_while_it_is_renewed_is_given_back(self):
        """The renewal that arrives after the end does not bring the place back."""
        bench = Bench(Policy("places", concurrent=1, lease_seconds=30))
        (context,) = await admitted(bench, 1)
        hit_many = bench.store.hit_many

        def slow(asks: Any) -> Any:
            async def answer() -> Any:
                await bench.end(context)
                return await hit_many(asks)

            return answer()

        bench.clock.advance(10)
        bench.store.hit_many = slow
        await bench.limiter.permits.renew()
        bench.store.hit_many = hit_many
        assert await bench.ask("ann") == 200

    async def test_it_ends_with_the_application(self):
        """Closing cancels timer and renewal, twice without harm, and in another loop than it began in."""
        bench = Bench(PLACES)
        await admitted(bench, 1)
        await bench.limiter.aclose()
        await bench.limiter.aclose()
        assert bench.limiter.permits._timer is None


class TestQueue:
    async def test_who_waits_gets_the_place_that_is_freed(self):
        """The first in the queue goes on as soon as a place of this process is free; the others stay."""
        bench = Bench(QUEUE)
        (first,) = await admitted(bench, 1)
        waiting = []
        for _ in range(2):
            context = bench.context("ann")
            waiting.append((context, asyncio.ensure_future(bench.admit(context))))
            await asyncio.sleep(0)
        assert await bench.ask("ann") == 429  # the queue is full
        await bench.end(first)
        await asyncio.wait_for(waiting[0][1], 5)
        assert not waiting[1][1].done()
        await bench.end(waiting[0][0])
        await asyncio.wait_for(waiting[1][1], 5)
        await bench.end(waiting[1][0])
        assert await bench.ask("ann") == 200

    async def test_who_has_waited_too_long_is_refused_and_leaves_the_queue(self):
        """After queue_seconds it is 429, and the turn is free for others."""
        bench = Bench(Policy("places", concurrent=1, queue=1, queue_seconds=0.05))
        (first,) = await admitted(bench, 1)
        context = bench.context("ann")
        waiting = asyncio.ensure_future(bench.admit(context))
        await asyncio.sleep(0)
        bench.clock.advance(0.05)
        with pytest.raises(Problem):
            await asyncio.wait_for(waiting, 5)
        await bench.end(context, 429)
        assert len(bench.store.settled) == 1
        await bench.end(first)
        assert await bench.ask("ann") == 200

    async def test_who_gives_up_leaves_the_queue(self):
        """A waiter that is cancelled does not keep those behind it waiting."""
        bench = Bench(QUEUE)
        (first,) = await admitted(bench, 1)
        gone, next_one = bench.context("ann"), bench.context("ann")
        waiting = []
        for context in (gone, next_one):
            waiting.append(asyncio.ensure_future(bench.admit(context)))
            await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await bench.end(gone, None)
        await bench.end(first)
        await asyncio.wait_for(waiting[1], 5)
        await bench.end(next_one)

    async def test_a_store_that_goes_away_meanwhile(self):
        """The waiter is decided by the fallback, and is taken out of the queue at the end."""
        bench = Bench(QUEUE)
        await admitted(bench, 1)
        context = bench.context("ann")
        waiting = asyncio.ensure_future(bench.admit(context))
        await asyncio.sleep(0)
        bench.store.down = True
        await asyncio.wait_for(waiting, 5)
        bench.store.down = False
        await bench.end(context)
        assert len(bench.store.settled) == 1
        assert bench.counts() == {"allowed": 1, "degraded": 1}


async def test_on_trial_nobody_is_refused_or_waits():
    """What would have been refused is counted; places are taken and given back all the same."""
    bench = Bench(Policy("places", concurrent=1, queue=3, queue_seconds=5, enforce=False))
    contexts = await admitted(bench, 3)
    assert bench.counts() == {"allowed": 1, "bypassed": 2}
    assert b"ratelimit" not in contexts[0].response_headers
    for context in contexts:
        await bench.end(context)
    assert len(bench.store.settled) == 1


def test_a_place_shows_nothing_of_the_caller():
    """Its id is random, and a repr tells no caller."""
    bench = Bench(PLACES)
    (limit,) = bench.limiter.limits
    asks = [limit.ask(bench.context("acme/ann")) for _ in range(2)]
    assert asks[0] is not None
    assert asks[1] is not None
    assert asks[0][0] == asks[1][0]
    assert asks[0][1] != asks[1][1]
    assert "ann" not in repr(asks) + repr(
        Held(bench.limiter.permits, limit, asks[0][0], limit.policy.permit("x"))
    )


class TestOverHTTP:
    def test_a_route_with_places(self):
        """A stream holds its place to its last byte, an error gives it back, and other routes do not care."""
        app, inside = FastAPI(), []
        places = rate_limit(Policy("exports", concurrent=1, by="global"))

        @app.get("/export", dependencies=[places])
        async def export() -> StreamingResponse:
            async def body() -> Any:
                yield b"one"
                inside.append(small.statuses(1, "/export")[0])
                inside.append(small.statuses(1)[0])
                yield b"two"

            return StreamingResponse(body())

        @app.get("/broken", dependencies=[places])
        async def broken() -> None:
            raise RuntimeError("broken")

        small = App(RateLimiting(address=None), app=app)
        for _ in range(2):
            assert small.client().get("/export").content == b"onetwo"
        assert inside == [429, 200] * 2
        assert small.statuses(2, "/broken") == [500, 500]

    def test_a_socket_holds_its_place_until_it_is_closed(self):
        """The second socket is refused while the first is open, and accepted afterwards."""
        app = FastAPI()

        @app.websocket("/ws", dependencies=[rate_limit(Policy("sockets", concurrent=1))])
        async def ws(socket: WebSocket) -> None:
            await socket.accept()
            await socket.receive_text()
            await socket.close()

        small = App(RateLimiting(address=None), app=app)
        client = small.client()
        for _ in range(2):
            with client.websocket_connect("/ws") as first:
                with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws"):
                    pass
                assert refused.value.status_code == 429
                first.send_text("bye")
        limiter = small.kit.one(RateLimiter)
        assert limiter is not None
        assert len(limiter.permits) == 0


async def test_who_waits_in_this_process_hears_of_every_place_that_is_freed():
    """Of places that were held, or may have been; not of refusals, which free nothing."""
    bench = Bench(PLACES)
    freed: list[str] = []
    bench.limiter.permits.released = freed.append
    contexts = await admitted(bench, 2)
    assert await bench.ask("ann") == 429
    assert freed == []
    for context in contexts:
        await bench.end(context)
    assert len(freed) == 2
    assert len(set(freed)) == 1


async def test_places_do_not_end_an_outage_that_goes_on():
    """What the fallback decides says nothing about the store: the short way to decide stays closed until it answers."""
    bench = Bench(PLACES)
    bench.store.down = True
    limiter: Any = bench.limiter
    (context,) = await admitted(bench, 1)
    assert limiter.is_special
    bench.store.down = False
    await admitted(bench, 1)
    assert not limiter.is_special
    await bench.end(context)
