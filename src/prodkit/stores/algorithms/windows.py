"""Counting in windows: fixed ones, those of a calendar, and two fixed ones that slide.

All in whole microseconds; a count of a window that is not the present one (nor, sliding, the one before) counts for nothing,
also where the clock was set back and it lies in the future.

What each promises: a fixed or calendar window admits exactly its limit from its start to its end, and so up to twice the limit
in a stretch of that length. A sliding window admits less than twice its limit in any stretch as long as the window, and never
more than its limit by its own estimate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

from prodkit.core.calendar_windows import table_at
from prodkit.stores.algorithms.moments import MOST_COUNTED, Written, seconds, waiting_seconds
from prodkit.stores.rules import CalendarWindow, FixedWindow

if TYPE_CHECKING:
    from prodkit.stores.algorithms.moments import Moment
    from prodkit.stores.rules import SlidingWindow

__all__ = ["Calendar", "Fixed", "Sliding"]

R = TypeVar("R", FixedWindow, CalendarWindow)


class _Counted(Generic[R]):
    """One count that begins anew."""

    def bounds(self, now_us: int, rule: R) -> tuple[int, int]:
        """The first microsecond of the window that *now_us* is in, and that of the next."""
        raise NotImplementedError

    def fit(self, state: Written | None, now: Moment, rule: R) -> Written:
        """See `Algorithm.fit`."""
        _, end = self.bounds(now.us, rule)
        return state if state is not None and state.ends_us == end else Written(end, 0)

    def wait(self, view: Written, now: Moment, rule: R, cost: int) -> float:
        """See `Algorithm.wait`; until the window begins anew."""
        if not cost or view.counted + cost <= rule.limit:
            return 0.0
        return math.inf if cost > rule.limit else waiting_seconds(view.ends_us - now.us)

    def take(self, view: Written, now: Moment, rule: R, cost: int) -> Written:
        """See `Algorithm.take`."""
        del now, rule
        return Written(view.ends_us, view.counted + cost)

    def take_denied(self, view: Written, now: Moment, rule: R, cost: int) -> Written:
        """See `Algorithm.take_denied`."""
        del now
        return Written(view.ends_us, max(view.counted, min(view.counted + cost, rule.limit)))

    def describe(self, view: Written, now: Moment, rule: R) -> tuple[int, float]:
        """See `Algorithm.describe`; it begins anew at its end, whatever was used."""
        return max(rule.limit - view.counted, 0), seconds(view.ends_us - now.us)

    def close(self, view: Written, now: Moment, rule: R) -> Written:
        """See `Algorithm.close`."""
        del now, rule
        return view

    def settle(self, state: Written, now: Moment, rule: R, amount: int, at_ns: int) -> Written | None:
        """See `Algorithm.settle`; only what the present window has counted still counts."""
        start, end = self.bounds(now.us, rule)
        if state.ends_us != end or not start <= at_ns // 1000 < end:
            return None
        return Written(end, _added(state.counted, amount))


class Fixed(_Counted[FixedWindow]):
    """Windows of one length, from 1970-01-01T00:00Z on."""

    def bounds(self, now_us: int, rule: FixedWindow) -> tuple[int, int]:
        """See `_Counted.bounds`."""
        start = now_us - now_us % rule.window_us
        return start, start + rule.window_us


class Calendar(_Counted[CalendarWindow]):
    """Windows of a calendar."""

    def bounds(self, now_us: int, rule: CalendarWindow) -> tuple[int, int]:
        """See `_Counted.bounds`."""
        table = table_at(rule.unit, rule.count, rule.tz, rule.anchor, now_us // 1_000_000)
        return table[1] * 1_000_000, table[2] * 1_000_000


class Sliding:
    """The count of the present window, and of the one before the part that is still within reach.

    The estimate is `count + ceil(previous * (left / window))`, where *left* is what the present window still has to go. It is
    computed in doubles in exactly that order, so that a script of a store comes to the same number.

    How long to wait: with `room = limit - cost - count`, if that is not negative, until `previous * left / window` is down to
    it, which is when left is `room * window / previous`. If that is not before the window ends, or there is no room, then in
    the next window, where count takes the place of previous and nothing that of count:
    until left is `(limit - cost) * window / count`.
    """

    def fit(self, state: Written | None, now: Moment, rule: SlidingWindow) -> Written:
        """See `Algorithm.fit`."""
        ends = now.us - now.us % rule.window_us + 2 * rule.window_us
        if state is None or state.ends_us not in {ends, ends - rule.window_us}:
            return Written(ends, 0)
        return state if state.ends_us == ends else Written(ends, 0, state.counted)

    def wait(self, view: Written, now: Moment, rule: SlidingWindow, cost: int) -> float:
        """See `Algorithm.wait`."""
        if not cost or _estimate(view, now, rule) + cost <= rule.limit:
            return 0.0
        if cost > rule.limit:
            return math.inf
        left = _left(view, now, rule)
        room = rule.limit - cost - view.counted
        if room > 0 and view.previous:
            # Doubles may put the estimate just above a whole number: a microsecond later it is surely below.
            return waiting_seconds(left - min(room * rule.window_us // view.previous, left))
        if not view.counted:
            return waiting_seconds(left)
        needed = min((rule.limit - cost) * rule.window_us // view.counted, rule.window_us)
        return waiting_seconds(left + rule.window_us - needed)

    def take(self, view: Written, now: Moment, rule: SlidingWindow, cost: int) -> Written:
        """See `Algorithm.take`."""
        del now, rule
        return Written(view.ends_us, view.counted + cost, view.previous)

    def take_denied(self, view: Written, now: Moment, rule: SlidingWindow, cost: int) -> Written:
        """See `Algorithm.take_denied`."""
        taken = min(cost, max(rule.limit - _estimate(view, now, rule), 0))
        return Written(view.ends_us, view.counted + taken, view.previous)

    def describe(self, view: Written, now: Moment, rule: SlidingWindow) -> tuple[int, float]:
        """See `Algorithm.describe`."""
        left = _left(view, now, rule)
        # What is counted weighs until the end of the next window, what was counted before until the end of this one.
        reset = left + rule.window_us if view.counted else left * bool(view.previous)
        return max(rule.limit - _estimate(view, now, rule), 0), seconds(reset)

    def close(self, view: Written, now: Moment, rule: SlidingWindow) -> Written:
        """See `Algorithm.close`."""
        del now, rule
        return view

    def settle(
        self, state: Written, now: Moment, rule: SlidingWindow, amount: int, at_ns: int
    ) -> Written | None:
        """See `Algorithm.settle`; what the window before has counted still counts, too."""
        view = self.fit(state, now, rule)
        if state.ends_us not in {view.ends_us, view.ends_us - rule.window_us}:
            return None
        start = view.ends_us - 2 * rule.window_us
        age = start - at_ns // 1000
        if -rule.window_us < age <= 0:
            # A count that was never begun knows nothing of this one.
            return (
                view._replace(counted=_added(view.counted, amount)) if state.ends_us == view.ends_us else None
            )
        if 0 < age <= rule.window_us:
            return view._replace(previous=_added(view.previous, amount))
        return None


def _left(view: Written, now: Moment, rule: SlidingWindow) -> int:
    return view.ends_us - rule.window_us - now.us


def _estimate(view: Written, now: Moment, rule: SlidingWindow) -> int:
    return view.counted + math.ceil(view.previous * (_left(view, now, rule) / rule.window_us))


def _added(count: int, amount: int) -> int:
    return min(max(count + amount, 0), MOST_COUNTED)
