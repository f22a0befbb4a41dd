"""The adaptive limit against a server whose capacity is known, second by second, with a clock that only the server moves."""

from __future__ import annotations

import heapq
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.load_shedding.adaptive import AdaptiveLimit
from tests.load_shedding.driving import House


class Server:
    """Serves *workers* requests at a time and lets the others stand in a queue that nobody sees, as a process does.

    Attributes:
        seconds: how long each kind of request takes.
        completed: how many were answered in the latest run.
    """

    def __init__(self, workers: int, limit: AdaptiveLimit, clock: FakeClock, **seconds: float) -> None:
        self.workers = workers
        self.limit = limit
        self.clock = clock
        self.seconds = seconds
        self.completed = 0
        self.slowest = 0.0

    def run(self, offered: float, seconds: float, kinds: tuple[str, ...] = ("fast",)) -> None:
        """Offer so many requests a second, evenly, for so long; what finds no place is refused."""
        self.completed, self.slowest = 0, 0.0
        now = begun = self.clock.monotonic()
        free = [now] * self.workers  # when each worker is done
        under_way: list[tuple[float, float, str]] = []
        for number in range(int(offered * seconds)):
            now = begun + number / offered
            while under_way and under_way[0][0] <= now:
                self._finish(heapq.heappop(under_way))
            self.clock.advance(max(0.0, now - self.clock.monotonic()))
            if len(under_way) >= self.limit.limit:
                continue
            kind = kinds[number % len(kinds)]
            done = max(heapq.heappop(free), now) + self.seconds[kind]
            heapq.heappush(free, done)
            heapq.heappush(under_way, (done, now, kind))
            self.limit.peak = max(self.limit.peak, len(under_way))
        while under_way:
            self._finish(heapq.heappop(under_way))

    def _finish(self, one: tuple[float, float, str]) -> None:
        done, admitted, kind = one
        self.clock.advance(max(0.0, done - self.clock.monotonic()))
        self.completed += 1
        self.slowest = max(self.slowest, done - admitted)
        self.limit.note(kind, done - admitted)


def scene(workers: int, least: int = 5, most: int = 500, **seconds: float) -> tuple[AdaptiveLimit, Server]:
    clock = FakeClock()
    limit = AdaptiveLimit(least, most, clock.monotonic)
    return limit, Server(workers, limit, clock, **(seconds or {"fast": 0.1}))


def test_finds_what_the_server_can_do():
    """Under ten times the load it comes to rest a little above the number of workers: all are busy, and few wait."""
    limit, server = scene(40)
    server.run(4000, 30)
    assert 40 <= limit.limit <= 100
    server.run(4000, 10)
    assert server.completed / 10 >= 0.95 * 400
    assert server.slowest <= 0.3


def test_stays_where_nobody_needs_more():
    """A service that is not busy has no reason to learn a high limit."""
    limit, server = scene(40)
    server.run(20, 30)
    assert limit.limit <= 8


def test_follows_a_capacity_that_shrinks_and_grows():
    """Half of the workers go, and come back: so does the limit."""
    limit, server = scene(80)
    server.run(8000, 30)
    before = limit.limit
    server.workers = 20
    server.run(8000, 30)
    assert limit.limit < before * 0.7
    assert server.slowest < 1.5
    server.run(8000, 10)
    assert server.completed / 10 >= 0.9 * 200
    server.workers = 80
    server.run(8000, 30)
    assert limit.limit >= 80


def test_another_mixture_is_no_congestion():
    """When callers ask for slow things that take what they always take, nothing is refused for it."""
    limit, server = scene(100, fast=0.01, slow=0.5)
    server.run(500, 20, ("fast", "fast", "fast", "slow"))
    before = limit.limit
    server.run(150, 20, ("slow",))
    assert limit.limit >= before
    assert server.slowest <= 0.5 + 1e-6


def test_a_service_that_became_slower_is_not_throttled_for_ever():
    """A dependency takes four times as long from now on: the limit goes down, sees that it was not the load, and comes back."""
    limit, server = scene(100)
    server.run(800, 20)
    before = limit.limit
    server.seconds["fast"] = 0.4
    server.run(800, 120)
    assert limit.limit >= min(before, 80)


def test_bounds_hold():
    """Never below the least, never above the most."""
    limit, server = scene(8, least=8, most=20)
    server.run(2000, 10)
    server.workers = 1
    server.run(2000, 3)
    assert limit.limit == 8
    limit, server = scene(1000, least=8, most=20)
    server.run(20_000, 20)
    assert limit.limit == 20


def test_timeouts_are_congestion():
    """Requests that run into their deadline give no latency; each window with some takes a tenth."""
    limit, server = scene(1000, least=5, most=100)
    server.run(20_000, 20)
    assert limit.limit == 100
    for _ in range(5):
        server.clock.advance(0.6)
        limit.note_timeout()
    assert limit.limit == 59


def test_routes_that_never_end_are_forgotten():
    """Routes made up as the application goes take a bounded amount of memory."""
    limit, server = scene(10)
    for number in range(3000):
        limit.note(f"/{number}", 0.1)
        server.clock.advance(0.01)
    assert len(limit._samples) <= 500
    assert len(limit._baselines) <= 500


async def test_installed():
    """It begins at its lower bound, learns from answers, and the limit in force is the one it found."""
    house = House(max_in_flight=50, min_in_flight=2, adaptive=True, queue_length=0)
    assert house.places.limit == 2
    house.door.set()
    adaptive: Any = house.shedding._shedder._adaptive
    for _ in range(3):
        for _ in range(12):
            adaptive.peak = 2
            assert await house.get("/work").end() == 200
        adaptive._ends_at = 0.0
    assert house.places.limit == adaptive.limit
    assert house.places.limit > 2


@pytest.mark.parametrize("path", ["/boom", "/nowhere"])
async def test_failures_teach_nothing(path: str):
    """What fails at once is not a sign of speed."""
    house = House(max_in_flight=50, adaptive=True)
    await house.get(path).end()
    adaptive: Any = house.shedding._shedder._adaptive
    assert adaptive._samples == {}
