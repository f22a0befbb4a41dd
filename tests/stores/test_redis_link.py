"""The link to a Redis that is well."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import hashlib
import os
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.exceptions import ResponseError

from prodkit.core.exceptions import SettingsError, StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.redis_connection import Credentials, code_of, connect
from prodkit.stores.redis_inspection import judge
from prodkit.stores.redis_link import RedisLink, Script
from prodkit.stores.redis_node import MOST_CONNECTIONS
from prodkit.stores.redis_topology import slot_of
from prodkit.stores.redis_urls import parse
from tests.support.fault_proxy import fault_proxy
from tests.support.valkey import eventually, running_valkey, shared_cluster, shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

SECRET = "hunter2"


def lua(text):
    return Script("test", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ECHO = lua("return {KEYS[1], ARGV[1]}")
COUNT = lua("return redis.call('INCRBY', KEYS[1], ARGV[1])")


def connections():
    """How many of ours the shared server has open."""
    return str(shared_valkey().ask("CLIENT", "LIST")).count(" name=prodkit ")


@pytest.fixture
async def link(valkey):
    made = RedisLink(valkey, timeout_seconds=5.0)
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed", "OOM"),
        ("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not", "OOM"),
        ("WRONGTYPE Operation against", "WRONGTYPE"),
        ("ERR no such thing", "ERR"),
    ],
)
def test_the_kind_of_an_error_is_found_inside_of_an_older_servers_words(text, code):
    """Redis 6.2 wraps what a script met."""
    assert code_of(ResponseError(text)) == code


# ------------------------------------------------------------------------------------------------------ answers


async def test_scripts_return_what_they_return(link):
    """Numbers, bytes, nothing and lists, and arguments of every type arrive."""
    assert await link.run(ECHO, ["k"], ["é"]) == [b"k", "é".encode()]
    assert await link.run(ECHO, ["k"], [b"\x00\r\n"]) == [b"k", b"\x00\r\n"]
    assert await link.run(COUNT, ["n"], [41]) == 41
    assert await link.run(lua("return nil"), ["n"]) is None
    assert await link.run(lua("return {1, {2, 'x'}, {}}"), []) == [1, [2, b"x"], []]


async def test_a_real_redis_answers_as_well(redis_server):
    """The other make of server."""
    link = RedisLink(redis_server, timeout_seconds=5.0)
    assert await link.run(COUNT, ["n"], [2]) == 2
    assert (await link.check()).status == "healthy"
    await link.aclose()


async def test_an_unknown_script_is_sent_once_and_counts_once(link):
    """As after a restart or SCRIPT FLUSH."""
    server = shared_valkey()
    assert await link.run(COUNT, ["n"], [1]) == 1
    server.ask("SCRIPT", "FLUSH")
    assert await link.run(COUNT, ["n"], [1]) == 2
    server.ask("CONFIG", "RESETSTAT")
    assert await link.run(COUNT, ["n"], [1]) == 3
    assert {name: n for name, n in server.commands().items() if name.startswith("eval")} == {"evalsha": 1}


async def test_a_mistake_of_the_script_is_its_callers(link):
    """It is not an outage: nobody else is refused for it."""
    shared_valkey().ask("RPUSH", "list", "x")
    for _ in range(10):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await link.run(COUNT, ["list"], [1])
    assert await link.run(COUNT, ["n"], [1]) == 1


async def test_an_error_inside_of_a_list_is_handed_over(link):
    """One of many that travel together fails alone."""
    shared_valkey().ask("RPUSH", "list", "x")
    both = lua("return {redis.pcall('INCR', KEYS[1]), redis.pcall('INCR', KEYS[2])}")
    bad, good = await link.run(both, ["list", "n"])
    assert isinstance(bad, ResponseError)
    assert good == 1


async def test_a_thousand_callers_share_a_few_connections(link):
    """And each gets its own answer."""
    answers = await asyncio.gather(*(link.run(ECHO, [f"k{n}"], [n]) for n in range(1000)))
    assert answers == [[b"k%d" % n, b"%d" % n] for n in range(1000)]
    assert connections() <= MOST_CONNECTIONS


async def test_many_travel_together_and_each_has_its_own_answer(link):
    """An error is an answer too."""
    shared_valkey().ask("RPUSH", "list", "x")
    calls = [(COUNT, ["a"], [1]), (COUNT, ["list"], [1]), (ECHO, ["b"], ["x"])]
    first, second, third = await link.run_many(calls)
    assert (first, third) == (1, [b"b", b"x"])
    assert isinstance(second, ResponseError)
    assert isinstance((await link.run_many(calls[1:2]))[0], ResponseError)


async def test_those_who_are_cancelled_leave_nobody_a_wrong_answer(link):
    """Storms of cancellation, at every moment of a call."""
    await link.run(ECHO, ["k"], ["x"])
    for round_ in range(20):
        tasks = [asyncio.ensure_future(link.run(ECHO, [f"{round_}"], [n])) for n in range(50)]
        for turn in range(round_ % 4):
            await asyncio.sleep(0 if turn else 0.0005)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for n, answer in enumerate(answers):
            if n % 2 or not isinstance(answer, asyncio.CancelledError):
                assert answer == [b"%d" % round_, b"%d" % n]


# ------------------------------------------------------------------------------------------------ loops and forks


def test_event_loops_come_and_go(valkey):
    """One that ended without closing leaves nothing behind, and hurts no other."""
    link = RedisLink(valkey, timeout_seconds=5.0)
    for n in range(5):
        assert asyncio.run(link.run(COUNT, ["n"], [1])) == n + 1
    assert len(link._places) == 1  # the last one; each is cleared away when the next comes
    asyncio.run(_closing(link))
    gc.collect()
    eventually(lambda: connections() == 0)


def test_an_event_loop_of_another_make(valkey):
    """As servers use it."""
    link = RedisLink(valkey, timeout_seconds=5.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_closing(link, 1))
        answers = runner.run(_together(link, 100))
    assert answers == [[b"k", b"%d" % n] for n in range(100)]
    eventually(lambda: connections() == 0)


async def _together(link, count):
    return await asyncio.gather(*(link.run(ECHO, ["k"], [n]) for n in range(count)))


def test_two_event_loops_at_once(valkey):
    """In two threads; each has connections of its own."""
    link = RedisLink(valkey, timeout_seconds=5.0)

    def work(_):
        return asyncio.run(_together(link, 200))

    with ThreadPoolExecutor(2) as pool:
        for answers in pool.map(work, range(2)):
            assert answers == [[b"k", b"%d" % n] for n in range(200)]
    eventually(lambda: connections() == 0)


async def _closing(link, count=6):
    assert await link.run(COUNT, ["n"], [1]) == count
    await link.aclose()
    await link.aclose()
    assert await link.run(ECHO, ["again"], [1]) == [b"again", b"1"]
    await link.aclose()


async def test_closing_answers_who_waits(valkey):
    """With an error, not with silence."""
    async with fault_proxy(shared_valkey().port) as proxy:
        link = RedisLink(proxy.url, timeout_seconds=5.0)
        await link.run(ECHO, ["k"], [1])
        proxy.to_client.blackhole = True
        waiting = asyncio.ensure_future(link.run(ECHO, ["k"], [1]))
        await asyncio.sleep(0)
        await link.aclose()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await waiting


@pytest.mark.process
def test_a_forked_child_has_connections_of_its_own(valkey):
    """It neither reads its parent's answers nor closes its connection."""
    link = RedisLink(valkey, timeout_seconds=5.0)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(link.run(COUNT, ["n"], [1])) == 1
    hold, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(_closing(link, 2)) is None else 2
            os.close(let_go)
            os.read(hold, 1)
        finally:
            os._exit(code)
    os.close(hold)
    try:
        eventually(lambda: shared_valkey().ask("GET", "n") == "2")
        assert loop.run_until_complete(link.run(COUNT, ["n"], [1])) == 3
        eventually(lambda: connections() == 1)
        loop.run_until_complete(link.aclose())
    finally:
        os.close(let_go)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        loop.close()


