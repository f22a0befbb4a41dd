"""Rules as values: what cannot be is refused when it is written down, with what was wrong."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow
from prodkit.stores.rules import MOST_LOGGED


@pytest.mark.parametrize("kind", [Rate, FixedWindow, SlidingWindow, MovingWindow])
@pytest.mark.parametrize("limit", [0, -1, 1.0, True, 10**12 + 1], ids=str)
def test_a_limit_is_a_whole_number_within_reason(kind, limit):
    """No fraction, no truth value, nothing below 1, and nothing that a double could not count to."""
    with pytest.raises(ValueError, match="limit must be"):
        kind(limit, 1e9)


@pytest.mark.parametrize("kind", [Rate, FixedWindow, SlidingWindow, MovingWindow])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e12], ids=str)
def test_a_window_is_a_time_within_reason(kind, seconds):
    """Above nothing, and at most 100 years."""
    with pytest.raises(ValueError, match=r"window_seconds must be|100 years"):
        kind(10, seconds)


@pytest.mark.parametrize("kind", [Rate, FixedWindow, SlidingWindow, MovingWindow])
@pytest.mark.parametrize("lease", [-1, 11, 1.5, True], ids=str)
def test_a_lease_is_a_part_of_the_limit(kind, lease):
    """A worker can fetch at most what there is."""
    with pytest.raises(ValueError, match="lease must be a whole number from 0 to 10"):
        kind(10, 60.0, lease=lease)


def test_a_moving_window_remembers_only_so_much():
    """Its state grows with its limit, so that is bounded, and the cure is named."""
    assert MovingWindow(MOST_LOGGED, 60.0).most == MOST_LOGGED
    with pytest.raises(ValueError, match="take a sliding window"):
        MovingWindow(MOST_LOGGED + 1, 60.0)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"unit": "minute"}, "unit must be"),
        ({"count": 0}, "count must be"),
        ({"count": 101}, "count must be"),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"zone": "../etc/passwd"}, "no time zone"),
        ({"anchor": "2026-01-15"}, "anchor must be a date, not str"),
        ({"anchor": datetime(2026, 1, 15)}, "anchor must be a date, not datetime"),
        ({"lease": 11}, "lease must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_calendar_window_is_one_of_the_calendar(fields, fault):
    """Unit, count, zone and anchor are looked at when the rule is made, not when the first request comes."""
    with pytest.raises(ValueError, match=fault):
        CalendarWindow(10, **{"unit": "day", **fields})


def test_a_calendar_window_knows_about_how_long_it_is():
    """For headers: months count 30 days and years 365."""
    assert CalendarWindow(1, "month", 2, anchor=date(2026, 1, 31)).window_seconds == 60 * 86_400
    assert CalendarWindow(1, "year").window_seconds == 365 * 86_400


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"id": ""}, "1 to 64 characters"),
        ({"id": "x" * 65}, "1 to 64 characters"),
        ({"lease_seconds": 0.5}, "lease_seconds must be"),
        ({"lease_seconds": 1e9}, "lease_seconds must be"),
        ({"queue": -1}, "queue must be"),
        ({"queue": 1}, "queue_seconds must be"),
        ({"queue": 1, "queue_seconds": 3601.0}, "queue_seconds must be"),
        ({"limit": 0}, "limit must be"),
    ],
    ids=str,
)
def test_a_permit_ends(fields, fault):
    """A place is always given up in the end, and so is a wait."""
    with pytest.raises(ValueError, match=fault):
        Permit(**{"limit": 1, "id": "a", **fields})
