"""What was saved is noted beside the runs, behind everything that is money."""

from __future__ import annotations

import asyncio
import logging

import pytest

from prodkit.metering import notes as module
from prodkit.metering.keeper import Unfinished
from tests.metering.metered import Bench


def note(number: int) -> Unfinished:
    return Unfinished("cached", f"cached-{number}", amount_nano=7)


async def saved(bench: Bench) -> list[str]:
    return [entry.hold for entry in await bench.ledger.entries(limit=10_000) if entry.kind == "cached"]


async def test_nobody_waits_for_the_ledger():
    """A note is taken at once; it is written a moment later, by itself."""
    bench = Bench()
    envelope = await bench.open()
    bench.ledger.gates["cached"] = asyncio.Event()
    envelope.save(7, units={"pages": 2}, attributes={"model": "fast"})
    assert envelope.saved_nano == 7
    assert envelope.left_nano == 10_000
    bench.ledger.gates["cached"].set()
    async with asyncio.timeout(5):
        while not await saved(bench):
            await asyncio.sleep(0.01)
    (entry,) = [one for one in await bench.ledger.entries() if one.kind == "cached"]
    assert (entry.amount_nano, entry.saved_nano, entry.units) == (0, 7, {"pages": 2})
    assert (entry.attributes["principal"], entry.attributes["model"]) == ("ann", "fast")
    assert entry.hold.startswith("run_1.")
    await envelope.aclose()
    envelope.save(1)
    await bench.meter.aclose()
    assert len(await saved(bench)) == 2, "the end did not wait for what was noted"


async def test_what_the_ledger_did_not_hear_is_said_again_and_once():
    """While it is away notes wait, and they are no alarm; what it heard and did not confirm is not doubled."""
    bench = Bench()
    keeper = bench.meter.keeper
    bench.ledger.down = {"cached"}
    for number in range(5):
        keeper.later(note(number))
    await keeper.beat()
    assert (await saved(bench), keeper.unfinished) == ([], 0)
    bench.ledger.down, bench.ledger.lost = set(), {"cached"}
    await keeper.beat()
    bench.ledger.lost = set()
    await keeper.beat()
    assert sorted(await saved(bench)) == [f"cached-{number}" for number in range(5)]
    await bench.meter.aclose()


async def test_money_is_heard_first_and_is_never_pushed_out(monkeypatch, caplog):
    """Notes have a bound of their own; what comes beyond it is counted and said once, and no settlement is dropped."""
    monkeypatch.setattr(module, "MAX_NOTES", 3)
    bench = Bench()
    keeper = bench.meter.keeper
    envelope = await bench.open()
    call = await envelope.call(4000)
    bench.ledger.down = {"cached", "settle"}
    await call.settle(3000)
    for number in range(10):
        keeper.later(note(number))
    assert keeper.unfinished == 1
    values = {
        sample.labels["verb"]: sample.value
        for sample in bench.meter.tally.samples()
        if sample.name == "prodkit_ledger_errors_total"
    }
    assert values["cached_dropped"] == 7
    assert len([record for record in caplog.records if "keep up" in record.message]) == 1
    bench.ledger.down = set()
    bench.ledger.said.clear()
    await keeper.beat()
    assert bench.ledger.said == ["settle", "cached", "cached", "cached"]
    assert await bench.charged() == 3000
    await envelope.aclose()
    await bench.meter.aclose()


async def test_leases_are_extended_however_many_notes_there_are():
    """A round writes some of them, and the others in the next."""
    bench = Bench(lease_seconds=60)
    envelope = await bench.open()
    keeper = bench.meter.keeper
    for number in range(1200):
        keeper.later(note(number))
    bench.clock.advance(21)
    await keeper.beat()
    assert len(await saved(bench)) == 500
    assert "extend" in bench.ledger.said
    await envelope.aclose()
    await bench.meter.aclose()
    assert len(await saved(bench)) == 1200


async def test_a_note_that_is_wrong_does_not_hold_up_the_others(caplog):
    """It is reported as a fault of ours and dropped."""
    caplog.set_level(logging.INFO)
    bench = Bench()
    bench.meter.keeper.later(Unfinished("cached", "cached-wrong", amount_nano=-1))
    bench.meter.keeper.later(note(1))
    await bench.meter.keeper.beat()
    assert await saved(bench) == ["cached-1"]
    ((what, error),) = bench.failures
    assert (what, type(error)) == ("ledger", ValueError)
    await bench.meter.aclose()


async def test_a_round_that_is_cut_off_loses_nothing():
    """What was on its way is said again."""
    bench = Bench()
    keeper = bench.meter.keeper
    gate = bench.ledger.gates["cached"] = asyncio.Event()
    for number in range(3):
        keeper.later(note(number))
    beating = asyncio.create_task(keeper.beat())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating
    gate.set()
    await keeper.beat()
    assert sorted(await saved(bench)) == ["cached-0", "cached-1", "cached-2"]
    await bench.meter.aclose()
