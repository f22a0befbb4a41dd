"""API keys in Redis: asked by many at once, and broken."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import KeyRecord, KeyStore
from prodkit.stores.redis_keys import RedisKeyStore
from tests.stores.processes import finish, script
from tests.stores.redis_stores import answering, complaint, silent_server
from tests.support.valkey import running_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

RECORD = KeyRecord(id="k", digest=b"s-e-c-r-e-t", pepper_id="p", owner="o", created_at=0.0, tenant="t")
NAME = "pk:keys:1:{keys}"


@pytest.fixture
async def store(valkey, server):
    made = RedisKeyStore(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


def every_verb(store):
    """Each verb, not yet called, by its name."""
    return {
        "find": lambda: store.find("k"),
        "put": lambda: store.put(RECORD),
        "revoke": lambda: store.revoke("k", 1.0),
        "deprecate": lambda: store.deprecate("k", replaced_by="n", at=1.0, expires_at=2.0),
        "redigest": lambda: store.redigest("k", known=RECORD.digest, digest=b"d", pepper_id="q"),
        "touch": lambda: store.touch("k", 1.0),
        "list": lambda: store.list(limit=9),
        "list of a tenant": lambda: store.list(tenant="t"),
        "changes_since": lambda: store.changes_since(None),
    }


# ------------------------------------------------------------------------------------------- how it is asked


async def test_each_verb_is_one_script(store, server):
    """Counted by the server: one EVALSHA each, and nothing else from outside."""
    for act in every_verb(store).values():
        await act()
    server.config_resetstat()
    for act in every_verb(store).values():
        await act()
    calls = {name: stats["calls"] for name, stats in server.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == len(every_verb(store))
    assert not {"cmdstat_eval", "cmdstat_multi", "cmdstat_script|load"} & set(calls)


async def test_scripts_that_the_server_forgot_are_sent_again(store, server):
    """After a restart or SCRIPT FLUSH the verb is done, once."""
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    server.script_flush()
    assert await store.revoke("k", 5.0)
    assert (await store.changes_since(cursor))[1] == ["k"]


async def test_ten_thousand_keys_are_listed(store, server):
    """In pages of 500 whatever is asked for, so that nobody else waits for long while the server reads."""
    values = {f"k{number:05}": replace(RECORD, id=f"k{number:05}", tenant="t") for number in range(10_000)}
    for start in range(0, 10_000, 500):
        await asyncio.gather(*(store.put(values[f"k{number:05}"]) for number in range(start, start + 500)))
    server.config_resetstat()
    for tenant in (None, "t"):
        listed = await store.list(tenant=tenant, limit=20_000)
        assert listed == list(values.values())
    assert server.info("commandstats")["cmdstat_evalsha"]["calls"] == 42
    assert len(await store.list(limit=777, after="k00100")) == 777


# ------------------------------------------------------------------------------------------ several at once

PROCESS = """
    from dataclasses import replace
    from prodkit.stores.redis_keys import RedisKeyStore
    async def main(url, name):
        store = RedisKeyStore(url, timeout_seconds=5.0)
        await store.find("k0")
        print("ready", flush=True)
        sys.stdin.readline()
        won = 0
        for number in range(200):
            won += await store.deprecate(f"k{number}", replaced_by=name, at=1.0, expires_at=2.0)
        print(won)
        await store.aclose()
    asyncio.run(main(*sys.argv[1:]))
