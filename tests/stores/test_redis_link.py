"""The link to a Redis that is well."""

from __future__ import annotations

import asyncio
import gc
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from redis.exceptions import ResponseError

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_connection import code_of
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_node import MOST_CONNECTIONS
from tests.stores.redis_scripts import COUNT, ECHO, lua
from tests.support.fault_proxy import fault_proxy
from tests.support.valkey import eventually, shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

SECRET = "hunter2"


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


async def test_nothing_is_opened_by_what_is_under_way_when_it_is_closed(valkey):
    """A health check asks several things one after the other; what it opened after the end, nobody would close."""
    refused = 0
    for tenths in range(1, 40):
        link = RedisLink(valkey, timeout_seconds=5.0)
        checking = [asyncio.ensure_future(link.check(durable=True)) for _ in range(MOST_CONNECTIONS)]
        await asyncio.sleep(tenths / 5_000)
        await link.aclose()
        outcomes = await asyncio.gather(*checking, return_exceptions=True)
        refused += sum(isinstance(one, StoreUnavailableError) and "closed" in str(one) for one in outcomes)
        assert link._places == {}
    assert refused > 0
    eventually(lambda: connections() == 0)


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
