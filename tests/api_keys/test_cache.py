"""What is remembered of keys: enough for the path of every request, bounded, and nothing that could be used."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from prodkit.api_keys.cache import Entry, KeyCache
from prodkit.api_keys.format import _checksum
from prodkit.authentication import Gate
from prodkit.core.problems import Problem
from prodkit.stores import KeyRecord
from tests.api_keys.keyed import Breakable, Keyed, forged


async def test_a_hundred_first_uses_are_one_question():
    """A process that starts under load asks the store once for each key, and the same for a wrong one."""
    keyed = Keyed()
    good, bad = (await keyed.keys.issue("shop")).secret, forged(keyed.keys.key_format)
    keyed.store.asked.clear()
    answers = await asyncio.gather(*(keyed.status(key) for key in (good, bad) for _ in range(100)))
    assert [answers.count(status) for status in (200, 401)] == [100, 100]
    assert (keyed.store.count("look"), keyed.store.count("find")) == (1, 2)


async def test_who_leaves_first_takes_nobody_along():
    """The first of many is cancelled half-way; the others get their answer."""
    may = asyncio.Event()

    class Slow(Breakable):
        async def find(self, key_id):
            await may.wait()
            return await super().find(key_id)

    keyed = Keyed(Slow())
    key = (await keyed.keys.issue("shop")).secret
    first, *others = [asyncio.ensure_future(keyed.status(key)) for _ in range(10)]
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    may.set()
    assert await asyncio.gather(*others) == [200] * 9
    assert first.cancelled() or not first.done()


async def test_a_revocation_while_a_key_is_being_read_is_not_lost():
    """What was read before it is not kept after it, in the process that revokes and in another."""
    read, may = asyncio.Event(), asyncio.Event()

    class Slow(Breakable):
        async def find(self, key_id):
            record = await super().find(key_id)
            read.set()
            await may.wait()
            return record

    store = Slow()
    here = Keyed(store)
    there = Keyed(store, here.clock)
    issued = await here.keys.issue("shop")
    for keyed in (here, there):
        read.clear()
        may.clear()
        using = asyncio.ensure_future(keyed.status(issued.secret))
        await read.wait()
        await here.keys.revoke(issued.record.id)
        if keyed is there:
            here.clock.advance(1)
            await there.authenticator._freshness.look()
        may.set()
        await using
        here.clock.advance(0.5)
        assert await keyed.status(issued.secret) == 401


async def test_in_a_storm_of_changes_nothing_is_kept():
    """Where every reading is overtaken by a change, a key is read three times, used this once, and not remembered."""

    class Stormy(Breakable):
        async def find(self, key_id):
            record = await super().find(key_id)
            keyed.authenticator.cache.forget(["another"])
            return record

    keyed = Keyed(Stormy())
    good, bad = (await keyed.keys.issue("shop")).secret, forged(keyed.keys.key_format)
    for key, status in ((good, 200), (bad, 401)):
        for uses in (1, 2):
            assert await keyed.status(key) == status
            assert keyed.store.count("find") == 3 * uses
        keyed.store.asked.clear()
    assert len(keyed.authenticator.cache.entries) == 0


async def test_ten_thousand_wrong_keys_leave_little_behind():
    """B1: neither what is remembered nor what is asked at the second try grows with what strangers send."""
    keyed = Keyed(cache_keys=500)
    good = (await keyed.keys.issue("shop")).secret
    assert await keyed.status(good) == 200
    for number in range(10_001):
        body = f"pk_live_{number:012}_{'a' * 43}"
        assert await keyed.status(body + _checksum(body.encode())) == 401
    cache = keyed.authenticator.cache
    assert len(cache.refusals) == 500
    assert len(cache.entries) == 1
    asked = keyed.store.count("find")
    assert await keyed.status(good) == 200
    assert keyed.store.count("find") == asked  # the good one was not pushed out


async def test_malformed_keys_leave_nothing_behind():
    """What the checksum refuses is not remembered and not asked for."""
    keyed = Keyed()
    keyed.store.asked.clear()
    for n in range(10_000):
        assert await keyed.status(f"pk_live_{n:012}_{n:049}") == 401
    assert len(keyed.authenticator.cache.refusals) == 0
    assert keyed.store.asked == []


async def test_a_wrong_key_is_asked_for_again_after_five_seconds():
    """So that one that is issued a moment later, in another process, works soon."""
    keyed = Keyed()
    bad = forged(keyed.keys.key_format)
    for seconds, asked in ((0, 1), (4.9, 1), (0.1, 2)):
        keyed.clock.advance(seconds)
        assert await keyed.status(bad) == 401
        assert keyed.store.count("find") == asked


async def test_no_key_is_in_memory():
    """After its use neither the key nor its secret part can be found in any text that lives on."""
    keyed = Keyed()
    key = (await keyed.keys.issue("shop")).secret
    await keyed.use(key)
    await keyed.settle()
    held = key[-30:]
    del key
    gc.collect()
    mine = {id(keyed.authenticator), id(keyed.authenticator.cache)}
    pending, seen = [keyed.authenticator, keyed.keys, keyed.store], set(mine)
    while pending:
        thing = pending.pop()
        if isinstance(thing, (str, bytes)):
            text = thing if isinstance(thing, str) else thing.decode("latin-1")
            assert held not in text
        if isinstance(thing, (type(sys), type)):
            continue
        for inner in gc.get_referents(thing):
            if id(inner) not in seen and not callable(inner):
                seen.add(id(inner))
                pending.append(inner)
    assert len(seen) > 50
    assert all(len(tag) == 16 for tag in keyed.authenticator.cache.entries)
    assert "pk_live" not in repr(keyed.authenticator)


def entry(key_id: str) -> Entry:
    return Entry(
        KeyRecord(id=key_id, digest=b"d", pepper_id="p", owner="o", created_at=0.0),
        good_until=9.0,
        touch_at=0.0,
    )


def test_keys_in_use_stay():
    """The oldest makes room, unless it was used since it last had to fear for its place."""
    cache = KeyCache(3)
    for name in "abc":
        cache.keep(name.encode(), entry(name))
    cache.entries[b"a"].used = True
    cache.keep(b"d", entry("d"))
    assert set(cache.entries) == {b"a", b"c", b"d"}
    assert cache.of("b") is None
    for used in cache.entries.values():
        used.used = True
    cache.keep(b"e", entry("e"))
    assert len(cache.entries) == 3
    assert cache.of("e") is not None


def test_a_change_forgets_by_id():
    """Only that key, every refusal, and whatever is being read."""
    cache = KeyCache(10)
    for name in "ab":
        cache.keep(name.encode(), entry(name))
    cache.refuse(b"x", (1.0, "unknown"))
    cache.forget([])
    assert (len(cache.refusals), cache.generation) == (1, 0)
    cache.forget(["a", "z"])
    assert (list(cache.entries), len(cache.refusals), cache.generation) == ([b"b"], 0, 1)
    cache.forget(None)
    assert (list(cache.entries), cache.of("b"), cache.generation) == ([], None, 2)


async def test_a_known_key_costs_six_calls():
    """Gate included: what is gated here is on the path of every request. Broken by any call that is added to it."""
    keyed = Keyed()
    key = (await keyed.keys.issue("shop")).secret
    assert await keyed.status(key) == 200
    gate = keyed.kit.one(Gate)
    context = keyed.context(key)
    calls = []
    sys.setprofile(
        lambda frame, event, arg: calls.append((event, arg or frame)) if event in {"call", "c_call"} else None
    )
    try:
        gate.guard(context)
    finally:
        sys.setprofile(None)
    assert context.principal.id == "shop"
    assert len(calls) - 1 <= 6, calls  # the last one is setprofile itself


async def test_last_use_is_noted_once_a_minute():
    """In the background, also where the key is read again meanwhile, and by one of two processes."""
    keyed = Keyed()
    other = Keyed(keyed.store, keyed.clock)
    issued = await keyed.keys.issue("shop")
    keyed.store.asked.clear()
    for _ in range(2 * 60):
        for process in (keyed, other):
            assert await process.status(issued.secret) == 200
            await process.settle()
        keyed.clock.advance(1)
    assert keyed.store.count("touch") <= 4
    record = await keyed.keys.get(issued.record.id)
    assert 0 < keyed.clock.wall() - record.last_used_at <= 61


async def test_a_note_that_cannot_be_made_is_counted():
    """The request does not notice, and the store is not asked again for a minute."""

    class Full(Breakable):
        async def touch(self, key_id, at):
            self.asked.append("touch")
            raise OSError("the disk is full")

    keyed = Keyed(Full())
    key = (await keyed.keys.issue("shop")).secret
    for _ in range(59):
        assert await keyed.status(key) == 200
        await asyncio.gather(*keyed.authenticator.background, return_exceptions=True)
        keyed.clock.advance(1)
    assert keyed.store.count("find") > 1  # it was read again meanwhile
    assert keyed.store.count("touch") == 1
    assert keyed.authenticator.background.failures == {"touch": 1, "redigest": 0}


async def test_what_is_done_in_the_background_is_bounded():
    """A store that hangs collects a hundred notes and no more; the end waits a moment, and goes."""

    class Hangs(Breakable):
        async def touch(self, key_id, at):
            await asyncio.Event().wait()

    keyed = Keyed(Hangs())
    for _ in range(150):
        assert await keyed.status((await keyed.keys.issue("shop")).secret) == 200
    background = keyed.authenticator.background
    assert len(list(background)) == 100
    assert background.failures["touch"] == 50
    lifespan = keyed.kit.parts["api_keys"].lifespan
    assert lifespan is not None
    async with lifespan():
        pass
    await asyncio.sleep(0)
    assert len(list(background)) == 0


async def test_an_entry_is_not_shared_by_who_has_only_the_id():
    """Knowing the id of a key that is in memory does not help."""
    keyed = Keyed()
    issued = await keyed.keys.issue("shop")
    assert await keyed.status(issued.secret) == 200
    other = forged(keyed.keys.key_format)
    with pytest.raises(Problem):
        await keyed.use(other[:8] + issued.record.id + other[20:])
