"""The provider fails in every way it can: the client hears a true problem, and the cost is neither lost nor doubled.

What was spent is compared with the provider's own log of what it accepted, and would bill.
"""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import httpx
import pytest

MESSAGES = {
    "search": "What does the nonlocal statement do?",
    "analyst": "What does the nonlocal statement do?",
    "critic": "The with statement is used to wrap the execution of a block with methods defined by a context manager.",
    "writer": "Write a short report on the nonlocal statement.",
    "deep_research": "What does the nonlocal statement do?",
}
# Which call of theirs each agent cannot do without.
PATHS = {
    "search": "/v1/search",
    "analyst": "/v1/tasks/runs",
    "critic": "/v1/tasks/runs",
    "writer": "*/chat/completions",
    "deep_research": "/v1/tasks/runs",
}


async def spent(client: httpx.AsyncClient) -> Decimal:
    """By the ledger. Waits until everything that was begun is over."""
    for _ in range(100):
        if not [task for task in asyncio.all_tasks() if task.get_name().startswith("run-")]:
            break
        await asyncio.sleep(0.05)
    return Decimal((await client.get("/v1/usage")).json()["total_usd"])


async def ask(client: httpx.AsyncClient, agent: str) -> httpx.Response:
    return await client.post(f"/v1/agents/{agent}/chat", json={"message": MESSAGES[agent]}, timeout=30)


@pytest.mark.parametrize("agent", PATHS)
@pytest.mark.parametrize(("status", "retry_after"), [(429, None), (429, "7"), (503, "7")])
async def test_a_refusal_costs_nothing(
    open_research, faulty_settings, provider, billed, agent, status, retry_after
) -> None:
    """503 with the provider's own Retry-After; not tried again on the caller's account, not billed and not charged."""
    more = {} if retry_after is None else {"retry_after": retry_after}
    provider.order(PATHS[agent], "status", status=status, **more)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, agent)
        ledger = await spent(ada)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers.get("retry-after") == retry_after
    assert problem["correlation_id"] == answer.headers["x-request-id"]
    assert Decimal(problem["cost_usd"]) == ledger == billed()
    assert ledger == 0 or agent == "writer"  # it had searched before it was refused


async def test_what_may_have_been_accepted_is_charged(
    open_research, faulty_settings, provider, billed
) -> None:
    """A bare 503 is also what a proxy says whose connection broke after the call was accepted: an estimate is charged."""
    provider.order("/v1/search", "status", status=503)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, "search")
        usage = (await ada.get("/v1/usage")).json()
    assert answer.status_code == 503
    assert answer.json()["cost_usd"] == usage["rows"][0]["estimated_usd"] == "0.001"
    assert billed() == 0


@pytest.mark.parametrize("agent", PATHS)
async def test_what_was_accepted_and_answered_502_is_paid_once(
    open_research, faulty_settings, provider, billed, agent
) -> None:
    """Nobody knows whether such a call is billed: it is charged, as an estimate, and never made again."""
    provider.order(PATHS[agent], "accept_then_status", status=502)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, agent)
        ledger = await spent(ada)
        usage = (await ada.get("/v1/usage")).json()
    assert answer.status_code == 502
    assert Decimal(answer.json()["cost_usd"]) == ledger == billed() > 0
    assert Decimal(usage["rows"][0]["estimated_usd"]) > 0


@pytest.mark.parametrize("agent", PATHS)
async def test_slow_is_a_timeout_and_is_paid(open_research, faulty_settings, provider, billed, agent) -> None:
    """504 within its bound; what may have been accepted meanwhile is charged."""
    provider.order(PATHS[agent], "hang")
    started = asyncio.get_running_loop().time()
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, agent)
        took = asyncio.get_running_loop().time() - started
        ledger = await spent(ada)
    assert answer.status_code == 504
    assert took < 10
    assert Decimal(answer.json()["cost_usd"]) == ledger == billed() > 0