def test_one_link_serves_a_whole_process(valkey):
    """Stores of one URL share it, as long as one of them lives."""
    one = RedisLink.shared(valkey)
    assert RedisLink.shared(valkey) is one
    assert RedisLink.shared(valkey, timeout_seconds=1.0) is not one


# ---------------------------------------------------------------------------------------------------------- URLs


def test_urls_say_where_and_who():
    """Each form once."""
    alone = parse(f"redis://user:{SECRET}%23@db.example/3")
    assert (alone.addresses, alone.credentials.db) == ((("db.example", 6379),), 3)
    assert (alone.credentials.username, alone.credentials.password) == ("user", SECRET + "#")
    assert parse("unix://:pw@/run/r.sock?db=2").addresses == (("/run/r.sock", 0),)
    guarded = parse(f"redis+sentinel://:{SECRET}@a,[::1]:7/main/1?sentinel_password=guard")
    assert guarded.addresses == (("a", 26379), ("::1", 7))
    assert (guarded.service, guarded.credentials.db, guarded.guards.password) == ("main", 1, "guard")
    assert parse("redis+cluster://a:1,b:2").kind == "cluster"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host/3",
        f"unix://:{SECRET}@/run/r.sock",
        f"redis+sentinel://u:{SECRET}@a/main?sentinel_password={SECRET}",
        f"rediss+cluster://u:{SECRET}@a:1",
    ],
)
def test_no_secret_is_shown(url):
    """Neither by a name nor by any representation."""
    link = RedisLink(url)
    assert SECRET not in link.name + repr(link) + repr(link._target) + repr(vars(link))


