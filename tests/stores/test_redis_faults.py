"""The link to a Redis that is not well: killed, stopped, slow, resetting, restarted, failed over, resharded.

Everywhere: no call takes longer than its bound, nobody gets somebody else's answer, and it comes back by itself.
"""

from __future__ import annotations

import asyncio

import pytest

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_node import MOST_CONNECTIONS
from tests.stores.redis_scripts import COUNT, ECHO
from tests.stores.redis_watch import Watch
from tests.support.fault_proxy import fault_proxy
from tests.support.valkey import running_valkey, shared_valkey

pytestmark = pytest.mark.process

# ---------------------------------------------------------------------------------------------------- one server


async def test_killed_and_restarted():
    """Its scripts are gone with it, and are sent again."""
    with running_valkey() as server:
        async with Watch(RedisLink(server.url)) as watch:
            await watch.until(good=True)
            server.kill()
            assert await watch.calls(20) == 0
            server.start()
            await watch.until(good=True)
            assert await watch.calls(20) == 20


async def test_stopped_and_continued():
    """The kernel goes on accepting for it; answers that come late are nobody's."""
    with running_valkey() as server:
        async with Watch(RedisLink(server.url)) as watch:
            await watch.until(good=True)
            server.pause()
            try:
                assert await watch.calls(50) == 0
                for _ in range(5):
                    assert not await watch.call()
            finally:
                server.resume()
            await watch.until(good=True)
            assert await watch.calls(50) == 50


async def test_a_server_that_is_left_alone_costs_no_time():
    """After five failures in a row nobody waits for it."""
    with running_valkey() as server:
        async with Watch(RedisLink(server.url)) as watch:
            await watch.until(good=True)
            server.pause()
            try:
                await watch.calls(5)
                watch.longest = 0.0
                assert await watch.calls(200) == 0
                assert watch.longest < 0.05 + watch.lag
            finally:
                server.resume()


FAULTS = {
    "slow answers": lambda proxy: setattr(proxy.to_client, "delay", 1.0),
    "slow questions": lambda proxy: setattr(proxy.to_server, "delay", 1.0),
    "answers that trickle": lambda proxy: setattr(proxy.to_client, "bytes_per_second", 20.0),
    "answers that do not come": lambda proxy: setattr(proxy.to_client, "blackhole", True),
    "questions that do not arrive": lambda proxy: setattr(proxy.to_server, "blackhole", True),
    "answers that stop in the middle": lambda proxy: setattr(proxy.to_client, "drop_after", 7),
    "questions that stop in the middle": lambda proxy: setattr(proxy.to_server, "drop_after", 7),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_line_that_fails_and_heals(valkey_port, fault):
    """Whichever way it fails, on a connection that was good before."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        FAULTS[fault](proxy)
        assert await watch.calls(20) == 0
        assert not await watch.call()
        proxy.heal()
        await watch.until(good=True)
        assert await watch.calls(20) == 20


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_line_that_fails_before_anything_was_said(valkey_port, fault):
    """There is no connection yet, and connecting takes no longer than the bound either."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(f"{proxy.url}/1")) as watch:
        FAULTS[fault](proxy)
        assert await watch.calls(10) == 0
        proxy.heal()
        await watch.until(good=True)
        assert await watch.calls(10) == 10


async def test_a_connection_that_leads_nowhere_is_replaced(valkey_port):
    """As after a router forgot it: nobody says that it is dead, and a new one would be good."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        proxy.freeze()
        assert not await watch.call()
        assert await watch.call()
        assert await watch.calls(20) == 20


async def test_connections_that_are_reset(valkey_port):
    """Who waits is told at once, and the next connects again."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        for _ in range(3):
            await watch.until(good=True)
            proxy.to_client.blackhole = True
            waiting = asyncio.ensure_future(watch.calls(10))
            await asyncio.sleep(0.02)
            proxy.reset()
            assert await waiting == 0
            proxy.heal()
        await watch.until(good=True)
        assert await watch.calls(10) == 10


async def test_a_server_that_refuses(valkey_port):
    """As a firewall, or a server with too many clients."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        proxy.refuse = True
        assert await watch.calls(10) == 0
        proxy.heal()
        await watch.until(good=True)


async def test_a_server_that_says_nothing_more_will_come(valkey_port):
    """Half a connection is none."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        proxy.half_close()
        await watch.until(good=True)
        assert await watch.calls(10) == 10


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n"], ids=["another protocol", "unasked"]
)
async def test_answers_that_cannot_be_matched_end_the_connection(valkey_port, data):
    """Else every later caller had the answer of the one before."""
    async with fault_proxy(valkey_port) as proxy:
        link = RedisLink(proxy.url, timeout_seconds=5.0)
        assert await link.run(ECHO, ["k"], [0]) == [b"k", b"0"]
        proxy.cut_answers(data)
        await asyncio.sleep(0.02)
        assert await link.run(ECHO, ["k"], [1]) == [b"k", b"1"]
        assert proxy.accepted == 2
        answers = await asyncio.gather(*(link.run(ECHO, ["k"], [n]) for n in range(20)))
        assert answers == [[b"k", b"%d" % n] for n in range(20)]
        await link.aclose()


