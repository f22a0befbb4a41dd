"""Waiting for a place: first come, first served, bounded, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.rate_limiting.queueing import TURNS, Turns, is_queued, released, wait_for_permit
from prodkit.stores import Decision, Permit, Rate
from prodkit.stores.memory import MemoryRateLimitStore

GIVEN = (Decision(True, 0, 0.0, 0.0),)
QUEUED = (Decision(False, 0, 0.0, 1.0, queued=1),)
FULL = (Decision(False, 0, 0.0, 1.0),)


def permit(name: str, *, queue_seconds: float = 2.0, is_binding: bool = True) -> Permit:
    return Permit(1, name, 60.0, 10, queue_seconds, is_binding=is_binding)


class FakeTurns(Turns):
    """Pauses take no time but the fake clock's, unless somebody is woken."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.paused: list[float] = []

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        self.paused.append(seconds)
        if not event.is_set():
            self.clock.advance(seconds)
        await asyncio.sleep(0)


class Script:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> tuple[Decision, ...]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        given: tuple[Decision, ...] = answer
        return given


async def wait(script: Script, turns: FakeTurns, **more: Any) -> tuple[Decision, ...]:
    asks = more.pop("asks", (("k", permit("one"), 1),))
    decisions = more.pop("decisions", QUEUED)
    return await wait_for_permit(
        script, decisions, asks=asks, clock=turns.clock, turns=turns, chance=lambda: 1.0, **more
    )


def test_it_asks_again_until_there_is_a_place() -> None:
    """After 20 ms, then ever later up to 100 ms."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        script = Script(*[QUEUED] * 6, GIVEN)
        assert await wait(script, turns) == GIVEN
        assert turns.paused == pytest.approx([0.02, 0.03, 0.045, 0.0675, 0.1, 0.1, 0.1])
        assert len(turns) == 0

    asyncio.run(ask())


@pytest.mark.parametrize(("place", "times"), [(1, 1), (10, 1), (50, 5), (1000, 20)])
def test_who_stands_further_back_asks_more_rarely(place: int, times: int) -> None:
    """A long queue does not keep a worker busy with questions; who moves up asks as often as those in front."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        far = (Decision(False, 0, 0.0, 1.0, queued=place),)
        asks = (("k", permit("one", queue_seconds=60.0), 1),)
        script = Script(*[far] * 5, QUEUED, GIVEN)
        assert await wait(script, turns, asks=asks, decisions=far) == GIVEN
        pauses = [0.02, 0.03, 0.045, 0.0675, 0.1, 0.1]
        assert turns.paused == pytest.approx([*(pause * times for pause in pauses), 0.1])

    asyncio.run(ask())


def test_nobody_waits_when_there_is_nobody_any_more() -> None:
    """Whoever is woken to learn that the client has left does not ask again."""

    async def ask() -> None:
        turns, event = FakeTurns(FakeClock()), asyncio.Event()
        script = Script(GIVEN)
        assert await wait(script, turns, event=event, is_over=lambda: True) == QUEUED
        assert (script.asked, len(turns)) == (0, 0)

    asyncio.run(ask())


def test_chance_keeps_waiters_from_asking_all_at_once() -> None:
    """A pause is from half to the whole of what it may be."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        asks = (("k", permit("one"), 1),)
        await wait_for_permit(
            Script(GIVEN), QUEUED, asks=asks, clock=turns.clock, turns=turns, chance=lambda: 0.0
        )
        assert turns.paused == pytest.approx([0.01])

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("more", "seconds"),
    [({}, 2.0), ({"deadline": 1000.5}, 0.5), ({"asks": (("k", permit("one", queue_seconds=0.3), 1),)}, 0.3)],
    ids=["queue_seconds", "deadline", "a short queue"],
)
def test_the_wait_is_bounded(more: dict[str, Any], seconds: float) -> None:
    """By the policy, or by the request's own deadline; and the last question is asked before the end."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        assert await wait(Script(QUEUED), turns, **more) == QUEUED
        assert seconds - 0.02 <= sum(turns.paused) <= seconds
        assert len(turns) == 0

    asyncio.run(ask())


def test_it_ends_when_waiting_does_not_help() -> None:
    """A rate that is used up meanwhile, or a place that is not queued any more, is a refusal at once."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        asks = (("k", permit("one"), 1), ("r", Rate(1, 60.0), 1))
        both = (*QUEUED, Decision(False, 0, 60.0, 60.0))
        assert await wait(Script(both), turns, asks=asks, decisions=(*QUEUED, *GIVEN)) == both
        assert await wait(Script(FULL), turns) == FULL
        assert len(turns.paused) == 2

    asyncio.run(ask())


def test_only_a_binding_permit_with_a_place_in_the_queue_is_waited_for() -> None:
    """Everything admitted, a full queue, a limit on trial: nothing to wait for, and nobody is asked."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        one, trial = ("k", permit("one"), 1), ("k", permit("one", is_binding=False), 1)
        for asks, decisions in (((one,), GIVEN), ((one,), FULL), ((trial,), QUEUED)):
            script = Script(GIVEN)
            assert not is_queued(asks, decisions)
            assert await wait(script, turns, asks=asks, decisions=decisions) == decisions
            assert script.asked == 0
        assert is_queued((one, trial), (*QUEUED, *FULL))

    asyncio.run(ask())


