"""How long a revoked key is good elsewhere, and what happens while the store is away: the exact rules, to the second."""

from __future__ import annotations

import asyncio
import logging

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.problems import Problem
from tests.api_keys.keyed import Breakable, Keyed, bearer, forged


@pytest.fixture
def store():
    return Breakable()


@pytest.fixture
def clock():
    return FakeClock()


async def test_a_revocation_holds_at_once_in_its_own_process(store, clock):
    """The next use is refused, though nobody looked at the store."""
    here = Keyed(store, clock)
    issued = await here.keys.issue("shop")
    assert await here.status(issued.secret) == 200
    assert await here.keys.revoke(issued.record.id)
    assert await here.status(issued.secret) == 401
    assert await here.keys.revoke(issued.record.id)
    assert not await here.keys.revoke("0" * 12)


@pytest.mark.parametrize("check_seconds", [0.5, 1.0, 5.0])
async def test_a_revocation_reaches_every_process_in_time(store, clock, check_seconds):
    """A process that has not looked for *check_seconds* may accept nothing: the last good use is younger than that."""
    here, there = (Keyed(store, clock, check_seconds=check_seconds) for _ in range(2))
    issued = await here.keys.issue("shop")
    assert await there.status(issued.secret) == 200
    await here.keys.revoke(issued.record.id)
    clock.advance(check_seconds - 0.01)
    assert await there.status(issued.secret) == 200
    clock.advance(0.01)
    assert await there.status(issued.secret) == 401


async def test_a_change_that_is_not_told_holds_after_half_a_minute(clock):
    """A store that loses its messages: whatever is remembered is read again after 30 s, used or not."""

    class Silent(Breakable):
        async def changes_since(self, cursor):
            await super().changes_since(cursor)
            return 7, ()

    store = Silent()
    here, there = Keyed(store, clock), Keyed(store, clock)
    issued = await here.keys.issue("shop")
    assert await there.status(issued.secret) == 200
    await here.keys.revoke(issued.record.id)
    for _ in range(29):
        clock.advance(1)
        assert await there.status(issued.secret) == 200
    clock.advance(1)
    assert await there.status(issued.secret) == 401


async def test_too_many_missed_changes_forget_everything(store, clock):
    """A process that slept through an import starts anew, and does not trust what it knew."""
    here, there = Keyed(store, clock), Keyed(store, clock)
    issued = await here.keys.issue("shop")
    assert await there.status(issued.secret) == 200
    await here.keys.revoke(issued.record.id)
    for n in range(1100):
        await store.revoke(issued.record.id, 1e9 + n)
    clock.advance(1)
    assert await there.status(issued.secret) == 401
    assert len(there.authenticator.cache.entries) == 1  # read again, and revoked


async def test_keys_in_use_are_good_while_the_store_is_away(store, clock, caplog):
    """For 30 s after the last answer; a key that is not known here is a 503 at once, and never a 401."""
    here = Keyed(store, clock)
    known, unknown = (await here.keys.issue("shop")).secret, (await here.keys.issue("shop")).secret
    assert await here.status(known) == 200
    store.is_broken = True
    for _ in range(29):
        clock.advance(1)
        assert await here.status(known) == 200
        assert await here.status(unknown) == 503
        assert await here.status(forged(here.keys.key_format)) == 503
    assert here.authenticator.degraded == 29
    clock.advance(0.99)
    assert await here.status(known) == 200
    clock.advance(0.01)
    assert await here.status(known) == 503
    response = here.client.get("/me", headers=bearer(known))
    assert response.status_code == 503
    assert response.json()["type"].endswith("/store-unavailable")
    assert response.headers["retry-after"] == "1"
    assert here.client.get("/me", headers=bearer(known[:-1])).status_code == 401  # no store is needed to tell
    assert here.client.get("/open").status_code == 200
    store.is_broken = False
    clock.advance(1)
    assert [await here.status(key) for key in (known, unknown)] == [200, 200]
    warnings = [
        record.getMessage() for record in caplog.records if "store of API keys" in record.getMessage()
    ]
    assert len(warnings) == 2  # it went, it came back: not a line for each request


async def test_a_revocation_during_an_outage_holds_when_the_store_is_back(store, clock):
    """What another process wrote meanwhile is seen with the first look that succeeds."""
    here = Keyed(store, clock)
    issued = await here.keys.issue("shop")
    assert await here.status(issued.secret) == 200
    store.is_broken = True
    clock.advance(5)
    assert await here.status(issued.secret) == 200
    store.is_broken = False
    await store.revoke(issued.record.id, clock.wall())
    assert await here.status(issued.secret) == 200  # the store is left alone for a second
    clock.advance(1)
    assert await here.status(issued.secret) == 401


