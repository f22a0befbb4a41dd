"""Administering limits over HTTP: who may look, what is told, and what is given back."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.installation import install
from prodkit.proxies import Proxies
from prodkit.rate_limiting import Policy, RateLimiting, rate_limit
from prodkit.rate_limiting.api import limits_router
from prodkit.stores.memory import MemoryRateLimitStore
from tests.rate_limiting.limited import App
from tests.support.recording import Contributes, guarding

POLICIES = (
    Policy("per-tenant", "50/minute", by="tenant", plans={"gold": "500/minute"}),
    Policy("everybody", "1000/day", by="global"),
    Policy("by-name", "3/minute", by=lambda context: context.headers.get(b"x-name", b"").decode() or None),
    Policy("exports", concurrent=2),
)


def identify(context: Any) -> None:
    """Believes headers: id, tenant, and whether they administer limits."""
    headers = context.headers
    if b"x-caller" in headers:
        context.principal = Principal(
            id=headers[b"x-caller"].decode(),
            kind="test",
            tenant=headers.get(b"x-tenant", b"").decode() or None,
            scopes=frozenset(headers.get(b"x-scopes", b"").decode().split()),
        )


class Administered:
    """An application with limits and the router, and calls to it."""

    def __init__(self, store: Any = None) -> None:
        app = FastAPI()
        app.include_router(limits_router())

        @app.get("/slow", dependencies=[rate_limit("2/minute", name="slow")])
        async def slow() -> int:
            return 1

        provided = [] if store is None else [Contributes("stores", provides=[store])]
        limiting = RateLimiting("30/minute", address="100/hour", policies=POLICIES)
        identity = guarding(Layer.IDENTITY, identify, "identity")
        self.app = App.__new__(App)
        self.app.app = app
        self.limiting = limiting
        self.kit = install(app, Proxies(), identity, *provided, limiting)

        @app.get("/")
        async def root() -> str:
            return "ok"

    def call(
        self, method: str, path: str, caller: str = "", tenant: str = "", scopes: str = "", **more: Any
    ) -> Any:
        headers = {"X-Caller": caller, "X-Tenant": tenant, "X-Scopes": scopes}
        headers = {name: value for name, value in headers.items() if value} | more.pop("headers", {})
        return self.app.client().request(method, path, headers=headers, **more)

    def admin(self, method: str, path: str, own: str = "", **params: Any) -> Any:
        return self.call(method, path, "root", own, "limits:admin", params=params)


def test_it_needs_the_scope() -> None:
    """Nobody without it sees or resets anything, also where nobody is identified."""
    small = Administered()
    for method, path in (("GET", ""), ("GET", "/default"), ("POST", "/default/reset")):
        assert small.call(method, f"/v1/limits{path}").status_code == 403
        assert small.call(method, f"/v1/limits{path}", "eve", scopes="other").status_code == 403


def test_it_lists_policies_and_their_counts() -> None:
    """Those of routes too, before anybody asked for them; as OpenAPI describes them."""
    small = Administered()
    small.call("GET", "/", "ada")
    limits = {limit["policy"]["name"]: limit for limit in small.admin("GET", "/v1/limits").json()["limits"]}
    assert list(limits) == ["address", "default", *[policy.name for policy in POLICIES], "slow"]
    assert limits["default"]["policy"] == {
        "name": "default",
        "limit": 30,
        "window_seconds": 60.0,
        "algorithm": "gcra",
        "by": "principal",
    }
    assert limits["everybody"]["allowed"] == 2
    assert limits["slow"]["allowed"] == 0


@pytest.mark.parametrize(
    ("policy", "params", "before"),
    [
        ("default", {"principal": "ada", "kind": "test"}, 30),
        ("per-tenant", {"tenant": "acme"}, 50),
        ("everybody", {}, None),
        ("address", {"address": "203.0.113.7"}, None),
        ("by-name", {"bucket": "blue"}, 3),
    ],
)
def test_it_tells_what_is_left_and_gives_it_back(
    policy: str, params: dict[str, str], before: int | None
) -> None:
    """Of exactly the bucket that a request of that caller draws from."""
    small = Administered()
    tenant = params.get("tenant", "")
    headers = {"X-Name": "blue"}

    def left() -> int:
        answer = small.admin("GET", f"/v1/limits/{policy}", **params)
        assert answer.status_code == 200, answer.text
        remaining: int = answer.json()["remaining"]
        return remaining

    first = left()
    assert before is None or first == before
    for _ in range(2):
        assert small.call("GET", "/", "ada", tenant, headers=headers).status_code == 200
    # Asking is a request of its own, which counts for everybody and for its address.
    assert left() == first - (3 if before is None else 2)
    assert small.admin("POST", f"/v1/limits/{policy}/reset", **params).status_code == 204
    assert left() >= first - 1


def test_a_plan_has_its_own_rate() -> None:
    """What is left of it is told for the plan that is named."""
    small = Administered()
    answer = small.admin("GET", "/v1/limits/per-tenant", tenant="acme", plan="gold").json()
    assert (answer["limit"], answer["remaining"]) == (500, 500)


def test_places_are_told_without_times() -> None:
    """Nobody knows when a place becomes free."""
    small = Administered()
    answer = small.admin("GET", "/v1/limits/exports", principal="ada", kind="test").json()
    assert answer == {
        "policy": "exports",
        "limit": 2,
        "remaining": 2,
        "reset_seconds": 0.0,
        "allowed": True,
        "retry_seconds": 0.0,
    }


def test_a_tenant_sees_and_resets_only_its_own() -> None:
    """Its principals and itself; no other tenant, no address, and nothing that is shared with others."""
    small = Administered()
    small.call("GET", "/", "ada", "acme")
    small.call("GET", "/", "ada", "other")
    read = small.admin("GET", "/v1/limits/default", tenant="acme", principal="ada", kind="test")
    assert read.json()["remaining"] == 29
    assert (
        small.admin("POST", "/v1/limits/default/reset", "acme", principal="ada", kind="test").status_code
        == 204
    )
    others = small.admin("GET", "/v1/limits/default", principal="ada", kind="test", tenant="acme")
    assert others.json()["remaining"] == 30
    hidden: list[tuple[str, dict[str, str]]] = [
        ("address", {"address": "203.0.113.7"}),
        ("everybody", {}),
        ("by-name", {"bucket": "blue"}),
        ("default", {"address": "203.0.113.7"}),
        ("unknown", {"principal": "ada"}),
    ]
    for policy, params in hidden:
        for method, tail in (("GET", ""), ("POST", "/reset")):
            answer = small.call(
                method, f"/v1/limits/{policy}{tail}", "root", "acme", "limits:admin", params=params
            )
            assert answer.status_code == 404, (policy, answer.text)
    foreign = small.call(
        "GET", "/v1/limits/per-tenant", "root", "acme", "limits:admin", params={"tenant": "other"}
    )
    assert foreign.status_code == 404
    own = small.call("GET", "/v1/limits/per-tenant", "root", "acme", "limits:admin")
    assert own.json()["remaining"] < 50


@pytest.mark.parametrize(
    ("policy", "params"),
    [
        ("default", {}),
        ("default", {"tenant": "acme"}),
        ("default", {"principal": "ada", "bucket": "blue"}),
        ("default", {"principal": "ada", "kind": "anonymous"}),
        ("address", {"principal": "ada"}),
        ("address", {"address": "somewhere"}),
        ("by-name", {"principal": "ada"}),
    ],
    ids=str,
)
def test_a_question_that_names_no_bucket_is_refused(policy: str, params: dict[str, str]) -> None:
    """With 422 and what is missing, instead of the answer for somebody else."""
    small = Administered()
    assert small.admin("GET", f"/v1/limits/{policy}", **params).status_code == 422


def test_an_unknown_policy_is_not_found() -> None:
    """Also for who administers all."""
    assert Administered().admin("GET", "/v1/limits/unknown", principal="ada").status_code == 404


def test_the_store_is_away() -> None:
    """503 with the time to try again, and nothing guessed."""

    class Away(MemoryRateLimitStore):
        async def peek(self, key: str, rule: Any) -> Any:
            raise StoreUnavailableError("away")

    answer = Administered(Away()).admin("GET", "/v1/limits/default", principal="ada", kind="test")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
