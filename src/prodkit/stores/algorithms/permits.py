"""Places for what is under way at the same time, and the queue before them.

It promises that never more than *limit* permits hold a place, and that who queued first is the first to get one. Nobody is
called: who queues asks again. In a queue two never arrive in the same microsecond; the later of them counts as one
microsecond later, so that the order is the same in every store.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from prodkit.stores.algorithms.moments import seconds, waiting_seconds

if TYPE_CHECKING:
    from prodkit.stores.algorithms.moments import Moment
    from prodkit.stores.rules import Permit

__all__ = ["Permits", "Places"]

_LONGEST_GUESS_SECONDS: Final = 1.0
_NEVER_US: Final = 2**62


class Places:
    """Who holds a place and who waits for one.

    Attributes:
        holders: id of a permit -> until when, in unix microseconds.
        waiters: id of a permit -> when it queued, in that order.
        first_end_us: not later than the first of the holders' ends; until then none has to be looked for.
        ends_us: not before everything here has lost its meaning.
    """

    __slots__ = ("ends_us", "first_end_us", "holders", "waiters")

    def __init__(self, holders: dict[str, int] | None = None, waiters: dict[str, int] | None = None) -> None:
        """Start with these, the waiters in the order in which they came."""
        self.holders = {} if holders is None else holders
        self.waiters = {} if waiters is None else waiters
        self.first_end_us = min(self.holders.values(), default=_NEVER_US)
        self.ends_us = max(self.holders.values(), default=0)

    def expire(self, now_us: int, queue_us: int) -> None:
        """Drop whose lease is over, and who has waited for *queue_us*."""
        if now_us >= self.first_end_us:
            self.holders = {name: end for name, end in self.holders.items() if end > now_us}
            self.first_end_us = min(self.holders.values(), default=_NEVER_US)
        while self.waiters:
            first = next(iter(self.waiters))
            if self.waiters[first] + queue_us > now_us:
                break
            del self.waiters[first]

    def hold(self, permit: Permit, now_us: int) -> None:
        """Give it a place, or prolong its lease."""
        end = now_us + round(permit.lease_seconds * 1e6)
        self.waiters.pop(permit.id, None)
        self.holders[permit.id] = end
        self.first_end_us = min(self.first_end_us, end)
        self.ends_us = max(self.ends_us, end)

    def enqueue(self, permit: Permit, now_us: int) -> None:
        """Put it at the end of the queue, if it is not in it."""
        if permit.id not in self.waiters:
            arrived = max(now_us, next(reversed(self.waiters.values()), 0) + 1)
            self.waiters[permit.id] = arrived
            self.ends_us = max(self.ends_us, arrived + _queue_us(permit))

    def release(self, name: str) -> bool:
        """Free its place, or end its wait; whether it had any."""
        held, waited = self.holders.pop(name, None), self.waiters.pop(name, None)
        return held is not None or waited is not None


class _View(NamedTuple):
    places: Places
    taken: dict[str, Permit]


class Permits:
    """See the module."""

    def fit(self, state: Places | _View | None, now: Moment, rule: Permit) -> _View:
        """See `Algorithm.fit`."""
        if isinstance(state, _View):
            return state
        places = Places() if state is None else state
        places.expire(now.us, _queue_us(rule))
        return _View(places, {})

    def wait(self, view: _View, now: Moment, rule: Permit, cost: int) -> float:
        """See `Algorithm.wait`; a guess: until the first lease ends, at most a second."""
        del cost
        if (
            rule.id in view.places.holders
            or rule.id in view.taken
            or ((free := _free(view, rule)) > 0 and free > _position(view, rule))
        ):
            return 0.0
        holders = view.places.holders
        if not holders:
            return _LONGEST_GUESS_SECONDS
        return min(_LONGEST_GUESS_SECONDS, waiting_seconds(min(holders.values()) - now.us))

    def take(self, view: _View, now: Moment, rule: Permit, cost: int) -> _View:
        """See `Algorithm.take`."""
        del now, cost
        return _View(view.places, {**view.taken, rule.id: rule})

    def take_denied(self, view: _View, now: Moment, rule: Permit, cost: int) -> _View:
        """See `Algorithm.take_denied`; a permit never counts what is denied."""
        del now, rule, cost
        return view

    def describe(self, view: _View, now: Moment, rule: Permit) -> tuple[int, float]:
        """See `Algorithm.describe`."""
        del now
        return max(_free(view, rule), 0), seconds(0)

    def close(self, view: _View, now: Moment, rule: Permit) -> Places:
        """See `Algorithm.close`."""
        del rule
        for permit in view.taken.values():
            view.places.hold(permit, now.us)
        return view.places

    def settle(self, state: Places, now: Moment, rule: Permit, amount: int, at_ns: int) -> Places | None:
        """See `Algorithm.settle`; only giving the place back means anything."""
        del now, at_ns
        return state if amount < 0 and state.release(rule.id) else None

    def place_in_queue(self, view: _View, rule: Permit) -> int:
        """Which place in the queue a permit has or may have, from 1; 0 where the queue is full."""
        waiters = view.places.waiters
        if rule.id in waiters or len(waiters) < rule.queue:
            return _position(view, rule) + 1
        return 0

    def is_queued(self, view: _View, rule: Permit) -> bool:
        """Whether it waits already."""
        return rule.id in view.places.waiters


def _queue_us(rule: Permit) -> int:
    return round(rule.queue_seconds * 1e6)


def _free(view: _View, rule: Permit) -> int:
    holders, taken = view.places.holders, view.taken
    return rule.limit - len(holders) - sum(1 for name in taken if name not in holders)


def _position(view: _View, rule: Permit) -> int:
    """How many go first; not those who have got a place in this very call. A queue is in order of arrival."""
    waiters, taken = view.places.waiters, view.taken
    if rule.id not in waiters:
        return len(waiters) - sum(1 for name in taken if name in waiters)
    arrived = waiters[rule.id]
    passed = sum(1 for name in taken if waiters.get(name, arrived) < arrived)
    return bisect_left(list(waiters.values()), arrived) - passed