@pytest.mark.parametrize("agent", PATHS)
@pytest.mark.parametrize("kind", ["cut", "bad_json"])
async def test_an_answer_that_broke_off_is_paid_once(
    open_research, faulty_settings, provider, billed, agent, kind
) -> None:
    """502; half an answer is none, and what was accepted is charged."""
    provider.order(PATHS[agent], kind, **({"after_bytes": 40} if kind == "cut" else {}))
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, agent)
        ledger = await spent(ada)
        session = (await ada.get("/v1/sessions")).json()["sessions"][0]["id"]
        messages = (await ada.get(f"/v1/sessions/{session}/messages")).json()["messages"]
    assert answer.status_code == 502
    assert Decimal(answer.json()["cost_usd"]) == ledger == billed() > 0
    assert [one["role"] for one in messages] == ["user"]  # no half answer is recorded as one


async def test_a_stream_that_broke_off_ends_with_an_error(
    open_research, faulty_settings, provider, billed, read_events
) -> None:
    """The tokens that came are followed by the problem, never by `run.completed`."""
    provider.order("*/chat/completions", "cut", after_bytes=500)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ada.post("/v1/agents/writer/stream", json={"message": MESSAGES["writer"]}, timeout=30)
        ledger = await spent(ada)
    events = read_events(answer.text)
    assert events[-1].name == "error"
    assert events[-1].data["status"] == 502
    assert "run.completed" not in {event.name for event in events}
    assert Decimal(events[-1].data["cost_usd"]) == ledger == billed()


async def test_what_costs_nothing_is_asked_again(open_research, faulty_settings, provider, billed) -> None:
    """A task that was paid for is not given up because its events broke off and its result was unavailable for a while."""
    provider.order("/v1/tasks/runs/*/events", "cut", after_bytes=10)
    provider.order("/v1/tasks/runs/*/result", "status", status=503, times=2)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ask(ada, "analyst")
        ledger = await spent(ada)
    assert answer.status_code == 200, answer.text
    assert Decimal(answer.json()["cost_usd"]) == ledger == billed() == Decimal("0.025")
    assert answer.json()["usage"]["estimated"] is False


async def test_deep_research_survives_one_of_its_helpers(
    open_research, faulty_settings, provider, billed, read_events
) -> None:
    """What the others found is delivered, the failure is named, and the cost is that of what was accepted."""
    provider.order("/v1/search", "accept_then_status", status=502)
    async with open_research(settings=faulty_settings) as ada:
        answer = await ada.post(
            "/v1/agents/deep_research/chat",
            json={"message": "What does the nonlocal statement do, and what does the global statement do?"},
            timeout=60,
        )
        ledger = await spent(ada)
    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body["citations"]
    assert any("failed" in one for one in body["not_found"])
    assert body["usage"]["estimated"] is True
    assert Decimal(body["cost_usd"]) == ledger == billed()


async def test_under_many_failures_at_once_the_books_agree(
    open_research, faulty_settings, provider, billed
) -> None:
    """Sixty runs of all agents, faults of every kind among them: every answer is one, and the ledger equals the bill."""
    chance = random.Random(20_261_126)
    kinds: list[dict[str, Any]] = [
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 503, "retry_after": "1"},
        {"kind": "accept_then_status", "status": 502},
        {"kind": "cut", "after_bytes": 60},
        {"kind": "bad_json"},
        {"kind": "slow", "delay_seconds": 0.2},
    ]
    for path in ("/v1/search", "/v1/tasks/runs", "*/chat/completions"):
        for _ in range(8):
            provider.order(path, **chance.choice(kinds))
    agents = [chance.choice(["search", "analyst", "critic", "writer"]) for _ in range(60)]
    limit = asyncio.Semaphore(8)

    async with open_research(settings=faulty_settings) as ada:

        async def one(agent: str) -> httpx.Response:
            async with limit:
                return await ask(ada, agent)

        answers = await asyncio.gather(*(one(agent) for agent in agents))
        ledger = await spent(ada)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 502, 503, 504}
    assert statuses.count(200) >= 30
    assert len(statuses) - statuses.count(200) >= 10
    assert sum(Decimal(answer.json()["cost_usd"]) for answer in answers) == ledger == billed()
