"""Answers that take their time: streams that are cut anywhere, and tasks that are asked for later."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prodkit.metering.clients import ParallelTariff, metered_client, open_pool
from tests.metering.clients.asking import (
    LITE,
    PRICES,
    SPEED,
    TASK,
    ask,
    client_of,
    run_of,
)
from tests.support.paid_provider import Reply, books, events, provider


@pytest.mark.parametrize("cut", [0, 1, 30, 59, 60, 61, 100, None])
async def test_a_stream_cut_anywhere_is_charged_once(cut: int | None) -> None:
    """Whole, it is exact; cut, it is charged all the same and flagged."""
    parts = [{"choices": [{"delta": {"content": "a" * 10}}]}, {"choices": [{"finish_reason": "stop"}]}]
    entries, _, answer = await ask(
        events(*parts, done=True, cut=cut),
        {"model": "speed", "messages": [], "stream": True},
        "/chat/completions",
    )
    assert entries == [("settled", SPEED, cut is not None)]
    assert isinstance(answer, httpx.Response) is (cut is None)


@pytest.mark.parametrize(
    ("status", "charged"),
    [("completed", LITE), ("failed", 0), ("cancelled", 0), ("running", None), ("action_required", None)],
)
@pytest.mark.parametrize("way", ["retrieve", "result", "events"])
async def test_a_task_is_charged_by_how_it_ends(status: str, charged: int | None, way: str) -> None:
    """Open until an answer says how it ended: completed costs, failed does not, given up is presumed."""

    def answer(seen: Any) -> Reply:
        if seen.method == "POST":
            return Reply(202, run_of("queued"))
        if way == "events":
            return events({"type": "task_run.state", "run": run_of(status)})
        return Reply(body=run_of(status) if way == "retrieve" else {"run": run_of(status), "output": {}})

    paths = {"retrieve": "", "result": "/result", "events": "/events"}
    async with provider(answer) as other, books() as ledger, client_of(ledger, other.url) as client:
        await client.post(f"{other.url}/v1/tasks/runs", json=TASK)
        assert await ledger.open_calls() == 1
        for _ in range(2):  # asked twice, charged once
            await client.get(f"{other.url}/v1/tasks/runs/trun_1{paths[way]}")
        assert await ledger.open_calls() == (charged is None)
        entries = [entry for entry in await ledger.closed() if entry[1]]
        if charged is None:
            assert entries == [("presumed", LITE, True)]
        else:
            assert entries == ([("settled", charged, False)] if charged else [])
        assert len(other.billable) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(202, {}), Reply(202, b"{"), Reply(202, run_of("queued"), cut=5), Reply(202, {"run_id": 7})],
    ids=str,
)
async def test_a_task_without_a_name_is_presumed(reply: Reply) -> None:
    """Accepted, but nobody can ask for it again."""
    entries, _, _ = await ask(reply, TASK, "/v1/tasks/runs")
    assert entries == [("presumed", LITE, True)]


async def test_a_task_that_completes_at_once_is_settled_at_once() -> None:
    """The answer to its creation may already say how it ended."""
    entries, _, _ = await ask(Reply(202, run_of("completed")), TASK, "/v1/tasks/runs")
    assert entries == [("settled", LITE, False)]


async def test_closing_the_client_gives_up_its_tasks() -> None:
    """What was accepted and not seen to end may be billed; the shared pool stays open."""
    async with provider(Reply(202, run_of("queued"))) as other, books() as ledger:
        pool = open_pool(other.url)
        client = metered_client(pool, ledger.envelope, [ParallelTariff(PRICES, other.url)], timeout_seconds=5)
        await client.post(f"{other.url}/v1/tasks/runs", json=TASK)
        await client.aclose()
        assert [entry.kind for entry in await ledger.entries()] == ["presumed"]
        again = metered_client(pool, ledger.envelope, [ParallelTariff(PRICES, other.url)], timeout_seconds=5)
        assert (await again.post(f"{other.url}/v1/tasks/runs", json=TASK)).status_code == 202
        await pool.aclose()


async def test_the_ledger_id_travels_with_a_task() -> None:
    """So that a run of unknown end can be found on the other side; what the caller put there stays."""
    async with (
        provider(Reply(202, run_of("queued"))) as other,
        books() as ledger,
        client_of(ledger, other.url) as client,
    ):
        await client.post(f"{other.url}/v1/tasks/runs", json={**TASK, "metadata": {"mine": "x"}})
        [hold] = [hold for hold in await ledger.ledger.open_holds() if not hold.envelope]
        metadata = other.seen[0].body["metadata"]
        assert metadata == {"mine": "x", "ledger_id": hold.id}
        assert len(metadata["ledger_id"]) <= 512
