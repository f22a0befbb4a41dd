"""What a limit is made of, as values: how much, how fast, and by which algorithm.

A rule holds no state and knows no caller; a store keeps one state for each key that is asked about, and decides by the rule
that comes with the question. The algorithms themselves, and what each of them promises about a trailing window, are in
`prodkit.stores.algorithms`.

Source: ITU-T I.371 (generic cell rate algorithm); the other names as in the `limits` package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = [
    "MOST_LOGGED",
    "CalendarUnit",
    "CalendarWindow",
    "FixedWindow",
    "MovingWindow",
    "Permit",
    "Rate",
    "Rule",
    "SlidingWindow",
]

_NANOSECONDS: Final = 1_000_000_000
# The wall clock is a float of about 1.8e9 seconds, which resolves a quarter of a microsecond: a shorter interval than one
# microsecond could not be told from none.
_SHORTEST_INTERVAL_SECONDS: Final = 1e-6
# Unix time in nanoseconds plus this still fits the signed 64 bits of an SQLite integer.
_LONGEST_SECONDS: Final = 100 * 365 * 86_400.0
_SHORTEST_WINDOW_SECONDS: Final = 0.001
# A double holds whole numbers up to twice this, which is what an overdrawn bucket lacks at most, and a script of a store may
# know no other numbers. Where an empty bucket takes longer than this to refill (52 days), its interval is whole microseconds.
_EXACT_NS: Final = 2**52

MOST_LOGGED: Final = 10_000
"""The largest limit of a `MovingWindow`, which remembers each unit: about 18 bytes of each in Redis."""

_LONGEST_LEASE_SECONDS: Final = 86_400.0
_LONGEST_QUEUE_SECONDS: Final = 3600.0
_MOST_ID_CHARACTERS: Final = 64

# Counts are kept as whole numbers that a double holds, together with what is added to them.
_MOST: Final = 10**12

CalendarUnit: TypeAlias = Literal["hour", "day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket that refills evenly: the generic cell rate algorithm, the default.

    A caller may spend `burst` at once; the bucket refills evenly with `limit` per `window_seconds`, so over
    any stretch of time at most `burst + limit * elapsed / window_seconds` is admitted.

    Attributes:
        limit: requests (or units of cost) per window, at least 1.
        window_seconds: length of the window in seconds, above 0.
        burst: size of the bucket, at least 1. 0, the default, means *the same as limit* and is
            replaced by it.
        counts_denied: whether what is refused takes its cost all the same, as far as there is any: whoever goes on
            knocking stays out. For guards against guessing.
        is_binding: False for a limit on trial: it is told what it would have said, and refuses nobody.
        lease: how many units a worker may fetch at once and give out by itself; 0 for none. See `prodkit.stores.leases`.
        interval_ns: derived: nanoseconds until one unit is refilled, rounded up so that rounding never admits
            more.
        capacity_ns: derived: nanoseconds an empty bucket needs to be full again.

    Raises:
        ValueError: a value is out of range, the interval is under a microsecond, or a refill takes over 100
            years.

    Source: ITU-T I.371 (Generic Cell Rate Algorithm: increment = interval, limit = capacity - interval).
    """

    code: ClassVar[str] = "g"

    limit: int
    window_seconds: float
    burst: int = 0
    counts_denied: bool = field(default=False, kw_only=True)
    is_binding: bool = field(default=True, kw_only=True)
    lease: int = field(default=0, kw_only=True)
    interval_ns: int = field(init=False, repr=False, compare=False)
    capacity_ns: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what no bucket can do, and work out the two numbers that every request needs."""
        _require_limit(self.limit)
        if not _is_whole(self.burst) or self.burst < 0:
            message = (
                f"burst must be a whole number of at least 1 (or 0 for the same as limit), not {self.burst!r}"
            )
            raise ValueError(message)
        if not (math.isfinite(self.window_seconds) and self.window_seconds > 0):
            message = f"window_seconds must be a number above 0, not {self.window_seconds!r}"
            raise ValueError(message)
        if self.window_seconds / self.limit < _SHORTEST_INTERVAL_SECONDS:
            message = f"{self.limit} per {self.window_seconds} s is more than one per microsecond"
            raise ValueError(message)
        burst = self.burst or self.limit
        interval_ns = math.ceil(self.window_seconds * _NANOSECONDS / self.limit)
        if interval_ns * burst > _EXACT_NS:
            interval_ns = -(-interval_ns // 1000) * 1000
        if interval_ns * burst > _LONGEST_SECONDS * _NANOSECONDS:
            message = f"{burst} at {self.limit} per {self.window_seconds} s take over 100 years to refill"
            raise ValueError(message)
        _require_lease(self.lease, burst)
        object.__setattr__(self, "burst", burst)
        object.__setattr__(self, "interval_ns", interval_ns)
        object.__setattr__(self, "capacity_ns", interval_ns * burst)

    @property
    def most(self) -> int:
        """The largest cost that can ever fit."""
        return self.burst


@dataclass(frozen=True, slots=True)
class _Window:
    """What windows of a fixed length have in common."""

    limit: int
    window_seconds: float
    counts_denied: bool = field(default=False, kw_only=True)
    is_binding: bool = field(default=True, kw_only=True)
    lease: int = field(default=0, kw_only=True)
    window_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        _require_limit(self.limit)
        _require_lease(self.lease, self.limit)
        object.__setattr__(self, "window_us", _microseconds(self.window_seconds))

    @property
    def most(self) -> int:
        """The largest cost that can ever fit."""
        return self.limit


@dataclass(frozen=True, slots=True)
class FixedWindow(_Window):
    """A count that begins anew at every multiple of the window, counted from 1970-01-01T00:00Z.

    Around the moment it begins anew, twice the limit may pass within one window's length. What it is good for is a quota
    that people can follow: *a thousand in each full hour*.

    Attributes:
        limit: units per window, at least 1.
        window_seconds: length of the window in seconds, at least a millisecond; whole microseconds are used.
        counts_denied, is_binding, lease: see `Rate`.

    Raises:
        ValueError: a value is out of range.
    """

    code: ClassVar[str] = "f"


@dataclass(frozen=True, slots=True)
class SlidingWindow(_Window):
    """Two counts, of this window and of the one before, which weighs as much as is still within reach.

    The estimate takes what came in the window before as if it had come evenly. In the worst case less than twice the limit
    passes within one window's length; with even traffic, exactly the limit. Two numbers per caller, whatever the limit.

    Attributes:
        limit: units per window, at least 1.
        window_seconds: length of the window in seconds, at least a millisecond; whole microseconds are used.
        counts_denied, is_binding, lease: see `Rate`.

    Raises:
        ValueError: a value is out of range.
    """

    code: ClassVar[str] = "s"


@dataclass(frozen=True, slots=True)
class MovingWindow(_Window):
    """Exactly the limit in any trailing window, and never less: each unit is remembered until it is too old.

    Attributes:
        limit: units per window, from 1 to `MOST_LOGGED`; beyond that take another algorithm.
        window_seconds: length of the window in seconds, at least a millisecond; whole microseconds are used.
        counts_denied, is_binding, lease: see `Rate`.

    Raises:
        ValueError: a value is out of range.
    """

    code: ClassVar[str] = "m"

    def __post_init__(self) -> None:
        """Refuse what cannot be remembered."""
        # Named, because `super()` does not find its class where a dataclass has slots.
        _Window.__post_init__(self)
        if self.limit > MOST_LOGGED:
            message = f"a moving window remembers each unit, at most {MOST_LOGGED}, not {self.limit}; take a sliding window"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """A quota by the calendar: so much each day, week, month or year of a time zone.

    Attributes:
        limit: units per window, at least 1.
        unit: what a window is long. Hours begin with the zone's full hours, weeks on Monday.
        count: how many of them make one window; from 1 to 100.
        zone: IANA name of the time zone, default UTC.
        anchor: the first day of some window, e.g. of a billing period: with 2026-01-15 months begin on the 15th, and on the
            last day of a month that has no such day. None for the calendar's own beginnings; windows of several units are
            then counted from 1970-01-01, weeks from the first Monday after it.
        counts_denied, is_binding, lease: see `Rate`.

    Raises:
        ValueError: a value is out of range, or there is no such time zone.
    """

    code: ClassVar[str] = "c"

    limit: int
    unit: CalendarUnit
    count: int = 1
    zone: str = "UTC"
    anchor: date | None = None
    counts_denied: bool = field(default=False, kw_only=True)
    is_binding: bool = field(default=True, kw_only=True)
    lease: int = field(default=0, kw_only=True)
    tz: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is no calendar."""
        _require_limit(self.limit)
        if self.unit not in {"hour", "day", "week", "month", "year"}:
            message = f"unit must be hour, day, week, month or year, not {self.unit!r}"
            raise ValueError(message)
        if not _is_whole(self.count) or not 1 <= self.count <= 100:
            message = f"count must be a whole number from 1 to 100, not {self.count!r}"
            raise ValueError(message)
        _require_lease(self.lease, self.limit)
        # A `datetime` is a `date` too, and would be compared with one in vain.
        if self.anchor is not None and type(self.anchor) is not date:
            message = f"anchor must be a date, not {type(self.anchor).__name__}"
            raise ValueError(message)
        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"there is no time zone {self.zone!r}"
            raise ValueError(message) from error
        object.__setattr__(self, "tz", zone)

    @property
    def window_seconds(self) -> float:
        """About how long a window is: a month counts 30 days and a year 365."""
        return self.count * {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_592_000.0}.get(
            self.unit, 31_536_000.0
        )

    @property
    def most(self) -> int:
        """The largest cost that can ever fit."""
        return self.limit


