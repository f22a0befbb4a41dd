"""Policies as values: what they may say, and what is refused with its cure."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.exceptions import SettingsError
from prodkit.rate_limiting import Policy, RateLimiting, RateLimitingSettings, rate_limit
from prodkit.rate_limiting.rates import ALGORITHMS, rule_of
from prodkit.stores import CalendarWindow, FixedWindow, MovingWindow, Permit, Rate, SlidingWindow


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"rate": "100/minute", "burst": 20}, Rate(100, 60.0, 20)),
        ({"rate": "5/week"}, Rate(5, 604_800.0)),
        ({"rate": "100/minute", "algorithm": "sliding-window"}, SlidingWindow(100, 60.0)),
        ({"rate": "5 per 10 seconds", "algorithm": "moving-window"}, MovingWindow(5, 10.0)),
        (
            {"rate": "1000/hour", "algorithm": "fixed-window", "count_denied": True},
            FixedWindow(1000, 3600.0, counts_denied=True),
        ),
        (
            {"rate": "5 per 2 weeks", "algorithm": "calendar", "time_zone": "Europe/Berlin"},
            CalendarWindow(5, "week", 2, "Europe/Berlin"),
        ),
        (
            {"rate": "1000000/month", "algorithm": "calendar", "anchor": date(2026, 1, 15)},
            CalendarWindow(1_000_000, "month", anchor=date(2026, 1, 15)),
        ),
        ({"rate": "3/day", "enforce": False, "lease": 2}, Rate(3, 86_400.0, is_binding=False, lease=2)),
        (
            {"concurrent": 4, "queue": 20, "queue_seconds": 2.0, "lease_seconds": 30},
            Permit(4, "-", 30, 20, 2.0),
        ),
    ],
)
def test_fields_make_the_rule(fields: Any, rule):
    """Each algorithm has its rule, with everything that was said about it."""
    assert Policy("p", **fields).refill == rule


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a rate or a number of concurrent"),
        ({"rate": "1/minute", "concurrent": 2}, "either a rate or a number of concurrent"),
        ({"rate": "1/minute", "algorithm": "leaky"}, "has no such algorithm"),
        ({"rate": "1/minute", "layer": "address"}, "before anybody is identified"),
        (
            {"rate": "1/minute", "layer": "address", "by": "address", "plans": {"pro": "2/minute"}},
            "rates for plans",
        ),
        ({"rate": "1/minute", "by": "global", "plans": {"pro": "2/minute"}}, "callers of several share"),
        ({"rate": "9/minute", "layer": "handler", "cost": 2}, "what the handler reserves"),
        ({"rate": "1/minute", "burst": 2, "algorithm": "fixed-window"}, "which only gcra knows"),
        ({"rate": "1/minute", "time_zone": "Asia/Tokyo"}, "which only the calendar knows"),
        ({"rate": "1/minute", "anchor": date(2026, 1, 1)}, "which only the calendar knows"),
        ({"rate": "1/minute", "algorithm": "calendar"}, "no windows of minutes"),
        ({"rate": "1/day", "algorithm": "calendar", "time_zone": "Mars/Olympus"}, "there is no time zone"),
        ({"rate": "20000/day", "algorithm": "moving-window"}, "remembers each unit"),
        ({"rate": "1/minute", "queue": 2}, "has a queue, and a rate"),
        ({"concurrent": 2, "queue": 2}, "queue_seconds must be above 0"),
        ({"concurrent": 2, "queue": 1001, "queue_seconds": 1}, "queue of more than 1000"),
        ({"concurrent": 2, "lease_seconds": 0.1}, "lease_seconds must be from 1"),
        ({"concurrent": 2, "plans": {"pro": "2/minute"}}, "has fields of a rate"),
        ({"concurrent": 2, "count_denied": True}, "has fields of a rate"),
        ({"concurrent": 2, "cost": 2}, "each request is one"),
        ({"concurrent": 2, "layer": "handler"}, "nothing begins and ends there"),
        ({"rate": "5/minute", "layer": "handler", "count_if": lambda context: True}, "no status tells"),
        ({"rate": "5/minute", "lease": 6}, "lease outside 0 to 5"),
        ({"rate": "5/minute", "lease": 2, "count_denied": True}, "counts what is denied"),
        ({"rate": "5/minute", "by": "global", "atomic": True}, "cannot be decided together"),
        ({"rate": "5/minute", "by": lambda context: "x", "atomic": True}, "cannot be decided together"),
        ({"rate": "5/minute", "by": "address", "atomic": True}, "cannot be decided together"),
        ({"rate": "5/minute", "on_store_error": "panic"}, "no such on_store_error"),
        ({"rate": "5/minute", "cost": 6}, "outside 0 to 5"),
        ({"rate": "5/minute", "cost": 3, "plans": {"free": "2/minute"}}, "outside 0 to 2"),
        ({"rate": "5/minute", "plans": {"free": "lots"}}, "is not a rate"),
        ({"rate": "5/minute", "tenants": {"acme": "0/minute"}}, "limit must be"),
    ],
)
def test_what_cannot_be_is_refused_with_its_cure(fields: Any, message):
    """Nothing that contradicts itself is built, and the message ends in what to do."""
    with pytest.raises(ValueError, match=message) as refused:
        Policy("p", **fields)
    assert str(refused.value).partition(" | ")[2].endswith(".")


@pytest.mark.parametrize("by", ["principal", "tenant"])
def test_what_shares_the_stage_may_be_atomic(by):
    """A principal's and a tenant's buckets stand on one machine; so does an address's before authentication."""
    assert Policy("p", "5/minute", by=by, atomic=True).atomic
    assert Policy("p", "5/minute", by="address", layer="address", atomic=True).atomic