"""


def test_of_two_processes_that_replace_a_key_one_comes_too_late(valkey):
    """Two hundred keys, and each is replaced exactly once."""

    async def prepared():
        store = RedisKeyStore(valkey, timeout_seconds=5.0)
        for number in range(200):
            await store.put(replace(RECORD, id=f"k{number}"))
        await store.aclose()

    async def replacements():
        store = RedisKeyStore(valkey, timeout_seconds=5.0)
        found = [record.replaced_by for record in await store.list(limit=500)]
        await store.aclose()
        return found

    asyncio.run(prepared())
    processes = {name: script(PROCESS, valkey, name) for name in ("a", "b")}
    for process in processes.values():
        assert process.stdout.readline() == "ready\n"
    for process in processes.values():
        process.stdin.write("\n")
        process.stdin.flush()
    won = {name: int(finish(process)[0]) for name, process in processes.items()}
    assert sum(won.values()) == 200
    found = asyncio.run(replacements())
    assert {name: found.count(name) for name in won} == won


async def test_no_editor_with_an_old_copy_revives_a_key(valkey, server):
    """Revoked among a hundred writes of copies that know nothing of it, through other connections, it stays revoked."""
    stores = [RedisKeyStore(valkey, timeout_seconds=5.0) for _ in range(2)]
    for round_ in range(20):
        record = replace(RECORD, id=f"k{round_}")
        await stores[0].put(record)
        await asyncio.gather(
            *(stores[0].put(replace(record, name=str(number))) for number in range(5)),
            stores[1].revoke(record.id, 7.0),
            *(stores[1].touch(record.id, float(number)) for number in range(5)),
        )
        found = await stores[1].find(record.id)
        assert (found.revoked_at, found.last_used_at) == (7.0, 4.0)
    for store in stores:
        await store.aclose()


# ----------------------------------------------------------------------------------------------- what breaks


MEETS = {
    "find": {"records"},
    "put": {"records", "ids", "tenants", "changes"},
    "revoke": {"records", "changes"},
    "deprecate": {"records", "changes"},
    "redigest": {"records", "changes"},
    "touch": {"records"},
    "list": {"records", "ids"},
    "list of a tenant": {"records", "tenants"},
    "changes_since": {"changes"},
}


@pytest.mark.parametrize("verb", MEETS)
async def test_a_name_that_another_program_uses_is_said_so(store, server, verb):
    """By each verb that meets it: the error names the key and shows nothing of what stands there, nor what was sent."""
    for suffix in ("records", "ids", "tenants", "changes"):
        server.flushall()
        await store.put(RECORD)
        server.delete(f"{NAME}:{suffix}")
        server.set(f"{NAME}:{suffix}", "their-private-data")
        shown = await complaint(every_verb(store)[verb])
        assert (f"{NAME}:{suffix}" in shown) == (suffix in MEETS[verb]), suffix
        assert "their" not in shown
        assert RECORD.digest.hex() not in shown
        with pytest.raises(StoreIncompatibleError, match=f"{suffix} in Redis"):
            await store.check()


async def test_a_revocation_that_cannot_be_read_is_not_lifted(store, server):
    """A moment that is no number is neither taken for none nor overwritten by an editor's old copy."""
    await store.put(RECORD)
    spoilt = json.loads(server.hget(f"{NAME}:records", "k")) | {"revoked_at": "their"}
    server.hset(f"{NAME}:records", "k", json.dumps(spoilt))
    for verb in ("find", "put", "revoke", "deprecate"):
        before = server.hget(f"{NAME}:records", "k")
        if verb != "deprecate":
            assert NAME in await complaint(every_verb(store)[verb])
        else:
            assert not await every_verb(store)[verb]()
        assert server.hget(f"{NAME}:records", "k") == before


@pytest.mark.parametrize("suffix", ["ids", "tenants", "changes"])
async def test_a_key_is_not_half_written(store, server, suffix):
    """Where one of the names is another program's, none of the others is written to."""
    server.set(f"{NAME}:{suffix}", "their-private-data")
    assert await complaint(lambda: store.put(RECORD))
    assert server.keys() == [f"{NAME}:{suffix}"]


@pytest.mark.parametrize(
    "text",
    ["their-private-data", "5", "[]", '{"id":5}', '{"id":"k"}', "", '{"revoked_at":"their"}', "[" * 100_000],
)
async def test_a_record_that_is_none_is_said_so(store, server, text):
    """It is not read, whatever it is; where it is no record at all it is not overwritten either, and others are as before."""
    await store.put(RECORD)
    server.hset(f"{NAME}:records", "k", text)
    for verb in ("find", "list", "list of a tenant"):
        shown = await complaint(every_verb(store)[verb])
        assert "'k' of pk:keys:1:" in shown
        assert "their" not in shown
    if text[:1] not in {"{", "["}:
        for verb in ("put", "revoke", "deprecate", "redigest", "touch"):
            shown = await complaint(every_verb(store)[verb])
            assert NAME in shown
            assert "their" not in shown
        assert server.hget(f"{NAME}:records", "k") == text
    await store.put(replace(RECORD, id="other"))
    assert await store.find("other") is not None


