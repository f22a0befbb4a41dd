"""API keys in Redis: what is particular to it, beyond the contract."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prodkit.stores import KeyRecord
from prodkit.stores.memory import MemoryKeyStore
from prodkit.stores.redis_keys import RedisKeyStore
from prodkit.testing import KeyStoreContract
from tests.support.valkey import shared_cluster, shared_redis, shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

RECORD = KeyRecord(id="k", digest=b"s-e-c-r-e-t", pepper_id="p", owner="o", created_at=0.0)
NAME = "pk:keys:1:{keys}"


class TestValkey(KeyStoreContract):
    def make_store(self):
        return emptied(shared_valkey())


@pytest.mark.no_cover  # the same lines as on Valkey
class TestRedis(KeyStoreContract):
    def make_store(self):
        return emptied(shared_redis())


@pytest.mark.no_cover  # the same lines as on Valkey
class TestCluster(KeyStoreContract):
    def make_store(self):
        cluster = shared_cluster()
        cluster.flush()
        return RedisKeyStore(cluster.url, timeout_seconds=5.0)


def emptied(one):
    """A store on *one*, of which nothing is known any more."""
    one.ask("FLUSHALL")
    return RedisKeyStore(one.url, timeout_seconds=5.0)


@pytest.fixture
async def store(valkey, server):
    made = RedisKeyStore(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


# ------------------------------------------------------------------------------------------- what is kept

TEXTS = st.text(max_size=12) | st.sampled_from(["/", "\x00", '"\\', "\x7f", "\U0001f511", "é", "1:a:", "nan"])
TIMES = st.floats(allow_nan=False)
RECORDS = st.builds(
    KeyRecord,
    id=TEXTS,
    digest=st.binary(max_size=40),
    pepper_id=TEXTS,
    owner=TEXTS,
    created_at=TIMES,
    tenant=st.none() | TEXTS,
    scopes=st.frozensets(TEXTS, max_size=3),
    plan=st.none() | TEXTS,
    not_before=st.none() | TIMES,
    expires_at=st.none() | TIMES,
    revoked_at=st.none() | TIMES,
    last_used_at=st.none() | TIMES,
    networks=st.lists(TEXTS, max_size=3).map(tuple),
    name=TEXTS,
    created_by=st.none() | TEXTS,
    replaced_by=st.none() | TEXTS,
    deprecated_at=st.none() | TIMES,
)
LATEST = 1.7976931348623157e308


@settings(max_examples=40, database=None, deadline=None)
@given(records=st.lists(RECORDS, max_size=12), tenant=TEXTS, at=TIMES)
@example(
    records=[replace(RECORD, created_at=0.1 + 0.2, expires_at=1e300)], tenant="t", at=1_790_000_000.123_456_7
)
def test_what_was_put_is_there_to_the_last_digit(records, tenant, at):
    """Any text, any time, put and put again and rewritten by the server: what memory keeps is what Redis keeps, in order."""

    async def scenario():
        store, reference = emptied(shared_valkey()), MemoryKeyStore()
        try:
            for one in (store, reference):
                for record in records:
                    await one.put(record)
                    await one.put(replace(record, tenant=tenant if len(record.id) % 2 else record.tenant))
                    await one.touch(record.id, at)
                    await one.revoke(record.id[:1], at)
            everything = list(await reference.list(limit=1000))
            assert list(await store.list(limit=1000)) == everything
            for name in {record.tenant for record in everything} - {None} | {tenant, ""}:
                theirs = list(await reference.list(tenant=name, limit=1000))
                assert list(await store.list(tenant=name, limit=1000)) == theirs
                assert list(await store.list(tenant=name, after="é", limit=1000)) == [
                    record for record in theirs if record.id > "é"
                ]
        finally:
            await store.aclose()

    asyncio.run(scenario())


async def test_ids_are_in_the_order_of_code_points(store):
    """Also beyond the first 65 536 of them, where other orders of Unicode differ."""
    ids = [
        "z",
        "é",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "\U00010000",
        "\U0001f511",
        "\U0010ffff",
        "",
        "\x00",
        "a",
        "aa",
    ]
    for key_id in ids:
        await store.put(replace(RECORD, id=key_id, tenant="t"))
    assert [record.id for record in await store.list()] == sorted(ids)
    assert [record.id for record in await store.list(tenant="t")] == sorted(ids)
    seen, after = [], None
    while page := await store.list(tenant="t", after=after, limit=1):
        after = page[-1].id
        seen.append(after)
    assert seen == sorted(ids)


async def test_half_a_character_is_refused_as_by_a_file(store):
    """A lone surrogate fits into no UTF-8: nothing is sent, and it is the error of Python's that SQLite raises too."""
    half = "\ud800"
    for act in (
        lambda: store.put(replace(RECORD, owner=half)),
        lambda: store.find(half),
        lambda: store.revoke(half, 1.0),
        lambda: store.list(tenant=half),
        lambda: store.deprecate("k", replaced_by=half, at=1.0, expires_at=2.0),
    ):
        with pytest.raises(UnicodeEncodeError):
            await act()
    scoped = replace(RECORD, scopes=frozenset({half}))
    await store.put(scoped)
    assert await store.find("k") == scoped
    with pytest.raises(ValueError, match="has to be a number"):
        await store.revoke("k", float("nan"))


