"""Kept answers in memory and in a file keep the same promises, and the contract finds a store that does not."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.cache import CacheStore, Claim
from prodkit.stores.memory_cache import MemoryCacheStore
from prodkit.stores.sqlite_cache import SqliteCacheStore
from prodkit.stores.urls import open_store
from prodkit.testing.cache_contract import CacheStoreContract
from tests.stores.processes import finish, script

LEASE = 10.0


class TestMemory(CacheStoreContract):
    def make_store(self, clock):
        return MemoryCacheStore(clock=clock)


class TestSqlite(CacheStoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make_store(self, clock):
        return SqliteCacheStore(self.folder / "app.db", clock=clock, timeout_seconds=5.0)


class LetsAllLead(MemoryCacheStore):
    async def claim(self, key, owner, *, lease_seconds):
        claim = await super().claim(key, owner, lease_seconds=lease_seconds)
        return claim if claim.state == "found" else Claim("leading", lease_seconds)


class LeadsForEver(MemoryCacheStore):
    async def claim(self, key, owner, *, lease_seconds):
        return await super().claim(key, owner, lease_seconds=3e7 + lease_seconds)


class RenewsNothing(MemoryCacheStore):
    async def claim(self, key, owner, *, lease_seconds):
        before = self._leases.get(key)
        claim = await super().claim(key, owner, lease_seconds=lease_seconds)
        if before is not None and key in self._leases and before[0] == owner:
            self._leases[key] = before
        return claim


class LeadsAnew(MemoryCacheStore):
    async def extend(self, key, owner, *, lease_seconds):
        return (await super().claim(key, owner, lease_seconds=lease_seconds)).state == "leading"


class KeepsWhatIsLate(MemoryCacheStore):
    async def fill(self, key, owner, value, *, ttl_seconds):
        if key not in self._answers and self._monotonic() >= self._leases.get(key, ("", 0.0))[1]:
            self._leases[key] = (owner, 1e12)
        return await super().fill(key, owner, value, ttl_seconds=ttl_seconds)


class AnybodyGivesUp(MemoryCacheStore):
    async def abandon(self, key, owner):
        await super().abandon(key, owner)
        self._leases.pop(key, None)


class ForgetsAnswersOnly(MemoryCacheStore):
    async def forget(self, key):
        lease = self._leases.get(key)
        await super().forget(key)
        if lease is not None:
            self._leases[key] = lease


class NeverExpires(MemoryCacheStore):
    async def fill(self, key, owner, value, *, ttl_seconds):
        return await super().fill(key, owner, value, ttl_seconds=3e7 + ttl_seconds)


class KeepsTheLeaseOfWhatIsTooLarge(MemoryCacheStore):
    async def fill(self, key, owner, value, *, ttl_seconds):
        if len(value) > self._max_value_bytes:
            return False
        return await super().fill(key, owner, value, ttl_seconds=ttl_seconds)


class CutsKeys(MemoryCacheStore):
    async def claim(self, key, owner, *, lease_seconds):
        return await super().claim(key[:12].ljust(8, "-"), owner, lease_seconds=lease_seconds)

    async def fill(self, key, owner, value, *, ttl_seconds):
        return await super().fill(key[:12].ljust(8, "-"), owner, value, ttl_seconds=ttl_seconds)


class TakesAnyKey(MemoryCacheStore):
    async def forget(self, key):
        self._drop(key)


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (LetsAllLead, "test_one_leads_at_a_time"),
        (LetsAllLead, "test_exactly_one_of_many_leads"),
        (LeadsForEver, "test_a_leader_that_died_is_replaced"),
        (RenewsNothing, "test_one_leads_at_a_time"),
        (LeadsAnew, "test_a_leader_that_takes_long_keeps_its_lease"),
        (KeepsWhatIsLate, "test_a_late_answer_is_not_kept"),
        (AnybodyGivesUp, "test_a_leader_that_gives_up_is_replaced_at_once"),
        (AnybodyGivesUp, "test_a_late_answer_is_not_kept"),
        (ForgetsAnswersOnly, "test_what_is_forgotten_stays_forgotten"),
        (NeverExpires, "test_an_answer_expires"),
        (KeepsTheLeaseOfWhatIsTooLarge, "test_what_is_too_large_is_not_kept_and_no_error"),
        (CutsKeys, "test_a_hundred_answers_are_kept_apart"),
        (TakesAnyKey, "test_what_a_caller_sends_is_no_key"),
    ],
)
def test_a_store_that_breaks_a_promise_is_found(store, promise):
    """The test of that promise fails."""

    class Contract(CacheStoreContract):
        def make_store(self, clock):
            return store(clock=clock)

    with pytest.raises(AssertionError, match="breaks its contract"):
        getattr(Contract(), promise)()


async def put(store, key, value, ttl_seconds=60.0):
    assert (await store.claim(key, "owner-ann", lease_seconds=LEASE)).state == "leading"
    assert await store.fill(key, "owner-ann", value, ttl_seconds=ttl_seconds)


async def is_kept(store, key):
    claim = await store.claim(key, "looks-only", lease_seconds=LEASE)
    if claim.state == "leading":
        await store.abandon(key, "looks-only")
    return claim.state == "found"


async def kept(store, *keys):
    return [key for key in keys if await is_kept(store, key)]


async def test_memory_is_bounded_in_answers():
    """Beyond its size, the one that was not asked for the longest goes."""
    store = MemoryCacheStore(max_entries=3)
    for number in range(3):
        await put(store, f"answer-{number}", b"x")
    assert await is_kept(store, "answer-0")
    await put(store, "answer-3", b"x")
    keys = [f"answer-{number}" for number in range(4)]
    assert await kept(store, *keys) == ["answer-0", "answer-2", "answer-3"]


async def test_memory_is_bounded_in_bytes_and_in_leases():
    """One large answer makes many small ones go; who leads and never comes back takes no room for ever."""
    clock = FakeClock()
    store = MemoryCacheStore(clock=clock, max_entries=100, max_bytes=100)
    for number in range(10):
        await put(store, f"answer-{number}", b"x" * 10)
    await put(store, "answer-large", b"y" * 75)
    assert await kept(store, *(f"answer-{number}" for number in range(10))) == ["answer-8", "answer-9"]
    assert (store._bytes, len(store._answers)) == (95, 3)
    assert not await store.fill("answer-large", "owner-ann", b"", ttl_seconds=9)
    for number in range(1000):
        await store.claim(f"dead-leader-{number}", "owner-ann", lease_seconds=LEASE)
    assert len(store._leases) == 100
    clock.advance(LEASE)
    await store.claim("the-next-one", "owner-ann", lease_seconds=LEASE)
    assert len(store._leases) == 1
    for _ in range(3):
        await store.claim("answer-large", "owner-ann", lease_seconds=LEASE)
    await store.forget("answer-large")
    clock.advance(60)
    assert await kept(store, *(f"answer-{number}" for number in range(10))) == []
    assert store._bytes == 0


@pytest.mark.parametrize("bound", ["max_entries", "max_bytes", "max_value_bytes"])
def test_a_bound_of_nothing_is_refused(bound, tmp_path):
    """Whoever wants no cache makes none."""
    with pytest.raises(ValueError, match="at least 1"):
        MemoryCacheStore(**{bound: 0})
    with pytest.raises(ValueError, match="at least 1"):
        SqliteCacheStore(tmp_path / "app.db", **{bound: 0})


async def test_a_file_is_bounded_and_what_has_expired_leaves_it(tmp_path):
    """Those that expire first make room; leases of the dead go too, and the counts agree with the rows at every step."""
    path, clock = tmp_path / "app.db", FakeClock()
    store = SqliteCacheStore(path, clock=clock, timeout_seconds=5.0, max_entries=5, max_bytes=100)
    await store.check()
    reader = sqlite3.connect(path)

    def agrees():
        counted = reader.execute("SELECT entries, bytes FROM cached_answers_room").fetchone()
        rows = reader.execute(
            "SELECT count(value), coalesce(sum(length(value)), 0) FROM cached_answers"
        ).fetchone()
        assert counted == rows
        return rows

    for number in range(8):
        await put(store, f"answer-{number}", b"x" * 10, ttl_seconds=100 - number)
        agrees()
    assert await kept(store, *(f"answer-{number}" for number in range(8))) == [
        f"answer-{number}" for number in (0, 1, 2, 3, 7)
    ]
    await put(store, "answer-large", b"y" * 85)
    assert agrees() == (2, 95)
    await store.forget("answer-large")
    for number in range(4):
        await store.claim(f"dead-leader-{number}", "owner-ann", lease_seconds=LEASE)
    agrees()
    clock.advance(1000)
    await put(store, "the-next-one", b"x")
    assert agrees() == (1, 1)
    assert reader.execute("SELECT count(*) FROM cached_answers").fetchone() == (1,)
    await put(store, "answer-again", b"x", ttl_seconds=5)
    clock.advance(5)
    await put(store, "answer-again", b"xyz", ttl_seconds=5)
    agrees()
    reader.close()
    await store.aclose()


async def test_what_is_found_in_a_file_waits_for_no_writer(tmp_path):
    """An answer is there while another process writes; who would have to lead says in time that it cannot."""
    path = tmp_path / "app.db"
    store = SqliteCacheStore(path, timeout_seconds=0.3)
    await put(store, "answer-1", b"x")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert (await store.claim("answer-1", "owner-bob", lease_seconds=LEASE)).value == b"x"
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await store.claim("answer-2", "owner-bob", lease_seconds=LEASE)
    assert time.monotonic() - begun < 3.0
    writer.execute("ROLLBACK")
    writer.close()
    await store.aclose()


async def test_a_file_that_cannot_be_used_is_unavailable(tmp_path):
    """Every verb says so within its bound, and says nothing else."""
    path = tmp_path / "app.db"
    path.write_bytes(b"no database at all, " * 100)
    store = SqliteCacheStore(path, timeout_seconds=0.2)
    for act in (
        lambda: store.claim("answer-1", "owner-ann", lease_seconds=LEASE),
        lambda: store.extend("answer-1", "owner-ann", lease_seconds=LEASE),
        lambda: store.fill("answer-1", "owner-ann", b"x", ttl_seconds=LEASE),
        lambda: store.abandon("answer-1", "owner-ann"),
        lambda: store.forget("answer-1"),
        store.check,
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await act()
        assert time.monotonic() - begun < 3.0
    await store.aclose()


async def test_all_are_stores_of_this_kind_and_no_others(tmp_path):
    """Features find them by the protocol, and find no other store in their place."""
    for url in ("memory://", f"sqlite:///{tmp_path}/app.db"):
        stores = open_store(url)
        found = (stores.limits, stores.keys, stores.ledger, stores.sessions, stores.cache)
        assert [one for one in found if isinstance(one, CacheStore)] == [stores.cache]
        await stores.check()
        await stores.aclose()


def test_an_answer_survives_a_restart_and_is_found_by_other_processes(tmp_path):
    """What one process filled, another one finds, after the first has ended."""
    source = """
        from prodkit.stores.sqlite_cache import SqliteCacheStore
        async def main():
            store = SqliteCacheStore(sys.argv[1], timeout_seconds=5.0)
            claim = await store.claim("answer-1", "owner-" + sys.argv[2], lease_seconds=10.0)
            if claim.state == "leading":
                await store.fill("answer-1", "owner-" + sys.argv[2], b"of " + sys.argv[2].encode(), ttl_seconds=60.0)
            print(claim.state, claim.value)
            await store.aclose()
        asyncio.run(main())
    """
    assert finish(script(source, tmp_path / "app.db", "ann")) == ["leading", "None"]
    assert finish(script(source, tmp_path / "app.db", "bob")) == ["found", "b'of", "ann'"]


RACE = """
    {make}
    async def main():
        store = make(sys.argv[1])
        await store.check()
        print("ready", flush=True)
        sys.stdin.readline()
        led = []
        for round_ in range(20):
            async def one(number):
                owner = f"owner-{{sys.argv[2]}}-{{number}}"
                claim = await store.claim(f"answer-{{round_}}", owner, lease_seconds=60.0)
                return claim.state == "leading"
            led.append(sum(await asyncio.gather(*(one(number) for number in range(10)))))
        print(*led)
        await store.aclose()
    asyncio.run(main())
