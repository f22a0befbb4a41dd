"""Budgets as metrics: those of the application and those that are named, and never a caller by itself."""

from __future__ import annotations

from datetime import UTC

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.budgets import Budgets, Policies, Policy
from prodkit.budgets.gauges import BudgetGauges
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import SettingsError, StoreUnavailableError
from prodkit.stores.ledger import Reservation
from prodkit.stores.memory_ledger import MemoryLedger

TOKEN = "t" * 40

POLICIES = Policies(
    [
        Policy("house", "application", "day", "5"),
        Policy("team", "tenant", "month", "2"),
        Policy("tokens", "tenant", "day", unit="tokens", limit=100),
        Policy("counted", "application", "total"),
    ],
    UTC,
)


async def spend(ledger, clock, attributes, nano, units=None):
    """One settled call of a tenant."""
    asks = POLICIES.asks(attributes, clock.wall())
    await ledger.reserve(
        Reservation(id=f"h{nano}", amount_nano=nano, lease_seconds=60.0, asks=asks, dispatched=True)
    )
    await ledger.settle(f"h{nano}", nano, units=units or {})


def shown(gauges):
    """Name and budget to value."""
    return {(sample.name, sample.labels["budget"]): sample.value for sample in gauges.samples()}


async def test_only_the_applications_budgets_and_those_named_are_shown():
    """A tenant is a label only where somebody wrote its name down."""
    clock = FakeClock()
    ledger = MemoryLedger(clock=clock)
    await spend(ledger, clock, {"tenant": "acme"}, 500_000_000, {"tokens": 7})
    await spend(ledger, clock, {"tenant": "umbrella"}, 250_000_000)
    gauges = BudgetGauges(POLICIES, ["team:acme", "tokens:acme", "unknown:x", "house:all"])
    await gauges.refresh(ledger, clock.wall())
    assert shown(gauges) == {
        ("prodkit_budget_limit_usd", "house:all"): 5.0,
        ("prodkit_budget_settled_usd", "house:all"): 0.75,
        ("prodkit_budget_held_usd", "house:all"): 0.0,
        ("prodkit_budget_settled_usd", "counted:all"): 0.75,
        ("prodkit_budget_held_usd", "counted:all"): 0.0,
        ("prodkit_budget_limit_usd", "team:acme"): 2.0,
        ("prodkit_budget_settled_usd", "team:acme"): 0.5,
        ("prodkit_budget_held_usd", "team:acme"): 0.0,
        ("prodkit_quota_limit", "tokens:acme"): 100,
        ("prodkit_quota_settled", "tokens:acme"): 7,
        ("prodkit_quota_held", "tokens:acme"): 0,
    }


async def test_the_limit_that_holds_is_shown_and_an_outage_keeps_what_was_read():
    """A limit that was set; and a ledger that is away takes nothing off the page."""
    clock = FakeClock()
    ledger = MemoryLedger(clock=clock)
    gauges = BudgetGauges(POLICIES, [])
    await ledger.set_limit("house:all", 1_000_000_000)
    await gauges.refresh(ledger, clock.wall())
    assert shown(gauges)["prodkit_budget_limit_usd", "house:all"] == 1.0

    class Away(MemoryLedger):
        async def accounts(self, asks):
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        await gauges.refresh(Away(), clock.wall())
    assert shown(gauges)["prodkit_budget_limit_usd", "house:all"] == 1.0


def test_they_are_on_the_metrics_page(monkeypatch):
    """Read from the start on, without any request that spends."""
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", TOKEN)
    app = FastAPI()
    harden(app, Budgets(policies=[Policy("house", "application", "day", "5")]))
    with TestClient(app) as client:
        page = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'prodkit_budget_limit_usd{budget="house:all",policy="house"} 5.0' in page


@pytest.mark.parametrize("budget", ["house", "other:all", ""])
def test_a_budget_that_no_policy_has_is_refused_at_the_start(budget):
    """It would never be shown, and look as if nothing was spent."""
    with pytest.raises(SettingsError, match="no policy"):
        Budgets(policies=[Policy("house", "application", "day", "5")], metric_budgets=[budget])
