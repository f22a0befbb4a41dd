"""When a budget begins anew, wherever its midnight is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.budgets.windows import WINDOWS, window_at

# Every kind of trouble: whole and half hours, both hemispheres, midnights that are skipped or exist twice, a day that was
# left out, changes within a month, offsets of minutes and seconds long ago.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Atlantic/Azores",
    "Pacific/Apia",
    "Pacific/Kwajalein",
)


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def shown(window, zone: str, moment: float) -> tuple[str, str]:
    """Both ends as local times."""
    start, end = window_at(window, ZoneInfo(zone), moment)
    assert end is not None
    first, last = (datetime.fromtimestamp(edge, ZoneInfo(zone)).isoformat() for edge in (start, end))
    return first, last


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("minute", "2026-11-22T10:05:00+00:00", "2026-11-22T10:06:00+00:00"),
        ("hour", "2026-11-22T10:00:00+00:00", "2026-11-22T11:00:00+00:00"),
        ("day", "2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00"),
        ("month", "2026-11-01T00:00:00+00:00", "2026-12-01T00:00:00+00:00"),
    ],
)
def test_a_window_is_the_one_on_the_calendar(window, start, end):
    """Its first second is in it, and its last; the first of the next one is not."""
    moments = (at(start), at("2026-11-22T10:05:30"), at(end) - 0.001)
    assert {shown(window, "UTC", moment) for moment in moments} == {(start, end)}
    assert shown(window, "UTC", at(end))[0] == end


def test_total_never_begins_anew():
    """One window for ever."""
    assert {window_at("total", UTC, moment) for moment in (0.0, 2e9)} == {(0, None)}


@pytest.mark.parametrize("month", range(1, 13))
def test_months_are_as_long_as_they_are(month):
    """From the first to the first, the leap year's February and the turn of the year included."""
    following = f"{2028 + month // 12}-{month % 12 + 1:02}-01T00:00:00+00:00"
    for day in ("01T00:00:00", "15T12:00:00", "28T23:59:59"):
        assert shown("month", "UTC", at(f"2028-{month:02}-{day}")) == (
            f"2028-{month:02}-01T00:00:00+00:00",
            following,
        )


@pytest.mark.parametrize(
    ("zone", "noon", "start", "end", "hours"),
    [
        # The clocks go forward, and back, in the small hours.
        ("Europe/Berlin", "2026-03-29T12:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 25),
        # Midnight is skipped: the day begins when the clocks say one.
        (
            "America/Sao_Paulo",
            "2018-11-04T12:00",
            "2018-11-04T01:00:00-02:00",
            "2018-11-05T00:00:00-02:00",
            23,
        ),
        # At one the clocks go back to midnight: the day has begun already, and begins once.
        ("America/Havana", "2026-11-01T12:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", 25),
        # At midnight they go back to the day before, which ends when midnight comes again.
        (
            "America/Sao_Paulo",
            "2018-02-17T12:00",
            "2018-02-17T00:00:00-02:00",
            "2018-02-18T00:00:00-03:00",
            25,
        ),
        # A minute after midnight they go back to the day before, which has ended all the same.
        (
            "America/St_Johns",
            "2010-11-07T12:00",
            "2010-11-07T00:00:00-02:30",
            "2010-11-08T00:00:00-03:30",
            25,
        ),
        # Half an hour before midnight they go forward by an hour.
        (
            "America/Toronto",
            "1919-03-31T12:00",
            "1919-03-31T00:30:00-04:00",
            "1919-04-01T00:00:00-04:00",
            23.5,
        ),
        # Half an hour is enough.
        (
            "Australia/Lord_Howe",
            "2026-10-04T12:00",
            "2026-10-04T00:00:00+10:30",
            "2026-10-05T00:00:00+11:00",
            23.5,
        ),
        # The thirtieth did not happen.
        ("Pacific/Apia", "2011-12-29T12:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", 24),
    ],
)
def test_days_on_which_the_clocks_are_changed(zone, noon, start, end, hours):
    """They are longer or shorter, and begin and end where the calendar on the wall does."""
    assert shown("day", zone, at(noon, zone)) == (start, end)
    first, last = window_at("day", ZoneInfo(zone), at(noon, zone))
    assert (last - first) / 3600 == hours


def test_an_hour_that_exists_twice_is_in_one_day():
    """Half past two, the first and the second time, an hour apart and in the same window."""
    twice = [at("2026-10-25T02:30", "Europe/Berlin", fold) for fold in (0, 1)]
    assert twice[1] - twice[0] == 3600
    assert len({window_at("day", ZoneInfo("Europe/Berlin"), moment) for moment in twice}) == 1


def test_a_day_that_the_clocks_show_again_is_over():
    """At a minute past midnight it is half past eleven of the day before again: no second budget for that hour."""
    again = at("2010-11-06T23:30", "America/St_Johns", fold=1)
    assert shown("day", "America/St_Johns", again)[0] == "2010-11-07T00:00:00-02:30"
    assert shown("day", "America/St_Johns", again - 3600)[0] == "2010-11-06T00:00:00-02:30"


@given(st.sampled_from(ZONES), st.sampled_from(WINDOWS[:-1]), st.floats(0, 4e9))
def test_each_moment_is_in_exactly_one_window(zone, window, moment):
    """Windows follow one another without a gap: no spending is in none of them, and none is in two."""
    tz = ZoneInfo(zone)
    start, end = window_at(window, tz, moment)
    assert end is not None
    assert start <= moment < end
    assert window_at(window, tz, start) == window_at(window, tz, end - 0.001) == (start, end)
    assert window_at(window, tz, end)[0] == end
    if start > 0:
        assert window_at(window, tz, start - 0.001)[1] == start


@given(st.sampled_from(ZONES), st.integers(0, 4_000_000_000))
def test_a_day_is_the_one_on_the_wall(zone, moment):
    """Whoever looks at a local clock within a day sees its date, but while it shows yesterday's for the second time."""
    tz = ZoneInfo(zone)
    start, end = window_at("day", tz, moment)
    assert end is not None
    here, begun = (datetime.fromtimestamp(each, tz).date() for each in (moment, start))
    assert here <= begun
    assert datetime.fromtimestamp(end - 1, tz).date() <= begun or begun > here
    assert 0 < end - start <= 49 * 3600
