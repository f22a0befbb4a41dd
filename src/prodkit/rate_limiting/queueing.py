"""Waiting for a place: a request that a concurrency policy has queued asks again until it is its turn.

The queue is in the store, so that everybody in front goes first in whichever process. Nobody is told there when a place
becomes free; so a waiter asks now and then, and at once when the place was freed in its own process.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prodkit.stores import Permit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import Ask, Decision

__all__ = ["Turns", "is_queued", "released", "wait_for_permit"]

# Seconds. The first is what a short request takes; with the last, a hundred waiters ask a thousand times a second between
# them, which a store answers in a few batches, and a place stays empty for a tenth of a second at most.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.1
_GROWTH: Final = 1.5
# Who stands further back than this asks the more rarely, at least every two seconds: a long queue would else keep a worker busy
# with nothing but questions, and only those in front can be given a place soon.
_NEAR: Final = 10
_RAREST: Final = 20.0
# The last question is asked so much before the end: a store lets go of a waiter at the end, and would queue it anew.
_BEFORE_THE_END: Final = 0.01


class Turns:
    """Who waits in this process, by the key of the permit; holds nothing of whoever does not wait now.

    Those of one event loop know of one another; with several loops in one process, each is like a process of its own.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str], OrderedDict[asyncio.Event, None]] = {}

    def __len__(self) -> int:
        """How many keys are waited for."""
        return len(self._waiting)

    def freed(self, key: str) -> None:
        """A place under *key* was given back: the one who has waited longest here asks at once."""
        if not self._waiting:
            return
        for event in self._waiting.get((id(asyncio.get_running_loop()), key), ()):
            if not event.is_set():
                event.set()
                return

    def enter(self, keys: Sequence[str], event: asyncio.Event) -> None:
        """Have *event* set when one of *keys* is freed and nobody stands before it."""
        loop = id(asyncio.get_running_loop())
        for key in keys:
            self._waiting.setdefault((loop, key), OrderedDict())[event] = None

    def leave(self, keys: Sequence[str], event: asyncio.Event) -> None:
        """Wait no more. A call to ask that came too late for this one goes to the next."""
        loop = id(asyncio.get_running_loop())
        for key in keys:
            waiting = self._waiting[loop, key]
            del waiting[event]
            if not waiting:
                del self._waiting[loop, key]
            elif event.is_set():
                self.freed(key)

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        """Return when *event* is set, or after *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


TURNS: Final = Turns()


def released(key: str) -> None:
    """Have the one who has waited longest for *key* in this process ask at once.

    To be called on the event loop after the store has heard of it, whenever a permit is settled with -1.
    """
    TURNS.freed(key)


def is_queued(asks: Sequence[Ask], decisions: Sequence[Decision]) -> bool:
    """Whether the only thing that is missing are permits which have a place in their queue."""
    return bool(_missing(asks, decisions))


async def wait_for_permit(
    ask_again: Callable[[], Awaitable[tuple[Decision, ...]]],
    decisions: tuple[Decision, ...],
    *,
    asks: Sequence[Ask],
    clock: Clock,
    deadline: float | None = None,
    event: asyncio.Event | None = None,
    is_over: Callable[[], bool] = lambda: False,
    turns: Turns = TURNS,
    chance: Callable[[], float] = random.random,
) -> tuple[Decision, ...]:
    """Ask again until the queued permits among *asks* have their places, something else is missing, or the time is over.

    The shortest `queue_seconds` of what is missing bounds the wait, and *deadline*. Where nothing of it `is_queued`, it ends
    before it began. When what is returned is still a refusal, or this raises or is cancelled, the caller settles each of its
    permits with -1, which takes it out of the queue (or gives back a place that nobody knows was given), and calls `released`;
    as it does when an admitted request ends.

    Args:
        ask_again: asks the store for all of *asks* once more, with the same permits (their ids name their turn).
        decisions: the first answer to them.
        asks: of the stage.
        clock: the time that *deadline* is on.
        deadline: the request's own, in monotonic seconds; None for none.
        event: wakes whoever waits, when it is set.
        is_over: whether nobody is there any more who could be given a place; asked after each pause.
        turns: who else waits in this process.
        chance: from 0 to 1, so that those who wait do not ask all at once.

    Returns:
        The last answer of the store.

    Raises:
        StoreError: what *ask_again* raised. Whether a place was given is unknown.
    """
    monotonic = clock.monotonic
    started, pause = monotonic(), _FIRST_PAUSE
    event = event or asyncio.Event()
    missing = _missing(asks, decisions)
    if not missing:
        return decisions
    keys = list(dict.fromkeys(key for key, rule, _ in asks if isinstance(rule, Permit)))
    turns.enter(keys, event)
    try:
        while missing:
            ends = started + min(permit.queue_seconds for permit in missing)
            left = (ends if deadline is None else min(ends, deadline)) - monotonic() - _BEFORE_THE_END
            if left <= 0:
                break
            pause_here = pause * _rarely(asks, decisions)
            await turns.pause(event, min(pause_here * (0.5 + chance() / 2), left))
            if is_over():
                break
            event.clear()
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
            decisions = await ask_again()
            missing = _missing(asks, decisions)
    finally:
        turns.leave(keys, event)
    return decisions


def _missing(asks: Sequence[Ask], decisions: Sequence[Decision]) -> list[Permit]:
    """The permits that are waited for; none where everything fits, or something is missing that no waiting brings."""
    missing = []
    for (_, rule, _), decision in zip(asks, decisions, strict=True):
        if decision.allowed or not rule.is_binding:
            continue
        if not isinstance(rule, Permit) or not decision.queued:
            return []
        missing.append(rule)
    return missing


def _rarely(asks: Sequence[Ask], decisions: Sequence[Decision]) -> float:
    """How many times as long as the first ones in the queue whoever was told *decisions* may wait before it asks again."""
    place = max(
        decision.queued
        for (_, rule, _), decision in zip(asks, decisions, strict=True)
        if isinstance(rule, Permit)
    )
    return min(max(1.0, place / _NEAR), _RAREST)
