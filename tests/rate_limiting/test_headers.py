"""What clients are told, read with a parser of structured fields that is not ours."""

from __future__ import annotations

import math
from typing import Any

import http_sf
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting, rate_limit
from prodkit.rate_limiting.answers import policy_text, refusal, report
from prodkit.rate_limiting.limit import Limit
from prodkit.rate_limiting.rates import ALGORITHMS, rule_of
from prodkit.stores import Decision
from tests.rate_limiting.bench import Bench
from tests.rate_limiting.limited import App

KINDS = [
    Policy("bucket", "100/minute", burst=20),
    Policy("sliding", "100/minute", algorithm="sliding-window"),
    Policy("moving", "5 per 10 seconds", algorithm="moving-window"),
    Policy("fixed", "1000/hour", algorithm="fixed-window"),
    Policy("daily", "5000/day", algorithm="calendar", time_zone="Europe/Berlin"),
    Policy("monthly", "100000/month", algorithm="calendar"),
    Policy("Every.body_1", "1000000/second", by="global"),
    Policy("places", concurrent=4),
    Policy("half", "1 per 100 seconds", cost=0),
]


def parsed(headers: Any) -> dict[str, dict[str, Any]]:
    """Both fields, by policy, as the independent parser reads them; two entries of one name are a fault."""
    found: dict[str, dict[str, Any]] = {}
    for field in ("ratelimit-policy", "ratelimit"):
        text = headers.get(field) if hasattr(headers, "get_list") else headers[field.encode()].decode()
        names = []
        entries: Any = http_sf.parse(text.encode(), tltype="list")
        for name, parameters in entries:
            assert type(name) is str
            names.append(name)
            found.setdefault(name, {}).update(parameters)
        assert len(set(names)) == len(names)
    return found


def test_every_kind_of_policy_is_read_alike():
    """Lists of strings with whole numbers; a quota and what is left for each, in one line of each field."""
    app = App(RateLimiting("10/minute", policies=KINDS))
    response = app.client().get("/")
    assert (
        len(response.headers.get_list("ratelimit")) == len(response.headers.get_list("ratelimit-policy")) == 1
    )
    fields = parsed(response.headers)
    assert set(fields) == {policy.name for policy in KINDS} | {"default", "address"}
    for name, parameters in fields.items():
        unit = parameters.pop("qu", None)
        assert all(type(value) is int and 0 <= value < 10**15 for value in parameters.values()), name
        assert unit == ("concurrent-requests" if name == "places" else None)
    assert fields["bucket"] == {"q": 100, "w": 60, "r": 19, "t": 1}
    assert fields["places"] == {"q": 4, "r": 3}
    assert set(fields["monthly"]) == {"q", "r", "t"}
    assert fields["daily"]["w"] == 86_400


@settings(database=None, deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.text("abcXYZ019._-", min_size=1, max_size=64),
            st.sampled_from(ALGORITHMS),
            st.integers(1, 10_000),
            st.sampled_from(["hour", "day", "month", "year"]),
            st.integers(0, 10**12),
            st.floats(0, 4e9),
        ),
        max_size=6,
    )
)
def test_whatever_is_reported_can_be_read(reported):
    """Any names, limits and times, also twice the same: the parser takes it, and of two the stricter is shown."""
    bench = Bench()
    headers: dict[bytes, bytes] = {}
    least: dict[str, int] = {}
    for name, algorithm, number, unit, remaining, reset in reported:
        limit = Limit(Policy(name, f"{number}/{unit}", algorithm=algorithm), bench.limiter, bench.store)
        report(limit, limit.policy.refill, Decision(True, remaining, reset, 0.0), headers)
        least[name] = min(remaining, least.get(name, remaining))
    if reported:
        fields = parsed(headers)
        assert {name: parameters["r"] for name, parameters in fields.items()} == least
        assert all(type(value) is int for parameters in fields.values() for value in parameters.values())


def test_the_largest_numbers_are_still_integers():
    """A structured field's integer has at most 15 digits; the largest limit has 13."""
    text = policy_text(b'"p"', rule_of(f"{10**12} per 50 year", "fixed-window"))
    entries: Any = http_sf.parse(text, tltype="list")
    ((_, parameters),) = entries
    assert parameters["q"] == 10**12


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([0.2, 7.5], "8"),
        ([12.000002, 3.0], "12"),
        ([1e-9, 1e-9], "1"),
        ([1e12, 1.0], str(2**31 - 1)),
        ([math.inf, 3.0], None),
    ],
)
async def test_retry_after_is_true_for_all_that_refused(waits, expected):
    """The longest of them, in whole seconds, at least one; none where no waiting helps; never more than clients can keep."""
    bench = Bench(*(Policy(f"p{number}", "5/minute") for number in range(2)))
    decisions = [Decision(False, 0, wait, wait) for wait in waits]
    problem = refusal(bench.limiter.limits, decisions)
    assert problem.headers.get("Retry-After") == expected
    assert problem.extensions["violated-policies"] == ["p0", "p1"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_who_waits_as_told_is_let_in(algorithm):
    """By every algorithm: after Retry-After the same request is admitted."""
    bench = Bench(Policy("p", "3/hour", algorithm=algorithm))
    bench.clock.advance(1234.5)
    assert [await bench.ask("ann") for _ in range(4)] == [200, 200, 200, 429]
    (limit,) = bench.limiter.limits
    ask = limit.ask(bench.context("ann"))
    assert ask is not None
    decision = await bench.store.peek(ask[0], ask[1])
    told = int(refusal([limit], [decision]).headers["Retry-After"])
    bench.clock.advance(told)
    assert await bench.ask("ann") == 200


def test_only_refusals_say_when_to_come_again():
    """No Retry-After on what was admitted, also on redirects, errors of the application and 404."""
    app = FastAPI()

    @app.get("/away", status_code=307)
    async def away() -> None:
        return None

    small = App(RateLimiting("9/minute"), app=app)
    for path in ("/", "/away", "/nothing"):
        response = small.client().get(path, follow_redirects=False)
        assert "retry-after" not in response.headers
        assert "ratelimit" in response.headers


def test_applications_in_applications_report_each_policy_once():
    """Three levels and a route's rule of the same names: one entry of each, the one with least left."""
    innermost, middle, app = FastAPI(), FastAPI(), FastAPI()

    @innermost.get("/x", dependencies=[rate_limit("7/minute", name="default")])
    async def x() -> int:
        return 1

    install(innermost, RateLimiting("2/minute", address="100/minute"))
    middle.mount("/in", innermost)
    install(middle, RateLimiting("90/minute", address=None))
    app.mount("/mid", middle)
    fields = parsed(App(RateLimiting("50/minute", address=None), app=app).client().get("/mid/in/x").headers)
    assert fields["default"]["r"] == 1
    assert set(fields) == {"default", "address"}
