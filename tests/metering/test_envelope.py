"""Envelopes and calls: what is drawn, charged and given back, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio

import pytest

from prodkit.core.problems import Problem
from prodkit.metering import EnvelopeExhaustedError
from prodkit.stores.ledger import LedgerConflictError
from tests.metering.metered import Bench


async def test_a_call_is_durable_before_it_leaves():
    """When `call` returns, the ledger knows the hold as dispatched, with its own attributes and those of the run."""
    bench = Bench()
    envelope = await bench.open()
    call = await envelope.call(4000, attributes={"provider": "parallel", "model": "fast", "sku": "search"})
    hold = await bench.ledger.find(call.id)
    assert (hold.state, hold.parent, hold.amount_nano) == ("dispatched", "run_1", 4000)
    assert hold.attributes["agent"] == "search"
    assert hold.attributes["model"] == "fast"
    assert (envelope.left_nano, envelope.calls, envelope.charged_nano) == (6000, 1, 0)
    await envelope.aclose()


async def test_settling_charges_what_it_cost():
    """The actual amount is charged, the units are counted, and the unspent rest of the estimate is held no more."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        await call.settle(1500, units={"sku_search": 1}, attributes={"model": "served"})
        await call.settle(1500)
        assert (call.state, call.charged_nano) == ("settled", 1500)
    assert (envelope.charged_nano, envelope.presumed_nano) == (1500, 0)
    assert envelope.units == {"sku_search": 1}
    (entry,) = await bench.ledger.entries()
    assert (entry.amount_nano, entry.units, entry.attributes["model"]) == (1500, {"sku_search": 1}, "served")
    assert await bench.is_at_rest()


async def test_settling_twice_with_another_amount_is_a_conflict():
    """A second, different truth about a call is a mistake of the caller, and changes nothing."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        await call.settle(1500)
        with pytest.raises(LedgerConflictError):
            await call.settle(1600)
    assert envelope.charged_nano == await bench.charged() == 1500


async def test_what_was_not_accepted_costs_nothing():
    """A provable refusal charges 0, and what was drawn for it does not come back into the envelope."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        await call.settle_nothing()
        assert (envelope.charged_nano, envelope.left_nano) == (0, 6000)
    assert await bench.charged() == 0


async def test_more_than_the_estimate_is_charged_and_counted_as_overrun():
    """Nothing is hidden where a call cost more than was held for it."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(1000)
        await call.settle(2500)
    assert envelope.charged_nano == await bench.charged() == 2500
    assert bench.events[0].overrun_nano == 1500


async def test_leaving_presumes_what_nobody_ended():
    """A call without an outcome keeps its estimate; the rest of the envelope comes back."""
    bench = Bench()
    async with await bench.open() as envelope:
        await envelope.call(4000)
    assert (envelope.charged_nano, envelope.presumed_nano, envelope.left_nano) == (4000, 4000, 0)
    assert await bench.charged() == 4000
    assert await bench.is_at_rest()


async def test_a_late_answer_corrects_what_was_presumed():
    """After the envelope is closed a call may still be settled; the difference follows, and the sums agree."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
    await call.settle(1000)
    assert (envelope.charged_nano, envelope.presumed_nano) == (1000, 0)
    assert await bench.charged() == 1000
    assert [(event.kind, event.amount_nano) for event in bench.events] == [
        ("presumed", 4000),
        ("adjusted", -3000),
    ]


