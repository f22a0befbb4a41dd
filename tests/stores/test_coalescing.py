"""Coalescing: what is asked together travels together, and nobody pays for anybody else."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.coalescing import Coalescer


class Wire:
    """Where batches go: they are recorded, and can be held back or spoiled."""

    def __init__(self, **bounds):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = None
        self.coalescer = Coalescer(self.send, **({"timeout_seconds": 5.0} | bounds))

    async def send(self, batch):
        self.batches.append(list(batch))
        await asyncio.sleep(0)  # as every real trip, it takes a turn of the loop at least
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [item if isinstance(item, Exception) else item * 10 for item in batch]

    def ask(self, item):
        return asyncio.create_task(self.coalescer.ask(item))


async def settle():
    """Let every task come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_ask_gets_its_answer():
    """The plain case; nothing is left running afterwards."""
    wire = Wire()
    assert await wire.coalescer.ask(1) == 10
    assert wire.batches == [[1]]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_is_asked_meanwhile_travels_in_the_next_batch():
    """One batch is under way at a time; all that gathered leaves together, in order."""
    wire = Wire()
    wire.gate.clear()
    tasks = [wire.ask(n) for n in range(10)]
    await settle()
    assert wire.batches == [[0]]
    wire.gate.set()
    assert await asyncio.gather(*tasks) == [n * 10 for n in range(10)]
    assert wire.batches == [[0], list(range(1, 10))]


async def test_a_crowd_leaves_together_from_the_first():
    """Once asks come in company, none leaves alone: half as many trips."""
    wire = Wire()
    for _ in range(5):
        await asyncio.gather(*(wire.ask(n) for n in range(8)))
    assert [len(batch) for batch in wire.batches] == [1, 7, 8, 8, 8, 8]


async def test_a_lone_caller_needs_no_task():
    """With nothing under way an ask is sent in the caller's own task, also again after a crowd has gone."""
    wire = Wire()
    await asyncio.gather(*(wire.ask(n) for n in range(8)))
    await wire.coalescer.ask(1)
    wire.gate.clear()
    lone = wire.ask(2)
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task(), lone}
    wire.gate.set()
    assert await lone == 20


async def test_batches_are_bounded():
    """However many wait, no more than `max_batch` travel together; all are answered."""
    wire = Wire(max_batch=4)
    wire.gate.clear()
    tasks = [wire.ask(n) for n in range(12)]
    await settle()
    wire.gate.set()
    assert await asyncio.gather(*tasks) == [n * 10 for n in range(12)]
    assert [len(batch) for batch in wire.batches] == [1, 4, 4, 3]


async def test_a_caller_who_leaves_before_departure_is_not_sent():
    """Cancelled while waiting: not sent, not charged; the others are."""
    wire = Wire()
    wire.gate.clear()
    first, second, third = wire.ask(1), wire.ask(2), wire.ask(3)
    await settle()
    second.cancel()
    await settle()
    wire.gate.set()
    assert list(await asyncio.gather(first, third)) == [10, 30]
    assert wire.batches == [[1], [3]]


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_a_caller_who_leaves_on_the_way_touches_nobody(leaver):
    """Cancelled under way, alone in front or in company: the others get their answers."""
    wire = Wire()
    wire.gate.clear()
    tasks = [wire.ask(n) for n in range(3)]
    await settle()
    if leaver:
        wire.gate.set()
        await asyncio.sleep(0)
        wire.gate.clear()
        await settle()
    tasks[leaver].cancel()
    await settle()
    wire.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(leaver), asyncio.CancelledError)
    assert answers == [n * 10 for n in range(3) if n != leaver]
    assert await wire.coalescer.ask(7) == 70


async def test_an_error_of_one_is_nobody_elses():
    """An exception among the answers goes to whom it belongs."""
    wire = Wire()
    wire.gate.clear()
    tasks = [wire.ask(item) for item in (1, 2, KeyError("mine"), 4)]
    await settle()
    wire.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0], answers[1], answers[3]] == [10, 20, 40]
    assert isinstance(answers[2], KeyError)


async def test_an_error_of_the_batch_is_everybodys_own():
    """All are told, each with an exception of its own whose cause is the common one; the next batch works."""
    wire = Wire()
    wire.gate.clear()
    tasks = [wire.ask(n) for n in range(4)]
    await settle()
    wire.error = StoreIncompatibleError("too new")
    wire.gate.set()
    first, *rest = await asyncio.gather(*tasks, return_exceptions=True)
    assert first is wire.error
    assert all(type(error) is StoreIncompatibleError and str(error) == "too new" for error in rest)
    assert len({id(error) for error in rest}) == 3
    assert all(error.__cause__ is wire.error for error in rest)
    wire.error = None
    assert await wire.coalescer.ask(1) == 10


@pytest.mark.parametrize("company", [1, 4])
async def test_a_wrong_number_of_answers_is_an_error_not_a_mix_up(company):
    """Answers that cannot be told apart are given to nobody."""

    async def send(batch):
        await asyncio.sleep(0)
        return [0] * (len(batch) + 1)

    coalescer = Coalescer(send)
    answers = await asyncio.gather(*(coalescer.ask(n) for n in range(company)), return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) for answer in answers)


