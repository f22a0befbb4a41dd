"""When a budget begins anew.

Minutes and hours are those of UTC. Days and months begin at midnight of a time zone, so where its clocks are changed a day
has 23 or 25 hours; each moment is in exactly one window.

Source: PEP 495 and PEP 615 (local times that do not exist, or exist twice).
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

from prodkit.core.calendar_windows import first_second

__all__ = ["WINDOWS", "Window", "window_at"]

Window: TypeAlias = Literal["minute", "hour", "day", "month", "total"]
"""How long a limit holds for; `total` never begins anew."""

WINDOWS: Final[tuple[Window, ...]] = ("minute", "hour", "day", "month", "total")

_FIXED: Final = {"minute": 60, "hour": 3600}


def window_at(window: Window, zone: tzinfo, at: float) -> tuple[int, int | None]:
    """The window that is open at *at*: its first second, and that of the next one; 0 and None where it never ends.

    Args:
        window: how long.
        zone: whose days and months.
        at: unix seconds, from 1970 to 9998.
    """
    if window == "total":
        return 0, None
    if window in _FIXED:
        length = _FIXED[window]
        start = math.floor(at) // length * length
        return start, start + length
    first = datetime.fromtimestamp(at, zone).date()
    if window == "month":
        first = first.replace(day=1)
    start = first_second(first, zone)
    # Where clocks are put back over midnight, the date goes back with them, and the new day has begun all the same.
    while at >= (end := first_second(_next(first, window), zone)):
        first, start = _next(first, window), end
    return start, end


def _next(first: date, window: Window) -> date:
    return first + timedelta(days=1) if window == "day" else (first + timedelta(days=31)).replace(day=1)