async def test_presuming_what_is_settled_changes_nothing():
    """The better knowledge wins in both orders."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        await call.settle(10)
        await call.presume()
    assert (call.state, envelope.charged_nano, await bench.charged()) == ("settled", 10, 10)


async def test_estimated_costs_are_told_apart():
    """`presumed_nano` is the part of the charge that is an estimate, also where a call was settled by one."""
    bench = Bench()
    async with await bench.open() as envelope:
        await (await envelope.call(4000)).settle(300, estimated=True)
        await (await envelope.call(4000)).settle(500)
    assert (envelope.charged_nano, envelope.presumed_nano) == (800, 300)


async def test_an_exhausted_envelope_says_by_how_much():
    """The caller can decide what it means: estimate and rest are on the error, and nothing was drawn."""
    bench = Bench()
    async with await bench.open() as envelope:
        await envelope.call(9000)
        with pytest.raises(EnvelopeExhaustedError) as refused:
            await envelope.call(1001)
        assert (refused.value.estimate_nano, refused.value.left_nano) == (1001, 1000)
        await envelope.call(1000)
        assert (envelope.left_nano, envelope.calls) == (0, 2)


async def test_a_closed_envelope_gives_nothing():
    """Also not for a call that is free, and closing twice is closing once."""
    bench = Bench()
    envelope = await bench.open()
    await asyncio.gather(envelope.aclose(), envelope.aclose())
    await envelope.aclose()
    for nano in (0, 1):
        with pytest.raises(EnvelopeExhaustedError):
            await envelope.call(nano)
    assert bench.ledger.said.count("release") == 1


async def test_a_call_drawn_while_the_envelope_closes_is_taken_back():
    """A tool that is late by a moment gets no call, and what was written for it is settled at nothing."""
    bench = Bench()
    envelope = await bench.open()
    bench.ledger.gates["draw"] = asyncio.Event()
    late = asyncio.create_task(envelope.call(4000))
    await asyncio.sleep(0)
    bench.ledger.gates["release"] = asyncio.Event()
    closing = asyncio.create_task(envelope.aclose())
    await asyncio.sleep(0)
    bench.ledger.gates.pop("draw").set()
    with pytest.raises(EnvelopeExhaustedError):
        await late
    bench.ledger.gates.pop("release").set()
    await closing
    await bench.meter.keeper.beat()
    assert await bench.charged() == 0
    assert await bench.is_at_rest()


async def test_tools_that_work_at_once_cannot_draw_more_than_there_is():
    """Sixty-four draws at once on a slow ledger: exactly as many as fit, and the ledger agrees."""
    bench = Bench()
    envelope = await bench.open(10_000)
    bench.ledger.gates["draw"] = asyncio.Event()
    calls = [asyncio.create_task(envelope.call(1000)) for _ in range(64)]
    await asyncio.sleep(0)
    bench.ledger.gates["draw"].set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 10
    assert sum(isinstance(result, EnvelopeExhaustedError) for result in results) == 54
    await envelope.aclose()
    assert await bench.charged() == 10_000


# ------------------------------------------------------------------------------------------- the ledger is away


async def test_no_call_leaves_while_the_ledger_is_away():
    """`call` is a 503 with Retry-After, and nothing is charged for what never left."""
    bench = Bench()
    async with await bench.open() as envelope:
        bench.ledger.down.add("draw")
        with pytest.raises(Problem) as refused:
            await envelope.call(4000)
        assert (refused.value.status_code, refused.value.problem_type.name) == (503, "ledger-unavailable")
        assert refused.value.headers == {"Retry-After": "1"}
        bench.ledger.down.clear()
    await bench.meter.keeper.beat()
    assert await bench.charged() == 0
    assert await bench.is_at_rest()
    assert bench.meter.keeper.unfinished == 0


async def test_a_draw_whose_answer_was_lost_is_settled_at_nothing():
    """It was written down and the caller told 503: nothing left, so nothing is charged."""
    bench = Bench()
    async with await bench.open() as envelope:
        bench.ledger.lost.add("draw")
        with pytest.raises(Problem):
            await envelope.call(4000)
        assert len(await bench.ledger.open_holds()) == 2
        await bench.meter.keeper.beat()
    assert await bench.charged() == 0
    assert await bench.is_at_rest()


@pytest.mark.parametrize("how", ["down", "lost"])
async def test_a_cost_that_could_not_be_written_is_kept_and_written_later(how):
    """`settle` succeeds for its caller, the envelope counts it, and the ledger hears it exactly once."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        getattr(bench.ledger, how).add("settle")
        await call.settle(1500, units={"sku_search": 1}, attributes={"model": "served"})
        assert envelope.charged_nano == 1500
        assert bench.meter.keeper.unfinished == 1
        getattr(bench.ledger, how).clear()
    await bench.meter.keeper.beat()
    (entry,) = await bench.ledger.entries()
    assert (entry.amount_nano, entry.units, entry.attributes["model"]) == (1500, {"sku_search": 1}, "served")
    assert await bench.is_at_rest()


@pytest.mark.parametrize("how", ["down", "lost"])
async def test_an_envelope_that_could_not_be_closed_is_closed_later(how):
    """Presumptions and the release reach the ledger when it is back; leaving never raises."""
    bench = Bench()
    failing = getattr(bench.ledger, how)
    async with await bench.open() as envelope:
        await envelope.call(4000)
        failing.update({"presume", "release"})
    assert (envelope.charged_nano, bench.meter.keeper.unfinished) == (4000, 2)
    failing.clear()
    await bench.meter.keeper.beat()
    assert await bench.charged() == 4000
    assert await bench.is_at_rest()


