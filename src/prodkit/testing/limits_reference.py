"""What each algorithm is, told in the slowest and plainest way: everything that was ever admitted is kept and looked at again.

Written from the definitions and not from the algorithms, so that the two do not share a mistake.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow

__all__ = [
    "CalendarHistory",
    "FixedHistory",
    "History",
    "MovingHistory",
    "PermitHistory",
    "RateHistory",
    "SlidingHistory",
]


class History:
    """Everything that was admitted; a moment is unix time in microseconds."""

    def __init__(self, limit: int) -> None:
        """Nothing so far."""
        self.limit = limit
        self.admitted: list[tuple[int, int]] = []

    def used(self, now_us: int) -> int:
        """What counts now."""
        raise NotImplementedError

    def ask(self, now_us: int, cost: int) -> tuple[bool, int]:
        """Whether it fits, and what is left after that."""
        fits = cost == 0 or self.used(now_us) + cost <= self.limit
        if fits and cost:
            self.admitted.append((now_us, cost))
        return fits, max(self.limit - self.used(now_us), 0)

    def within(self, first_us: int, last_us: int) -> int:
        """What was admitted from the one moment to the other, both included."""
        return sum(cost for at, cost in self.admitted if first_us <= at <= last_us)


class FixedHistory(History):
    """What came since the last multiple of the window."""

    def __init__(self, rule: FixedWindow) -> None:
        """Nothing so far."""
        super().__init__(rule.limit)
        self._window_us = round(rule.window_seconds * 1e6)

    def used(self, now_us: int) -> int:
        """See `History.used`."""
        return sum(cost for at, cost in self.admitted if at // self._window_us == now_us // self._window_us)


class CalendarHistory(History):
    """What came on the same day, or in the same month, of UTC."""

    def __init__(self, rule: CalendarWindow) -> None:
        """Nothing so far."""
        super().__init__(rule.limit)
        self._letters = {"hour": 13, "day": 10, "month": 7, "year": 4}[rule.unit]

    def used(self, now_us: int) -> int:
        """See `History.used`."""
        today = self._date(now_us)
        return sum(cost for at, cost in self.admitted if self._date(at) == today)

    def _date(self, at_us: int) -> str:
        return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat()[: self._letters]


class SlidingHistory(History):
    """What came in this window, and of the one before the part that is still within reach, rounded up."""

    def __init__(self, rule: SlidingWindow) -> None:
        """Nothing so far."""
        super().__init__(rule.limit)
        self._window_us = round(rule.window_seconds * 1e6)

    def used(self, now_us: int) -> int:
        """See `History.used`."""
        start = now_us // self._window_us * self._window_us
        before = self.within(start - self._window_us, start - 1)
        return self.within(start, now_us) + ceil(
            Fraction(before * (start + self._window_us - now_us), self._window_us)
        )


class MovingHistory(History):
    """What came less than a window ago."""

    def __init__(self, rule: MovingWindow) -> None:
        """Nothing so far."""
        super().__init__(rule.limit)
        self._window_us = round(rule.window_seconds * 1e6)

    def used(self, now_us: int) -> int:
        """See `History.used`."""
        return self.within(now_us - self._window_us + 1, now_us)


class RateHistory(History):
    """What has not been refilled yet: units leave one after the other, each an interval after the one before, or after it came."""

    def __init__(self, rule: Rate) -> None:
        """Nothing so far."""
        super().__init__(rule.burst)
        # A rate whose interval is whole microseconds, so that nothing is rounded.
        self._interval_us = Fraction(round(rule.window_seconds * 1e6), rule.limit)

    def used(self, now_us: int) -> int:
        """See `History.used`."""
        left_at = Fraction(0)
        waiting = 0
        for at, cost in self.admitted:
            for _ in range(cost):
                left_at = max(left_at, Fraction(at)) + self._interval_us
                waiting += left_at > now_us
        return waiting


class PermitHistory:
    """Who holds a place until when, and who has queued since when, each a plain list."""

    def __init__(self) -> None:
        """Nobody so far."""
        self.holding: list[tuple[str, int]] = []
        self.queue: list[tuple[str, int]] = []

    def ask(self, now_us: int, permit: Permit) -> tuple[bool, int, int]:
        """Whether it has a place, how many are free after that, and its place in the queue."""
        lease_us, queue_us = round(permit.lease_seconds * 1e6), round(permit.queue_seconds * 1e6)
        self.holding = [(name, end) for name, end in self.holding if end > now_us]
        self.queue = [(name, since) for name, since in self.queue if since + queue_us > now_us]
        waiting = [name for name, _ in self.queue]
        in_front = waiting.index(permit.id) if permit.id in waiting else len(waiting)
        held = permit.id in [name for name, _ in self.holding]
        if held or permit.limit - len(self.holding) > in_front:
            self.give_back(permit.id)
            self.holding.append((permit.id, now_us + lease_us))
            return True, permit.limit - len(self.holding), 0
        free = permit.limit - len(self.holding)
        if permit.id in waiting:
            return False, free, in_front + 1
        if len(waiting) < permit.queue:
            self.queue.append((permit.id, max([now_us, *(since + 1 for _, since in self.queue)])))
            return False, free, in_front + 1
        return False, free, 0

    def give_back(self, name: str) -> None:
        """Neither holds nor waits any more."""
        self.holding = [one for one in self.holding if one[0] != name]
        self.queue = [one for one in self.queue if one[0] != name]
