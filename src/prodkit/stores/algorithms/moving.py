"""The moving window: every unit is remembered until it is a window old.

It promises exactly its limit in any trailing window, and never refuses below it. Units that came in the same microsecond are
one entry; what came at least a window ago has left.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from prodkit.stores.algorithms.moments import MOST_COUNTED, seconds, waiting_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.stores.algorithms.moments import Moment
    from prodkit.stores.rules import MovingWindow

__all__ = ["ListLog", "Log", "Moving"]


class Log(Protocol):
    """What was consumed when, the oldest first; a store may keep it as rows."""

    total: int

    def expire(self, until_us: int, now_us: int) -> None:
        """Drop what came up to *until_us*; what lies in the future, because the clock was set back, came now."""

    def newest_us(self) -> int:
        """When the last came; 0 for none."""

    def oldest(self) -> Iterator[tuple[int, int]]:
        """When, and how much, from the oldest on."""

    def add(self, at_us: int, cost: int, window_us: int) -> None:
        """Remember *cost* more at *at_us*, which is never before the newest."""

    def change(self, at_us: int, amount: int) -> bool:
        """Add *amount* to what came at *at_us*, at least down to nothing; whether anything is known of it."""


_COST_BITS: Final = 54
_COST_MASK: Final = (1 << _COST_BITS) - 1


class ListLog:
    """A log in memory: one integer for each entry, about 50 bytes."""

    __slots__ = ("_entries", "total", "window_us")

    def __init__(self) -> None:
        """Remember nothing."""
        self._entries: list[int] = []
        self.total = 0
        self.window_us = 0

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def expire(self, until_us: int, now_us: int) -> None:
        """See `Log.expire`."""
        entries = self._entries
        if entries and entries[0] >> _COST_BITS <= until_us:
            count = bisect_right(entries, (until_us << _COST_BITS) | _COST_MASK)
            self.total -= sum(entry & _COST_MASK for entry in entries[:count])
            del entries[:count]
        if entries and entries[-1] >> _COST_BITS > now_us:
            first = bisect_left(entries, now_us << _COST_BITS)
            cost = sum(entry & _COST_MASK for entry in entries[first:])
            kept = min(cost, MOST_COUNTED)
            entries[first:] = [(now_us << _COST_BITS) | kept]
            self.total -= cost - kept

    def newest_us(self) -> int:
        """See `Log.newest_us`."""
        return self._entries[-1] >> _COST_BITS if self._entries else 0

    def oldest(self) -> Iterator[tuple[int, int]]:
        """See `Log.oldest`."""
        return ((entry >> _COST_BITS, entry & _COST_MASK) for entry in self._entries)

    def add(self, at_us: int, cost: int, window_us: int) -> None:
        """See `Log.add`."""
        self.window_us = window_us
        if not self.change(at_us, cost):
            self._entries.append((at_us << _COST_BITS) | cost)
            self.total += cost

    def change(self, at_us: int, amount: int) -> bool:
        """See `Log.change`."""
        entries = self._entries
        place = bisect_left(entries, at_us << _COST_BITS)
        if place == len(entries) or entries[place] >> _COST_BITS != at_us:
            return False
        before = entries[place] & _COST_MASK
        after = min(max(before + amount, 0), MOST_COUNTED)
        self.total += after - before
        if after:
            entries[place] = (at_us << _COST_BITS) | after
        else:
            del entries[place]
        return True


class _View(NamedTuple):
    log: Log
    added: int


class Moving:
    """See the module."""

    def fit(self, state: Log | _View | None, now: Moment, rule: MovingWindow) -> _View:
        """See `Algorithm.fit`."""
        if isinstance(state, _View):
            return state
        log: Log = ListLog() if state is None else state
        log.expire(now.us - rule.window_us, now.us)
        return _View(log, 0)

    def wait(self, view: _View, now: Moment, rule: MovingWindow, cost: int) -> float:
        """See `Algorithm.wait`; until enough of the oldest have left."""
        excess = view.log.total + view.added + cost - rule.limit
        if not cost or excess <= 0:
            return 0.0
        if cost > rule.limit:
            return math.inf
        for at_us, units in view.log.oldest():
            excess -= units
            if excess <= 0:
                # Not below 0: a longer window asked about before, in this call, keeps what has left this one.
                return waiting_seconds(max(at_us + rule.window_us - now.us, 0))
        # What this call itself has added is in the way.
        return waiting_seconds(rule.window_us)

    def take(self, view: _View, now: Moment, rule: MovingWindow, cost: int) -> _View:
        """See `Algorithm.take`."""
        del now, rule
        return _View(view.log, view.added + cost)

    def take_denied(self, view: _View, now: Moment, rule: MovingWindow, cost: int) -> _View:
        """See `Algorithm.take_denied`."""
        del now
        return _View(view.log, view.added + min(cost, max(rule.limit - view.log.total - view.added, 0)))

    def describe(self, view: _View, now: Moment, rule: MovingWindow) -> tuple[int, float]:
        """See `Algorithm.describe`."""
        used = view.log.total + view.added
        reset = 0
        if used:
            newest_us = now.us if view.added else view.log.newest_us()
            reset = max(newest_us + rule.window_us - now.us, 0)
        return max(rule.limit - used, 0), seconds(reset)

    def close(self, view: _View, now: Moment, rule: MovingWindow) -> Log:
        """See `Algorithm.close`."""
        if view.added:
            view.log.add(now.us, view.added, rule.window_us)
        return view.log

    def settle(self, state: Log, now: Moment, rule: MovingWindow, amount: int, at_ns: int) -> Log | None:
        """See `Algorithm.settle`; an entry is known by its time."""
        state.expire(now.us - rule.window_us, now.us)
        return state if state.change(at_ns // 1000, amount) else None
