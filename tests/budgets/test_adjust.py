"""`POST /v1/budgets/{id}/adjust`, and the list of budgets an operator sees."""

from __future__ import annotations

import logging
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from prodkit.budgets import Budgets, Policies, Policy, budgets_router
from prodkit.budgets.administration import adjust_budget, attributes_in, counted, find_budgets
from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import LedgerConflictError, Reservation
from prodkit.stores.memory_ledger import MemoryLedger
from tests.budgets.test_api import POLICIES
from tests.metering.metered import Shop

ROOT = "root@acme admin usage:read budgets:raise"


def shop() -> Shop:
    """Ann and Bob of acme, Mallory of umbrella; each of them has spent 4000 nano-USD."""
    made = Shop(
        Budgets(policies=(*POLICIES, Policy("calls", "tenant", "day", unit="sku_search", limit=9))),
        identified=True,
    )
    made.app.include_router(budgets_router())
    for who, session in (("ann@acme", ""), ("bob@acme", "bobs"), ("mallory@umbrella", "hers")):
        bought = made.client(who).post("/buy", params={"nano": 4000, "hold": 5000, "session": session})
        assert bought.status_code == 200
    return made


def adjust(made: Shop, budget: str, who: str = ROOT, **body: Any) -> Any:
    known = {"amount_usd": "0.000001", "reason": "a test"}
    return made.client(who).post(f"/v1/budgets/{budget}/adjust", json=known | body)


def spent(made: Shop, budget: str) -> Any:
    return made.client(ROOT).get(f"/v1/budgets/{budget}").json()["spent_usd"]


def test_a_charge_and_a_credit_count_in_that_budget():
    """At once, in the window that is open; in no other budget, and in the history under whose budget it is."""
    made = shop()
    assert adjust(made, "own:ann@acme").json()["spent_usd"] == "0.000005"
    assert adjust(made, "own:ann@acme", amount_usd="-0.000003").json()["spent_usd"] == "0.000002"
    assert (spent(made, "own:ann@acme"), spent(made, "team:acme")) == ("0.000002", "0.000008")
    (*_, charge, credit) = made.ledger._history
    assert (charge.kind, charge.amount_nano, credit.amount_nano) == ("manual", 1000, -3000)
    assert credit.attributes == {"tenant": "acme", "principal": "ann"}
    assert credit.reason == "a test (by root)"


def test_the_same_id_is_done_once():
    """A client that heard no answer asks again; with another amount it is another thing, and refused."""
    made = shop()
    answers = [adjust(made, "own:ann@acme", id="ticket-1") for _ in range(3)]
    assert [answer.json()["spent_usd"] for answer in answers] == ["0.000005"] * 3
    assert adjust(made, "own:ann@acme", id="ticket-1", amount_usd="0.5").status_code == 409
    assert adjust(made, "own:bob@acme", id="ticket-1").json()["spent_usd"] == "0.000005"
    assert [adjust(made, "team:acme").status_code for _ in range(2)] == [200, 200]
    assert spent(made, "team:acme") == "0.00001"


def test_no_more_is_given_back_than_was_spent():
    """409, and nothing is changed: it would be money to spend out of nothing."""
    made = shop()
    answer = adjust(made, "own:ann@acme", amount_usd="-0.0000041")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "conflict")
    assert spent(made, "own:ann@acme") == "0.000004"


@pytest.mark.parametrize(
    "body",
    [
        {"amount_usd": 0.5},
        {"amount_usd": 1},
        {"amount_usd": "0"},
        {"amount_usd": "-0"},
        {"amount_usd": "1e3"},
        {"amount_usd": "+1"},
        {"amount_usd": "--1"},
        {"amount_usd": "9999999.9"},
        {"amount_usd": None},
        {"reason": ""},
        {"reason": "x" * 501},
        {"id": ""},
        {"id": "a:b"},
        {"id": "x" * 65},
        {"more": 1},
    ],
)
def test_what_is_no_adjustment_is_refused(body):
    """422; above all a JSON number, which somebody's program would have made a binary fraction."""
    made = shop()
    assert adjust(made, "own:ann@acme", **body).status_code == 422
    assert spent(made, "own:ann@acme") == "0.000004"


@pytest.mark.parametrize(
    "budget",
    ["own:mallory@umbrella", "team:umbrella", "chat:hers", "house:all", "agent:search", "none:x", "own"],
)
def test_what_is_not_the_tenants_is_not_there(budget):
    """404, the same as for a budget that there is not; and the account stays as it was."""
    made = shop()
    before = list(made.ledger._history)
    assert adjust(made, budget).status_code == 404
    assert list(made.ledger._history) == before


@pytest.mark.parametrize("who", ["ann@acme budgets:write usage:read", "ann@acme usage:read", "ann@acme"])
def test_only_an_administrator_may(who):
    """Not even in one's own budget: who could, would have none."""
    made = shop()
    assert adjust(made, "own:ann@acme", who).status_code == 403
    assert spent(made, "own:ann@acme") == "0.000004"


def test_an_administrator_may_charge_and_not_give_back():
    """To count less is to allow more, which is for those whose money it is."""
    made = shop()
    boss = "boss@acme admin usage:read"
    assert adjust(made, "team:acme", boss).status_code == 200
    refused = adjust(made, "team:acme", boss, amount_usd="-0.000001")
    assert (refused.status_code, refused.json()["required_scopes"]) == (403, ["budgets:raise"])
    refused = adjust(made, "calls:acme", boss, amount_usd=None, amount=-1)
    assert refused.status_code == 403
    assert spent(made, "team:acme") == "0.000009"