async def test_nothing_stale_where_the_setting_says_so(store, clock):
    """`stale_seconds=0`: without a store, nobody."""
    here = Keyed(store, clock, stale_seconds=0)
    key = (await here.keys.issue("shop")).secret
    assert await here.status(key) == 200
    store.is_broken = True
    assert await here.status(key) == 200  # it has looked within the last second
    clock.advance(1)
    assert await here.status(key) == 503


async def test_a_store_that_failed_is_left_alone(store, clock):
    """A thousand requests of one second are one question to a broken store, whatever they come with."""
    here = Keyed(store, clock)
    key = (await here.keys.issue("shop")).secret
    assert await here.status(key) == 200
    await here.settle()
    store.is_broken = True
    clock.advance(1)
    store.asked.clear()
    answers = await asyncio.gather(*(here.status(key) for _ in range(500)))
    answers += [await here.status(forged(here.keys.key_format)) for _ in range(500)]
    assert [answers.count(status) for status in (200, 503)] == [500, 500]
    assert store.asked == ["look"]


class Unreadable(Breakable):
    """Only keys cannot be read while it is broken; it says what changed."""

    def _ask(self, verb):
        was, self.is_broken = self.is_broken, self.is_broken and verb == "find"
        try:
            super()._ask(verb)
        finally:
            self.is_broken = was


async def test_a_late_look_up_stops_nothing(clock, caplog):
    """A moment of much work is no outage: others are looked for at once, however many were late; the log has one line a minute."""
    store = Unreadable()
    here = Keyed(store, clock)
    for _ in range(3):
        key = (await here.keys.issue("shop")).secret
        store.is_broken = True
        for _ in range(20):
            assert await here.status(forged(here.keys.key_format)) == 503
        store.is_broken = False
        assert await here.status(key) == 200
        clock.advance(20)
    assert here.authenticator.degraded == 0
    assert len([line for line in caplog.records if "could not be looked up" in line.getMessage()]) == 1


async def test_strangers_do_not_keep_a_revoked_key_alive(clock):
    """Their look-ups fail, however many: what changed is looked at as ever, and a revocation holds after a second."""
    store = Unreadable()
    here, there = Keyed(store, clock), Keyed(store, clock)
    issued = await here.keys.issue("shop")
    other = await here.keys.issue("till")
    assert [await there.status(key.secret) for key in (issued, other)] == [200, 200]
    store.is_broken = True
    await here.keys.revoke(issued.record.id)
    for _ in range(4):
        clock.advance(0.25)
        for _ in range(20):
            assert await there.status(forged(here.keys.key_format)) == 503
    assert await there.status(issued.secret) == 503  # it cannot be read, and is not accepted from memory
    assert await there.status(other.secret) == 200
    clock.advance(1)
    store.is_broken = False
    assert await there.status(issued.secret) == 401


async def test_a_key_is_read_again_and_cannot_be(store, clock):
    """Where looking succeeds and reading fails, what was known is good for half a minute more, not for ever."""
    store = Unreadable()
    here = Keyed(store, clock)
    key = (await here.keys.issue("shop")).secret
    assert await here.status(key) == 200
    store.is_broken = True
    for _ in range(59):
        clock.advance(1)
        assert await here.status(key) == 200
    assert here.authenticator.degraded == 30
    clock.advance(1)
    assert await here.status(key) == 503


async def test_a_missing_pepper_is_ours_to_mend(store, clock, caplog):
    """A key that was made with a pepper that is not configured is a 503 and an error in the log, and not the caller's fault."""
    one = Keyed(store, clock, peppers={"a": "0123456789abcdef" * 2})
    key = (await one.keys.issue("shop")).secret
    other = Keyed(store, clock, peppers={"b": "fedcba9876543210" * 2})
    for _ in range(3):
        with pytest.raises(Problem) as raised:
            await other.use(key)
        assert raised.value.status_code == 503
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(line.getMessage(), line.missing) for line in errors] == [("api_key_pepper_missing", "a")]
    counted = {sample.name: sample.value for sample in other.authenticator.samples()}
    assert counted["prodkit_api_keys_missing_peppers_total"] == 3
