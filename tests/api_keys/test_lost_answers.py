"""Writes whose answer is lost, though they were made or because they were not: each may be repeated."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from prodkit.api_keys import KeyStateError, read_keys
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.memory import MemoryKeyStore
from prodkit.stores.sqlite import SqliteKeyStore
from tests.api_keys.keyed import ALREADY, Keyed

DAY = 86_400.0


class Losing:
    """A store that loses what `verbs` names: before it is written, or only the answer to it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.verbs: dict[str, str] = {}
        self.hold = asyncio.Event()
        self.is_held = asyncio.Event()

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._store, verb)
        how = self.verbs.get(verb)
        if how is None:
            return method

        async def lose(*positional: Any, **named: Any) -> Any:
            if how != "before":
                await method(*positional, **named)
            if how == "held":
                self.is_held.set()
                await self.hold.wait()
            message = "it did not answer in time; the work may still be done"
            raise StoreUnavailableError(message)

        return lose


@pytest.fixture(params=["memory", "sqlite"])
async def keyed(request, tmp_path):
    store: Any = MemoryKeyStore()
    if request.param == "sqlite":
        store = SqliteKeyStore(tmp_path / "keys.db", timeout_seconds=5.0)
    keyed: Any = Keyed()
    keyed.keys._store = keyed.losing = Losing(store)
    keyed.authenticator.bind(keyed.clock)
    yield keyed
    await store.aclose()


async def good_keys(keyed):
    now = keyed.clock.wall()
    return {
        record.id
        for record in await keyed.keys.list()
        if record.revoked_at is None and (record.expires_at is None or record.expires_at > now)
    }


async def test_a_rotation_that_was_written_is_told(keyed):
    """The store says that it did not answer, and it did: it is asked again, and the new key is handed over."""
    old = await keyed.keys.issue("shop")
    keyed.losing.verbs = {"deprecate": "after"}
    new = await keyed.keys.rotate(old.record.id, timedelta(0))
    assert [await keyed.status(key.secret) for key in (old, new)] == [401, 200]
    assert (await keyed.keys.get(old.record.id)).replaced_by == new.record.id


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(days=7)], ids=str)
@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_lost_rotation_may_be_repeated(keyed, how, overlap):
    """Written or not, with or without an overlap: the second time there is a key with all the rights and a whole lifetime."""
    old = await keyed.keys.issue("shop", scopes=["a"], tenant="acme", expires_in=timedelta(days=30))
    find = keyed.losing._store.find
    asked = 0

    async def once(key_id):
        nonlocal asked
        asked += 1
        if asked > 1:
            message = "it is away"
            raise StoreUnavailableError(message)
        return await find(key_id)

    keyed.losing.verbs = {"deprecate": how}
    keyed.losing._store.find = once
    with pytest.raises(StoreUnavailableError):
        await keyed.keys.rotate(old.record.id, overlap)
    keyed.losing.verbs = {}
    del keyed.losing._store.find
    ends = overlap.total_seconds() if how == "after" else 30 * DAY
    assert (await keyed.keys.get(old.record.id)).expires_at == ALREADY + ends
    keyed.clock.advance(DAY)
    new = await keyed.keys.rotate(old.record.id, overlap)
    assert (new.record.owner, new.record.scopes, new.record.tenant) == ("shop", {"a"}, "acme")
    assert new.record.expires_at == ALREADY + 31 * DAY
    assert await keyed.status(new.secret) == 200
    replaced = await keyed.keys.get(old.record.id)
    assert replaced.replaced_by == new.record.id
    assert replaced.expires_at == ALREADY + overlap.total_seconds() + (DAY if how == "before" else 0)
    assert replaced.deprecated_at == ALREADY + (DAY if how == "before" else 0)
    with pytest.raises(KeyStateError, match="replaced by"):
        await keyed.keys.rotate(old.record.id)
    assert await good_keys(keyed) == {new.record.id} | ({old.record.id} if overlap else set())