@pytest.mark.parametrize(
    "rest",
    [
        "http://host",
        "redis://",
        "redis://host:0",
        "redis://host:x",
        "redis://host:70000",
        "redis://host/x",
        "redis://host/1/2",
        "redis://a,b",
        "redis://host?speed=1",
        "redis://host?ssl_ca_certs=x",
        "rediss://host?ssl_cert_reqs=none",
        "rediss://host?ssl_cert_reqs=maybe",
        "rediss://host?ssl_ca_certs=/absent",
        "redis+sentinel://host",
        "redis+cluster://host/1",
        "unix://host/path",
        "redis://host#x",
        "redis://[::1",
    ],
)
def test_urls_that_mean_nothing_are_refused_without_being_shown(rest):
    """With the name of the setting, and what to do."""
    scheme, _, place = rest.partition("://")
    with pytest.raises(SettingsError, match="PRODKIT_STORE") as refused:
        parse(f"{scheme}://user:{SECRET}@{place}")
    assert SECRET not in str(refused.value)


def test_verification_is_off_only_where_it_was_allowed():
    """Code has to allow it, the URL alone cannot."""
    assert not parse(
        "rediss://host?ssl_cert_reqs=none", allow_unverified_tls=True
    ).credentials.tls.is_verified
    assert parse("rediss://host", allow_unverified_tls=True).credentials.tls.is_verified


