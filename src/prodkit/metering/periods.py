"""Periods of reports: from when to when, and where in them a day begins.

Days begin at midnight of a time zone, so where its clocks are changed a day has 23 or 25 hours. A ledger groups by days of a
fixed distance from UTC: a period is cut into spans in which that is the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prodkit.core.calendar_windows import first_second, table_at

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["PeriodError", "Span", "month_of", "period", "shown", "spans", "zone_named"]

_DAY: Final = timedelta(days=1)
_DAY_SECONDS: Final = 86_400
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9999
_MOST_DAYS: Final = 1100
"""Three years: what is worked out for each of them is some microseconds of the event loop."""


class PeriodError(ValueError):
    """A period, a moment or a time zone makes no sense.

    Attributes:
        name: which of them: `from`, `to` or `timezone`.
    """

    def __init__(self, message: str, *, name: str) -> None:
        self.name = name
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a period in which days can be told.

    Attributes:
        since: unix seconds, included.
        until: unix seconds, not included.
        utc_offset_seconds: where its days begin, east of UTC positive.
        day: where all of it is one day, which is not 24 hours long, its date; else None.
    """

    since: float
    until: float
    utc_offset_seconds: int
    day: str | None = None


def period(since: str | None, until: str | None, now: float, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """From when, included, to when, not included, both in UTC.

    Args:
        since: an ISO 8601 date or time, of *zone* unless it says otherwise; None for the first of this month.
        until: likewise; None for the first of the month after.
        now: unix seconds.
        zone: whose midnights.

    Raises:
        PeriodError: one of them is none, or the end is not after the beginning.
    """
    this_month = datetime.fromtimestamp(now, zone).date().replace(day=1)
    begin = _midnight(this_month, zone) if since is None else _instant("from", since, zone)
    if until is not None:
        end = _instant("to", until, zone)
    else:
        end = _midnight(_next_month(max(this_month, begin.astimezone(zone).date())), zone)
    if end <= begin:
        message = "It is not after `from`."
        raise PeriodError(message, name="to")
    return begin, end


def month_of(at: float) -> tuple[datetime, datetime]:
    """The month of UTC that *at* (unix seconds) is in: its beginning, and that of the next."""
    first = datetime.fromtimestamp(at, UTC).date().replace(day=1)
    return _midnight(first, UTC), _midnight(_next_month(first), UTC)


def shown(moment: datetime) -> str:
    """*moment*, which is in UTC, as text: `2026-11-22T12:00:00Z`."""
    return moment.isoformat().replace("+00:00", "Z")


def zone_named(name: str) -> tzinfo:
    """The time zone of a name such as `Europe/Berlin`; `UTC` needs no database.

    Raises:
        PeriodError: there is none on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "There is no such time zone on this machine. Write a name such as Europe/Berlin."
        raise PeriodError(message, name="timezone") from None


def spans(since: float, until: float, zone: tzinfo) -> list[Span]:
    """The period in parts, in order: each day that is not 24 hours long by itself, and what lies between them.

    Raises:
        PeriodError: it is longer than three years, and *zone* is not UTC.
    """
    if zone is UTC:
        return [Span(since, until, 0)]
    if until - since > _MOST_DAYS * _DAY_SECONDS:
        message = (
            f"By day of a time zone, a report is of {_MOST_DAYS} days at most; without one it may be longer."
        )
        raise PeriodError(message, name="from")
    found: list[Span] = []
    start = table_at("day", 1, zone, None, since).start
    day = datetime.fromtimestamp(start, zone).date()
    while start < until:
        day += _DAY
        end = first_second(day, zone)
        if end > start:  # a day that the clocks skip is empty
            _append(found, Span(max(since, start), min(until, end), *_kind_of_day(start, end, zone)))
        start = end
    return found


def _kind_of_day(start: int, end: int, zone: tzinfo) -> tuple[int, str | None]:
    """How far the day from *start* to *end* is from UTC; or 0 and its date, where that is not one thing all day."""
    offset = _offset(start, zone)
    is_plain = end - start == _DAY_SECONDS and _offset(end - 1, zone) == offset
    if is_plain and (start + offset) % _DAY_SECONDS == 0:
        return offset, None
    return 0, datetime.fromtimestamp(start, zone).date().isoformat()


def _append(found: list[Span], span: Span) -> None:
    """Add *span*, to the one before where days are told likewise."""
    last = found[-1] if found else None
    if (
        last is not None
        and last.day is span.day is None
        and last.utc_offset_seconds == span.utc_offset_seconds
    ):
        found[-1] = replace(last, until=span.until)
    else:
        found.append(span)


def _offset(at: float, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(first_second(day, zone), UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _instant(name: str, text: str, zone: tzinfo) -> datetime:
    try:
        # A space is what a plus sign becomes in a query that was not encoded.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if moment.tzinfo is None and not _is_date(text):
            moment = moment.replace(tzinfo=zone)
        elif moment.tzinfo is None and moment.year >= _FIRST_YEAR:
            moment = _midnight(moment.date(), zone)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        message = "Write an ISO 8601 date or time, e.g. 2026-11-22 or 2026-11-22T12:00:00Z."
        raise PeriodError(message, name=name) from None
    if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
        message = "The year is from 1970 to 9998."
        raise PeriodError(message, name=name)
    return moment


def _is_date(text: str) -> bool:
    """Whether *text*, which is a date or a time, has no time: a `T` it need not have, a blank or a `t` is read too."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