async def test_a_cancelled_rotation_may_be_repeated(keyed):
    """A timeout around it, after it was written: the new key is revoked, and the old one is replaced the next time."""
    old = await keyed.keys.issue("shop")
    keyed.losing.verbs = {"deprecate": "held"}
    rotating = asyncio.create_task(keyed.keys.rotate(old.record.id, timedelta(0)))
    await keyed.losing.is_held.wait()
    rotating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rotating
    assert await good_keys(keyed) == set()
    keyed.losing.verbs = {}
    new = await keyed.keys.rotate(old.record.id, timedelta(0))
    assert await keyed.status(new.secret) == 200
    assert await good_keys(keyed) == {new.record.id}


async def test_a_key_without_a_holder_is_revoked_first(keyed):
    """The store was away for the revocation too: the message says what to do, and then it can be repeated."""
    old = await keyed.keys.issue("shop")
    keyed.losing.verbs = {"deprecate": "held", "revoke": "before"}
    rotating = asyncio.create_task(keyed.keys.rotate(old.record.id))
    await keyed.losing.is_held.wait()
    rotating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rotating
    keyed.losing.verbs = {}
    with pytest.raises(KeyStateError, match="revoke it first"):
        await keyed.keys.rotate(old.record.id)
    await keyed.keys.revoke((await keyed.keys.get(old.record.id)).replaced_by)
    assert await keyed.status((await keyed.keys.rotate(old.record.id)).secret) == 200


async def test_what_was_in_use_is_not_brought_back(keyed):
    """A replacement that somebody had, and that was revoked later, ends it for good: its predecessor makes no other."""
    old = await keyed.keys.issue("shop")
    new = await keyed.keys.rotate(old.record.id)
    assert await keyed.status(new.secret) == 200
    await keyed.settle()
    await keyed.keys.revoke(new.record.id)
    with pytest.raises(KeyStateError, match="replaced by"):
        await keyed.keys.rotate(old.record.id)
    assert not await keyed.keys.store.deprecate(old.record.id, replaced_by="x", at=0.0, expires_at=1.0)


async def test_a_lost_key_that_would_have_ended_brings_nothing_back(keyed):
    """After the lifetime of the lost one, the old one has expired like any other."""
    old = await keyed.keys.issue("shop", expires_in=timedelta(days=30))
    new = await keyed.keys.rotate(old.record.id)
    await keyed.keys.revoke(new.record.id)
    keyed.clock.advance(30 * DAY)
    with pytest.raises(KeyStateError, match="expired"):
        await keyed.keys.rotate(old.record.id)


async def test_of_many_who_repeat_one_succeeds(keyed):
    """As with the first rotation: the keys made in vain are revoked."""
    old = await keyed.keys.issue("shop")
    lost = await keyed.keys.rotate(old.record.id)
    await keyed.keys.revoke(lost.record.id)
    answers = await asyncio.gather(
        *(keyed.keys.rotate(old.record.id) for _ in range(5)), return_exceptions=True
    )
    (made,) = (answer for answer in answers if not isinstance(answer, KeyStateError))
    assert await good_keys(keyed) == {old.record.id, made.record.id}


@pytest.mark.parametrize("how", ["before", "after"])
async def test_every_other_write_may_be_repeated(keyed, how):
    """A key is issued the second time, the first has no holder; twice revoked is once, and so is twice imported."""
    keyed.losing.verbs = dict.fromkeys(("put", "revoke"), how)
    (found,) = read_keys(['{"key": "sk_old_4eC39HqLyjWDarjtT1zdp7dc", "owner": "o"}'], is_csv=False)
    with pytest.raises(StoreUnavailableError):
        await keyed.keys.issue("shop")
    with pytest.raises(StoreUnavailableError):
        await keyed.keys.adopt(found)
    keyed.losing.verbs.pop("put")
    issued = await keyed.keys.issue("shop")
    assert await keyed.keys.adopt(found) is (how == "before")
    assert await keyed.status(issued.secret) == 200
    with pytest.raises(StoreUnavailableError):
        await keyed.keys.revoke(issued.record.id)
    keyed.losing.verbs = {}
    assert await keyed.keys.revoke(issued.record.id)
    assert await keyed.status(issued.secret) == 401
    assert len([record for record in await keyed.keys.list() if record.id.startswith("imported-")]) == 1
