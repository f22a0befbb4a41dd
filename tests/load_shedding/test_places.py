"""Places and their queue, without requests: who is next, how long anybody waits, and that nothing is ever lost."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.load_shedding.places import Place, Places


class Context:
    """As much of a request as places look at."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.first_byte_at: float | None = None


class Scene:
    """Places with a clock, and what became of whoever came."""

    def __init__(self, most: int = 1, queue_length: int = 4, max_streams: int = 100) -> None:
        self.clock = FakeClock()
        self.places = Places(
            most=most,
            queue_length=queue_length,
            queue_seconds=1.0,
            max_streams=max_streams,
            monotonic=self.clock.monotonic,
        )

    def come(self, rank: int = 2, deadline: float | None = None) -> tuple[Any, Place, Any]:
        """Whoever comes: its context, its place, and True, False or the future of its turn."""
        context: Any = Context(deadline)
        if not self.places.enter(context):
            return context, Place(), False
        place = self.places.held[context]
        if self.places.take(place):
            return context, place, True
        turn = self.places.queue(context, place, rank, self.clock.monotonic())
        if turn is None:
            self.places.release(context)  # the end of a request that was refused
            return context, place, False
        return context, place, turn

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.places.look()


def order_of(scene: Scene, waiting: dict[str, Any], first: Any) -> list[str]:
    """The names of *waiting* in the order in which they are served, each ending at once."""
    served: list[str] = []
    current = first
    while scene.places.waiting:
        scene.places.release(current)
        (name,) = [
            name
            for name, (_, _, turn) in waiting.items()
            if name not in served and turn.done() and turn.result()
        ]
        served.append(name)
        current = waiting[name][0]
    return served


async def test_better_ranks_first_and_then_the_oldest():
    """A burst is served in the order of rank, and within a rank in the order in which it came."""
    scene = Scene()
    first, _, _ = scene.come()
    ranks = {"a": 3, "b": 5, "c": 0, "d": 3}
    waiting = {name: scene.come(rank) for name, rank in ranks.items()}
    assert order_of(scene, waiting, first) == ["c", "a", "d", "b"]


async def test_newest_first_in_a_standing_queue():
    """Once it has not been empty for as long as anybody may wait, whoever came last is served first."""
    scene = Scene(queue_length=8)
    first, _, _ = scene.come()
    for _ in range(25):  # there is always somebody
        scene.come(rank=5)
        scene.advance(0.05)
    waiting = {name: scene.come() for name in "abc"}
    places = scene.places
    places.release(first)
    assert [waiting[name][2].done() for name in "abc"] == [False, False, True]


async def test_nobody_waits_longer_than_the_time():
    """A waiter is refused when its time is over; in a standing queue after a tenth of it."""
    scene = Scene(queue_length=8)
    scene.come()
    _, _, early = scene.come()
    scene.advance(0.5)
    _, _, later = scene.come()
    scene.advance(0.499)
    assert not early.done()
    scene.advance(0.002)
    assert early.result() is False
    # The later one has waited for half a second in what is by now a standing queue.
    assert later.result() is False
    assert scene.places.waiting == 0
    _, _, fresh = scene.come()
    scene.advance(0.5)
    assert not fresh.done(), "the queue was empty in between, so it is not standing"


async def test_a_request_does_not_wait_beyond_its_own_deadline():
    """What would be answered with a timeout anyway is refused in time to be tried elsewhere."""
    scene = Scene()
    scene.come()
    _, _, hurried = scene.come(deadline=scene.clock.monotonic() + 0.2)
    scene.advance(0.1)
    assert not hurried.done()
    scene.advance(0.11)
    assert hurried.result() is False


async def test_a_better_rank_makes_room():
    """In a full queue the worst that would be served last is refused for it; an equal one is not."""
    scene = Scene(queue_length=2)
    scene.come()
    _, _, one = scene.come(rank=3)
    _, _, two = scene.come(rank=3)
    assert scene.come(rank=3)[2] is False
    assert scene.come(rank=5)[2] is False
    _, _, better = scene.come(rank=2)
    assert (one.done(), two.result(), better.done()) == (False, False, False)
    assert scene.places.is_crowded()
    assert not scene.places.is_full_for(1)
    assert scene.places.is_full_for(3)


async def test_without_a_queue():
    """A length of 0 refuses at once."""
    scene = Scene(queue_length=0)
    assert scene.come()[2] is True
    assert scene.come()[2] is False


async def test_smaller_limit_is_reached_by_ending():
    """A limit that went down takes nothing away; nobody gets a place before enough have ended."""
    scene = Scene(most=3)
    at_work = [scene.come()[0] for _ in range(3)]
    scene.places.limit = 1
    _, _, turn = scene.come()
    scene.places.release(at_work[0])
    scene.places.release(at_work[1])
    assert not turn.done()
    scene.places.release(at_work[2])
    assert turn.result() is True


async def test_ending_twice_gives_back_once():
    """However often it is told that a request is over."""
    scene = Scene(most=2)
    context, _, _ = scene.come()
    scene.come()
    scene.places.release(context)
    scene.places.release(context)
    assert scene.places.used == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "end", "begin", "leave", "cancel", "wait", "limit"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=80, database=None, deadline=None)
@given(STEPS)
def test_nothing_is_lost_whatever_happens(steps: list[tuple[str, int]]):
    """After any history the counts are those of the requests there are, no bound is exceeded, and all ends at nothing."""

    async def play() -> None:
        scene = Scene(most=3, queue_length=3, max_streams=2)
        places = scene.places
        there: list[tuple[Any, Place, Any]] = []
        for kind, number in steps:
            chosen = there[number % len(there)] if there else None
            if kind == "come":
                there.append(scene.come(rank=number))
            elif kind == "wait":
                scene.advance(number / 8)
            elif kind == "limit":
                places.limit = 1 + number % 3
            elif chosen is not None and kind == "begin" and chosen[1].admitted_at is not None:
                chosen[0].first_byte_at = scene.clock.monotonic()
            elif chosen is not None and kind == "leave":
                places.give_up(chosen[1])
            elif chosen is not None and kind == "cancel" and isinstance(chosen[2], asyncio.Future):
                chosen[2].cancel()
            elif chosen is not None and kind == "end":
                there.remove(chosen)
                places.release(chosen[0])
            states = [place.state for place in places.held.values()]
            assert [states.count(state) for state in range(4)] == [
                places.entered,
                places.used,
                places.waiting,
                places.begun,
            ]
            assert places.used <= 3
            assert places.waiting <= 3
            assert places.begun <= 2
            assert not (places.waiting and places.used < places.limit and kind == "end")
        for context, _, _ in there:
            places.release(context)
        assert (places.used, places.waiting, places.begun, places.entered) == (0, 0, 0, 0)
        assert not places.held

    asyncio.run(play())