@dataclass(frozen=True, slots=True)
class Permit:
    """One of `limit` places for what is under way at the same time; made anew for each request.

    An ask with a permit takes the place until it is settled with -1, or its lease is over; asked again with the same id it
    prolongs its lease. A permit that finds no place may queue: it keeps its turn as long as it asks again, and everybody in
    front of it goes first, in whichever process.

    Attributes:
        limit: places, at least 1.
        id: names this permit, unique; at most 64 characters.
        lease_seconds: how long the place is kept if nobody is heard of, at least 1 s: what a killed worker held is free
            again after that.
        queue: how many may wait, 0 for none.
        queue_seconds: how long one may wait, above 0 where there is a queue.
        is_binding: see `Rate`.

    Raises:
        ValueError: a value is out of range.
    """

    code: ClassVar[str] = "p"
    counts_denied: ClassVar[bool] = False
    lease: ClassVar[int] = 0

    limit: int
    id: str
    lease_seconds: float = 60.0
    queue: int = 0
    queue_seconds: float = 0.0
    is_binding: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what is no place."""
        _require_limit(self.limit)
        if not 1 <= len(self.id) <= _MOST_ID_CHARACTERS:
            message = "the id of a permit has 1 to 64 characters"
            raise ValueError(message)
        if not (math.isfinite(self.lease_seconds) and 1.0 <= self.lease_seconds <= _LONGEST_LEASE_SECONDS):
            message = f"lease_seconds must be from 1 to 86400, not {self.lease_seconds!r}"
            raise ValueError(message)
        if not _is_whole(self.queue) or self.queue < 0:
            message = f"queue must be a whole number of at least 0, not {self.queue!r}"
            raise ValueError(message)
        if self.queue and not 0 < self.queue_seconds <= _LONGEST_QUEUE_SECONDS:
            message = f"queue_seconds must be above 0 and at most 3600, not {self.queue_seconds!r}"
            raise ValueError(message)

    @property
    def window_seconds(self) -> float:
        """How long a place is kept at most if nobody is heard of."""
        return self.lease_seconds

    @property
    def most(self) -> int:
        """A permit takes one place."""
        return 1


Rule: TypeAlias = Rate | FixedWindow | SlidingWindow | MovingWindow | CalendarWindow | Permit


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_limit(limit: int) -> None:
    if not _is_whole(limit) or limit < 1:
        message = f"limit must be a whole number of at least 1, not {limit!r}"
        raise ValueError(message)
    if limit > _MOST:
        message = f"limit must be at most {_MOST}, not {limit}"
        raise ValueError(message)


def _require_lease(lease: int, most: int) -> None:
    if not _is_whole(lease) or not 0 <= lease <= most:
        message = f"lease must be a whole number from 0 to {most}, not {lease!r}"
        raise ValueError(message)


def _microseconds(window_seconds: float) -> int:
    if not (math.isfinite(window_seconds) and _SHORTEST_WINDOW_SECONDS <= window_seconds <= _LONGEST_SECONDS):
        message = f"window_seconds must be from {_SHORTEST_WINDOW_SECONDS} to {_LONGEST_SECONDS:.0f}, not {window_seconds!r}"
        raise ValueError(message)
    return round(window_seconds * 1e6)
