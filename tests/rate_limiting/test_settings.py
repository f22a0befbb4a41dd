"""Policies from the environment: every field can be written, and a fault names the field and what to do."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.pipeline import Pipeline
from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.settings import Settings
from prodkit.stores import CalendarWindow, Permit, Rate

NAME = "PRODKIT_RATE_LIMITING__POLICIES"


def load(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[Policy, ...]:
    monkeypatch.setenv(NAME, text)
    return Settings(_env_file=None).rate_limiting.policies


def test_every_field_is_read_from_the_environment(monkeypatch):
    """Dates, plans, queues and words alike."""
    daily, places, early = load(
        monkeypatch,
        json.dumps(
            [
                {
                    "name": "daily",
                    "rate": "1000/month",
                    "by": "tenant",
                    "cost": 2,
                    "algorithm": "calendar",
                    "time_zone": "Europe/Berlin",
                    "anchor": "2026-01-15",
                    "plans": {"pro": "9000/month"},
                    "tenants": {"acme": "5000/month"},
                    "count_denied": False,
                    "on_store_error": "closed",
                    "lease": 0,
                    "atomic": True,
                    "enforce": False,
                },
                {"name": "places", "concurrent": 4, "queue": 20, "queue_seconds": 2.5, "lease_seconds": 30},
                {"name": "early", "rate": "5/minute", "by": "address", "layer": "address", "burst": 2},
            ]
        ),
    )
    assert daily.refill == CalendarWindow(
        1000, "month", zone="Europe/Berlin", anchor=date(2026, 1, 15), is_binding=False
    )
    assert {**daily.plan_rules, **daily.tenant_rules}.keys() == {"pro", "acme"}
    assert (daily.cost, daily.on_store_error, daily.atomic) == (2, "closed", True)
    assert places.refill == Permit(4, "-", 30, 20, 2.5)
    assert (early.layer, early.refill) == ("address", Rate(5, 60.0, 2))


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"enfroce": False}, "[0].enfroce", "Unexpected keyword"),
        ({"anchor": "soon", "algorithm": "calendar"}, "[0].anchor", "valid date"),
        ({"rate": 5}, "[0].rate", "valid string"),
        ({"rate": "5 apples"}, "[0]", "5 per 10 seconds"),
        ({"rate": "5/" + "9" * 5000}, "[0]", "more than 100 characters"),
        ({"algorithm": "leaky"}, "[0].algorithm", "'gcra'"),
        ({"by": "prinzipal"}, "", "by of entry 0 is unknown. Write address, principal, tenant or global"),
        ({"cost": "lots"}, "", "cost of entry 0 is no whole number. Write one of at least 0"),
        ({"cost": True}, "", "cost of entry 0 is no whole number"),
        ({"exempt": "staff"}, "", "exempt of entry 0 would be a function. Drop it"),
        ({"cost": -1}, "[0]", "Raise the burst or lower the cost"),
        ({"time_zone": "Mars/Olympus", "rate": "5/day", "algorithm": "calendar"}, "[0]", "no time zone"),
        ({"time_zone": "../../etc/passwd", "rate": "5/day", "algorithm": "calendar"}, "[0]", "no time zone"),
        ({"plans": {"pro": "many"}}, "[0]", "is not a rate"),
        ({"plans": ["pro"]}, "[0].plans", "JSON object"),
        (
            {"rate": "", "concurrent": 2, "queue": 3, "queue_seconds": "nan"},
            "[0]",
            "queue_seconds must be above 0",
        ),
        ({"refill": "5/minute"}, "[0].refill", "Unexpected keyword"),
        ({"name": "two words"}, "[0]", "use dashes"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_fault_names_the_field_and_its_cure(monkeypatch, fields: dict[str, Any], where: str, says: str):
    """Never a traceback of somebody else's; each fault ends in what to do."""
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, json.dumps([{"name": "p", "rate": "5/minute"} | fields]))
    told = str(refused.value)
    assert f"{NAME}{where}: " in told
    assert says in told
    assert all(fault.cure for fault in refused.value.faults)
    assert "callable" not in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{", "not valid JSON"),
        ("{}", "JSON list"),
        ('["daily"]', "[0]: Input should be a dictionary"),
        ('[{"rate": "5/minute"}]', "[0].name: Field required. Set it."),
        (
            '[{"name": "p", "rate": "1/minute"}, {"name": "p", "rate": "2/minute"}]',
            "two policies are named p",
        ),
        ('[{"name": "address", "rate": "1/minute"}]', "two policies are named address"),
    ],
)
def test_what_is_no_list_of_policies_is_told(monkeypatch, text: str, says: str):
    """Also what is no JSON at all, or names one policy twice."""
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, text)
    assert says in str(refused.value)


def test_it_serves_as_a_plain_middleware():
    """Without `install`: what is limited, refused and told is the same."""
    app = FastAPI()
    app.add_middleware(Pipeline, features=[RateLimiting("2/minute")])

    @app.get("/")
    async def root() -> str:
        return "ok"

    client = TestClient(app, client=("203.0.113.7", 50_000))
    answers = [client.get(path) for path in ("/", "/nothing", "/")]
    assert [answer.status_code for answer in answers] == [200, 404, 429]
    assert answers[1].headers["RateLimit"].startswith('"address";r=1198;t=')
    assert answers[2].headers["Content-Type"] == "application/problem+json"
    assert answers[2].json()["violated-policies"] == ["default"]
    assert int(answers[2].headers["Retry-After"]) in range(1, 31)


@pytest.mark.parametrize(
    "options",
    [{"store": "sqlite:///unused.db"}, {"policies": [Policy("places", concurrent=2)]}],
    ids=["a store of its own", "places"],
)
def test_what_has_to_be_closed_needs_to_be_installed(options: Any):
    """A plain middleware has no end at which a file or a lease could be given back, and says what to do."""
    app = FastAPI()
    app.add_middleware(Pipeline, features=[RateLimiting(**options)])
    with pytest.raises(InstallationError, match=r"use install\(app, RateLimiting"):
        TestClient(app).get("/")
