"""Limits in SQLite: event loops, and every kind of rule."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from prodkit.core.clock import FakeClock
from prodkit.stores import (
    CalendarWindow,
    FixedWindow,
    KeyRecord,
    MovingWindow,
    Permit,
    Rate,
    SlidingWindow,
)
from prodkit.stores.sqlite import SqliteRateLimitStore
from prodkit.testing import hit

HOURLY = Rate(100, 3600.0)
RECORD = KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=0.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limits.db"


def other_program(path):
    """A connection of somebody else, in autocommit mode."""
    return sqlite3.connect(path, isolation_level=None)


def test_loops_come_and_go(path):
    """A store outlives the loops that use it, also one that ends with an ask under way."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)

    async def once():
        return await hit(store, ("k", HOURLY, 1))

    async def walk_out():
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        assert not task.done()

    first = asyncio.run(once())
    asyncio.run(walk_out())
    second = asyncio.run(once())
    assert first[0].remaining == 99
    assert second[0].remaining in {97, 98}
    asyncio.run(store.aclose())


async def test_two_loops_at_once(path):
    """A test that asks beside the application's own loop: both are answered, exactly."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    rate = Rate(50, 3600.0)

    async def many():
        return [(await hit(store, ("k", rate, 1)))[0].allowed for _ in range(40)]

    here, there = await asyncio.gather(many(), asyncio.to_thread(lambda: asyncio.run(many())))
    assert sum(here) + sum(there) == 50
    await store.aclose()


OTHERS = (FixedWindow(5, 10.0), SlidingWindow(5, 10.0), MovingWindow(5, 10.0), CalendarWindow(5, "hour"))


async def test_every_kind_survives_a_restart(path):
    """Counts, the entries of a moving window, who holds a place and who waits in which order."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    await hit(store, *(("k", rule, 4) for rule in OTHERS))
    for name in "zab":
        await hit(store, ("k", Permit(1, name, 60.0, 2, 60.0), 1))
    await store.aclose()
    again = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    assert [(await again.peek("k", rule)).remaining for rule in OTHERS] == [1, 1, 1, 1]
    assert [(await again.peek("k", Permit(1, name, 60.0, 2, 60.0))).queued for name in "ab"] == [1, 2]
    assert (await hit(again, ("k", Permit(1, "z", 60.0), 1)))[0].allowed
    await again.aclose()


async def test_rows_of_every_kind_are_deleted_as_new_ones_come(path):
    """The file does not grow with windows that are over, their entries, or permits that nobody gave back."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    for hour in range(20):
        for rule in OTHERS:
            await hit(store, *((f"{hour:02}/{caller}", rule, 1) for caller in range(10)))
        await hit(store, *((f"{hour:02}/{caller}", Permit(1, "p", 5.0), 1) for caller in range(10)))
        clock.advance(3600.0)
    await store.aclose()
    connection = other_program(path)
    for table, most in (("rate_counts", 120), ("rate_entries", 40), ("rate_permits", 30)):
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert 0 < rows <= most
    connection.close()


async def test_what_is_settled_travels_with_what_is_asked(path, monkeypatch):
    """In one transaction, and in the order of asking."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    batches = []
    decide_all = SqliteRateLimitStore._decide_all

    def counted(self, connection, batch):
        batches.append(len(batch))
        return decide_all(self, connection, batch)

    await asyncio.gather(*(hit(store, ("warm", HOURLY, 1)) for _ in range(4)))
    monkeypatch.setattr(SqliteRateLimitStore, "_decide_all", counted)
    permit, other = Permit(1, "a", 60.0), Permit(1, "b", 60.0)
    (first,), (between,), nothing, (last,) = await asyncio.gather(
        hit(store, ("k", permit, 1)),
        hit(store, ("k", other, 1)),
        store.settle([("k", permit, -1, 0)]),
        hit(store, ("k", other, 1)),
    )
    assert nothing is None
    assert (first.allowed, between.allowed, last.allowed) == (True, False, True)
    assert batches == [4]
    await store.aclose()


async def test_a_bad_ask_of_any_kind_spoils_no_other(path):
    """What was done for the others in the same batch is done once."""
    store = SqliteRateLimitStore(path, timeout_seconds=5.0)
    await asyncio.gather(*(hit(store, ("warm", HOURLY, 1)) for _ in range(4)))
    rule = MovingWindow(5, 3600.0)
    answers = await asyncio.gather(
        hit(store, ("a", rule, 1)),
        hit(store, ("\ud800", rule, 1)),
        store.settle([("\ud800", rule, 1, 0)]),
        hit(store, ("a", rule, 1)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], UnicodeEncodeError)
    assert isinstance(answers[2], UnicodeEncodeError)
    assert (await store.peek("a", rule)).remaining == 3
    await store.aclose()


async def test_a_leap_back_keeps_the_total_of_a_moving_window(path):
    """What came in the future came now, and the sum of the entries is the total that is decided on."""
    clock = FakeClock()
    store = SqliteRateLimitStore(path, clock=clock, timeout_seconds=5.0)
    rule = MovingWindow(5, 60.0)
    for _ in range(2):
        clock.advance(1.0)
        await hit(store, ("k", rule, 2))
    clock.set_wall(clock.wall() - 3600.0)
    assert (await store.peek("k", rule)).remaining == 1
    (refused,) = await hit(store, ("k", rule, 2))
    assert (refused.allowed, refused.remaining) == (False, 1)
    assert refused.retry_seconds == pytest.approx(60.0, abs=1e-5)
    clock.advance(refused.retry_seconds)
    (admitted,) = await hit(store, ("k", rule, 5))
    assert admitted.allowed
    await store.aclose()
    connection = other_program(path)
    (total,) = connection.execute("SELECT count FROM rate_counts WHERE key = 'k' AND kind = 'm'").fetchone()
    assert connection.execute("SELECT sum(cost), count(*) FROM rate_entries").fetchone() == (total, 1)
    connection.close()
