"""Sessions in Redis: what is particular to it, beyond the contract."""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import redis_sessions
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.stores.redis_sessions import RedisSessionStore, _sortable
from prodkit.stores.sessions import SessionRecord, SessionStore
from prodkit.testing.sessions_contract import SessionStoreContract
from tests.stores.processes import finish, script
from tests.stores.redis_stores import complaint, silent_server
from tests.support.valkey import shared_cluster, shared_redis, shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

NAME = "pk:sessions:1:{sessions}"
SUFFIXES = ("records", "seen", "revoked", "ends", "open")


def record(name, **changes):
    usual = {
        "subject": "ann",
        "principal": "s-e-c-r-e-t",
        "created_at": 1.0,
        "seen_at": 1.0,
        "expires_at": 1e9,
    }
    return SessionRecord(**usual | changes, id=name)


class TestValkey(SessionStoreContract):
    def make_store(self):
        return emptied(shared_valkey())


@pytest.mark.no_cover  # the same lines as on Valkey
class TestRedis(SessionStoreContract):
    def make_store(self):
        return emptied(shared_redis())


@pytest.mark.no_cover  # the same lines as on Valkey
class TestCluster(SessionStoreContract):
    def make_store(self):
        cluster = shared_cluster()
        cluster.flush()
        return RedisSessionStore(cluster.url, timeout_seconds=5.0)


def emptied(one):
    """A store on *one*, of which nothing is known any more."""
    one.ask("FLUSHALL")
    return RedisSessionStore(one.url, timeout_seconds=5.0)


