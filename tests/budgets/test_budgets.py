"""The feature: its settings, and that what it promises holds for requests."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI

from prodkit import Settings, harden
from prodkit.budgets import Budgets, Policies, Policy
from prodkit.core.exceptions import SettingsError
from prodkit.stores.ledger import BudgetResolver
from tests.metering.metered import Shop

LIMITS = {"limit_usd": "0.00001"}  # 10 000 nano-USD


def test_off_until_it_is_given_a_value():
    """Only you know what a caller of yours is worth."""
    kit = harden(FastAPI())
    assert kit.one(BudgetResolver) is None


def test_settings_make_policies(monkeypatch):
    """`DEFAULT` is a budget of each principal's; `POLICIES` a list; both hold in the zone."""
    monkeypatch.setenv("PRODKIT_BUDGETS__DEFAULT", "5.00/day")
    monkeypatch.setenv(
        "PRODKIT_BUDGETS__POLICIES",
        json.dumps([{"name": "tenants", "per": "tenant", "window": "month", "limit_usd": "500"}]),
    )
    monkeypatch.setenv("PRODKIT_BUDGETS__TIMEZONE", "Europe/Berlin")
    policies = harden(FastAPI()).one(Policies)
    assert policies is not None
    assert str(policies.zone) == "Europe/Berlin"
    assert list(policies) == [
        Policy("default", "principal", "day", "5.00"),
        Policy("tenants", "tenant", "month", "500"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEFAULT", "5", "Write USD and one of minute, hour, day, month, total"),
        ("DEFAULT", "5.00/week", "Write USD and one of"),
        ("TIMEZONE", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("POLICIES", '[{"name": "p", "limit_usd": 5}]', "PRODKIT_BUDGETS__POLICIES"),
        ("POLICIES", '[{"name": "p", "limit_usd": "-5"}]', "decimal string"),
        ("POLICIES", '[{"name": "p", "per": "model"}]', "PRODKIT_BUDGETS__POLICIES"),
        ("POLICIES", '[{"name": "p"}, {"name": "p"}]', "two policies are named p"),
        ("POLICIES", '[{"name": "p", "limit": "5"}]', "PRODKIT_BUDGETS__POLICIES"),
    ],
)
def test_what_cannot_be_refuses_the_start(monkeypatch, name, value, words):
    """With the variable and the cure: a budget that is silently off is the dearest typo there is."""
    monkeypatch.setenv(f"PRODKIT_BUDGETS__{name}", value)
    with pytest.raises(SettingsError) as refused:
        Settings()
    assert words in str(refused.value)


def test_the_name_of_the_setting_is_taken():
    """`default` is the policy of the setting, and there are no two of a name."""
    with pytest.raises(SettingsError, match="default"):
        Budgets("5.00/day", policies=[Policy("default")])
    Budgets(policies=[Policy("default")])


def test_budgets_in_each_workers_memory_are_refused(monkeypatch):
    """Two workers would spend them twice."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    with pytest.raises(SettingsError, match="PRODKIT_STORE"):
        harden(FastAPI(), Budgets("5.00/day"))


def test_a_budget_that_is_spent_refuses_before_anything_is_spent():
    """402 with whose budget it is, the numbers and when it is whole again; the next window admits."""
    shop = Shop(Budgets(policies=[Policy("day", "principal", "day", **LIMITS)]))
    ann, bob = shop.client("ann@acme"), shop.client("bob@acme")
    assert ann.post("/buy", params={"nano": 9000, "hold": 9000}).status_code == 200
    spent = ann.post("/buy", params={"nano": 1, "hold": 1001})
    assert (spent.status_code, spent.json()["type"].rpartition("/")[2]) == (402, "budget-exhausted")
    told = {
        name: spent.json()[name] for name in ("budget", "limit_usd", "spent_usd", "held_usd", "asked_usd")
    }
    assert told == {
        "budget": "day:ann@acme",
        "limit_usd": "0.00001",
        "spent_usd": "0.000009",
        "held_usd": "0",
        "asked_usd": "0.000001001",
    }
    assert ann.post("/buy", params={"nano": 1, "hold": 1000}).status_code == 200
    assert bob.post("/buy", params={"nano": 1, "hold": 9000}).status_code == 200
    never = ann.post("/buy", params={"hold": 10_001})
    assert (never.status_code, never.json()["type"].rpartition("/")[2]) == (422, "budget-exceeds-limit")
    shop.clock.advance(86_400)
    assert ann.post("/buy", params={"nano": 1, "hold": 9000}).status_code == 200


def test_all_budgets_or_none():
    """The application's is too small: nothing is held in the principal's, and only a budget of the caller's own is told."""
    shop = Shop(
        Budgets(
            policies=[
                Policy("own", "principal", "day", "0.00002"),
                Policy("house", "application", "day", **LIMITS),
            ]
        )
    )
    assert shop.client("ann").post("/buy", params={"nano": 6000, "hold": 6000}).status_code == 200
    refused = shop.client("bob").post("/buy", params={"hold": 6000})
    assert refused.status_code == 402
    assert "house" not in refused.text
    assert "budget" not in refused.json()
    assert shop.ledger._held == dict.fromkeys(shop.ledger._held, 0)


def test_requests_that_come_together_spend_no_more_than_there_is():
    """Sixty-four at once for a budget of ten: ten are charged, whichever they are, and the others are told apart."""
    shop = Shop(Budgets(policies=[Policy("day", "principal", "day", **LIMITS)]))
    with shop.client("ann") as client, ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: client.post("/buy", params={"nano": 1000, "hold": 1000}), range(64))
        )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 10
    assert set(statuses) <= {200, 402, 429}
    for answer in answers:
        assert ("retry-after" in answer.headers) is (answer.status_code == 429)
    assert sum(shop.ledger._settled.values()) == 10_000
