"""One call that is a run of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from prodkit.core.problems import Problem
from prodkit.metering import EnvelopeExhaustedError
from prodkit.stores.ledger import BudgetAsk
from tests.metering.metered import WHO, Bench

ALL = BudgetAsk("all:all", 0, None, 10_000)


class Resolver:
    """One budget for everything."""

    def asks(self, attributes, at):
        return (ALL,)


async def exposed(one):
    """Settled and held."""
    (account,) = await one.ledger.accounts([ALL])
    return account.settled_nano, account.held_nano


async def test_it_is_reserved_and_dispatched_in_one_write():
    """The block has a call that is written down; what it cost is settled, the rest given back."""
    one = Bench(Resolver())
    async with one.meter.operation(900, attributes=WHO, operation="op-1") as call:
        assert one.ledger.said == ["reserve"]
        (hold,) = await one.ledger.open_holds()
        assert (hold.id, hold.state, hold.attributes["operation"]) == (call.id, "dispatched", "op-1")
        await call.settle(700, units={"pages": 2})
    assert await exposed(one) == (700, 0)
    (event,) = one.events
    assert (event.kind, event.amount_nano, event.units) == ("settled", 700, {"pages": 2})
    (entry,) = await one.ledger.entries()
    assert (entry.attributes["operation"], entry.attributes["agent"]) == ("op-1", "search")


@pytest.mark.parametrize("how", ["silent", "raises", "cancelled"])
async def test_leaving_the_block_without_a_word_presumes_it(how):
    """Whatever ended it: the call had left, so it may be billed."""
    one = Bench(Resolver())

    async def body():
        async with one.meter.operation(900, attributes=WHO):
            if how == "raises":
                raise LookupError
            if how == "cancelled":
                await asyncio.sleep(60)

    task = asyncio.create_task(body())
    await asyncio.sleep(0.01)
    if how == "cancelled":
        task.cancel()
    with (
        pytest.raises((LookupError, asyncio.CancelledError)) if how != "silent" else contextlib.nullcontext()
    ):
        await task
    assert await exposed(one) == (900, 0)
    assert [event.kind for event in one.events] == ["presumed"]


async def test_what_was_said_in_the_block_holds_when_it_raises_afterwards():
    """Nothing is presumed that was settled, or provably not accepted."""
    one = Bench(Resolver())
    for say in ("settle", "settle_nothing"):
        with contextlib.suppress(LookupError):
            async with one.meter.operation(900, attributes=WHO) as call:
                await (call.settle(100) if say == "settle" else call.settle_nothing())
                raise LookupError
    assert await exposed(one) == (100, 0)


async def test_the_budget_is_asked():
    """What does not fit is not begun, and nothing is held for it."""
    one = Bench(Resolver())
    async with one.meter.operation(9_500, attributes=WHO) as call:
        with pytest.raises(Problem) as refused:
            async with one.meter.operation(501, attributes=WHO):
                pytest.fail("it was begun")
        assert refused.value.status_code == 429
        await call.settle(9_500)
    assert await exposed(one) == (9_500, 0)


async def test_it_can_be_drawn_from_an_envelope():
    """Then the budget is not asked again, and the envelope's rest is the bound."""
    one = Bench(Resolver())
    async with await one.open(1000) as envelope:
        async with one.meter.operation(800, attributes=WHO, envelope=envelope) as call:
            await call.settle(10)
        with pytest.raises(EnvelopeExhaustedError):
            async with one.meter.operation(201, attributes=WHO, envelope=envelope):
                pytest.fail("it was begun")
    assert await exposed(one) == (10, 0)


async def test_its_lease_is_extended_while_it_lasts():
    """A call that takes hours stays held; one that nobody holds any more loses its lease like a dead process's."""
    one = Bench(Resolver(), lease_seconds=60)
    long = one.meter.operation(900, attributes=WHO)
    await long.__aenter__()
    for _ in range(10):
        one.clock.advance(21)
        await one.meter.keeper.beat()
    assert await exposed(one) == (0, 900)
    del long
    gc.collect()
    one.clock.advance(61)
    await one.meter.keeper.beat()
    assert await exposed(one) == (900, 0)


@pytest.mark.parametrize("fault", ["down", "lost"])
async def test_a_reservation_that_was_not_answered_leaves_nothing_behind(fault):
    """Whether or not it was written down: nothing left, so nothing is charged once the ledger answers."""
    one = Bench(Resolver())
    getattr(one.ledger, fault).add("reserve")
    with pytest.raises(Problem) as refused:
        async with one.meter.operation(900, attributes=WHO):
            pytest.fail("it was begun")
    assert refused.value.status_code == 503
    getattr(one.ledger, fault).clear()
    await one.meter.keeper.beat()
    assert await exposed(one) == (0, 0)
    assert await one.is_at_rest()


async def test_cancelled_while_it_is_reserved_it_leaves_nothing_behind():
    """The reservation goes on by itself and is undone."""
    one = Bench(Resolver())
    one.ledger.gates["reserve"] = asyncio.Event()
    operation = one.meter.operation(900, attributes=WHO)
    task = asyncio.create_task(operation.__aenter__())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    one.ledger.gates["reserve"].set()
    await asyncio.sleep(0.01)
    await one.meter.keeper.beat()
    assert await exposed(one) == (0, 0)


async def test_what_is_open_here_is_counted_by_state():
    """Envelopes are held, calls dispatched; what is closed is not counted any more."""
    one = Bench(Resolver())

    async def counted():
        await one.meter.keeper.beat()
        return {
            sample.labels["state"]: sample.value
            for sample in one.meter.tally.samples()
            if sample.name == "prodkit_holds"
        }

    envelope = await one.open(5000)
    await envelope.call(10)
    async with one.meter.operation(10, attributes=WHO):
        assert await counted() == {"held": 1, "dispatched": 2}
    await envelope.aclose()
    assert await counted() == {"held": 0, "dispatched": 0}
