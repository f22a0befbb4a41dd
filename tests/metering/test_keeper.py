"""What goes on beside the runs: leases, the reaper, and verbs that were lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest

from prodkit.core.exceptions import StoreIncompatibleError
from prodkit.metering import keeper as module
from prodkit.metering.keeper import Unfinished
from tests.metering.metered import Bench


async def test_nothing_runs_before_the_first_envelope():
    """An application that meters nothing has no task."""
    bench = Bench()
    before = asyncio.all_tasks()
    running = [bench.meter.keeper.is_running]
    await bench.open()
    running.append(bench.meter.keeper.is_running)
    assert running == [False, True]
    await bench.meter.aclose()
    assert asyncio.all_tasks() == before


async def test_leases_are_extended_while_they_live():
    """A run that takes longer than a lease keeps its envelope and its calls, and loses neither money nor lease."""
    bench = Bench(lease_seconds=60)
    envelope = await bench.open()
    call = await envelope.call(4000)
    for _ in range(10):
        bench.clock.advance(21)
        await bench.meter.keeper.beat()
    assert {hold.id for hold in await bench.ledger.open_holds()} == {"run_1", call.id}
    await call.settle(1)
    await envelope.aclose()


async def test_extending_costs_nothing_where_nothing_is_due():
    """Rounds between two extensions do not write, and closed calls and envelopes are left out."""
    bench = Bench(lease_seconds=60, reap_interval_seconds=600)
    envelope = await bench.open()
    bench.clock.advance(10)
    await bench.meter.keeper.beat()
    assert "extend" not in bench.ledger.said
    await envelope.aclose()
    bench.clock.advance(30)
    await bench.meter.keeper.beat()
    assert "extend" not in bench.ledger.said


async def test_an_envelope_that_was_lost_is_not_kept_for_ever():
    """Nobody can close what was collected: its lease ends, and the reaper gives its rest back."""
    bench = Bench(lease_seconds=60, reap_interval_seconds=5)
    await bench.open()
    gc.collect()
    bench.clock.advance(61)
    await bench.meter.keeper.beat()
    assert (await bench.ledger.find("run_1")).state == "released"


async def test_the_reaper_charges_what_dead_processes_sent(caplog):
    """What another process dispatched and never ended is presumed at its estimate, told, counted and logged."""
    bench = Bench(lease_seconds=60)
    dead = Bench(lease_seconds=60, ledger=bench.ledger)
    envelope = await dead.open(name="run_dead")
    await envelope.call(4000)
    bench.clock.advance(61)
    await bench.meter.keeper.beat()
    assert await bench.charged() == 4000
    assert await bench.is_at_rest()
    (event,) = bench.events
    assert (event.kind, event.amount_nano, event.attributes["agent"]) == ("presumed", 4000, "search")
    values = {sample.name: sample.value for sample in bench.meter.tally.samples()}
    assert values["prodkit_holds_presumed_total"] == 1
    (record,) = [record for record in caplog.records if record.message == "calls_presumed"]
    assert (vars(record)["calls"], vars(record)["cost_usd"]) == (1, "0.000004")


async def test_the_reaper_takes_more_than_one_batch():
    """A crowd of dead holds is gone after one round, a hundred at a time."""
    bench = Bench(lease_seconds=60)
    for number in range(250):
        await bench.open(1, name=f"run_{number}")
    gc.collect()
    bench.clock.advance(61)
    await bench.meter.keeper.beat()
    assert await bench.is_at_rest()
    assert bench.ledger.said.count("reap") == 3


async def test_a_ledger_that_is_away_stops_no_round():
    """Each part of a round is tried; failures are counted by verb; extension is tried again at the next one."""
    bench = Bench(lease_seconds=60, reap_interval_seconds=5)
    envelope = await bench.open()
    bench.ledger.down.update({"extend", "reap"})
    bench.clock.advance(21)
    await bench.meter.keeper.beat()
    assert bench.meter.tally._failures == {"extend": 1, "reap": 1}
    bench.ledger.down.clear()
    await bench.meter.keeper.beat()
    assert bench.ledger.said[-1] == "extend"
    await envelope.aclose()


async def test_a_fault_in_a_round_does_not_end_the_keeping(monkeypatch):
    """An unexpected error is reported, and the task goes on with the next round."""
    bench = Bench(lease_seconds=60, reap_interval_seconds=0.1)
    envelope = await bench.open()

    async def broken(**_):
        raise StoreIncompatibleError("newer")

    monkeypatch.setattr(bench.ledger, "reap", broken)
    bench.clock.advance(1)
    await bench.meter.keeper.beat()
    assert [type(error) for _, error in bench.failures] == [StoreIncompatibleError]
    assert bench.meter.keeper.is_running
    await envelope.aclose()


async def test_an_outage_is_one_line_in_the_log(caplog):
    """When it begins and when it is over, not for each cost that waits: a person is told what happens to them."""
    bench = Bench()
    async with await bench.open() as envelope:
        calls = [await envelope.call(1000) for _ in range(3)]
        with caplog.at_level(logging.INFO, "prodkit.metering"):
            for _ in range(2):
                bench.ledger.down.add("settle")
                for call in calls:
                    await call.settle(7)
                await bench.meter.keeper.beat()
                bench.ledger.down.clear()
                await bench.meter.keeper.beat()
                calls = [await envelope.call(1000) for _ in range(3)]
    begun = [record.levelname for record in caplog.records if "does not answer" in record.message]
    over = [record.levelname for record in caplog.records if "heard everything" in record.message]
    assert (begun, over) == (["WARNING"] * 2, ["INFO"] * 2)


async def test_a_file_of_a_newer_release_fails_no_answer_and_floods_no_report(monkeypatch):
    """The caller has its answer and its cost is kept; the fault is reported ever more rarely, and never dropped."""
    bench = Bench(reap_interval_seconds=5)
    envelope = await bench.open()
    call = await envelope.call(4000)

    async def newer(*_, **__):
        raise StoreIncompatibleError("newer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.ledger, "settle", newer)
        await call.settle(7)
        assert [type(error) for _, error in bench.failures] == [StoreIncompatibleError]
        for _ in range(10):
            await bench.meter.keeper.beat()
        assert bench.meter.keeper._retry_seconds == 5
        assert bench.meter.keeper.unfinished == 1
    await bench.meter.keeper.beat()
    assert await bench.charged() == 7
    await envelope.aclose()


async def test_the_task_itself_extends_and_repeats():
    """Not only rounds that a test calls: with real, short pauses the lost verb arrives by itself."""
    bench = Bench(lease_seconds=1, reap_interval_seconds=0.1)
    envelope = await bench.open()
    call = await envelope.call(4000)
    bench.ledger.down.add("settle")
    await call.settle(7)
    assert await bench.charged() == 0
    bench.ledger.down.clear()
    bench.clock.advance(0.9)
    async with asyncio.timeout(5):
        while (
            await bench.charged() == 0 or "extend" not in bench.ledger.said or "reap" not in bench.ledger.said
        ):
            await asyncio.sleep(0.01)
    await envelope.aclose()
    await bench.meter.aclose()
    assert not bench.meter.keeper.is_running


async def test_lost_verbs_are_bounded(monkeypatch, caplog):
    """A ledger that is away for hours costs bounded memory; what is dropped is logged and left to its lease."""
    monkeypatch.setattr(module, "MAX_UNFINISHED", 3)
    bench = Bench()
    bench.ledger.down.add("settle")
    with caplog.at_level(logging.ERROR):
        for number in range(5):
            bench.meter.keeper.later(Unfinished("settle", f"hold_{number}", 1))
    assert bench.meter.keeper.unfinished == 3
    assert "hold_0" in caplog.text
    assert "hold_1" in caplog.text
    await bench.meter.aclose()


async def test_contradictions_are_reported_once_and_not_repeated():
    """A lost verb that the ledger refuses is an alarm; where the hold may not exist at all, it is none."""
    bench = Bench()
    keeper = bench.meter.keeper
    keeper.later(Unfinished("settle", "nobody_knows_it", certain=False))
    keeper.later(Unfinished("settle", "somebody_lost_it"))
    await keeper.beat()
    assert keeper.unfinished == 0
    assert len(bench.failures) == 1
    await bench.meter.aclose()


async def test_the_end_of_the_process_says_what_was_lost_once_more(caplog):
    """A short outage just before the end loses nothing; a long one is logged, with how many."""
    bench = Bench()
    async with await bench.open() as envelope:
        call = await envelope.call(4000)
        bench.ledger.down.add("settle")
        await call.settle(7)
    with caplog.at_level(logging.ERROR):
        await bench.meter.aclose()
    assert "did not hear 1 verbs" in caplog.text
    bench.ledger.down.clear()
    await bench.meter.aclose()
    assert await bench.charged() == 7


async def test_the_end_waits_for_verbs_under_way():
    """A cost that is being written when the process stops is written."""
    bench = Bench()
    envelope = await bench.open()
    call = await envelope.call(4000)
    bench.ledger.gates["settle"] = asyncio.Event()
    settling = asyncio.create_task(call.settle(7))
    await asyncio.sleep(0)
    ending = asyncio.create_task(bench.meter.aclose())
    await asyncio.sleep(0)
    assert not ending.done()
    bench.ledger.gates["settle"].set()
    await asyncio.gather(ending, settling)
    assert await bench.charged() == 7


def test_each_event_loop_gets_a_task_of_its_own():
    """Test clients and scripts bring a loop each; a task of a loop that is gone is not mistaken for one at work."""
    bench = Bench()

    async def run(name):
        async with await bench.open(name=name):
            return bench.meter.keeper._loop

    first = asyncio.run(run("run_1"))
    second = asyncio.run(run("run_2"))
    assert first is not second
    assert first.cancelled()


@pytest.mark.parametrize("verb", ["settle", "presume", "release"])
async def test_each_lost_verb_is_said_in_full(verb):
    """The three verbs that may be late reach the ledger as what they are."""
    bench = Bench()
    envelope = await bench.open()
    call = await envelope.call(100)
    hold = "run_1" if verb == "release" else call.id
    bench.meter.keeper.later(Unfinished(verb, hold, 50 if verb == "settle" else 0))
    await bench.meter.keeper.beat()
    states = {"settle": "settled", "presume": "presumed", "release": "released"}
    assert (await bench.ledger.find(hold)).state == states[verb]
    await bench.meter.aclose()


async def test_a_verb_that_always_fails_keeps_no_other_back(monkeypatch):
    """One hold that the ledger cannot work on is reported and tried again; what waits behind it is charged meanwhile."""
    bench = Bench()
    envelope = await bench.open()
    broken, sound = await envelope.call(100), await envelope.call(100)
    settle = bench.ledger.settle

    async def settled(hold, *arguments, **options):
        if hold == broken.id:
            raise StoreIncompatibleError(hold)
        return await settle(hold, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(bench.ledger, "settle", settled)
        bench.meter.keeper.later(Unfinished("settle", broken.id, 1))
        bench.meter.keeper.later(Unfinished("settle", sound.id, 2))
        await bench.meter.keeper.beat()
    assert (await bench.charged(), bench.meter.keeper.unfinished) == (2, 1)
    assert [type(error) for _, error in bench.failures] == [StoreIncompatibleError]
    await bench.meter.keeper.beat()
    assert await bench.charged() == 3
    await envelope.aclose()
    await bench.meter.aclose()


async def test_what_waits_takes_no_lease_from_what_lives(monkeypatch):
    """After a long outage the ledger is told for minutes what it did not hear; runs under way stay theirs meanwhile."""
    bench = Bench(lease_seconds=60, reap_interval_seconds=5)
    envelope = await bench.open()
    release = bench.ledger.release

    async def slowly(hold):
        bench.clock.advance(0.1)
        await bench.ledger.reap()  # another process looks for the dead
        return await release(hold)

    with monkeypatch.context() as patched:
        patched.setattr(bench.ledger, "release", slowly)
        for number in range(2000):
            bench.meter.keeper.later(Unfinished("release", f"run_lost_{number}", certain=False))
        while bench.meter.keeper.unfinished:
            await bench.meter.keeper.beat()
    assert (await bench.ledger.find("run_1")).state == "held"
    await envelope.aclose()
    await bench.meter.aclose()


async def test_what_was_spent_unseen_is_dropped_last(monkeypatch):
    """A lease charges what of other verbs is lost; of what was spent without the ledger nothing else knows."""
    monkeypatch.setattr(module, "MAX_UNFINISHED", 3)
    bench = Bench()
    for verb in ("adjust", "settle", "adjust", "release", "adjust"):
        bench.meter.keeper.later(
            Unfinished(verb, f"hold_{verb}_{bench.meter.keeper.unfinished}", 5, certain=False)
        )
    await bench.meter.keeper.beat()
    assert await bench.charged() == 15
    await bench.meter.aclose()


def test_event_loops_at_the_same_time_share_one_task():
    """Threads with a loop of each their own take turns, and each turn must not leave a task behind."""
    bench = Bench()
    loops = [asyncio.new_event_loop() for _ in range(2)]
    threads = [threading.Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()

    async def spend(name):
        async with await bench.open(name=name) as envelope:
            await (await envelope.call(100)).settle(1)

    async def keepers():
        return [task for task in asyncio.all_tasks() if task.get_name() == "prodkit ledger keeper"]

    try:
        for number in range(20):
            asyncio.run_coroutine_threadsafe(spend(f"run_{number}"), loops[number % 2]).result(5)
        found = [asyncio.run_coroutine_threadsafe(keepers(), loop).result(5) for loop in loops]
        # Told by one loop, done by the other.
        bench.meter.keeper.later(Unfinished("settle", "nobody_knows_it", certain=False))
        asyncio.run_coroutine_threadsafe(bench.meter.aclose(), loops[1]).result(10)
        left = [asyncio.run_coroutine_threadsafe(keepers(), loop).result(5) for loop in loops]
    finally:
        for loop, thread in zip(loops, threads, strict=True):
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.close()
    assert [len(tasks) for tasks in found] == [1, 0]
    assert left == [[], []]


async def test_what_was_saved_may_be_noted_by_a_thread():
    """Endpoints that are no coroutines run in threads without an event loop, and `save` waits for nothing."""
    bench = Bench(reap_interval_seconds=0.1)
    envelope = await bench.open()
    await asyncio.to_thread(envelope.save, 5)
    assert envelope.saved_nano == 5
    async with asyncio.timeout(5):
        while not await bench.ledger.entries():
            await asyncio.sleep(0.01)
    await envelope.aclose()
    await bench.meter.aclose()


def test_a_thread_may_note_before_any_loop_runs():
    """It is said with the first envelope."""
    bench = Bench()
    bench.meter.save(5)

    async def run():
        async with await bench.open():
            await bench.meter.keeper.beat()
        await bench.meter.aclose()
        return await bench.ledger.entries()

    assert [entry.saved_nano for entry in asyncio.run(run())] == [5]