async def test_a_newer_release_loses_nothing_to_this_one(store, server):
    """What it keeps in a record beside what is known here outlives every write; a field that is known and unset does not."""
    await store.put(replace(RECORD, plan="pro"))
    newer = json.loads(server.hget(f"{NAME}:records", "k")) | {"risk": "low", "labels": '["a"]'}
    server.hset(f"{NAME}:records", "k", json.dumps(newer))
    assert await store.find("k") == replace(RECORD, plan="pro")
    await store.touch("k", 1.0)
    assert await store.redigest("k", known=RECORD.digest, digest=b"new", pepper_id="q")
    await store.deprecate("k", replaced_by="n", at=1.0, expires_at=2.0)
    await store.put(replace(RECORD, name="edited"))
    await store.revoke("k", 3.0)
    kept = json.loads(server.hget(f"{NAME}:records", "k"))
    assert (kept["risk"], kept["labels"], kept["name"], "plan" in kept) == ("low", '["a"]', "edited", False)


def test_every_field_of_a_record_has_its_kind():
    """Whoever adds one to KeyRecord that is neither text nor a time has to say how it is written."""
    known = {"str", "str | None", "float", "float | None"}
    special = {one.name for one in fields(KeyRecord) if one.type not in known}
    assert special == {"digest", "scopes", "networks"}
    times = {one.name for one in fields(KeyRecord) if str(one.type).startswith("float")}
    from prodkit.stores import redis_keys

    assert set(redis_keys._TIMES) == times


async def test_a_key_has_one_place_in_each_index(store, server):
    """However often it is written and moved between tenants."""
    for tenant in ("x", "y", "y", None, "x", None):
        await store.put(replace(RECORD, tenant=tenant))
        assert server.zcard(f"{NAME}:ids") == 1
        assert server.zcard(f"{NAME}:tenants") == (tenant is not None)
    assert await store.list(tenant="x") == []


async def test_no_tenant_sees_into_another(store):
    """Whatever it is called: the lengths in front make each name end where it ends."""
    names = ["", "a", "a:", "a:b", "1:a", "1:a:", ":", ";", "é", "a" * 11, "a" * 12]
    for number, tenant in enumerate(names):
        await store.put(replace(RECORD, id=f"b:k{number:02}", tenant=tenant))
    for number, tenant in enumerate(names):
        assert [record.id for record in await store.list(tenant=tenant)] == [f"b:k{number:02}"]
        assert [record.id for record in await store.list(tenant=tenant, after="b")] == [f"b:k{number:02}"]
        assert await store.list(tenant=tenant, after="c") == []


# --------------------------------------------------------------------------------------------- what is told


async def test_an_emptied_server_is_noticed(store, server):
    """Whoever cached something has to forget it, also where as many changes have been written again as were there before."""
    for writes in (0, 1, 3):
        server.flushall()
        for _ in range(writes):
            await store.put(RECORD)
        cursor, _ = await store.changes_since(None)
        assert await store.changes_since(cursor) == (cursor, [])
        server.flushall()
        fresh, told = await store.changes_since(cursor)
        assert (told, fresh != cursor) == (None, True)
        server.flushall()
        for _ in range(writes + 1):
            await store.put(RECORD)
        assert (await store.changes_since(cursor))[1] is None


async def test_lost_changes_are_noticed(store, server):
    """A failover or a restart took the last ones away; that others were written since does not hide it."""
    await store.put(RECORD)
    replica = server.execute_command("DUMP", f"{NAME}:changes", NEVER_DECODE=True)
    before, _ = await store.changes_since(None)
    await store.put(replace(RECORD, id="lost"))
    cursor, told = await store.changes_since(before)
    assert told == ["lost"]
    server.restore(f"{NAME}:changes", 0, replica, replace=True)
    assert (await store.changes_since(cursor))[1] is None
    for number in range(3):
        await store.put(replace(RECORD, id=f"other{number}"))
        assert (await store.changes_since(cursor))[1] is None
    assert (await store.changes_since(before))[1] == ["other0", "other1", "other2"]


async def test_the_last_thousand_changes_are_told(store, server):
    """So many are kept, one more has to be forgotten all at once, and the server's memory does not grow."""
    start, _ = await store.changes_since(None)
    for _ in range(10):
        await asyncio.gather(*(store.put(replace(RECORD, id=f"k{number}")) for number in range(100)))
    assert len((await store.changes_since(start))[1]) == 1000
    second, _ = await store.changes_since(None)
    await store.put(RECORD)
    assert (await store.changes_since(start))[1] is None
    assert (await store.changes_since(second))[1] == ["k"]
    assert server.xlen(f"{NAME}:changes") == 1001


@pytest.mark.parametrize("cursor", [-1, 0, 5, 1 << 64, (1 << 128) - 1, 1 << 128, 1 << 200])
async def test_a_cursor_from_elsewhere_claims_nothing(store, cursor):
    """Of another kind of store, or of nobody: everything has to go."""
    await store.put(RECORD)
    newest, told = await store.changes_since(cursor)
    assert told is None
    assert await store.changes_since(newest) == (newest, [])
