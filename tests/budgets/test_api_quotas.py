"""`/v1/budgets` of quotas: whole numbers of a unit in place of money."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.budgets import Budgets, Policy, budgets_router
from tests.metering.metered import Shop

READ, WRITE = "usage:read", "budgets:write"


def quotas() -> Shop:
    """Ann's quota of units, a tenant's that only alerts, and her budget."""
    policies = (
        Policy("pages", "principal", "day", unit="sku_search", limit=10),
        Policy("loose", "tenant", "day", unit="sku_search", limit=1, hard=False),
        Policy("own", "principal", "day", "0.00001"),
    )
    made = Shop(Budgets(policies=policies), identified=True)
    made.app.include_router(budgets_router())
    assert made.client("ann@acme").post("/buy", params={"nano": 4000, "hold": 5000}).status_code == 200
    return made


def test_a_quota_is_shown_in_its_unit() -> None:
    """Whole numbers of it, and no money; a budget of money is the other way round."""
    answer = quotas().client(f"ann@acme {READ}").get("/v1/budgets")
    pages, loose, own = answer.json()["budgets"]
    assert (pages["unit"], pages["limit"], pages["spent"], pages["held"], pages["remaining"]) == (
        "sku_search",
        10,
        1,
        0,
        9,
    )
    assert [pages[name] for name in pages if name.endswith("_usd")] == [None] * 4
    assert (pages["hard"], loose["hard"], loose["remaining"]) == (True, False, 0)
    assert (own["unit"], own["limit"], own["spent_usd"]) == (None, None, "0.000004")


@pytest.mark.parametrize(
    ("budget", "body", "status"),
    [
        ("pages:ann@acme", {"limit": 5}, 200),
        ("pages:ann@acme", {"limit": None}, 200),
        ("pages:ann@acme", {"limit": 11}, 403),
        ("pages:ann@acme", {"limit": -1}, 422),
        ("pages:ann@acme", {"limit": 5.0}, 422),
        ("pages:ann@acme", {"limit": "5"}, 422),
        ("pages:ann@acme", {"limit_usd": "5"}, 422),
        ("pages:ann@acme", {"limit": 5, "limit_usd": "5"}, 422),
        ("own:ann@acme", {"limit": 5}, 422),
        ("own:ann@acme", {}, 422),
    ],
    ids=str,
)
def test_the_limit_of_a_quota_is_set_in_its_unit(budget: str, body: Any, status: int) -> None:
    """One of both, as the budget counts; within what the policy allows."""
    made = quotas()
    answer = made.client(f"ann@acme {READ} {WRITE}").put(f"/v1/budgets/{budget}", json=body)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["limit"] == (body["limit"] if body["limit"] is not None else 10)
