"""When a window of the calendar begins and ends, in a time zone.

Days, weeks, months and years begin at midnight of the zone, so where its clocks are changed a day has 23 or 25 hours. Hours
begin with the zone's full hours; an hour that exists twice is two hours (where clocks are put back by half an hour, one of
90 minutes), and where several hours make one window, it begins where the clock says so for the first time. Each moment is in exactly one window, and no window is empty.

Source: PEP 495 and PEP 615 (local times that do not exist, or exist twice).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["Boundaries", "CalendarUnit", "first_second", "table_at"]

CalendarUnit: TypeAlias = Literal["hour", "day", "week", "month", "year"]

_EPOCH: Final = date(1970, 1, 1)
_FIRST_MONDAY: Final = date(1970, 1, 5)
_MONTHS: Final = {"month": 1, "year": 12}
_LENGTHS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
# By unit, count, zone and anchor. Rules are made by operators: more than this many are made anew by mistake, and the worst
# that can happen then is that a window is worked out again.
_MOST_TABLES: Final = 256
_tables: dict[tuple[str, int, tzinfo, date | None], Boundaries] = {}


class Boundaries(NamedTuple):
    """The first seconds of consecutive windows, in unix seconds: of the one before, the present one, and the next three.

    So four windows are known: what a store's clock, which is not ours, reads a little later can be found among them.
    """

    before: int
    start: int
    end: int
    after: int
    later: int


def table_at(unit: CalendarUnit, count: int, zone: tzinfo, anchor: date | None, at: float) -> Boundaries:
    """The windows around *at*.

    Args:
        unit: what a window is long.
        count: how many of them make one, at least 1.
        zone: whose midnights and full hours.
        anchor: the first day of some window; months begin on its day, or on the last day of a month that has no such day.
            None for 1970-01-01, weeks for the first Monday after it.
        at: unix seconds, from 1970 to 9000.
    """
    name = unit, count, zone, anchor
    table = _tables.get(name)
    if table is not None and table.start <= at < table.end:
        return table
    table = _work_out(unit, count, zone, anchor or (_FIRST_MONDAY if unit == "week" else _EPOCH), at)
    if len(_tables) >= _MOST_TABLES:
        _tables.clear()
    _tables[name] = table
    return table


def first_second(day: date, zone: tzinfo) -> int:
    """The first second of *day*: its first midnight, or, where the clocks skip it, the moment they do."""
    return _first_moment(_midnight(day), zone)


def _first_moment(local: datetime, zone: tzinfo) -> int:
    """The first second at which the clocks of *zone* show *local* or later, for good or for the first time."""
    there = local.replace(tzinfo=zone)
    early, late = sorted((math.ceil(there.timestamp()), math.ceil(there.replace(fold=1).timestamp())))
    if early == late or _shown(early, zone) >= local:
        return early
    # Local time does not exist: between the two readings of it lies the change, with nothing of the time before it.
    while early < late:
        middle = (early + late) // 2
        if _shown(middle, zone) >= local:
            late = middle
        else:
            early = middle + 1
    return late


def _shown(at: float, zone: tzinfo) -> datetime:
    """What the clocks of *zone* show then, without the zone."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001  what a clock on the wall shows, wherever it hangs


def _work_out(unit: CalendarUnit, count: int, zone: tzinfo, origin: date, at: float) -> Boundaries:
    index = _guess(unit, count, origin, _shown(at, zone))
    # Where clocks are put back over a boundary, what they show goes back with them, and the new window has begun all the same.
    while at >= _first_moment(_begin(unit, count, origin, index + 1), zone):
        index += 1
    while at < _first_moment(_begin(unit, count, origin, index), zone):
        index -= 1
    around = sorted(
        {
            moment
            for nearby in range(index - 3, index + 6)
            for moment in _moments(unit, count, zone, _begin(unit, count, origin, nearby))
        }
    )
    present = bisect_right(around, at) - 1
    return Boundaries(*around[present - 1 : present + 4])


def _guess(unit: CalendarUnit, count: int, origin: date, shown: datetime) -> int:
    """Which window, counted from *origin*, the clock on the wall shows, or the one after."""
    if unit in {"month", "year"}:
        months = (shown.year - origin.year) * 12 + shown.month - origin.month
        return months // (count * _MONTHS[unit])
    return (shown - _midnight(origin)) // (count * _LENGTHS[unit])


def _begin(unit: CalendarUnit, count: int, origin: date, index: int) -> datetime:
    """What the clock on the wall shows when that window begins."""
    if unit in {"month", "year"}:
        years, month = divmod(origin.month - 1 + index * count * _MONTHS[unit], 12)
        year = origin.year + years
        return _midnight(date(year, month + 1, min(origin.day, monthrange(year, month + 1)[1])))
    return _midnight(origin) + index * count * _LENGTHS[unit]


def _moments(unit: CalendarUnit, count: int, zone: tzinfo, local: datetime) -> set[int]:
    """When a window begins that begins at *local*: once, but single hours may exist twice."""
    first = _first_moment(local, zone)
    if unit == "hour" and count == 1:
        again = math.ceil(local.replace(tzinfo=zone, fold=1).timestamp())
        if again > first and _shown(again, zone) == local:
            return {first, again}
    return {first}