def test_every_field_can_be_read_from_json():
    """An operator declares policies of every kind without code; a policy that was built in code stays that one."""
    settings_read = RateLimitingSettings.model_validate_json(
        """{"policies": [
            {"name": "daily", "rate": "5000/day", "by": "tenant", "algorithm": "calendar", "time_zone": "Asia/Tokyo",
             "anchor": "2026-01-01", "plans": {"pro": "9000/day"}, "tenants": {"acme": "10000/day"},
             "on_store_error": "closed"},
            {"name": "everybody", "rate": "10/second", "by": "global", "lease": 5},
            {"name": "exports", "concurrent": 4, "queue": 20, "queue_seconds": 2.5, "lease_seconds": 15},
            {"name": "logins", "rate": "5/minute", "by": "address", "count_denied": true, "enforce": false},
            {"name": "tokens", "rate": "100000/day", "layer": "handler", "atomic": true}
        ], "exempt_networks": ["10.0.0.0/8"], "exempt_principals": ["acme/robot"], "expected_workers": 4}"""
    )
    daily, everybody, exports, logins, tokens = settings_read.policies
    assert daily.refill == CalendarWindow(5000, "day", zone="Asia/Tokyo", anchor=date(2026, 1, 1))
    assert daily.plan_rules["pro"].limit == 9000
    assert daily.tenant_rules["acme"].limit == 10_000
    assert everybody.refill.lease == 5
    assert exports.refill == Permit(4, "-", 15, 20, 2.5)
    assert logins.refill == Rate(5, 60.0, counts_denied=True, is_binding=False)
    assert tokens.layer == "handler"
    own = Policy("own", "1/minute", by=lambda context: None)
    assert RateLimitingSettings(policies=(own,)).policies[0] is own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exempt_networks": ["10.0.0.1/8"]}, "is no network"),
        ({"expected_workers": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_exemptions_do_not_start(options, message):
    """A network with host bits, or a share for nobody, is a mistake and not a wish."""
    with pytest.raises(SettingsError, match=message):
        RateLimiting(**options)


@settings(database=None, deadline=None, max_examples=60)
@given(
    st.integers(0, 20_000),
    st.sampled_from(["", "1", "2", "150"]),
    st.sampled_from(["second", "minutes", "hour", "day", "weeks", "month", "year", "fortnight"]),
    st.sampled_from(ALGORITHMS),
)
def test_any_rate_is_read_by_any_algorithm_or_refused(limit, count, unit, algorithm):
    """What comes out admits the number that stands there, or the message says what to write."""
    text = f"{limit} per {count} {unit}"
    try:
        rule = rule_of(text, algorithm)
    except ValueError as error:
        if not str(error).partition(" | ")[2]:
            raise
    else:
        assert rule.limit == rule.most == limit


def test_nobody_waits_for_a_limit_on_trial():
    """A policy that only counts has no queue, so that it delays nobody either."""
    policy = Policy("p", concurrent=2, queue=5, queue_seconds=3, enforce=False)
    assert policy.permit("x") == Permit(2, "x", queue_seconds=3, is_binding=False)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"layer": "adress"}, "no such layer"),
        ({"by": "globl"}, "no such by"),
        ({"algorithm": "gcrap"}, "no such algorithm"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_name_that_is_written_wrong_is_no_silent_choice(fields, fault):
    """Code is not checked against the types when it runs: a typo must not become no limit at all."""
    with pytest.raises(ValueError, match=fault):
        Policy("a", "1/hour", **fields)


@pytest.mark.parametrize("algorithm", ["fixed-window", "sliding-window", "moving-window", "calendar"])
def test_rates_for_one_bucket_have_one_window(algorithm):
    """Each change of the window would begin the count anew; a bucket that refills has no such beginning."""
    assert Policy("a", "10/hour", algorithm=algorithm, plans={"pro": "20/hour"}).plan_rules["pro"].limit == 20
    with pytest.raises(ValueError, match="windows differ"):
        Policy("a", "10/hour", algorithm=algorithm, plans={"pro": "20/day"})
    with pytest.raises(ValueError, match="windows differ"):
        Policy("a", "10/hour", algorithm=algorithm).variant("20/day")
    assert Policy("a", "10/hour", plans={"pro": "20/day"}).plan_rules["pro"].window_seconds == 86_400


def test_a_whole_policy_stands_alone():
    """Beside it other arguments would be dropped without a word."""
    with pytest.raises(ValueError, match="says everything itself"):
        rate_limit(Policy("z", "1/hour", by="global"), burst=5)