async def test_a_server_without_memory_changes_nothing(store, server, valkey):
    """A write that finds no room is refused as a whole; it passes once there is some."""
    await store.put(RECORD)
    cursor, _ = await store.changes_since(None)
    used = server.info("memory")["used_memory"]
    server.config_set("maxmemory", used // 2)
    try:
        for act in (lambda: store.put(replace(RECORD, id="n")), lambda: store.revoke("k", 1.0)):
            with pytest.raises(StoreUnavailableError):
                await act()
        assert await store.find("k") == RECORD
    finally:
        server.config_set("maxmemory", 0)
    assert await store.changes_since(cursor) == (cursor, [])
    assert await store.revoke("k", 1.0)


async def test_a_killed_server_comes_back_with_what_returned():
    """Where it writes its log before it answers: every key, every revocation, and what was told of them."""
    with running_valkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        store = RedisKeyStore(server.url, timeout_seconds=5.0)
        for number in range(20):
            await store.put(replace(RECORD, id=f"k{number:02}"))
            cursor, _ = await store.changes_since(None)
            await store.revoke(f"k{number:02}", 5.0)
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.find("k00")
        server.start()
        await answering(store)
        assert [record.revoked_at for record in await store.list()] == [5.0] * 20
        assert (await store.changes_since(cursor))[1] == ["k19"]
        await store.aclose()


@pytest.mark.parametrize("verb", sorted(every_verb(None)))
async def test_nobody_waits_for_a_server_that_is_stopped(paused, verb):
    """Each verb says so within its bound; with the server come its answers, and none of an earlier question."""
    store = RedisKeyStore(paused.url, timeout_seconds=0.2, list_timeout_seconds=0.3)
    await store.put(RECORD)
    paused.pause()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await every_verb(store)[verb]()
    waited = time.monotonic() - begun
    paused.resume()
    assert waited < 2.0
    await answering(store)
    for number in range(5):
        assert await store.find("unknown") is None
        await store.put(replace(RECORD, name=str(number)))
        assert (await store.find("k")).name == str(number)
    await store.aclose()


@pytest.fixture(scope="module")
def own_server():
    with running_valkey() as server:
        yield server


@pytest.fixture
def paused(own_server):
    """A server of this module's own, empty, that may be stopped."""
    own_server.ask("FLUSHALL")
    yield own_server
    own_server.resume()


async def test_it_is_a_store_of_keys(store):
    """Features find it by the protocol."""
    assert isinstance(store, KeyStore)


@pytest.mark.parametrize("verb", sorted(every_verb(None)))
async def test_nobody_waits_for_a_server_that_is_not_there(verb):
    """Each verb says so within its bound."""
    store = RedisKeyStore("redis://127.0.0.1:1/0", timeout_seconds=0.1, list_timeout_seconds=0.2)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await every_verb(store)[verb]()
    assert time.monotonic() - begun < 2.0
    await store.aclose()


async def test_a_silent_server_is_waited_for_no_longer_than_the_bound():
    """It takes the connection and never answers; `list`, which only operators ask for, has a bound of its own."""
    async with silent_server() as port:
        for number, verb in enumerate(every_verb(None)):
            # Each a link of its own: a server that failed is left alone for a moment.
            url = f"redis://127.0.0.1:{port}/{number}"
            store = RedisKeyStore(url, timeout_seconds=0.05, list_timeout_seconds=0.3)
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await every_verb(store)[verb]()
            waited = time.monotonic() - begun
            assert (0.25 if "list" in verb else 0.04) < waited < 3.0
            await store.aclose()