def certificate(directory, *names):
    """A certificate that signs itself, for *names*; returns the file of it, and that with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca.pem").write_bytes(made)
    (directory / "both.pem").write_bytes(made + secret)
    return directory / "ca.pem", directory / "both.pem"


@pytest.mark.parametrize(
    ("name", "host", "known", "good"),
    [
        ("localhost", "localhost", True, True),
        ("other", "localhost", True, False),
        ("localhost", "127.0.0.1", True, False),
        ("localhost", "localhost", False, False),
    ],
)
async def test_tls_verifies_the_name_and_the_authority(valkey, tmp_path, name, host, known, good):
    """Whoever is not the server is told nothing."""
    authority, both = certificate(tmp_path, name)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(both)
    async with fault_proxy(shared_valkey().port, tls=server_side) as proxy:
        option = f"?ssl_ca_certs={authority}" if known else ""
        link = RedisLink(f"rediss://{host}:{proxy.port}{option}", timeout_seconds=5.0)
        if good:
            assert await link.run(ECHO, ["k"], ["x" * 100_000]) == [b"k", b"x" * 100_000]
        else:
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await link.run(ECHO, ["k"], ["x"])
        await link.aclose()


# --------------------------------------------------------------------------------------------------------- check


@pytest.mark.process
async def test_a_wrong_password_is_told_with_a_cure_and_without_the_password():
    """At the check, and at every call."""
    with running_valkey(password=SECRET) as server:
        for url in (f"redis://:wrong{SECRET}@127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}"):
            link = RedisLink(url, timeout_seconds=5.0)
            with pytest.raises(StoreUnavailableError, match="URL") as refused:
                await link.check()
            assert SECRET not in str(refused.value)
            await link.aclose()
        link = RedisLink(server.url, timeout_seconds=5.0)
        await link.check()
        await link.aclose()


@pytest.mark.process
async def test_a_user_who_may_not_write_is_told_so():
    """Reading alone is no store."""
    with running_valkey() as server:
        server.ask("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+get", "+client")
        link = RedisLink(f"redis://reader:{SECRET}@127.0.0.1:{server.port}", timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match="allow the user") as refused:
            await link.check()
        assert SECRET not in str(refused.value)
        await link.aclose()


@pytest.mark.process
async def test_a_user_who_may_not_see_info_is_good_enough():
    """As at some managed servers."""
    with running_valkey() as server:
        server.ask("ACL", "SETUSER", "app", "on", ">p", "~pk:*", "+eval", "+evalsha", "+set", "+del")
        link = RedisLink(f"redis://app:p@127.0.0.1:{server.port}", timeout_seconds=5.0)
        found = await link.check(durable=True)
        assert found.status == "healthy"
        assert "does not tell" in found.detail
        await link.aclose()


@pytest.mark.process
async def test_a_server_that_evicts_is_no_place_for_keys():
    """For limits it will do, with a warning."""
    with running_valkey(
        {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru", "appendonly": "yes"}
    ) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreIncompatibleError, match="noeviction"):
            await link.check(durable=True)
        assert (await link.check()).status == "degraded"
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert (await link.check(durable=True)).status == "healthy"
        await link.aclose()


async def test_a_server_without_a_log_forgets_at_a_restart(link):
    """Keys are there, but not for sure tomorrow."""
    found = await link.check(durable=True)
    assert found.status == "degraded"
    assert "appendonly" in found.detail
    assert (await link.check()).status == "healthy"


@pytest.mark.parametrize(
    ("version", "good"), [("6.0.16", False), ("6.2.0", True), ("7.2.4", True), ("10.0.0", True)]
)
def test_servers_that_are_too_old_are_refused(version, good):
    """By number, not by letter."""
    if good:
        assert judge("s", {"redis_version": version}, durable=False).status == "healthy"
    else:
        with pytest.raises(StoreIncompatibleError, match=r"6\.2"):
            judge("s", {"redis_version": version}, durable=False)


@pytest.mark.process
async def test_a_full_server_may_pass():
    """It says OOM inside of the script; more memory helps."""
    with running_valkey({"maxmemory": "1"}) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await link.run(lua("return redis.call('SET', KEYS[1], 'x')"), ["k"])
        await link.aclose()


@pytest.mark.process
async def test_who_was_a_master_is_asked_whether_it_still_is():
    """A Sentinel may not know yet."""
    with running_valkey() as server:
        address = ("127.0.0.1", server.port)
        await (await connect(address, Credentials(), master=True)).close()
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError, match="is a replica"):
            await connect(address, Credentials(), master=True)
        await asyncio.sleep(0)


@pytest.mark.process
async def test_a_replica_is_not_written():
    """Nobody's mistake, and it may pass."""
    with running_valkey({"replicaof": "127.0.0.1 1"}) as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        with pytest.raises(StoreUnavailableError, match=r"READONLY|MASTERDOWN"):
            await link.check()
        await link.aclose()


# ------------------------------------------------------------------------------------------------------- cluster


@pytest.mark.process
async def test_a_cluster_is_asked_where_the_key_is(valkey_cluster):
    """Without a redirection once the members are known."""
    cluster = shared_cluster()
    link = RedisLink(valkey_cluster, timeout_seconds=5.0)
    assert link.is_cluster
    keys = [f"{{{n}}}" for n in range(30)]
    assert [await link.run(COUNT, [key], [1]) for key in keys] == [1] * 30
    for key in keys:
        assert link.node_of(key) == f"127.0.0.1:{cluster.node_at(slot_of(key)).port}"
    assert len({link.node_of(key) for key in keys}) == 3
    assert await link.run_many([(COUNT, [key], [1]) for key in keys]) == [2] * 30
    assert (await link.check()).status == "healthy"
    await link.aclose()
