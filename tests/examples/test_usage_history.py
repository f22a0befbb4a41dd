"""What a run cost, call by call, and the history as a file, through the whole application."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

from tests.support.research import bearer

QUESTION = {"message": "What does the nonlocal statement do?"}


async def test_a_run_is_told_call_by_call(open_research: Any) -> None:
    """What the answer said it cost is the sum of its envelopes and of their calls; another tenant's run is not there."""
    async with open_research() as ada:
        answers = [
            (await ada.post(f"/v1/agents/{agent}/chat", json=QUESTION)).json()
            for agent in ("search", "deep_research")
        ]
        for answer in answers:
            found = (await ada.get(f"/v1/usage/runs/{answer['run_id']}")).json()
            calls = [call for envelope in found["envelopes"] for call in envelope["calls"]]
            assert found["cost_usd"] == answer["cost_usd"]
            assert sum(Decimal(call["cost_usd"]) for call in calls) == Decimal(answer["cost_usd"])
            assert calls
            assert all(envelope["state"] == "released" for envelope in found["envelopes"])
        path = f"/v1/usage/runs/{answers[0]['run_id']}"
        assert (await ada.get(path, headers=bearer("eve"))).status_code == 404
        assert (await ada.get(path, headers=bearer("idle"))).status_code == 403


async def test_the_history_is_the_sum(open_research: Any) -> None:
    """Line by line and as a file it is what the report says, and nothing of it is another tenant's."""
    async with open_research() as ada:
        for who in ("ada", "bob", "eve"):
            answer = await ada.post("/v1/agents/analyst/chat", json=QUESTION, headers=bearer(who))
            assert answer.status_code == 200, answer.text
        total = Decimal((await ada.get("/v1/usage")).json()["total_usd"])
        entries = (await ada.get("/v1/usage/entries", params={"limit": 1000})).json()["entries"]
        rows = list(csv.DictReader(io.StringIO((await ada.get("/v1/usage/export")).text, newline="")))
    assert sum(Decimal(entry["cost_usd"]) for entry in entries) == total > 0
    assert sum(Decimal(row["BilledCost"]) for row in rows) == total
    assert {row["x_Principal"] for row in rows} == {"ada", "bob"}
    assert all(row["SkuId"].startswith(("task.", "search.")) for row in rows if Decimal(row["BilledCost"]))
