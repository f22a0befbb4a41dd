"""`prodkit budgets`: what operators see of budgets, and change in them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.budgets import budgets_router
from prodkit.cli import main
from prodkit.core.context import CurrentContext
from prodkit.core.identity import Principal
from prodkit.hardening import harden
from prodkit.metering import Meter
from prodkit.stores.sqlite_ledger import SqliteLedger
from tests.support.recording import guarding

POLICIES = [
    {"name": "team", "per": "tenant", "window": "month", "limit_usd": "1"},
    {"name": "calls", "per": "tenant", "window": "total", "unit": "calls", "limit": 10},
    {"name": "house", "per": "application", "window": "total"},
]
SPENT = 250_000_000


@pytest.fixture
def budgets(tmp_path, monkeypatch, capsys):
    """Runs `prodkit budgets` where ann of acme has spent a quarter of a dollar by two calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRODKIT_STORE", "sqlite:///ledger.db")
    monkeypatch.setenv("PRODKIT_BUDGETS__DEFAULT", "0.50/day")
    monkeypatch.setenv("PRODKIT_BUDGETS__POLICIES", json.dumps(POLICIES))
    with served() as client:
        assert client.post("/buy").status_code == 200
    capsys.readouterr()

    def run(*words):
        code = main(["budgets", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def served() -> TestClient:
    """The application whose budgets these are."""
    app = FastAPI()

    @app.post("/buy")
    async def buy(context: CurrentContext, nano: int = SPENT) -> None:
        meter = context.kit.one(Meter)
        assert meter is not None
        async with await meter.open(
            f"run_{context.correlation_id}", amount_nano=nano, attributes={}, context=context
        ) as envelope:
            await (await envelope.call(nano)).settle(nano, units={"calls": 2})

    def identify(context: Any) -> None:
        context.principal = Principal(id="ann", kind="test", tenant="acme", scopes=frozenset({"usage:read"}))

    from prodkit.core.features import Layer

    app.include_router(budgets_router())
    harden(app, guarding(Layer.IDENTITY, identify, "identity"))
    return TestClient(app)


def listed(budgets: Any, *words: str) -> dict[str, Any]:
    code, out, _ = budgets("list", "--json", *words)
    assert code == 0
    return {one["id"]: one for one in json.loads(out, parse_float=pytest.fail)["budgets"]}


async def history() -> list[Any]:
    ledger = SqliteLedger("ledger.db")
    try:
        return list(await ledger.entries())
    finally:
        await ledger.aclose()


def test_budgets_are_listed(budgets):
    """Of every policy those in which something was spent; money as texts, quotas as whole numbers."""
    found = listed(budgets)
    assert set(found) == {"default:ann@acme", "team:acme", "calls:acme", "house:all"}
    own, calls, house = (found[name] for name in ("default:ann@acme", "calls:acme", "house:all"))
    assert own["resets_at"].endswith("T00:00:00Z")
    assert own | {"resets_at": None} == {
        "id": "default:ann@acme",
        "policy": "default",
        "per": "principal",
        "window": "day",
        "unit": "usd",
        "limit": "0.5",
        "spent": "0.25",
        "held": "0",
        "remaining": "0.25",
        "resets_at": None,
    }
    assert (calls["unit"], calls["limit"], calls["spent"], calls["remaining"]) == ("calls", "10", "2", "8")
    assert (house["limit"], house["remaining"], house["resets_at"]) == (None, None, None)


def test_the_list_is_a_table(budgets):
    """One line each."""
    code, out, err = budgets("list")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:4] == ["ID", "WINDOW", "COUNTS", "LIMIT"]
    assert len(out.splitlines()) == 5


def test_one_budget_is_shown_also_if_nothing_was_spent(budgets):
    """Whose it is need not have come yet; a policy that there is not is refused."""
    assert listed(budgets, "--budget", "team:umbrella")["team:umbrella"]["spent"] == "0"
    for unknown in ("nothing:acme", "team", ""):
        code, out, err = budgets("list", "--budget", unknown)
        assert (code, out) == (1, "")
        assert "default, team, calls, house" in err


def test_a_limit_that_is_set_here_holds_there(budgets):
    """From the next admission on; `none` is what the policy says."""
    code, out, err = budgets("set", "default:ann@acme", "0.25")
    assert (code, out) == (0, "")
    assert "limit 0.5 -> 0.25" in err
    with served() as client:
        assert client.post("/buy", params={"nano": 1}).status_code == 402
        assert client.get("/v1/budgets").json()["budgets"][0]["limit_usd"] == "0.25"
    assert budgets("set", "default:ann@acme", "none")[0] == 0
    with served() as client:
        assert client.post("/buy", params={"nano": 1}).status_code == 200
    assert budgets("set", "calls:acme", "20")[0] == 0
    assert listed(budgets)["calls:acme"]["limit"] == "20"


def test_an_adjustment_is_counted_once(budgets):
    """A charge, then a credit; the same id again changes nothing, and with another amount is refused."""
    for _ in range(2):
        assert budgets("adjust", "default:ann@acme", "0.1", "--reason", "r", "--id", "t-1")[0] == 0
    assert listed(budgets)["default:ann@acme"]["spent"] == "0.35"
    code, _, err = budgets("adjust", "default:ann@acme", "0.2", "--reason", "r", "--id", "t-1")
    assert code == 1
    assert "nothing was changed" in err
    code, out, _ = budgets("adjust", "default:ann@acme", "-0.3", "--reason", "empty answers", "--json")
    assert (code, json.loads(out)["spent"]) == (0, "0.05")
    last = asyncio.run(history())[-1]
    assert (last.kind, last.amount_nano) == ("manual", -300_000_000)
    assert last.reason.startswith("empty answers (by cli")
    assert last.attributes == {"tenant": "acme", "principal": "ann"}
    assert budgets("adjust", "calls:acme", "-1", "--reason", "r")[0] == 0
    assert listed(budgets)["calls:acme"]["spent"] == "1"


def test_no_more_is_given_back_than_was_spent(budgets):
    """Exit code 1, and the budget is as it was."""
    assert budgets("adjust", "default:ann@acme", "-0.26", "--reason", "r")[0] == 1
    assert listed(budgets)["default:ann@acme"]["spent"] == "0.25"


def test_a_reset_is_a_credit_of_what_was_spent(budgets):
    """The history keeps both, so nothing is hidden; twice is as once."""
    assert budgets("reset", "default:ann@acme", "--reason", "new contract")[0] == 0
    assert listed(budgets, "--budget", "default:ann@acme")["default:ann@acme"]["spent"] == "0"
    assert budgets("reset", "default:ann@acme", "--reason", "new contract")[0] == 0
    assert [entry.amount_nano for entry in asyncio.run(history())] == [SPENT, -SPENT]
    assert listed(budgets)["team:acme"]["spent"] == "0.25"


@pytest.mark.parametrize(
    "words",
    [
        ("set", "default:ann@acme", "much"),
        ("set", "default:ann@acme", "-1"),
        ("set", "default:ann@acme", "1e3"),
        ("set", "default:ann@acme", "99999999"),
        ("set", "calls:acme", "1.5"),
        ("set", "default:ann@acme"),
        ("adjust", "default:ann@acme", "0", "--reason", "r"),
        ("adjust", "default:ann@acme", "x", "--reason", "r"),
        ("adjust", "default:ann@acme", "1"),
        ("adjust", "calls:acme", "0.5", "--reason", "r"),
        ("adjust", "default:ann@acme", "1", "--reason", "r", "--id", "a b"),
        ("reset", "default:ann@acme"),
        (),
    ],
)
def test_a_command_line_without_sense_is_exit_code_2(budgets, words):
    """And nothing is changed."""
    before = listed(budgets)
    code, out, err = budgets(*words)
    assert (code, out) == (2, "")
    assert err
    assert listed(budgets) == before


@pytest.mark.parametrize("action", ["list", "set", "adjust", "reset"])
def test_help_is_everywhere(budgets, action):
    """Exit code 0."""
    assert budgets(action, "--help")[0] == 0


def test_without_policies_there_is_nothing_to_administer(budgets, monkeypatch):
    """Exit code 1, and which settings are missing."""
    monkeypatch.delenv("PRODKIT_BUDGETS__DEFAULT")
    monkeypatch.delenv("PRODKIT_BUDGETS__POLICIES")
    code, _, err = budgets("list")
    assert code == 1
    assert "PRODKIT_BUDGETS__DEFAULT" in err


def test_a_budget_in_memory_is_refused(budgets, monkeypatch):
    """It would be another process's."""
    monkeypatch.setenv("PRODKIT_STORE", "memory://")
    assert budgets("list")[0] == 1