async def test_nobody_waits_longer_than_the_bound():
    """A store that hangs: everyone is told in time, the time in the queue included; then it recovers."""
    wire = Wire(timeout_seconds=0.4)
    wire.gate.clear()
    waits = []

    async def timed(n):
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"0\.4 s"):
            await wire.coalescer.ask(n)
        waits.append(time.monotonic() - start)

    early = [asyncio.create_task(timed(n)) for n in range(5)]
    await asyncio.sleep(0.2)
    late = [asyncio.create_task(timed(n)) for n in range(5)]
    await asyncio.gather(*early, *late)
    assert min(waits) > 0.39
    assert max(waits) < 0.55  # 0.6 for the late ones if the bound began anew at departure
    wire.gate.set()
    assert await wire.coalescer.ask(1) == 10


async def test_what_waited_too_long_is_not_sent():
    """An ask that already has its refusal is not carried out behind the caller's back."""
    release = asyncio.Event()
    batches = []

    async def send(batch):
        batches.append(list(batch))
        if len(batches) == 1:
            time.sleep(0.06)  # noqa: ASYNC251  the loop itself is held up: no timer fires meanwhile
        await release.wait()
        return batch

    coalescer = Coalescer(send, timeout_seconds=0.05)
    tasks = [asyncio.create_task(coalescer.ask(n)) for n in range(3)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    assert [0] in batches
    assert len(batches) <= 2


async def test_closing_answers_everybody():
    """Who waits and who is under way in company: an error at once, and no hanging task."""
    wire = Wire()
    await asyncio.gather(*(wire.ask(n) for n in range(4)))
    wire.gate.clear()
    under_way = [wire.ask(n) for n in range(3)]
    await settle()
    waiting = [wire.ask(n) for n in range(3)]
    await settle()
    await wire.coalescer.aclose()
    answers = await asyncio.gather(*under_way, *waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    wire.gate.set()
    assert await wire.coalescer.ask(1) == 10
    await wire.coalescer.aclose()
    await wire.coalescer.aclose()


async def test_a_pump_cancelled_before_its_first_step_leaves_nobody_hanging():
    """A task cancelled that early runs none of its own lines; what waits is answered all the same."""
    wire = Wire()
    await asyncio.gather(*(wire.ask(n) for n in range(4)))  # from now on asks leave by the pump
    task = wire.ask(1)
    await asyncio.sleep(0)
    pump = wire.coalescer._lane._pump
    assert pump is not None
    pump.cancel()
    with pytest.raises(StoreUnavailableError, match="interrupted"):
        await asyncio.wait_for(task, 1.0)
    assert len(wire.batches) == 2
    assert await wire.coalescer.ask(2) == 20


async def test_a_pump_cancelled_on_the_way_leaves_nobody_hanging():
    """Those under way and those who wait are answered, and the next ask works."""
    wire = Wire()
    await asyncio.gather(*(wire.ask(n) for n in range(4)))
    wire.gate.clear()
    tasks = [wire.ask(n) for n in range(3)]
    await settle()
    tasks += [wire.ask(n) for n in range(3)]
    await settle()
    wire.coalescer._lane._pump.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1.0)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    wire.gate.set()
    assert await wire.coalescer.ask(2) == 20


def test_one_loop_after_the_other():
    """Test clients bring a loop each, and may leave one in the middle of an ask."""

    async def send(batch):
        await asyncio.sleep(3600 if batch == ["hang"] else 0)
        return batch

    coalescer = Coalescer(send, timeout_seconds=5.0)

    async def leave():
        task = asyncio.create_task(coalescer.ask("hang"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(coalescer.ask("wait"))
        await asyncio.sleep(0)
        return task, waiting

    asyncio.run(leave())
    assert asyncio.run(asyncio.wait_for(coalescer.ask("next"), 1.0)) == "next"


async def test_each_is_sent_once_whatever_happens():
    """A thousand asks, a third of them cancelled some time: none is sent twice, all others are answered."""
    sent = []

    async def send(batch):
        sent.extend(batch)
        await asyncio.sleep(0)
        return batch

    coalescer = Coalescer(send, max_batch=16, timeout_seconds=30.0)
    tasks = []
    for n in range(1000):
        tasks.append(asyncio.create_task(coalescer.ask(n)))
        if n % 7 == 0:
            await asyncio.sleep(0)
        if n % 3 == 0:
            tasks[n // 2].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(sent) == len(set(sent))
    assert all(answer == n or isinstance(answer, asyncio.CancelledError) for n, answer in enumerate(answers))
    assert {n for n, answer in enumerate(answers) if answer == n} <= set(sent)


async def test_it_leaves_nothing_for_the_collector():
    """No cycle per ask or per batch."""
    wire = Wire()
    await asyncio.gather(*(wire.ask(n) for n in range(8)))
    gc.collect()
    gc.disable()
    left = []
    try:
        # What threads of earlier tests leave meanwhile is not ours, and is not there every time; a cycle of ours would be.
        for _ in range(5):
            for _ in range(20):
                await asyncio.gather(*(wire.coalescer.ask(n) for n in range(8)))
            left.append(gc.collect())
        assert min(left) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "bounds", [{"max_batch": 0}, {"timeout_seconds": 0}, {"timeout_seconds": float("nan")}]
)
def test_impossible_bounds_are_refused(bounds):
    """A coalescer that could send nothing is a mistake."""

    async def send(batch):
        return batch

    with pytest.raises(ValueError, match="above 0"):
        Coalescer(send, **bounds)
