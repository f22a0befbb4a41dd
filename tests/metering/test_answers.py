"""Answers that are paid for once, within one process: who pays, who waits, and what is noted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.metering import AnswerCache
from prodkit.stores.memory_cache import MemoryCacheStore
from tests.metering.answering import ANN, BOB, PRICE, Shop, question, settled


async def test_a_hundred_identical_calls_are_one():
    """One settled entry, 99 of kind cached, 99 times the price saved; nobody has paid but the one who bought."""
    shop = Shop()
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(100)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    answers = await asyncio.gather(*asking)
    assert shop.provider.calls == 1
    assert all(answer.value == {"results": ["a", "b"]} for answer in answers)
    assert sorted(answer.cost_nano for answer in answers) == [0] * 99 + [PRICE]
    assert sum(answer.saved_nano for answer in answers) == 99 * PRICE
    assert sum(answer.hit for answer in answers) == 99
    assert shop.outcomes() == {"miss": 1, "joined": 99}
    assert [entry.amount_nano for entry in await shop.entries("settled")] == [PRICE]
    cached = await shop.entries("cached")
    assert len({entry.hold for entry in cached}) == len(cached) == 99
    assert sum(entry.saved_nano for entry in cached) == 99 * PRICE
    assert {entry.amount_nano for entry in cached} == {0}
    assert await shop.charged() == PRICE
    assert await shop.is_at_rest()
    await shop.meter.aclose()


async def test_an_answer_that_was_bought_costs_nothing_until_it_expires():
    """It says so, and what it saved; then it is bought again."""
    shop = Shop()
    first, second = await shop.ask(), await shop.ask()
    assert (first.outcome, first.hit, first.cost_nano, first.saved_usd) == ("miss", False, PRICE, "0")
    assert (second.outcome, second.hit, second.cost_nano, second.saved_usd) == ("hit", True, 0, "0.000005")
    shop.clock.advance(61)
    assert (await shop.ask()).outcome == "miss"
    assert shop.provider.calls == 2
    assert (await shop.ask(ttl_seconds=5.0, q=question(n=1))).outcome == "miss"
    shop.clock.advance(6)
    assert (await shop.ask(q=question(n=1))).outcome == "miss"
    await shop.meter.aclose()


async def test_the_entry_says_whose_it_is_and_what_it_was():
    """Tenant, principal and run of the one who saved; model and units of what was bought; never those of the buyer."""
    shop = Shop(shared_by="tenant")
    await shop.ask(ANN)
    await shop.ask(BOB)
    (entry,) = await shop.entries("cached")
    named = {
        name: entry.attributes[name] for name in ("tenant", "principal", "agent", "provider", "sku", "model")
    }
    assert named == {
        "tenant": "acme",
        "principal": "bob",
        "agent": "search",
        "provider": "parallel",
        "sku": "search",
        "model": "fast",
    }
    assert (entry.saved_nano, entry.units) == (PRICE, {"sku_search": 1})
    values = {
        sample.name: (sample.labels, sample.value)
        for sample in shop.meter.tally.samples()
        if sample.name == "prodkit_cost_saved_usd_total"
    }
    assert values == {
        "prodkit_cost_saved_usd_total": (
            {"agent": "search", "provider": "parallel", "model": "fast"},
            PRICE / 1_000_000_000,
        )
    }
    await shop.meter.aclose()


async def test_nobody_is_given_what_another_principal_bought():
    """Unless sharing was said: within the tenant, or with everyone."""
    shop = Shop()
    eve = Principal(id="ann", kind="api_key", tenant="rivals")
    for who in (ANN, BOB, eve):
        assert (await shop.ask(who)).outcome == "miss"
    for who in (ANN, BOB):
        assert (await shop.ask(who, shared_by="tenant")).outcome == ("miss" if who is ANN else "hit")
    assert (await shop.ask(eve, shared_by="tenant")).outcome == "miss"
    assert (await shop.ask(ANN, shared_by="everyone")).outcome == "miss"
    assert (await shop.ask(eve, shared_by="everyone")).outcome == "hit"
    assert (await shop.ask(ANONYMOUS, shared_by="everyone")).outcome == "hit"
    await shop.meter.aclose()


async def test_callers_without_a_name_share_nothing():
    """Nobody knows whether they are one: each call is made."""
    shop = Shop()
    answers = await asyncio.gather(*(shop.ask(ANONYMOUS) for _ in range(3)))
    assert [answer.outcome for answer in answers] == ["bypassed"] * 3
    assert shop.provider.calls == 3
    assert await shop.entries("cached") == []
    await shop.meter.aclose()


async def test_nobody_can_change_what_others_are_given():
    """Each has an object of its own, the buyer too, and what the buyer's call goes on holding is nobody's."""
    shop = Shop()
    shop.provider.gate.clear()
    asking = [asyncio.create_task(shop.ask()) for _ in range(3)]
    await shop.provider.began.wait()
    shop.provider.gate.set()
    for answer in await asyncio.gather(*asking):
        answer.value["results"].clear()
    shop.provider.answer["results"].append("poison")
    assert (await shop.ask()).value == {"results": ["a", "b"]}
    await shop.meter.aclose()


async def test_an_answer_may_be_for_now_only():
    """Those who wait are given it, those who come later are not."""
    shop = Shop()

    async def partly(receipt: Any) -> Any:
        receipt.is_kept = False
        return await shop.provider(receipt)

    shop.provider.gate.clear()
    async with await shop.open(100_000, "run_x") as envelope:
        asking = [
            asyncio.create_task(shop.cache.get_or_call(question(), partly, principal=ANN, envelope=envelope))
            for _ in range(2)
        ]
        await shop.provider.began.wait()
        shop.provider.gate.set()
        assert sorted([answer.outcome for answer in await asyncio.gather(*asking)]) == ["joined", "miss"]
        assert envelope.saved_nano == PRICE
    assert (await shop.ask()).outcome == "miss"
    await shop.meter.aclose()


async def test_what_is_forgotten_is_bought_again():
    """The one that is there, and the one that is being bought: it is given to those who wait and not kept."""
    shop = Shop()
    await shop.ask()
    await shop.cache.forget(question(), principal=ANN)
    await shop.cache.forget(question(), principal=ANONYMOUS)
    shop.provider.gate.clear()
    shop.provider.began.clear()
    asking = asyncio.create_task(shop.ask())
    await shop.provider.began.wait()
    await shop.cache.forget(question(), principal=ANN)
    later = [asyncio.create_task(shop.ask()) for _ in range(2)]
    await settled()
    assert shop.provider.calls == 3, "a call that began before was joined"
    shop.provider.gate.set()
    assert (await asking).outcome == "miss"
    assert sorted(answer.outcome for answer in await asyncio.gather(*later)) == ["joined", "miss"]
    assert (await shop.ask()).outcome == "hit"
    assert shop.provider.calls == 3
    assert not shop.cache._under_way
    assert not shop.cache._forgotten
    await shop.meter.aclose()


async def test_what_was_paid_elsewhere_is_told_to_the_receipt():
    """Without an envelope there is nothing to draw from; what was saved is noted by the meter, under who asked."""
    shop = Shop()

    async def buy(receipt: Any) -> Any:
        with pytest.raises(LookupError):
            await receipt.call(1)
        with pytest.raises(ValueError, match="nobody pays"):
            receipt.paid(-1)
        receipt.paid(70, units={"tokens": 3}, attributes={"provider": "own", "model": "small", "tenant": "x"})
        return 1

    answers = [await shop.cache.get_or_call(question(), buy, principal=BOB) for _ in range(2)]
    assert [(one.outcome, one.cost_nano, one.saved_nano) for one in answers] == [
        ("miss", 70, 0),
        ("hit", 0, 70),
    ]
    (entry,) = await shop.entries("cached")
    assert (entry.saved_nano, entry.units) == (70, {"tokens": 3})
    assert {name: entry.attributes[name] for name in ("tenant", "principal", "key", "model")} == {
        "tenant": "acme",
        "principal": "bob",
        "key": "bob",
        "model": "small",
    }
    await shop.meter.aclose()


async def test_it_works_without_a_meter():
    """Then nothing is noted, and the answers say what they saved all the same."""
    cache = AnswerCache(MemoryCacheStore(), namespace="n", ttl_seconds=9)

    async def buy(receipt: Any) -> Any:
        receipt.paid(70)
        return [1]

    answers = [await cache.get_or_call(question(), buy, principal=BOB) for _ in range(2)]
    assert [(one.value, one.saved_nano) for one in answers] == [([1], 0), ([1], 70)]


@pytest.mark.parametrize("name", ["ttl_seconds", "lease_seconds", "wait_seconds"])
async def test_a_time_that_is_none_is_refused(name):
    """When the cache is made, or the question asked."""
    with pytest.raises(ValueError, match=name):
        Shop(**{name: 0})
    if name == "ttl_seconds":
        with pytest.raises(ValueError, match=name):
            await Shop().ask(ttl_seconds=-1)
