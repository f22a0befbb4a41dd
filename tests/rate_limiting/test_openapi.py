"""What OpenAPI says about limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.rate_limiting import Policy, RateLimiting, rate_limit
from prodkit.rate_limiting.openapi import EXTENSION, description_of, document_limits
from tests.rate_limiting.limited import App

ANY = {"$ref": "#/components/headers/RateLimit"}


def documented(*policies: Policy, default: str | None = "100/minute", **options: Any) -> dict[str, Any]:
    """The document of an application with a plain route, a limited one, and one with answers of its own."""
    app = FastAPI()

    @app.get("/limited", dependencies=[rate_limit("2/minute", name="slow")])
    async def limited() -> int:
        return 1

    @app.post("/own", responses={429: {"description": "Mine."}}, status_code=201)
    async def own(body: dict[str, int]) -> int:
        return len(body)

    limiting = RateLimiting(default, address=None, policies=policies, **options)
    small = App(limiting, app=app)
    document: dict[str, Any] = app.openapi()
    if EXTENSION not in document["paths"]["/limited"]["get"]:
        document_limits(document, small.kit)
    return document


def names(document: dict[str, Any], path: str, method: str = "get") -> list[str]:
    return [policy["name"] for policy in document["paths"][path][method].get(EXTENSION, [])]


def test_each_operation_names_its_policies() -> None:
    """Those of the whole application, and its own; not those of handlers and messages, which it may never meet."""
    document = documented(
        Policy("daily", "5000/day", by="tenant"),
        Policy("tokens", "9/day", layer="handler"),
        Policy("chat", "9/second", layer="message"),
    )
    assert names(document, "/") == ["default", "daily"]
    assert names(document, "/limited") == ["default", "daily", "slow"]


def test_a_route_policy_that_was_met_already_is_still_of_its_route_alone() -> None:
    """The document may be made after the first request."""
    app = FastAPI()

    @app.get("/limited", dependencies=[rate_limit("2/minute", name="slow")])
    async def limited() -> int:
        return 1

    small = App(RateLimiting("100/minute", address=None), app=app)
    assert small.statuses(1, "/limited") == [200]
    document: dict[str, Any] = app.openapi()
    document_limits(document, small.kit)
    assert names(document, "/") == ["default"]


def test_refusals_and_headers_are_references() -> None:
    """Each operation answers 429 and sends the headers with what succeeds; what they are stands once."""
    document = documented()
    operation = document["paths"]["/limited"]["get"]
    assert operation["responses"]["429"] == {"$ref": "#/components/responses/RateLimited"}
    assert set(operation["responses"]["200"]["headers"]) == {"RateLimit", "RateLimit-Policy"}
    assert "503" not in operation["responses"]
    components = document["components"]
    assert set(components["headers"]) == {"RateLimit", "RateLimit-Policy", "Retry-After"}
    assert set(components["responses"]["RateLimited"]["headers"]) == set(components["headers"])


def test_what_a_route_says_itself_stays() -> None:
    """Its own 429; and its own status of success gets the headers."""
    operation = documented()["paths"]["/own"]["post"]
    assert operation["responses"]["429"]["description"] == "Mine."
    assert operation["responses"]["201"]["headers"]["RateLimit"] == ANY


@pytest.mark.parametrize("whose", ["feature", "policy"])
def test_a_closed_door_is_documented(whose: str) -> None:
    """503 where the store's absence refuses, whoever says so."""
    if whose == "feature":
        document = documented(on_store_error="closed")
    else:
        document = documented(Policy("strict", "9/minute", on_store_error="closed"))
    responses = document["paths"]["/"]["get"]["responses"]
    assert responses["503"] == {"$ref": "#/components/responses/LimitsUnavailable"}
    assert set(document["components"]["responses"]["LimitsUnavailable"]["headers"]) == {"Retry-After"}


def test_a_limit_on_trial_refuses_nobody() -> None:
    """So nothing is documented but that it is there."""
    document = documented(Policy("trial", "9/minute", enforce=False), default=None)
    operation = document["paths"]["/"]["get"]
    assert operation[EXTENSION][0]["enforced"] is False
    assert "429" not in operation["responses"]


def test_without_policies_nothing_is_added() -> None:
    """An application whose limits are all of routes documents those routes."""
    document = documented(default=None)
    assert EXTENSION not in document["paths"]["/"]["get"]
    assert "429" not in document["paths"]["/"]["get"]["responses"]
    assert names(document, "/limited") == ["slow"]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            Policy("a", "100/minute", burst=10, cost=2),
            {
                "limit": 100,
                "window_seconds": 60.0,
                "algorithm": "gcra",
                "by": "principal",
                "burst": 10,
                "cost": 2,
            },
        ),
        (
            Policy("b", concurrent=4, queue=20, queue_seconds=2, by="global"),
            {"limit": 4, "algorithm": "concurrency", "by": "global", "queue": 20, "queue_seconds": 2},
        ),
        (
            Policy("c", "1000/month", algorithm="calendar", time_zone="Europe/Berlin", by="tenant"),
            {
                "limit": 1000,
                "window_seconds": 2_592_000.0,
                "algorithm": "calendar",
                "by": "tenant",
                "time_zone": "Europe/Berlin",
            },
        ),
        (
            Policy("d", "9/second", by=lambda _: "x", tenants={"secret-customer": "99/second"}),
            {"limit": 9, "window_seconds": 1.0, "algorithm": "gcra", "by": "custom", "varies": True},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Policy) else "",
)
def test_a_policy_is_told_as_far_as_clients_need_it(policy: Policy, told: dict[str, Any]) -> None:
    """No function, and no customer's name or rate, is shown to the others."""
    description = description_of(policy)
    assert description == {"name": policy.name, **told}
    assert "secret-customer" not in json.dumps(description)


def test_references_lead_somewhere() -> None:
    """Every `$ref` of the document names something that is in it."""
    document = documented(on_store_error="closed")

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        if isinstance(node, list):
            return [found for value in node for found in references(value)]
        return []

    found = references(document)
    assert "#/components/responses/RateLimited" in found
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_documenting_twice_changes_nothing() -> None:
    """A document that is kept may be passed through again."""
    document = documented()
    first = json.dumps(document)
    app = FastAPI()
    app.openapi_schema = document
    small = App(RateLimiting("100/minute", address=None), app=app)
    document_limits(document, small.kit)
    assert json.loads(json.dumps(document)) == json.loads(first)


def test_what_a_mounted_application_declares_is_not_said_of_the_outer_one():
    """Also after its first use, when the limiter has met it."""
    app, sub = FastAPI(), FastAPI()

    @sub.get("/p", dependencies=[rate_limit("2/minute", name="inner")])
    async def inner() -> None:
        return None

    @app.get("/a")
    async def outer() -> None:
        return None

    app.mount("/sub", sub)
    harden(app)
    assert TestClient(app).get("/sub/p").status_code == 200
    told = app.openapi()["paths"]["/a"]["get"]["x-rate-limit-policies"]
    assert [policy["name"] for policy in told] == ["address"]
