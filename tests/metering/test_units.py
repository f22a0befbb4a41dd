"""Quotas in units beside money: held for a run, drawn by its calls, counted as delivered."""

from __future__ import annotations

import pytest

from prodkit.budgets import Policies, Policy
from prodkit.core.problems import Problem
from prodkit.metering import EnvelopeExhaustedError
from tests.metering.metered import WHO, Bench

TOKENS = Policy("tokens", "tenant", "day", unit="output_tokens", limit=1000)


def bench(*policies, **options):
    """A meter under *policies*."""
    from datetime import UTC

    return Bench(Policies(policies or (TOKENS,), UTC), **options)


async def standing(one, policy=TOKENS):
    """Settled and held of the tenant's quota."""
    from datetime import UTC

    ask = policy.ask(f"{policy.name}:acme", UTC, one.clock.wall())
    (account,) = await one.ledger.accounts([ask])
    return account.settled_nano, account.held_nano


async def test_a_run_holds_units_and_gives_back_what_it_did_not_use():
    """The envelope holds the most, its calls draw from it, and what was delivered is counted."""
    one = bench()
    async with await one.meter.open(
        "run", amount_nano=100, attributes=WHO, units={"output_tokens": 600}
    ) as envelope:
        assert await standing(one) == (0, 600)
        call = await envelope.call(40, units={"output_tokens": 400, "pages": 9})
        assert envelope.left_of("output_tokens") == 200
        assert envelope.left_of("pages") is None
        await call.settle(30, units={"output_tokens": 250, "pages": 2})
        assert await standing(one) == (250, 200)
    assert await standing(one) == (250, 0)
    assert envelope.units == {"output_tokens": 250, "pages": 2}


async def test_a_call_that_would_deliver_more_than_is_left_is_not_made():
    """Neither when the envelope knows, nor when only the ledger does; nothing is drawn by the attempt."""
    one = bench()
    envelope = await one.meter.open("run", amount_nano=100, attributes=WHO, units={"output_tokens": 600})
    await envelope.call(1, units={"output_tokens": 500})
    with pytest.raises(
        EnvelopeExhaustedError, match="101 output_tokens does not fit into the 100"
    ) as refused:
        await envelope.call(1, units={"output_tokens": 101})
    assert (refused.value.unit, refused.value.left_nano) == ("output_tokens", 100)
    envelope._drawn_units["output_tokens"] = 0  # as if another process had drawn what is gone
    with pytest.raises(EnvelopeExhaustedError) as refused:
        await envelope.call(1, units={"output_tokens": 101})
    assert (refused.value.unit, refused.value.left_nano) == ("output_tokens", 100)
    assert envelope.left_nano == 99
    await envelope.aclose()
    assert await standing(one) == (500, 0)


@pytest.mark.parametrize(
    ("asked", "spent", "status"), [(1001, 0, 422), (600, 500, 402), (600, None, 429)], ids=str
)
async def test_a_quota_refuses_like_a_budget(asked, spent, status):
    """More than there ever is, more than is left, more than is left while others hold some: three answers, in the unit."""
    one = bench()
    if spent is None:
        await one.meter.open("other", amount_nano=1, attributes=WHO, units={"output_tokens": 500})
    elif spent:
        async with one.meter.operation(1, attributes=WHO, units={"output_tokens": spent}) as call:
            await call.settle(1, units={"output_tokens": spent})
    with pytest.raises(Problem) as refused:
        await one.meter.open("run", amount_nano=1, attributes=WHO, units={"output_tokens": asked})
    assert refused.value.status_code == status
    told = refused.value.extensions
    assert (told["unit"], told["limit"], told["asked"]) == ("output_tokens", 1000, asked)
    assert not any(name.endswith("_usd") for name in told)
    assert one.meter.tally is not None
    assert ("Retry-After" in (refused.value.headers or {})) == (status == 429)


async def test_a_run_that_names_no_units_is_counted_afterwards():
    """It holds nothing; what its calls deliver counts, and what is used up refuses the next."""
    one = bench()
    async with await one.meter.open("run", amount_nano=10, attributes=WHO) as envelope:
        call = await envelope.call(5)
        await call.settle(5, units={"output_tokens": 1200})
    assert await standing(one) == (1200, 0)
    with pytest.raises(Problem) as refused:
        await one.meter.open("next", amount_nano=1, attributes=WHO)
    assert refused.value.status_code == 402


async def test_a_call_of_unknown_outcome_costs_the_units_it_held():
    """Until it is known: then the difference is given back, once."""
    one = bench()
    envelope = await one.meter.open("run", amount_nano=10, attributes=WHO, units={"output_tokens": 600})
    call = await envelope.call(5, units={"output_tokens": 600})
    await envelope.aclose()
    assert await standing(one) == (600, 0)
    await call.settle(3, units={"output_tokens": 10})
    assert await standing(one) == (10, 0)
    assert await one.ledger.rebuild() == 0


async def test_how_far_named_policies_are_used():
    """Of all that apply the fullest counts, of named ones the fullest of those, and of none that applies 0."""
    house = Policy("house", "application", "day", "0.0000001", hard=False)
    one = bench(TOKENS, house)
    async with await one.meter.open("run", amount_nano=90, attributes=WHO, units={"output_tokens": 200}):
        assert await one.meter.used_percent(WHO) == 90
        assert await one.meter.used_percent(WHO, policies={"tokens"}) == 20
        assert await one.meter.used_percent(WHO, policies={"tokens", "house"}) == 90
        assert await one.meter.used_percent(WHO, policies={"nobody"}) == 0
        assert await one.meter.used_percent(WHO, policies=()) == 0


async def test_nobody_knows_how_far_while_the_ledger_is_away():
    """A 503, and counted as the failure of the ledger that it is."""
    one = bench()
    one.ledger.down.add("accounts")
    with pytest.raises(Problem) as refused:
        await one.meter.used_percent(WHO)
    assert refused.value.status_code == 503
    samples = [found for found in one.meter.tally.samples() if found.name == "prodkit_ledger_errors_total"]
    assert [(sample.labels, sample.value) for sample in samples] == [({"verb": "accounts"}, 1)]
