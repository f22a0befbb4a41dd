"""What usage and budgets are told about sessions and runs in which nothing was spent."""

from __future__ import annotations

from typing import Any

from tests.support.research import bearer

BUDGETS = {"policies": [{"name": "session-day", "per": "session", "window": "day", "limit_usd": "1"}]}


async def test_a_new_session_is_known_to_its_tenant(open_research: Any) -> None:
    """An empty report, and its budget, for whose it is; 404 for everybody else and for what is no id."""
    async with open_research(budgets=BUDGETS) as ada:
        session = (await ada.post("/v1/sessions", json={"agent": "search"})).json()["id"]
        own = await ada.get("/v1/usage", params={"session": session})
        colleague = await ada.get("/v1/usage", params={"session": session}, headers=bearer("bob"))
        rival = await ada.get("/v1/usage", params={"session": session}, headers=bearer("eve"))
        odd = [
            (await ada.get("/v1/usage", params=query)).status_code
            for query in ({"session": "ses_no"}, {"session": "../x"}, {"run": "run_no"}, {"run": session})
        ]
        budget = await ada.get(f"/v1/budgets/session-day:{session}")
        others = [
            (await ada.get(f"/v1/budgets/session-day:{one}", headers=bearer(name))).status_code
            for one, name in ((session, "bob"), (session, "eve"), ("nonsense", "ada"))
        ]
    assert (own.status_code, own.json()["total_usd"]) == (200, "0")
    assert (colleague.status_code, rival.status_code) == (200, 404)
    assert odd == [404] * 4
    assert (budget.status_code, budget.json()["spent_usd"]) == (200, "0"), budget.text
    assert others == [404] * 3
