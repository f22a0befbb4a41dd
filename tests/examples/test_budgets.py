"""What may be spent, through the whole application: bounds of a run, budgets, and the usage that both are counted by."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from tests.support.research import bearer

NONLOCAL = {"message": "What does the nonlocal statement do?"}
DAILY = {"default": "0.02/day"}


async def test_a_budget_is_seen_spent_and_used_up(open_research: Any) -> None:
    """A run holds the most it can cost; when that does not fit any more it is refused with 402, and nothing is spent."""
    bound = {**NONLOCAL, "max_cost_usd": "0.001"}
    large = {**NONLOCAL, "processor": "advanced", "max_cost_usd": "0.02"}
    async with open_research(budgets=DAILY) as ada:
        [fresh] = (await ada.get("/v1/budgets")).json()["budgets"]
        first = await ada.post("/v1/agents/search/chat", json=bound)
        [spent] = (await ada.get("/v1/budgets")).json()["budgets"]
        chat = await ada.post("/v1/agents/search/chat", json=large)
        stream = await ada.post("/v1/agents/search/stream", json=large)
        never = await ada.post("/v1/agents/analyst/chat", json=NONLOCAL)
        [after] = (await ada.get("/v1/budgets")).json()["budgets"]
        runs = (await ada.get("/v1/sessions")).json()["sessions"]
    assert (fresh["limit_usd"], fresh["spent_usd"], fresh["window"]) == ("0.02", "0", "day")
    assert first.status_code == 200, first.text
    assert (spent["spent_usd"], spent["held_usd"], spent["remaining_usd"]) == ("0.001", "0", "0.019")
    for refused in (chat, stream):
        assert (refused.status_code, refused.headers["content-type"]) == (402, "application/problem+json")
    assert never.status_code == 422  # more than the whole budget: no day will come on which it fits
    assert after == spent
    assert len(runs) == 1  # what was refused has left no conversation behind


async def test_spending_is_recorded_under_the_key_that_spent(open_research: Any) -> None:
    """As `attributes_of` names it, and as the budgets of keys are named."""
    policies = [{"name": "key-day", "per": "key", "window": "day", "limit_usd": "1"}]
    async with open_research(budgets={"policies": policies}) as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
        [row] = (await ada.get("/v1/usage", params={"group_by": "key"})).json()["rows"]
        [budget] = (await ada.get("/v1/budgets")).json()["budgets"]
    assert answer.status_code == 200, answer.text
    assert (row["group"]["key"], row["cost_usd"]) == ("ada", "0.001")
    assert (budget["id"], budget["spent_usd"]) == ("key-day:ada", "0.001")


async def test_a_budget_is_set_by_whom_it_belongs_to(open_research: Any) -> None:
    """Lower, and back up to what the policy says; never by another tenant, to whom it does not exist."""
    async with open_research(budgets=DAILY) as ada:
        path = f"/v1/budgets/{(await ada.get('/v1/budgets')).json()['budgets'][0]['id']}"
        lowered = await ada.put(path, json={"limit_usd": "0.0005"})
        refused = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "max_cost_usd": "0.001"})
        too_much = await ada.put(path, json={"limit_usd": "0.03"})
        number = await ada.put(path, json={"limit_usd": 0.01})
        raised = await ada.put(path, json={"limit_usd": None})
        allowed = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "max_cost_usd": "0.001"})
        others = [
            (await ada.get(path, headers=bearer("eve"))).status_code,
            (await ada.put(path, json={"limit_usd": "0"}, headers=bearer("eve"))).status_code,
            (await ada.put(path, json={"limit_usd": "0"}, headers=bearer("bob"))).status_code,
        ]
        idle = await ada.put(path, json={"limit_usd": "0"}, headers=bearer("idle"))
    assert (lowered.status_code, lowered.json()["limit_usd"]) == (200, "0.0005")
    assert refused.status_code == 422  # not even the whole budget would do
    assert (too_much.status_code, number.status_code) == (403, 422)
    assert raised.json()["limit_usd"] == "0.02"
    assert allowed.status_code == 200, allowed.text
    assert others == [404, 404, 404]
    assert idle.status_code == 403


async def test_runs_at_once_never_exceed_the_budget(open_research: Any) -> None:
    """Thirty at once with room for twenty: twenty are answered, the others refused, and the budget is spent to the cent."""
    bound = {**NONLOCAL, "max_cost_usd": "0.001"}
    async with open_research(budgets=DAILY) as ada:
        asked = [ada.post("/v1/agents/search/chat", json=bound, timeout=60) for _ in range(30)]
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        [budget] = (await ada.get("/v1/budgets")).json()["budgets"]
        usage = (await ada.get("/v1/usage")).json()
    # A run that is under way holds its money: who comes then may be told to come back rather than that nothing is left.
    assert set(statuses) == {200, 402} or set(statuses) == {200, 402, 429} or set(statuses) == {200, 429}
    assert statuses.count(200) == 20
    assert budget["spent_usd"] == usage["total_usd"] == "0.02"
    assert (budget["held_usd"], budget["remaining_usd"]) == ("0", "0")


async def test_usage_is_told_by_whatever_it_is_grouped(open_research: Any) -> None:
    """Agent, principal, session and day; the rows add up; another tenant sees nothing of it."""
    async with open_research() as ada:
        mine = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        theirs = (await ada.post("/v1/agents/writer/chat", json=NONLOCAL, headers=bearer("bob"))).json()
        grouped = {
            name: (await ada.get(f"/v1/usage?group_by={name}")).json()
            for name in ("agent", "model", "principal", "key", "session", "day")
        }
        only = (await ada.get("/v1/usage", params={"session": mine["session_id"]})).json()
        eve = (await ada.get("/v1/usage", headers=bearer("eve"))).json()
        idle = await ada.get("/v1/usage", headers=bearer("idle"))
    total = Decimal(mine["cost_usd"]) + Decimal(theirs["cost_usd"])
    for name, usage in grouped.items():
        assert (
            Decimal(usage["total_usd"]) == sum(Decimal(row["cost_usd"]) for row in usage["rows"]) == total
        ), name
    costs = {row["group"]["agent"]: row["cost_usd"] for row in grouped["agent"]["rows"]}
    assert costs == {"search": mine["cost_usd"], "writer": theirs["cost_usd"]}
    assert {row["group"]["principal"] for row in grouped["principal"]["rows"]} == {"ada", "bob"}
    assert {row["group"]["session"] for row in grouped["session"]["rows"]} == {
        mine["session_id"],
        theirs["session_id"],
    }
    assert only["total_usd"] == mine["cost_usd"]
    assert (eve["total_usd"], eve["rows"]) == ("0", [])
    assert idle.status_code == 403


async def test_what_a_run_cost_and_what_is_left_stand_in_headers(open_research: Any) -> None:
    """Of a chat, when it is answered; a stream tells its cost in its `usage` event."""
    async with open_research(budgets=DAILY) as ada:
        answer = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "max_cost_usd": "0.001"})
        [budget] = (await ada.get("/v1/budgets")).json()["budgets"]
    assert answer.headers["X-Cost-USD"] == answer.json()["cost_usd"] == "0.001"
    assert answer.headers["X-Budget-Scope"] == "default"
    assert answer.headers["X-Budget-Remaining-USD"] == budget["remaining_usd"] == "0.019"
    assert answer.headers["X-Budget-Reset"] == budget["resets_at"]


async def test_something_cheaper_is_taken_when_a_budget_is_nearly_spent(
    open_research: Any, settings: Any
) -> None:
    """For messages that name no processor; the answer says what was not taken, and what was named is kept."""
    frugal = settings.model_copy(update={"degrade_percent": 50})
    async with open_research(settings=frugal, budgets={"default": "0.04/day"}) as ada:
        before = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        spent = await ada.post("/v1/agents/critic/chat", json={"message": "The package fastapi is red."})
        after = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        named = (await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "processor": "fast"})).json()
    assert spent.status_code == 200, spent.text
    assert (before["processor"], before["degraded_from"]) == ("fast", None)
    assert (after["processor"], after["degraded_from"]) == ("turbo", "fast")
    assert (named["processor"], named["degraded_from"]) == ("fast", None)
