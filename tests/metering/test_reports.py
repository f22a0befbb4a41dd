"""Sums by day of a time zone, and sums that add up however many groups are shown."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.metering.periods import PeriodError, month_of, period, shown, spans, zone_named
from prodkit.metering.reports import report, scan
from tests.metering.booked import fresh, spend

BERLIN, LORD_HOWE, SAMOA = (
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("Pacific/Apia"),
)
CAIRO, HAVANA = ZoneInfo("Africa/Cairo"), ZoneInfo("America/Havana")
ZONES = [
    UTC,
    BERLIN,
    LORD_HOWE,
    SAMOA,
    CAIRO,
    HAVANA,
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("America/New_York"),
]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# ------------------------------------------------------------------------------------------------ periods


@given(
    since=st.integers(int(at("1990-01-01T00:00Z")), int(at("2037-01-01T00:00Z"))),
    days=st.floats(0.01, 800),
    zone=st.sampled_from(ZONES),
)
def test_spans_are_the_period_and_know_its_days(since, days, zone):
    """They follow one another from end to end, and in each of them a moment's date is what the zone's calendar says."""
    until = since + days * 86_400
    found = spans(since, until, zone)
    assert (found[0].since, found[-1].until) == (since, until)
    assert all(left.until == right.since for left, right in itertools.pairwise(found))
    for span in found:
        for moment in {span.since, (span.since + span.until) // 2, span.until - 0.001}:
            if not span.since <= moment < span.until:
                continue
            here = datetime.fromtimestamp(moment, zone).date()
            told = span.day or (
                datetime.fromtimestamp(int(moment) + span.utc_offset_seconds, UTC).date().isoformat()
            )
            # Where clocks go back over midnight the date on the wall does too, and the day has begun all the same.
            assert told in {here.isoformat(), (here + timedelta(days=1)).isoformat()}
            if zone not in {CAIRO, HAVANA}:
                assert told == here.isoformat()


def test_a_period_of_a_zone_begins_at_its_midnight():
    """Dates without a time, and the month that is the default; a day of 25 hours ends an hour later."""
    begin, end = period("2026-10-25", "2026-10-26", 0.0, BERLIN)
    assert (shown(begin), shown(end)) == ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
    begin, end = period(None, None, at("2026-10-31T23:30Z"), BERLIN)  # there it is November already
    assert (shown(begin), shown(end)) == ("2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z")


def test_a_moment_may_say_its_own_zone():
    """What has an offset is that moment, wherever the days begin."""
    begin, end = period("2026-10-25T12:00+05:00", "2026-10-25T12:00", 0.0, BERLIN)
    assert (shown(begin), shown(end)) == ("2026-10-25T07:00:00Z", "2026-10-25T11:00:00Z")


@pytest.mark.parametrize("between", ["T", " ", "t"])
def test_a_moment_is_not_taken_for_its_day(between):
    """However the date and the time of it stand beside each other."""
    begin, end = period(f"2026-11-22{between}12:00", f"2026-11-22{between}13:30:00", 0.0, BERLIN)
    assert (shown(begin), shown(end)) == ("2026-11-22T11:00:00Z", "2026-11-22T12:30:00Z")


@pytest.mark.parametrize(
    ("since", "until", "name"),
    [
        ("nonsense", None, "from"),
        (None, "2026-13-01", "to"),
        ("2026-02-01", "2026-02-01", "to"),
        ("1969-12-31", None, "from"),
    ],
)
def test_what_is_no_period_says_which_end(since, until, name):
    """So that the right parameter or option is blamed."""
    with pytest.raises(PeriodError) as caught:
        period(since, until, at("2026-02-01T00:00Z"))
    assert caught.value.name == name


@pytest.mark.parametrize("name", ["Nowhere/Land", "", "../../etc/passwd", "\x00", "x" * 500])
def test_an_unknown_zone_is_refused(name):
    """Whatever it looks like, and nothing outside of the database of zones is read."""
    with pytest.raises(PeriodError) as caught:
        zone_named(name)
    assert caught.value.name == "timezone"


def test_days_of_many_years_are_refused():
    """They are worked out one by one, on the event loop."""
    with pytest.raises(PeriodError):
        spans(0, 40 * 365 * 86_400, BERLIN)
    assert len(spans(0, 4e9, UTC)) == 1


def test_the_month_of_a_moment():
    """From its first second, to the first of the next; over the end of a year too."""
    assert [shown(moment) for moment in month_of(at("2026-12-31T23:59:59Z"))] == [
        "2026-12-01T00:00:00Z",
        "2027-01-01T00:00:00Z",
    ]


# ------------------------------------------------------------------------------------------------- reports


async def test_days_are_right_across_a_change_of_clocks():
    """In Berlin, 25 October 2026 has 25 hours: what was spent in its last one belongs to it, and sums are the same."""
    ledger, clock = fresh(at("2026-10-24T00:30+02:00"))
    for number in range(72):  # one an hour, three days long
        await spend(ledger, f"h{number}", 1, agent="even" if number % 2 == 0 else "odd")
        clock.advance(3600)
    since, until = at("2026-10-20T00:00+02:00"), at("2026-11-01T00:00+01:00")
    by_day = await report(ledger, since=since, until=until, group_by=["day"], zone=BERLIN)
    counts = {row.group["day"]: row.amount_nano for row in by_day.rows}
    assert counts == {"2026-10-24": 24, "2026-10-25": 25, "2026-10-26": 23}
    assert [*counts] == ["2026-10-25", "2026-10-24", "2026-10-26"]  # the largest first
    for names in (["day", "agent"], ["agent", "day"], ["agent"]):
        found = await report(ledger, since=since, until=until, group_by=names, zone=BERLIN)
        assert found.total.amount_nano == sum(row.amount_nano for row in found.rows) == 72
        assert found.total.operations == sum(row.operations for row in found.rows) == 72
        assert all([*row.group] == names for row in found.rows)
    plain = await report(ledger, since=since, until=until, group_by=["day"])
    assert {row.group["day"]: row.amount_nano for row in plain.rows} != counts


async def test_a_day_of_another_length_without_spending_is_no_row():
    """As any other day on which nothing was spent."""
    ledger, _ = fresh(at("2026-10-01T00:00Z"))
    await spend(ledger, "h", 5)
    found = await report(
        ledger, since=at("2026-10-01T00:00Z"), until=at("2026-11-01T00:00Z"), group_by=["day"], zone=BERLIN
    )
    assert [row.group["day"] for row in found.rows] == ["2026-10-01"]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_what_is_not_shown_is_counted(limit):
    """Rows and others are exactly the total, in money and units, whatever the number of rows."""
    ledger, clock = fresh(at("2026-10-01T00:00Z"))
    for number in range(7):
        await spend(ledger, f"h{number}", 10**number, {"search.fast": number}, agent=f"a{number}")
    found = await report(
        ledger,
        since=clock.wall() - 86_400,
        until=clock.wall() + 1,
        group_by=["agent", "day"],
        zone=BERLIN,
        limit=limit,
    )
    parts = [*found.rows, *([found.others] if found.others else [])]
    assert len(found.rows) == min(limit, 7)
    assert (found.others is None) == (limit >= 7)
    assert sum(part.amount_nano for part in parts) == found.total.amount_nano == 1_111_111
    assert sum(part.units.get("search.fast", 0) for part in parts) == 21
    assert sum(part.operations for part in parts) == found.total.operations == 7
    assert found.rows[0].amount_nano == 10**6


async def test_pages_are_the_whole_history():
    """Each entry once, in order, whatever the size of a page; also where the last page is full."""
    ledger, _ = fresh()
    for number in range(12):
        await spend(ledger, f"h{number}", 1)
    for size in (1, 4, 5, 12, 100):
        found = [entry.hold async for page in scan(ledger, page=size) for entry in page]
        assert found == [f"h{number}" for number in range(12)]


async def test_a_long_history_in_memory_does_not_hold_others_up():
    """Between two pages others have their turn, also where nothing of what is read is of the period."""
    ledger, _ = fresh()
    for number in range(8):
        await spend(ledger, f"h{number}", 1)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert [entry async for page in scan(ledger, until=1.0, page=1) for entry in page] == []
    task.cancel()
    assert turns >= 8
