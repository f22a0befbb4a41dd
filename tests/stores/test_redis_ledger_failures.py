"""The ledger in Redis when something is wrong: accounts that do not add up, data of others, servers that fail."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.ledger import BudgetAsk
from prodkit.stores.redis_ledger import RedisLedger
from prodkit.stores.redis_ledger_values import ALL
from tests.stores.redis_ledgers import *  # noqa: F403  fixtures
from tests.stores.redis_ledgers import (
    ENTRIES,
    EVER,
    HELD,
    HOLDS,
    INDEX,
    LIMITS,
    READS,
    SETTLED,
    VERBS,
    T,
    asked,
    emptied,
    every_verb,
    everything,
    prepare,
)
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.process


# ------------------------------------------------------------------------------------------- rebuild


async def test_rebuild_makes_wrong_accounts_right(server, ledger):
    """Whatever was done to them: changed, invented, forgotten or replaced by what is no number."""
    await prepare(ledger)
    asks = [BudgetAsk(name, 0, None, None) for name in ("a", "b", "c", "ä/\n")]
    await ledger.reserve(asked("x", 5, *asks, dispatched=True))
    await ledger.settle("x", 4)
    await ledger.reserve(asked("y", 3, *asks))
    right = await ledger.accounts([T, *asks])
    server.ask("HSET", SETTLED, "0:a", "5")
    server.ask("HDEL", SETTLED, "0:b")
    server.ask("HSET", HELD, "0:b", "99")
    server.ask("HDEL", HELD, "0:c")
    server.ask("HSET", SETTLED, "0:ä/\n", "garbage")
    server.ask("HSET", SETTLED, "7:invented", "1")
    server.ask("HSET", HELD, "7:invented", "1")
    assert await ledger.rebuild() == 5
    assert await ledger.accounts([T, *asks]) == right
    assert await ledger.accounts([BudgetAsk("invented", 7, None, None)]) == [
        replace(right[0], budget="invented", window_start=7, settled_nano=0, held_nano=0)
    ]
    assert await ledger.rebuild() == 0


async def test_rebuild_while_others_spend(server, ledger):
    """It finds what is wrong and nothing else, over several pages, and loses nothing that is charged meanwhile."""
    accounts = [BudgetAsk(f"b{number}", 0, None, None) for number in range(450)]
    for number in range(900):
        await ledger.adjust(f"m{number}", 2, reason="r", asks=accounts[number % 450 :: 450])
    quota = BudgetAsk("quota", 0, None, None, "tokens")
    server.ask("HSET", SETTLED, "0:b7", "1")
    server.ask("HSET", SETTLED, "0:b449", "1")
    ended = False

    async def spend(name):
        number = 0
        while not ended:
            asks = (*accounts[number % 450 :: 450], quota)
            await ledger.reserve(asked(f"{name}{number}", 3, *asks, dispatched=True, units={"tokens": 9}))
            await ledger.settle(f"{name}{number}", 2, units={"tokens": 7})
            number += 1
        return number

    spending = [asyncio.create_task(spend(name)) for name in "xyz"]
    found = await ledger.rebuild()
    ended = True
    made = await asyncio.gather(*spending)
    assert found == 2
    assert min(made) > 0
    assert sum(one.settled_nano for one in await ledger.accounts(accounts)) == 900 * 2 + 2 * sum(made)
    (account,) = await ledger.accounts([quota])
    assert (account.settled_nano, account.held_nano) == (7 * sum(made), 0)
    assert await ledger.rebuild() == 0


# ------------------------------------------------------------------------------------------- what is not ours, and what fails


@pytest.mark.parametrize("key", ALL)
async def test_names_that_another_program_uses(server, clock, key):
    """Each verb says so in an error of ours or does without that name; and what it refuses changes nothing."""
    reached = []
    for name in VERBS:
        ledger = emptied(server, clock)
        await prepare(ledger)
        server.ask("DEL", key)
        server.ask("SET", key, "s-e-c-r-e-t")
        before = everything(server)
        try:
            await every_verb(ledger)[name]()
        except StoreIncompatibleError as error:
            reached.append(str(error))
            assert everything(server) == before, name
        with pytest.raises(StoreIncompatibleError, match="another program"):
            await ledger.check()
        await ledger.aclose()
    assert reached
    assert not any("s-e-c-r-e-t" in text for text in reached)


@pytest.mark.parametrize("garbage", ["", "s-e-c-r-e-t", "held 0 1", "held 0 1.5 0 0 1e9 0\n\n[]\n{}"])
async def test_garbage_in_the_place_of_a_hold(server, ledger, garbage):
    """Texts that no ledger wrote are an error of ours, without what stands in them; and change nothing."""
    await prepare(ledger)
    for hold in ("h", "d", "run"):
        server.ask("HSET", HOLDS, hold, garbage)
    before = everything(server)
    for name in ("draw", "dispatch", "settle", "release", "presume", "find", "open_holds"):
        with pytest.raises(StoreIncompatibleError, match="another program") as caught:
            await every_verb(ledger)[name]()
        assert "s-e-c-r-e-t" not in str(caught.value)
    assert everything(server) == before


@pytest.mark.parametrize(
    "garbage", ["", "s-e-c-r-e-t", "settled 1 1e9 0", 'settled 1 1e9 0\n"x"\n{}\n\n[\n""', "\xff"]
)
async def test_garbage_in_the_place_of_an_entry(server, ledger, garbage):
    """As of a hold, for all that read entries."""
    await prepare(ledger)
    server.ask("XADD", ENTRIES, "3-0", "entry", garbage.encode("latin-1"))
    server.ask("HSET", INDEX, "last", "3")
    for verb in (ledger.entries, ledger.rebuild, lambda: ledger.usage(replace(EVER, group_by=("tenant",)))):
        with pytest.raises(StoreIncompatibleError, match="another program") as caught:
            await verb()
        assert "s-e-c-r-e-t" not in str(caught.value)


@pytest.mark.parametrize(("key", "name"), [(SETTLED, "0:tenant"), (HELD, "0:tenant"), (LIMITS, "tenant")])
async def test_garbage_in_an_account(server, ledger, key, name):
    """No verb that counts there goes on: not even in its other accounts."""
    await prepare(ledger)
    for garbage in ("-1", "1.5", "", "many"):
        server.ask("HSET", key, name, garbage)
        before = everything(server)
        with pytest.raises(StoreIncompatibleError):
            await ledger.reserve(asked("x", 1, BudgetAsk("first", 0, None, None), T))
        if key != LIMITS:
            for verb in ("settle", "release", "presume", "adjust"):
                with pytest.raises(StoreIncompatibleError):
                    await every_verb(ledger)[verb]()
        assert everything(server) == before


async def test_a_full_memory_is_no_half_verb(clock):
    """A server that takes no more refuses a verb before it has changed anything, and says it may pass."""
    with running_valkey() as server:
        for name in VERBS:
            ledger = emptied(server, clock)
            await prepare(ledger)
            before = everything(server)
            server.ask("CONFIG", "SET", "maxmemory", "1")
            try:
                await every_verb(ledger)[name]()
            except StoreUnavailableError:
                assert everything(server) == before, name
                assert name not in READS
            else:
                assert name in {*READS, "reap", "rebuild", "finish_alert"}, name
            server.ask("CONFIG", "SET", "maxmemory", "0")
            await ledger.aclose()


async def test_a_server_that_does_not_answer(clock):
    """Each verb gives up within its bound, with an error that says it may pass; then it can be said again."""
    with running_valkey() as server:
        ledger = RedisLedger(server.url, clock=clock, timeout_seconds=0.1, report_timeout_seconds=0.1)
        await prepare(ledger)
        server.pause()
        try:
            for name, verb in every_verb(ledger).items():
                started = time.monotonic()
                with pytest.raises(StoreUnavailableError):
                    await verb()
                assert time.monotonic() - started < 1.0, name
        finally:
            server.resume()
        await _until_it_answers(ledger)
        assert await ledger.rebuild() == 0
        assert (await ledger.find("h")).state == "held"
        await ledger.aclose()


async def _until_it_answers(ledger):
    end = time.monotonic() + 20.0
    while True:
        try:
            return await ledger.find("h")
        except StoreUnavailableError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def test_check_asks_for_a_server_that_keeps_what_is_written(clock):
    """One that evicts is refused: it would forget what was spent."""
    with running_valkey({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}) as server:
        ledger = RedisLedger(server.url, clock=clock, timeout_seconds=2.0)
        with pytest.raises(StoreIncompatibleError, match="maxmemory"):
            await ledger.check()
        await ledger.aclose()