async def test_an_envelope_whose_lease_ended_is_exhausted():
    """Reaped while the ledger could not be told to extend: no further call leaves, and the caller sees why."""
    bench = Bench(lease_seconds=60)
    envelope = await bench.open()
    bench.clock.advance(61)
    await bench.ledger.reap()
    with pytest.raises(EnvelopeExhaustedError) as refused:
        await envelope.call(1)
    assert refused.value.left_nano == 0
    await envelope.aclose()


# ------------------------------------------------------------------------------------------- cancelled half way


async def held_up(bench, verb, work):
    """Cancel *work* while the ledger works on *verb*, then let it."""
    bench.ledger.gates[verb] = asyncio.Event()
    task = asyncio.create_task(work)
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.ledger.said[-1] == verb
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.ledger.gates.pop(verb).set()
    for _ in range(10):
        await asyncio.sleep(0)
    await bench.meter.keeper.beat()


async def test_cancelled_while_opening_gives_everything_back():
    """The reservation was made and nobody has it: it is released at once, not when its lease ends."""
    bench = Bench()
    await held_up(bench, "reserve", bench.open())
    assert (await bench.ledger.find("run_1")).state == "released"
    assert await bench.is_at_rest()


async def test_cancelled_while_drawing_charges_nothing():
    """The caller is gone before the call could leave, so it is settled at nothing."""
    bench = Bench()
    async with await bench.open() as envelope:
        await held_up(bench, "draw", envelope.call(4000))
        assert envelope.left_nano == 6000
    assert await bench.charged() == 0
    assert await bench.is_at_rest()


async def test_cancelled_while_settling_still_settles():
    """A client that leaves during the last write loses no cost."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        await held_up(bench, "settle", call.settle(1500))
        assert envelope.charged_nano == 1500
    assert await bench.charged() == 1500


async def test_cancelled_while_closing_still_closes():
    """Both while presuming and while releasing: the rest comes back and the estimate stays."""
    for verb in ("presume", "release"):
        bench = Bench()
        envelope = await bench.open()
        await envelope.call(4000)
        await held_up(bench, verb, envelope.aclose())
        assert await bench.charged() == 4000
        assert await bench.is_at_rest()


async def test_closing_waits_for_an_answer_that_is_being_written():
    """A call that is just being settled is not presumed on top."""
    bench = Bench()
    envelope = await bench.open()
    call = await envelope.call(4000)
    bench.ledger.gates["settle"] = asyncio.Event()
    settling = asyncio.create_task(call.settle(10))
    await asyncio.sleep(0)
    closing = asyncio.create_task(envelope.aclose())
    for _ in range(5):
        await asyncio.sleep(0)
    bench.ledger.gates["settle"].set()
    await asyncio.gather(settling, closing)
    assert "presume" not in bench.ledger.said
    assert await bench.charged() == 10
    assert [event.kind for event in bench.events] == ["settled"]


async def test_arguments_no_ledger_takes_are_the_callers_fault():
    """A wrong name, a negative amount: ValueError, nothing is drawn, and the call can still be ended rightly."""
    bench = Bench()
    async with await bench.open() as envelope:
        with pytest.raises(ValueError, match="colour"):
            await envelope.call(1000, attributes={"colour": "red"})
        with pytest.raises(ValueError, match="whole number"):
            await envelope.call(-1)
        assert envelope.left_nano == 10_000
        call = await envelope.call(1000)
        with pytest.raises(ValueError, match="whole number"):
            await call.settle(-1)
        await call.settle(1)
    assert await bench.charged() == 1


async def test_long_and_empty_attributes_are_taken():
    """A model that answers with a novel for a name must not lose its cost; what is empty is not there."""
    bench = Bench()
    async with await bench.open(session=None, tag="") as envelope:
        call = await envelope.call(1000)
        await call.settle(5, attributes={"model": "m" * 1000, "sku": None})
    (entry,) = await bench.ledger.entries()
    assert len(entry.attributes["model"]) == 128
    assert not {"session", "tag", "sku"} & set(entry.attributes)


async def test_what_calls_cost_above_their_estimate_is_not_left_for_others():
    """A provider that keeps to no estimate can pass what the run was given once, and not call by call."""
    bench = Bench()
    async with await bench.open(1000) as envelope:
        call = await envelope.call(100)
        await call.settle(700)
        assert envelope.left_nano == 300
        late = await envelope.call(300)
        await late.presume()
        await late.settle(350)
        assert envelope.left_nano == 0
        with pytest.raises(EnvelopeExhaustedError):
            await envelope.call(1)
    assert await bench.charged() == 1050
    assert await bench.is_at_rest()
