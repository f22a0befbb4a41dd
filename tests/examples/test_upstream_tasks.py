"""Task runs: created once, watched or waited for, and charged by how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from examples.research_agents.upstream import (
    Basis,
    Citation,
    ParallelRun,
    TaskAnswer,
    Upstream,
    UpstreamError,
)
from examples.research_agents.upstream import tasks as tasks_module
from prodkit.metering import EnvelopeExhaustedError, PriceBook
from tests.support.paid_provider import Provider, Reply, Seen, books, events, provider
from tests.support.research import settings_for

PRICES = PriceBook.load("parallel")
LITE = 5_000_000
BASIS = [
    {
        "field": "answer",
        "reasoning": "it says so",
        "citations": [{"url": "u", "title": "T", "excerpts": ["e"]}],
        "confidence": "high",
    }
]
OUTPUT = {"type": "json", "content": {"answer": 7}, "basis": BASIS}


def run_of(status: str) -> dict[str, Any]:
    active = status in {"queued", "running"}
    return {
        "run_id": "trun_1",
        "interaction_id": "inter_1",
        "status": status,
        "is_active": active,
        "processor": "lite",
    }


RESULT = Reply(body={"run": run_of("completed"), "output": OUTPUT})
PLAN = {
    "type": "task_run.progress_msg.plan",
    "message": "looks  for\nsources " + "x" * 400,
    "timestamp": "2026",
}
STATS = {
    "type": "task_run.progress_stats",
    "progress_meter": 50.0,
    "source_stats": {"num_sources_considered": 9, "num_sources_read": 3, "sources_read_sample": []},
}
RUNNING = {"type": "task_run.state", "run": run_of("running")}
COMPLETED = {"type": "task_run.state", "run": run_of("completed"), "output": OUTPUT}
FAILED = {"type": "task_run.state", "run": run_of("failed")}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_PAUSE_SECONDS", 0.001)


def by_path(**replies: Reply | list[Reply]) -> Callable[[Seen], Reply]:
    """Answers by the last part of the path; of a list, one after the other."""
    queues: dict[str, Iterator[Reply]] = {
        name: iter(given) for name, given in replies.items() if isinstance(given, list)
    }

    def answer(seen: Seen) -> Reply:
        name = seen.path.partition("?")[0].rpartition("/")[2]
        name = "create" if seen.method == "POST" else "state" if name == "trun_1" else name
        found = replies.get(name)
        if name == "create" and found is None:
            return Reply(202, run_of("queued"))
        if isinstance(found, list):
            return next(queues[name])
        return found or Reply(404, {})

    return answer


async def having(
    answer: Callable[[Seen], Reply],
    work: Callable[[ParallelRun], Any] | None = None,
    amount_nano: int = 10**9,
) -> tuple[Any, Provider, list[tuple[str, int, bool]]]:
    """What a task comes to, the provider, and the entries with an amount."""

    async def plain(run: ParallelRun) -> TaskAnswer:
        return await run.task({"question": "q"}, processor="lite", schema={"type": "object"})

    async with (
        provider(answer) as other,
        books(amount_nano) as book,
        Upstream(settings_for(other.url), PRICES) as upstream,
    ):
        try:
            result = await (work or plain)(upstream.for_run(book.envelope))
        except Exception as error:
            result = error
        return result, other, [entry for entry in await book.closed() if entry[1]]


def watched(told: list[str]) -> Callable[[ParallelRun], Any]:
    return lambda run: run.task("q", processor="lite", on_progress=told.append)


async def test_a_result_is_waited_for() -> None:
    """Created once, asked for until it is there, with its basis; paid at the price of its processor."""
    replies = by_path(result=[Reply(408, {}), Reply(408, {}), RESULT])
    answer, other, entries = await having(replies)
    assert answer == TaskAnswer(
        {"answer": 7},
        (Basis("answer", "it says so", (Citation("u", "T", ("e",)),), "high"),),
        "trun_1",
        "inter_1",
    )
    [created] = other.billable
    assert created.body["task_spec"] == {"output_schema": {"type": "json", "json_schema": {"type": "object"}}}
    assert created.body["input"] == {"question": "q"}
    assert "enable_events" not in created.body
    assert set(created.body["metadata"]) == {"ledger_id"}
    assert entries == [("settled", LITE, False)]


async def test_a_text_may_be_asked_for() -> None:
    """Without a schema the answer is a text."""
    text = {"run": run_of("completed"), "output": {"type": "text", "content": "said", "basis": []}}
    answer, other, _ = await having(
        by_path(result=Reply(body=text)),
        lambda run: run.task("q", processor="lite", previous_interaction_id="inter_0"),
    )
    assert (answer.content, answer.basis) == ("said", ())
    assert other.billable[0].body["task_spec"] == {"output_schema": {"type": "text"}}
    assert other.billable[0].body["previous_interaction_id"] == "inter_0"


async def test_progress_is_told() -> None:
    """Messages as short single lines, counts of sources as a sentence; the last event holds the answer."""
    told: list[str] = []
    answer, other, entries = await having(
        by_path(events=events(RUNNING, PLAN, STATS, COMPLETED)), watched(told)
    )
    assert answer.content == {"answer": 7}
    assert told == [("looks for sources " + "x" * 400)[:300], "9 sources considered, 3 read"]
    assert other.billable[0].body["enable_events"] is True
    assert [seen.path for seen in other.seen[1:]] == ["/v1/tasks/runs/trun_1/events"]
    assert entries == [("settled", LITE, False)]


async def test_progress_may_be_told_to_a_coroutine() -> None:
    """What it returns is awaited."""
    told: list[str] = []

    async def tell(message: str) -> None:
        await asyncio.sleep(0)
        told.append(message)

    await having(
        by_path(events=events(STATS, COMPLETED)),
        lambda run: run.task("q", processor="lite", on_progress=tell),
    )
    assert told == ["9 sources considered, 3 read"]


async def test_a_listener_that_fails_ends_the_waiting() -> None:
    """Its error is not taken for one of the other side; the task was accepted, and is charged."""

    def broken(message: str) -> None:
        raise ValueError(message)

    error, _, entries = await having(
        by_path(events=events(STATS, RUNNING, hang=250), result=RESULT),
        lambda run: run.task("q", processor="lite", on_progress=broken),
    )
    assert isinstance(error, ValueError)
    assert entries == [("presumed", LITE, True)]


@pytest.mark.parametrize(
    "stream",
    [
        events(PLAN, COMPLETED, cut=10),
        events(PLAN, COMPLETED, cut=200),
        events(PLAN),
        events(PLAN, {"type": "task_run.news", "surprise": 1}, COMPLETED),
        events(PLAN, {"type": "error", "error": {"ref_id": "r", "message": "m"}}),
        events({"type": "task_run.state", "run": run_of("completed")}),
        Reply(body=b"data: {broken\n\n", headers={"content-type": "text/event-stream"}),
        Reply(500, {}),
        Reply(404, {}),
        Reply(None),
    ],
    ids=str,
)
async def test_events_that_break_off_do_not_lose_the_result(stream: Reply) -> None:
    """They are a comfort; the result is what was paid for, once."""
    answer, other, entries = await having(by_path(events=stream, result=RESULT), watched([]))
    assert answer.content == {"answer": 7}
    assert len(other.billable) == 1
    assert entries == [("settled", LITE, False)]


@pytest.mark.parametrize(
    "replies",
    [
        {"events": events(RUNNING, FAILED)},
        {"result": Reply(422, {}), "state": Reply(body=run_of("failed"))},
        {"result": Reply(404, {}), "state": Reply(body=run_of("cancelled"))},
    ],
    ids=str,
)
async def test_a_task_that_failed_is_not_charged(replies: dict[str, Reply]) -> None:
    """Parallel does not bill it, and the error says so."""
    work = watched([]) if "events" in replies else None
    error, _, entries = await having(by_path(**replies), work)
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable, entries) == (502, False, [])


@pytest.mark.parametrize(
    "replies",
    [
        {"result": Reply(404, {})},  # the other side has forgotten it
        {"result": Reply(404, {}), "state": Reply(body=run_of("running"))},
        {"result": Reply(500, {})},
        {"result": Reply(429, {}, {"retry-after": "1"})},
        {"result": Reply(None)},
        {"result": Reply(body=b"{broken")},
    ],
    ids=str,
)
async def test_a_task_whose_result_is_lost_is_charged(replies: dict[str, Reply]) -> None:
    """It was accepted, so it may be billed, although the requests for its result cost nothing; their number is bounded."""
    error, other, entries = await having(by_path(**replies))
    assert isinstance(error, UpstreamError)
    assert error.billable
    assert len(other.billable) == 1
    assert 2 <= len(other.seen) <= 6
    assert entries == [("presumed", LITE, True)]


async def test_a_result_survives_a_few_failures() -> None:
    """Asking again costs nothing."""
    replies = by_path(result=[Reply(500, {}), Reply(None), Reply(429, {}), Reply(503, {}), RESULT])
    answer, _, entries = await having(replies)
    assert answer.content == {"answer": 7}
    assert entries == [("settled", LITE, False)]


@pytest.mark.parametrize(
    ("reply", "billable"),
    [(Reply(429, {}), False), (Reply(422, {}), False), (Reply(502, {}), True), (Reply(None), True)],
)
async def test_a_creation_is_never_repeated(reply: Reply, billable: bool) -> None:
    """Each would be a run of its own, billed on its own."""
    error, other, entries = await having(by_path(create=reply))
    assert isinstance(error, UpstreamError)
    assert error.billable == billable
    assert len(other.seen) == 1
    assert entries == ([("presumed", LITE, True)] if billable else [])


async def test_a_task_that_does_not_fit_is_not_created() -> None:
    """The caller decides what that means."""
    error, other, _ = await having(by_path(result=RESULT), amount_nano=LITE - 1)
    assert isinstance(error, EnvelopeExhaustedError)
    assert other.seen == []


@pytest.mark.parametrize("told", [None, []])
async def test_a_task_is_given_up_in_time(told: list[str] | None) -> None:
    """The whole is bounded, however it is waited for; what was accepted is charged."""
    on_progress = None if told is None else told.append
    error, _, entries = await having(
        by_path(events=events(RUNNING, hang=10), result=Reply(hang=-1)),
        lambda run: run.task("q", processor="lite", on_progress=on_progress, timeout_seconds=0.2),
    )
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (504, True)
    assert entries == [("presumed", LITE, True)]


@pytest.mark.parametrize("stage", ["create", "events", "result"])
async def test_a_task_may_be_cancelled_at_any_stage(stage: str) -> None:
    """The connection closes and the run is charged, since nothing can take it back."""
    stuck: dict[str, Reply] = {stage: Reply(hang=-1)}
    told: list[str] | None = [] if stage == "events" else None
    async with provider(by_path(**stuck)) as other, books() as book:
        async with Upstream(settings_for(other.url), PRICES) as upstream:
            run = upstream.for_run(book.envelope)
            on_progress = None if told is None else told.append
            task = asyncio.create_task(run.task("q", processor="lite", on_progress=on_progress))
            while len(other.seen) < (1 if stage == "create" else 2):
                other.arrived.clear()
                await asyncio.wait_for(other.arrived.wait(), 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(other.left.wait(), 2)
        assert await book.closed() == [("presumed", LITE, True)]