"""


def race(make, place):
    """How many led in each round, of three processes with ten callers each."""
    processes = [script(RACE.format(make=make), place, number) for number in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [sum(map(int, led)) for led in zip(*(finish(process) for process in processes), strict=True)]


def test_exactly_one_of_all_processes_leads(tmp_path):
    """In each of twenty rounds, on one file."""
    make = """
    from prodkit.stores.sqlite_cache import SqliteCacheStore
    def make(place):
        return SqliteCacheStore(place, timeout_seconds=20.0)
    """
    assert race(make, tmp_path / "app.db") == [1] * 20


def test_who_is_cancelled_leaves_the_store_sound(tmp_path):
    """A claim that nobody waits for any more either leads or does not; when its lease is over somebody else does."""

    async def scenario():
        clock = FakeClock()
        store = SqliteCacheStore(tmp_path / "app.db", clock=clock, timeout_seconds=5.0)
        for number in range(20):
            claiming = asyncio.create_task(store.claim(f"answer-{number}", "owner-ann", lease_seconds=LEASE))
            await asyncio.sleep(0.0002 * number)
            claiming.cancel()
            await asyncio.gather(claiming, return_exceptions=True)
        clock.advance(LEASE)
        for number in range(20):
            assert not await is_kept(store, f"answer-{number}")
        await store.aclose()

    asyncio.run(scenario())