def test_an_error_of_the_store_rises() -> None:
    """What happens then is the policy's to say."""

    async def ask() -> None:
        turns = FakeTurns(FakeClock())
        with pytest.raises(StoreUnavailableError):
            await wait(Script(StoreUnavailableError("away")), turns)
        assert len(turns) == 0

    asyncio.run(ask())


class StillTurns(Turns):
    """Pauses last until somebody is woken."""

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        await event.wait()


async def stand(turns: Turns, script: Script, key: str = "k") -> asyncio.Task[Any]:
    """A request that waits."""
    asks = ((key, permit("one"), 1),)
    task = asyncio.ensure_future(wait_for_permit(script, QUEUED, asks=asks, clock=FakeClock(), turns=turns))
    await asyncio.sleep(0)
    return task


def test_a_place_that_is_freed_here_is_taken_at_once() -> None:
    """By the one who has waited longest for that key; the others go on waiting."""

    async def free() -> None:
        turns = StillTurns()
        scripts = [Script(GIVEN) for _ in range(3)]
        first, second = await stand(turns, scripts[0]), await stand(turns, scripts[1])
        other = await stand(turns, scripts[2], "other")
        turns.freed("k")
        assert await first == GIVEN
        assert [script.asked for script in scripts] == [1, 0, 0]
        turns.freed("k")
        assert await second == GIVEN
        turns.freed("k")
        assert not other.done()
        turns.freed("other")
        assert await other == GIVEN
        assert len(turns) == 0

    asyncio.run(free())


def test_two_places_wake_two_waiters() -> None:
    """Freed one right after the other, before anybody had a chance to ask."""

    async def free() -> None:
        turns = StillTurns()
        tasks = [await stand(turns, Script(GIVEN)) for _ in range(2)]
        turns.freed("k")
        turns.freed("k")
        assert await asyncio.gather(*tasks) == [GIVEN, GIVEN]

    asyncio.run(free())


def test_cancellation_leaves_nothing_and_passes_the_call_on() -> None:
    """Whoever is woken and cancelled in the same moment does not keep the next one from asking."""

    async def cancel() -> None:
        turns = StillTurns()
        first, second = await stand(turns, Script(GIVEN)), await stand(turns, Script(GIVEN))
        turns.freed("k")
        first.cancel()
        assert await second == GIVEN
        assert first.cancelled()
        third = await stand(turns, Script(GIVEN))
        third.cancel()
        await asyncio.wait([third])
        assert len(turns) == 0

    asyncio.run(cancel())


def test_those_of_another_event_loop_are_left_alone() -> None:
    """An event belongs to its loop; waking it from another one would be a race."""
    turns = StillTurns()

    async def elsewhere() -> None:
        turns.freed("k")

    async def wait_here() -> None:
        script = Script(GIVEN)
        task = await stand(turns, script)
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        for _ in range(5):
            await asyncio.sleep(0)
        assert script.asked == 0
        turns.freed("k")
        assert await task == GIVEN

    asyncio.run(wait_here())


def test_whoever_gives_a_place_back_need_not_know_who_waits() -> None:
    """`released` wakes those who wait by default, and does nothing where nobody does."""

    async def release() -> None:
        released("k")
        asks = (("k", permit("one", queue_seconds=3600.0), 1),)
        script = Script(GIVEN)
        task = asyncio.ensure_future(wait_for_permit(script, QUEUED, asks=asks, clock=FakeClock()))
        await asyncio.sleep(0)
        assert len(TURNS) == 1
        released("k")
        assert await task == GIVEN
        assert len(TURNS) == 0

    asyncio.run(release())


def test_a_place_goes_round_in_the_order_of_arrival() -> None:
    """Five requests and one place, with the store in memory: nobody overtakes, and each hears of it at once."""

    async def go_round() -> None:
        clock = FakeClock()
        store, turns = MemoryRateLimitStore(clock=clock), StillTurns()
        order: list[str] = []

        async def request(name: str) -> None:
            asks = (("k", permit(name), 1),)

            async def ask() -> tuple[Decision, ...]:
                return store.hit_many(asks)

            decisions = await wait_for_permit(ask, await ask(), asks=asks, clock=clock, turns=turns)
            assert decisions[0].allowed
            order.append(name)
            await asyncio.sleep(0)
            await store.settle([("k", asks[0][1], -1, 0)])
            turns.freed("k")

        await asyncio.gather(*(request(name) for name in "abcde"))
        assert order == list("abcde")
        assert len(turns) == 0

    asyncio.run(go_round())