def test_nobody_may_where_nobody_is_identified():
    """Without authentication there are no administrators."""
    made = Shop(Budgets(policies=POLICIES), identified=False)
    made.app.include_router(budgets_router())
    assert (
        made.client().post("/v1/budgets/own:/adjust", json={"amount_usd": "1", "reason": "r"}).status_code
        == 403
    )


def test_it_is_in_the_log(caplog):
    """Who, what, how much and why, under which entry."""
    made = shop()
    with caplog.at_level(logging.WARNING, "prodkit.budgets"):
        adjust(made, "own:ann@acme", id="t", amount_usd="-0.000001")
    (record,) = [record for record in caplog.records if record.message == "budget_adjusted"]
    told = {
        name: getattr(record, name) for name in ("budget", "by", "tenant", "amount_usd", "reason", "entry")
    }
    assert told == {
        "budget": "own:ann@acme",
        "by": "root",
        "tenant": "acme",
        "amount_usd": "-0.000001",
        "reason": "a test",
        "entry": "manual:own:ann@acme:t",
    }


def test_a_quota_is_adjusted_in_what_it_counts():
    """In whole units, as JSON numbers; money is refused there, and units where money is counted."""
    made = shop()
    answer = made.client(ROOT).post("/v1/budgets/calls:acme/adjust", json={"amount": -1, "reason": "r"})
    assert (answer.status_code, answer.json()["spent"], answer.json()["spent_usd"]) == (200, 1, None)
    assert adjust(made, "calls:acme").status_code == 422
    for body in ({"amount": 1}, {"amount": "1"}, {"amount": 0}, {"amount": 1.5}, {}):
        answer = made.client(ROOT).post("/v1/budgets/own:ann@acme/adjust", json=body | {"reason": "r"})
        assert answer.status_code == 422


# --------------------------------------------------------------------------------------------- operators


async def ledger_of(spent_by: dict[str, int], policies: Policies, clock: FakeClock) -> MemoryLedger:
    ledger = MemoryLedger(clock=clock)
    for number, (who, nano) in enumerate(spent_by.items()):
        attributes = {"tenant": "acme", "principal": who, "provider": "parallel"}
        asks = policies.asks(attributes, clock.wall())
        await ledger.reserve(
            Reservation(
                id=f"h{number}",
                amount_nano=nano,
                lease_seconds=60,
                asks=asks,
                attributes=attributes,
                dispatched=True,
            )
        )
        await ledger.settle(f"h{number}", nano, units={"calls": 2})
    return ledger


async def test_operators_see_every_budget_that_is_spent_or_held():
    """Of each policy one for each value, what is held too; not those in which nothing was spent in this window."""
    clock = FakeClock()
    policies = Policies(
        [
            Policy("own", "principal", "day", "1"),
            Policy("all", "application", "total"),
            Policy("by-key", "key"),
        ],
        UTC,
    )
    ledger = await ledger_of({"ann": 10, "bob": 20}, policies, clock)
    attributes = {"tenant": "umbrella", "principal": "eve"}
    await ledger.reserve(
        Reservation(
            id="e",
            amount_nano=7,
            lease_seconds=60,
            asks=policies.asks(attributes, clock.wall()),
            attributes=attributes,
            envelope=True,
        )
    )
    found = {one.ask.budget: one for one in await find_budgets(ledger, policies, clock.wall())}
    assert set(found) == {"own:ann@acme", "own:bob@acme", "own:eve@umbrella", "all:all"}
    assert (found["own:eve@umbrella"].account.held_nano, found["own:eve@umbrella"].left) == (7, 10**9 - 7)
    assert (found["all:all"].account.settled_nano, found["all:all"].limit) == (30, None)
    clock.advance(86_400 * 2)
    assert {one.ask.budget for one in await find_budgets(ledger, policies, clock.wall())} == {"all:all"}


async def test_a_quota_is_adjusted_in_its_unit():
    """What was counted too much is given back, and no money is."""
    clock = FakeClock()
    policies = Policies([Policy("calls", "tenant", "day", unit="calls", limit=10)], ZoneInfo("Europe/Berlin"))
    ledger = await ledger_of({"ann": 10}, policies, clock)
    policy = policies.policy_of("calls:acme")
    assert policy is not None

    async def now() -> Any:
        (one,) = await counted(ledger, policies, [(policy, "calls:acme")], clock.wall())
        return one

    assert (await now()).left == 8
    entry = await adjust_budget(ledger, await now(), -1, reason="r")
    assert (entry.amount_nano, entry.units, (await now()).left) == (0, {"calls": -1}, 9)
    with pytest.raises(LedgerConflictError):
        await adjust_budget(ledger, await now(), -5, reason="r")


@pytest.mark.parametrize(
    ("policy", "budget", "tenant", "attributes"),
    [
        (Policy("p"), "p:ann@acme", None, {"tenant": "acme", "principal": "ann"}),
        (Policy("p"), "p:ann@acme", "acme", {"tenant": "acme", "principal": "ann"}),
        (Policy("p"), "p:a!ab@acme", None, {"tenant": "acme", "principal": "a@b"}),
        (Policy("p"), "p:@key:ann", None, {"tenant": "@key:ann"}),
        (Policy("p", "session"), "p:long~" + "0" * 32, "acme", {"tenant": "acme"}),
        (Policy("p"), "p:", None, {}),
        (Policy("p", "tenant"), "p:acme", None, {"tenant": "acme"}),
        (Policy("p", "session"), "p:s1", "acme", {"tenant": "acme", "session": "s1"}),
        (Policy("p", "application"), "p:all", None, {}),
    ],
)
def test_an_adjustment_is_reported_under_whose_budget_it_is(policy, budget, tenant, attributes):
    """As far as its id tells; a tenant is never made up."""
    assert attributes_in(policy, budget, tenant) == attributes