async def test_jitter_loses_nothing(valkey_port):
    """Answers come late and bunched, each to whom it belongs."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url, timeout_seconds=5.0)) as watch:
        proxy.to_client.jitter = 0.01
        assert await watch.calls(200) == 200


async def test_an_outage_opens_no_more_than_a_handful_of_connections(valkey_port):
    """However many callers there are, and however long it lasts; the rest is closed when it is over."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        proxy.to_client.blackhole = True
        for _ in range(5):
            assert not await watch.call()
        for _ in range(12):
            await watch.calls(100)
            await asyncio.sleep(0.2)
            assert proxy.open <= MOST_CONNECTIONS
        proxy.heal()
        await watch.until(good=True)
        assert proxy.open <= MOST_CONNECTIONS


async def test_a_patient_caller_is_not_cut_off_by_an_impatient_one(valkey_port):
    """They share a connection, but not a fate."""
    async with fault_proxy(valkey_port) as proxy:
        link = RedisLink(proxy.url, timeout_seconds=5.0)
        await link.run(ECHO, ["k"], [0])
        proxy.to_client.delay = 0.2
        patient = asyncio.ensure_future(link.run(ECHO, ["k"], [1]))
        with pytest.raises(StoreUnavailableError, match="in time"):
            await link.run(ECHO, ["k"], [2], timeout_seconds=0.05)
        assert await patient == [b"k", b"1"]
        await link.aclose()


async def test_storms_of_cancellation_over_a_bad_line(valkey_port):
    """Whoever is left gets its own answer or an error, and nothing stays open."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        for turn in range(30):
            proxy.to_client.delay = 0.03 * (turn % 3)
            proxy.to_client.blackhole = turn % 5 == 4
            tasks = [asyncio.ensure_future(watch.call(f"k{n}")) for n in range(40)]
            await asyncio.sleep(0.002 * (turn % 4))
            for task in tasks[turn % 2 :: 2]:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                assert task.cancelled() or task.exception() is None
        proxy.heal()
        await watch.until(good=True)
        assert await watch.calls(40) == 40


async def test_a_thousand_callers_meet_a_server_that_stops(valkey_port):
    """All are answered within the bound, and all again when it is back."""
    async with fault_proxy(valkey_port) as proxy, Watch(RedisLink(proxy.url)) as watch:
        await watch.until(good=True)
        proxy.to_server.blackhole = True
        assert await watch.calls(1000) == 0
        proxy.heal()
        await watch.until(good=True)
    assert watch.bad >= 1000


async def test_scripts_that_are_flushed_under_load_count_once():
    """Again and again, while calls are under way."""
    with running_valkey() as server:
        link = RedisLink(server.url, timeout_seconds=5.0)
        calls = [asyncio.ensure_future(link.run(COUNT, ["n"], [1])) for _ in range(300)]
        for _ in range(5):
            await asyncio.sleep(0)
            await asyncio.to_thread(server.ask, "SCRIPT", "FLUSH")
            calls += [asyncio.ensure_future(link.run(COUNT, ["n"], [1])) for _ in range(20)]
        assert sorted(await asyncio.gather(*calls)) == list(range(1, 401))
        await link.aclose()


async def test_a_server_that_loads_its_data_may_be_asked_later():
    """It says so at once; that is no reason to leave it alone for longer."""
    serving = []

    async def load(reader, writer):
        serving.append(asyncio.current_task())
        while await reader.read(65536):
            writer.write(b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(load, "127.0.0.1", 0)
    link = RedisLink(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_seconds=5.0)
    for _ in range(10):
        with pytest.raises(StoreUnavailableError, match="answered LOADING"):
            await link.run(ECHO, ["k"], [1])
    await link.aclose()
    server.close()
    await asyncio.gather(*serving)


@pytest.fixture
def valkey_port():
    return shared_valkey().port
