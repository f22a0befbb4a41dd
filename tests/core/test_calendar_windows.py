"""When a window of the calendar begins, wherever its midnight is."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.calendar_windows import first_second, table_at

# Whole and half hours, both hemispheres, midnights that are skipped or exist twice, a day that was left out, changes by half
# an hour, offsets of seconds long ago.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Atlantic/Azores",
    "Pacific/Apia",
    "Pacific/Kwajalein",
)
UNITS = ("hour", "day", "week", "month", "year")


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def shown(unit, count, zone: str, anchor, moment: float) -> list[str]:
    """The boundaries as local times."""
    table = table_at(unit, count, ZoneInfo(zone), anchor, moment)
    return [datetime.fromtimestamp(edge, ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M") for edge in table]


@pytest.mark.parametrize(
    ("unit", "count", "expected"),
    [
        (
            "hour",
            1,
            [
                "2026-11-22T09:00",
                "2026-11-22T10:00",
                "2026-11-22T11:00",
                "2026-11-22T12:00",
                "2026-11-22T13:00",
            ],
        ),
        (
            "hour",
            6,
            [
                "2026-11-22T00:00",
                "2026-11-22T06:00",
                "2026-11-22T12:00",
                "2026-11-22T18:00",
                "2026-11-23T00:00",
            ],
        ),
        (
            "day",
            1,
            [
                "2026-11-21T00:00",
                "2026-11-22T00:00",
                "2026-11-23T00:00",
                "2026-11-24T00:00",
                "2026-11-25T00:00",
            ],
        ),
        (
            "week",
            1,
            [
                "2026-11-09T00:00",
                "2026-11-16T00:00",
                "2026-11-23T00:00",
                "2026-11-30T00:00",
                "2026-12-07T00:00",
            ],
        ),
        (
            "month",
            1,
            [
                "2026-10-01T00:00",
                "2026-11-01T00:00",
                "2026-12-01T00:00",
                "2027-01-01T00:00",
                "2027-02-01T00:00",
            ],
        ),
        (
            "month",
            3,
            [
                "2026-07-01T00:00",
                "2026-10-01T00:00",
                "2027-01-01T00:00",
                "2027-04-01T00:00",
                "2027-07-01T00:00",
            ],
        ),
        (
            "year",
            1,
            [
                "2025-01-01T00:00",
                "2026-01-01T00:00",
                "2027-01-01T00:00",
                "2028-01-01T00:00",
                "2029-01-01T00:00",
            ],
        ),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_windows_are_those_on_the_calendar(unit, count, expected, zone):
    """The one before, the present one and the next ones, as the clock on the wall shows them; weeks begin on Monday."""
    for moment in (expected[1], "2026-11-22T10:05", expected[2]):
        offset = -0.001 if moment == expected[2] else 0.0
        assert shown(unit, count, zone, None, at(moment, zone) + offset) == expected


@pytest.mark.parametrize(
    ("unit", "count", "anchor", "moment", "start", "end"),
    [
        ("month", 1, date(2026, 1, 15), "2026-11-14T23:59", "2026-10-15T00:00", "2026-11-15T00:00"),
        ("month", 1, date(2026, 1, 31), "2026-02-27T23:59", "2026-01-31T00:00", "2026-02-28T00:00"),
        ("month", 1, date(2026, 1, 31), "2026-02-28T00:00", "2026-02-28T00:00", "2026-03-31T00:00"),
        ("month", 1, date(2024, 1, 30), "2024-02-29T00:00", "2024-02-29T00:00", "2024-03-30T00:00"),
        ("month", 1, date(2026, 3, 31), "2025-12-31T12:00", "2025-12-31T00:00", "2026-01-31T00:00"),
        ("month", 2, date(2026, 1, 31), "2026-04-01T00:00", "2026-03-31T00:00", "2026-05-31T00:00"),
        ("year", 1, date(2024, 2, 29), "2026-03-01T00:00", "2026-02-28T00:00", "2027-02-28T00:00"),
        ("week", 2, date(2026, 11, 18), "2026-11-20T00:00", "2026-11-18T00:00", "2026-12-02T00:00"),
        ("day", 30, date(2026, 11, 18), "2026-11-17T23:59", "2026-10-19T00:00", "2026-11-18T00:00"),
    ],
)
def test_windows_are_counted_from_their_anchor(unit, count, anchor, moment, start, end):
    """Forwards and backwards; a month that has no such day begins on its last."""
    assert shown(unit, count, "Europe/Berlin", anchor, at(moment, "Europe/Berlin"))[1:3] == [start, end]


def lengths(unit, count, zone, moment) -> list[int]:
    table = table_at(unit, count, ZoneInfo(zone), None, moment)
    return [(end - start) // 60 for start, end in pairwise(table)]


@pytest.mark.parametrize(
    ("unit", "count", "zone", "moment", "minutes"),
    [
        ("day", 1, "Europe/Berlin", at("2026-03-29T12:00"), 23 * 60),
        ("day", 1, "Europe/Berlin", at("2026-10-25T12:00"), 25 * 60),
        # The hour that exists twice is two hours, and the one that is skipped is none.
        ("hour", 1, "Europe/Berlin", at("2026-10-25T00:30"), 60),
        ("hour", 1, "Europe/Berlin", at("2026-10-25T01:30"), 60),
        ("hour", 1, "Europe/Berlin", at("2026-03-29T00:30"), 60),
        ("hour", 6, "Europe/Berlin", at("2026-10-25T01:30"), 7 * 60),
        ("hour", 6, "Europe/Berlin", at("2026-03-29T01:30"), 5 * 60),
        # Half an hour back: the clocks show 1:30 to 2:00 twice, and no full hour in between.
        ("hour", 1, "Australia/Lord_Howe", at("2026-04-04T15:15"), 90),
        ("day", 1, "Pacific/Apia", at("2011-12-29T12:00", "Pacific/Apia"), 24 * 60),
    ],
)
def test_clocks_that_are_changed(unit, count, zone, moment, minutes):
    """A window is as long as its time really lasts."""
    assert lengths(unit, count, zone, moment)[1] == minutes


@settings(max_examples=300, deadline=None, database=None)
@given(
    unit=st.sampled_from(UNITS),
    count=st.sampled_from([1, 1, 2, 5, 24, 100]),
    zone=st.sampled_from(ZONES),
    anchor=st.one_of(st.none(), st.dates(date(1971, 1, 1), date(2100, 12, 31))),
    moment=st.floats(0, 4e9),
)
def test_each_moment_is_in_exactly_one_window(unit, count, zone, anchor, moment):
    """Windows are not empty, follow one another, and are the same ones whichever moment of them is asked about."""
    tz = ZoneInfo(zone)
    table = table_at(unit, count, tz, anchor, moment)
    assert len(table) == 5
    assert table.start <= moment < table.end
    assert list(table) == sorted(set(table))
    for inside in (table.start, table.end - 1):
        assert table_at(unit, count, tz, anchor, inside) == table
    following = table_at(unit, count, tz, anchor, table.end)
    assert following[:4] == table[1:]
    assert table_at(unit, count, tz, anchor, table.start - 1)[1:] == table[:4]


@settings(max_examples=100, deadline=None, database=None)
@given(zone=st.sampled_from(ZONES), moment=st.integers(0, 4 * 10**9), step=st.integers(-90_000, 90_000))
def test_hours_are_full_hours_of_the_zone(zone, moment, step):
    """Each begins with a full hour on the clock, or when the clocks are changed, and lasts an hour at most."""
    tz = ZoneInfo(zone)
    table = table_at("hour", 1, tz, None, moment + abs(step))
    first, before = (datetime.fromtimestamp(second, tz) for second in (table.start, table.start - 1))
    changed = first.utcoffset() != before.utcoffset()
    assert (first.minute, first.second) == (0, 0) or changed
    assert table.end - table.start <= 3600 or changed


def test_the_first_second_of_a_day_whose_midnight_is_skipped():
    """It is when the clocks are put forward."""
    sao_paulo = ZoneInfo("America/Sao_Paulo")
    assert first_second(date(2018, 11, 4), sao_paulo) == at("2018-11-04T01:00", "America/Sao_Paulo")
    assert first_second(date(2011, 12, 30), ZoneInfo("Pacific/Apia")) == first_second(
        date(2011, 12, 31), ZoneInfo("Pacific/Apia")
    )


def test_a_window_is_worked_out_once():
    """What is asked about again is found, and what is remembered is bounded."""
    from prodkit.core import calendar_windows

    first = table_at("day", 1, ZoneInfo("UTC"), None, 1.0)
    assert table_at("day", 1, ZoneInfo("UTC"), None, 2.0) is first
    for days in range(300):
        table_at("day", 1, ZoneInfo("UTC"), date(2000, 1, 1) + timedelta(days=days), 1.0)
    assert len(calendar_windows._tables) <= 256