@pytest.fixture
async def store(valkey, server):
    made = RedisSessionStore(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


def every_verb(store):
    """Each verb, not yet called, by its name."""
    return {
        "find": lambda: store.find("s"),
        "open": lambda: store.open(record("t"), most=1),
        "touch": lambda: store.touch("s", 9.0),
        "revoke": lambda: store.revoke("s", 9.0),
        "revoke_subject": lambda: store.revoke_subject("ann", 9.0),
        "purge": lambda: store.purge(5.0),
    }


def kept(server):
    """How many entries each name holds."""
    return {
        suffix: (server.zcard if suffix in {"ends", "open"} else server.hlen)(f"{NAME}:{suffix}")
        for suffix in SUFFIXES
    }


# Few of each, so that they meet.
NAMES = st.sampled_from(["a", "b", "", "\x00", '/"\\', "é\U0001f511"])
SUBJECTS = st.sampled_from(["a", "1:a", "a:", ":;", "\U0001f511"])
TIMES = st.integers(0, 6).map(float) | st.sampled_from([0.1 + 0.2, 1e300, -1.5, 1_790_000_000.123_456_7])
VERBS = st.lists(
    st.tuples(st.just("open"), NAMES, SUBJECTS, TIMES, TIMES, st.none() | TIMES, st.integers(1, 3))
    | st.tuples(st.sampled_from(["touch", "revoke"]), NAMES, TIMES)
    | st.tuples(st.just("revoke_subject"), SUBJECTS, TIMES)
    | st.tuples(st.just("purge"), TIMES, st.integers(1, 3)),
    min_size=5,
    max_size=25,
)


@settings(max_examples=100, database=None, deadline=None)
@given(verbs=VERBS)
def test_it_does_as_memory_does(verbs):
    """Any verbs in any order, times in any order too: the same answers, the same records, and nothing left in any index."""

    async def answer(one, verb, *args):
        if verb != "open":
            return await (one.purge(args[0], limit=args[1]) if verb == "purge" else getattr(one, verb)(*args))
        name, subject, created, ends, revoked, most = args
        made = record(name, subject=subject, created_at=created, expires_at=ends, revoked_at=revoked)
        try:
            return await one.open(made, most=most)
        except ValueError as error:
            return str(error)

    async def scenario():
        store, reference = emptied(shared_valkey()), MemorySessionStore()
        names = {verb[1] for verb in verbs if verb[0] == "open"}
        try:
            for verb in verbs:
                assert await answer(store, *verb) == await answer(reference, *verb), verb
                for name in names:
                    assert await store.find(name) == await reference.find(name)
        finally:
            await store.aclose()
        with shared_valkey().client() as server:
            counts = kept(server)
        left = [one for one in [await reference.find(name) for name in names] if one is not None]
        assert counts["records"] == counts["seen"] == counts["ends"] == len(left)
        assert counts["open"] == len([one for one in left if one.revoked_at is None])
        assert counts["revoked"] == len([one for one in left if one.revoked_at is not None])

    asyncio.run(scenario())


@settings(max_examples=200, database=None, deadline=None)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_moments_sort_as_numbers_do(one, other):
    """What stands in the index for a time is in the order of times, those before 1970 and both zeros included."""
    assert (_sortable(one) < _sortable(other)) == (one < other)
    assert len(_sortable(one)) == 16


def test_every_field_of_a_record_has_its_place():
    """Whoever adds one to SessionRecord has to say where it stands."""
    placed = {*redis_sessions._TEXTS, *redis_sessions._MOMENTS, "seen_at", "revoked_at"}
    assert placed == {one.name for one in fields(SessionRecord)}


async def test_no_subject_reaches_into_another(store, server):
    """Whatever it is called: the length in front makes each name end where it ends."""
    subjects = ["", "a", "a:", "a:b", "1:a", "1:a:", ":", "::", ";", "é", "a" * 11]
    for number, subject in enumerate(subjects):
        await store.open(record(f"s{number}", subject=subject), most=1)
    assert server.zcard(f"{NAME}:open") == len(subjects)
    for number, subject in enumerate(subjects):
        assert await store.revoke_subject(subject, 5.0) == 1
        assert server.zcard(f"{NAME}:open") == len(subjects) - number - 1


async def test_half_a_character_is_refused_as_by_a_file(store):
    """A lone surrogate fits into no UTF-8: nothing is sent, and it is the error of Python's that SQLite raises too."""
    half = "\ud800"
    for act in (
        lambda: store.open(record("s", subject=half), most=5),
        lambda: store.open(record(half), most=5),
        lambda: store.find(half),
        lambda: store.revoke_subject(half, 1.0),
    ):
        with pytest.raises(UnicodeEncodeError):
            await act()


async def test_each_verb_is_one_script(store, server):
    """Counted by the server: one EVALSHA each, and nothing else from outside."""
    await store.open(record("s"), most=5)
    for act in every_verb(store).values():
        await act()
    await store.purge(1e10)
    server.config_resetstat()
    for act in every_verb(store).values():
        await act()
    calls = {name: stats["calls"] for name, stats in server.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == len(every_verb(store))
    assert not {"cmdstat_eval", "cmdstat_multi", "cmdstat_script|load"} & set(calls)


async def test_the_server_forgets_nothing_by_itself(store, server):
    """What is over is there until it is purged, and then nothing of it is."""
    await store.open(record("s", expires_at=2.0), most=5)
    for suffix in SUFFIXES:
        assert server.ttl(f"{NAME}:{suffix}") in {-1, -2}
    assert await store.find("s") is not None
    assert await store.purge(3.0) == 1
    assert kept(server) == dict.fromkeys(SUFFIXES, 0)


async def test_what_is_ended_is_over_by_then_and_what_was_over_before_is_not_over_later(store):
    """The moment by which sessions are purged follows both kinds of revocation, and only ever to an earlier one."""
    await store.open(record("a", expires_at=9.0), most=1)
    await store.open(record("b", created_at=2.0, expires_at=4.0), most=1)
    assert await store.purge(3.0) == 1
    assert await store.find("a") is None
    assert await store.revoke_subject("ann", 7.0) == 1
    assert await store.purge(5.0) == 1
    await store.open(record("c", expires_at=9.0), most=1)
    assert await store.revoke_subject("ann", 2.0) == 1
    assert await store.purge(3.0) == 1


async def test_five_thousand_sessions_of_one_subject_end_at_once(store, server):
    """In a time that keeps nobody else waiting for long, as does the login that lets only one of so many stay."""
    await fill(store, 5000)
    before = processor_seconds(server)
    assert await store.revoke_subject("ann", 7.0) == 5000
    assert processor_seconds(server) - before < 0.3
    assert kept(server) == dict.fromkeys(SUFFIXES, 5000) | {"open": 0}
    assert await store.purge(8.0, limit=10_000) == 5000
    assert kept(server) == dict.fromkeys(SUFFIXES, 0)
    await fill(store, 5000)
    before = processor_seconds(server)
    await store.open(record("last", created_at=2.0), most=1)
    assert processor_seconds(server) - before < 0.3
    assert kept(server)["open"] == 1


def processor_seconds(server):
    used = server.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]


async def fill(store, count):
    for start in range(0, count, 500):
        names = [f"s{number}" for number in range(start, start + 500)]
        await asyncio.gather(*(store.open(record(name), most=count) for name in names))


def test_a_revocation_in_one_process_is_found_in_another(valkey):
    """There is one server, and what was told to be revoked is revoked for everybody."""
    source = """
        from prodkit.stores.redis_sessions import RedisSessionStore
        async def main():
            store = RedisSessionStore(sys.argv[1], timeout_seconds=5.0)
            print(await store.revoke("s", 5.0), (await store.find("s")).revoked_at)
            await store.aclose()
        asyncio.run(main())
    """

    async def main():
        store = RedisSessionStore(valkey, timeout_seconds=5.0)
        await store.open(record("s"), most=5)
        assert await asyncio.to_thread(finish, script(source, valkey)) == ["True", "5.0"]
        assert (await store.find("s")).revoked_at == 5.0
        await store.aclose()

    asyncio.run(main())


async def test_logins_on_two_connections_leave_as_many_open_as_there_may_be(valkey, server):
    """However they meet, and a logout of everywhere in between ends all that were there."""
    stores = [RedisSessionStore(valkey, timeout_seconds=5.0) for _ in range(2)]
    for round_ in range(10):
        names = [f"r{round_}s{number}" for number in range(20)]
        await asyncio.gather(
            *(stores[place % 2].open(record(name), most=3) for place, name in enumerate(names)),
            stores[1].revoke_subject("ann", 5.0),
        )
        left = server.zcard(f"{NAME}:open")
        assert left <= 3
        assert server.hlen(f"{NAME}:revoked") == 20 * (round_ + 1) - left
    assert await stores[0].revoke_subject("ann", 6.0) == left
    assert server.hlen(f"{NAME}:revoked") == 200
    for store in stores:
        await store.aclose()


MEETS = {
    "find": {"records", "seen", "revoked"},
    "open": set(SUFFIXES),
    "touch": {"seen"},
    "revoke": {"records", "revoked", "ends", "open"},
    "revoke_subject": {"revoked", "ends", "open"},
    "purge": set(SUFFIXES),
}


@pytest.mark.parametrize("verb", MEETS)
async def test_a_name_that_another_program_uses_is_said_so(store, server, verb):
    """By each verb that meets it: the error names the key and shows nothing of what stands there, nor what was sent."""
    for suffix in SUFFIXES:
        server.flushall()
        await store.open(record("s", expires_at=2.0), most=5)
        server.delete(f"{NAME}:{suffix}")
        server.set(f"{NAME}:{suffix}", "their-private-data")
        shown = await complaint(every_verb(store)[verb])
        assert (f"{NAME}:{suffix}" in shown) == (suffix in MEETS[verb]), suffix
        assert "their" not in shown
        assert "s-e-c-r-e-t" not in shown
        with pytest.raises(StoreIncompatibleError, match=f"{suffix} in Redis"):
            await store.check()


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_session_is_not_half_opened(store, server, suffix):
    """Where one of the names is another program's, none of the others is written to."""
    server.set(f"{NAME}:{suffix}", "their-private-data")
    assert await complaint(lambda: store.open(record("s"), most=5))
    assert server.keys() == [f"{NAME}:{suffix}"]


@pytest.mark.parametrize(
    "text", ["their-private-data", "5", "[]", '{"id":5}', '{"id":"s"}', "", '{"place":{}}']
)
async def test_a_record_that_is_none_is_said_so_and_can_be_ended(store, server, text):
    """It opens nothing; it is revoked and purged as others are, and never stands in the way of those."""
    await store.open(record("s"), most=5)
    await store.open(record("other"), most=5)
    server.hset(f"{NAME}:records", "s", text)
    shown = await complaint(lambda: store.find("s"))
    assert "a session in pk:sessions:1:" in shown
    assert "their" not in shown
    if text != '{"place":{}}':
        assert await store.revoke("s", 3.0)
        assert await store.revoke_subject("ann", 4.0) == 1
        assert (await store.find("other")).revoked_at == 4.0
        assert await store.purge(5.0) == 2
        assert {**kept(server), "open": 0} == dict.fromkeys(SUFFIXES, 0)


async def test_a_server_without_memory_changes_nothing(store, server):
    """A login that finds no room is refused as a whole."""
    await store.open(record("s"), most=1)
    server.config_set("maxmemory", server.info("memory")["used_memory"] // 2)
    try:
        for act in (lambda: store.open(record("t"), most=1), lambda: store.revoke("s", 5.0)):
            with pytest.raises(StoreUnavailableError):
                await act()
        assert await store.find("s") == record("s")
    finally:
        server.config_set("maxmemory", 0)
    assert await store.find("t") is None
    assert await store.revoke("s", 5.0)


async def test_it_is_a_store_of_sessions(store):
    """Features find it by the protocol."""
    assert isinstance(store, SessionStore)


@pytest.mark.parametrize("verb", sorted(every_verb(None)))
async def test_nobody_waits_for_a_server_that_is_not_there(verb):
    """Each verb says so within its bound."""
    store = RedisSessionStore("redis://127.0.0.1:1/0", timeout_seconds=0.1)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await every_verb(store)[verb]()
    assert time.monotonic() - begun < 2.0
    await store.aclose()


async def test_a_silent_server_is_waited_for_no_longer_than_the_bound():
    """It takes the connection and never answers."""
    async with silent_server() as port:
        for number, verb in enumerate(every_verb(None)):
            # Each a link of its own: a server that failed is left alone for a moment.
            store = RedisSessionStore(f"redis://127.0.0.1:{port}/{number}", timeout_seconds=0.05)
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await every_verb(store)[verb]()
            assert 0.04 < time.monotonic() - begun < 3.0
            await store.aclose()
