"""What is begun while the ledger is away, where policies allow it, and how it is written down afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC

import pytest

from prodkit.budgets import Policies, Policy
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.problems import Problem
from prodkit.metering import keeper
from prodkit.metering.keeper import MAX_UNFINISHED, Unfinished
from tests.metering.metered import WHO, Bench

DENY = Policy("hard", "tenant", "day", "1.00")
ALLOW = Policy("soft", "tenant", "day", "1.00", hard=False, on_store_error="allow")
CAPPED = Policy("capped", "tenant", "day", "1.00", on_store_error="allow_with_cap", outage_cap_usd="0.000009")
TOKENS = Policy("tokens", "tenant", "day", unit="tokens", limit=1000, on_store_error="allow")


def bench(*policies, **options):
    """A meter under *policies* whose ledger is away."""
    one = Bench(Policies(policies, UTC), **options)
    one.ledger.down |= {"reserve", "draw", "settle", "presume", "release", "accounts"}
    return one


async def back(one):
    """The ledger answers again, and has heard everything."""
    one.ledger.down.clear()
    for _ in range(3):
        await one.meter.keeper.beat()
    assert one.meter.keeper.unfinished == 0


async def settled(one, policy):
    """What was spent in the tenant's budget; nothing is held."""
    (account,) = await one.ledger.accounts([policy.ask(f"{policy.name}:acme", UTC, one.clock.wall())])
    assert account.held_nano == 0
    return account.settled_nano


@pytest.mark.parametrize("policies", [(DENY,), (ALLOW, DENY), (CAPPED, DENY)], ids=str)
async def test_one_budget_that_denies_is_enough(policies):
    """Whatever the others allow: 503, and nothing is begun."""
    one = bench(*policies)
    for begin in (one.open(5000), one.meter.operation(5000, attributes=WHO).__aenter__()):
        with pytest.raises(Problem) as refused:
            await begin
        assert refused.value.status_code == 503
    await back(one)
    assert await one.charged() == 0


async def test_without_any_budget_the_setting_decides():
    """Denied unless the operator said otherwise."""
    one = bench()
    with pytest.raises(Problem):
        await one.open(5000)
    tolerant = bench(on_store_error="allow")
    async with await tolerant.open(5000) as envelope:
        assert envelope.is_unwritten
        await (await envelope.call(900)).settle(700)
    await back(tolerant)
    assert await tolerant.charged() == 700


async def test_what_was_spent_meanwhile_is_written_down_once():
    """Calls of every end, in the budget and window they began in; repeats and corrections included."""
    one = bench(ALLOW, TOKENS)
    async with await one.meter.open(
        "run", amount_nano=10_000, attributes=WHO, units={"tokens": 50}
    ) as envelope:
        done = await envelope.call(1000, units={"tokens": 10}, attributes={"sku": "s"})
        await done.settle(700, units={"tokens": 6})
        await done.settle(700, units={"tokens": 6})
        nothing = await envelope.call(1000)
        await nothing.settle_nothing()
        corrected = await envelope.call(1000, units={"tokens": 20})
        await corrected.presume()
        await corrected.settle(400, units={"tokens": 5})
        unknown = await envelope.call(2000, units={"tokens": 20})
    assert envelope.charged_nano == 3100
    assert unknown.state == "presumed"
    async with one.meter.operation(300, attributes=WHO, units={"tokens": 1}) as call:
        await call.settle(200, units={"tokens": 1})
    await back(one)
    assert await settled(one, ALLOW) == 3300
    assert await settled(one, TOKENS) == 6 + 5 + 20 + 1
    assert await one.charged() == 3300
    entries = await one.ledger.entries()
    assert {entry.kind for entry in entries} == {"manual"}
    assert all(
        "ledger was away" not in entry.reason or entry.attributes["agent"] == "search" for entry in entries
    )
    assert sorted(entry.amount_nano for entry in entries) == [-600, 0, 200, 700, 1000, 2000]
    assert await one.ledger.rebuild() == 0
    assert sum(event.amount_nano for event in one.events) == 3300


async def test_a_cap_bounds_what_a_process_begins_in_one_outage():
    """As reserved, not as spent; with the ledger back it begins anew."""
    one = bench(CAPPED)
    for _ in range(2):
        async with one.meter.operation(4000, attributes=WHO) as call:
            await call.settle(1)
    with pytest.raises(Problem) as refused:
        await one.open(4000)
    assert refused.value.status_code == 503
    await back(one)
    async with one.meter.operation(4000, attributes=WHO) as call:
        await call.settle(1)
    one.ledger.down.add("reserve")
    async with one.meter.operation(9000, attributes=WHO) as call:
        one.ledger.down.clear()
        await call.settle(1)
    assert await settled(one, CAPPED) == 4


async def test_nothing_is_begun_that_could_not_be_kept():
    """When too much waits for the ledger already, what would have to wait too is refused."""
    one = bench(ALLOW)
    for number in range(MAX_UNFINISHED // 2):
        one.meter.keeper.later(Unfinished("release", f"h{number}", certain=False))
    with pytest.raises(Problem):
        await one.open(1)


async def test_an_impossible_call_is_refused_as_with_the_ledger():
    """An argument that the ledger would not take later is not taken now."""
    one = bench(ALLOW)
    async with await one.open(1000) as envelope:
        with pytest.raises(ValueError, match="attribute"):
            await envelope.call(1, attributes={"colour": "red"})
    await back(one)
    assert await one.charged() == 0


async def test_decisions_without_the_ledger_are_counted():
    """As unwritten, by policy."""
    one = bench(ALLOW)
    async with one.meter.operation(1, attributes=WHO) as call:
        await call.settle(1)
    samples = {tuple(sample.labels.values()) for sample in one.meter.tally.samples()}
    assert ("soft", "unwritten") in samples


async def test_a_run_that_is_under_way_does_not_spend_what_could_not_be_kept(monkeypatch):
    """Of a long run no call leaves whose cost would have no place to wait in: it would be lost, not only late."""
    monkeypatch.setattr(keeper, "MAX_UNFINISHED", 10)
    bench = Bench(on_store_error="allow")
    bench.ledger.down.add("reserve")
    envelope = await bench.open(1_000_000)

    async def away(*_, **__):
        raise StoreUnavailableError("adjust")

    with monkeypatch.context() as patched:
        patched.setattr(bench.ledger, "adjust", away)
        while not bench.meter.keeper.is_crowded:
            await (await envelope.call(10)).settle(10)
        with pytest.raises(Problem) as caught:
            await envelope.call(10)
    assert caught.value.status_code == 503
    await bench.meter.keeper.beat()
    assert await bench.charged() == envelope.charged_nano > 0
    await bench.meter.aclose()


async def test_the_end_writes_down_first_what_nothing_else_knows(monkeypatch):
    """There are seconds for it, and what is only held is given back by its lease."""
    one = bench(ALLOW)

    async def away(*_, **__):
        raise StoreUnavailableError("adjust")

    with monkeypatch.context() as patched:
        patched.setattr(one.ledger, "adjust", away)
        for number in range(3):
            async with await one.open(name=f"run_{number}") as envelope:
                await (await envelope.call(10)).settle(10)
    one.ledger.gates["release"] = asyncio.Event()
    one.ledger.down.clear()
    ending = asyncio.create_task(one.meter.aclose())
    while "release" not in one.ledger.said:
        await asyncio.sleep(0)
    assert await one.charged() == 30
    one.ledger.gates["release"].set()
    await ending
