"""The agents over HTTP: chat and stream, end to end, with sources that answer and sources that do not."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from examples.research_agents.app import create_app
from examples.research_agents.settings import ResearchSettings

NONLOCAL = {"message": "What does the nonlocal statement do?"}


async def test_a_question_is_answered_with_citations_and_cost(serve, settings: ResearchSettings) -> None:
    """Over a real socket, the hardened application, Agno, the SDK, and the real corpus."""
    async with serve(create_app(settings)) as client:
        answer = await client.post("/v1/agents/search/chat", json={**NONLOCAL, "session_id": "mine"})
    body = answer.json()
    assert answer.status_code == 200
    assert "previously bound variables in the nearest enclosing scope" in body["answer"]
    assert body["citations"][0]["url"] == "pydoc:nonlocal"
    # What was read and not quoted is no citation.
    assert all(f"[{one['n']}]" in body["answer"] for one in body["citations"])
    assert (body["agent"], body["session_id"], body["engine"]) == ("search", "mine", "local-extractive")
    assert body["run_id"].startswith("run_")
    assert body["cost_usd"] == "0.001"
    assert body["usage"]["searches"] == 1
    assert body["usage"]["units"] == {"sku_search": 1}
    assert body["usage"]["simulated"] is True
    assert body["usage"]["estimated"] is False


async def test_what_is_not_in_the_corpus_is_not_answered(serve, settings: ResearchSettings) -> None:
    """An honest sentence, no citation, and the price of having looked."""
    async with serve(create_app(settings)) as client:
        answer = await client.post(
            "/v1/agents/search/chat", json={"message": "Who won the world cup in 2018?"}
        )
    body = answer.json()
    assert body["answer"].startswith("Not found in the corpus")
    assert body["citations"] == []
    assert body["cost_usd"] == "0.001"


async def test_a_deeper_processor_costs_more(serve, settings: ResearchSettings) -> None:
    """The price follows what was asked for."""
    async with serve(create_app(settings)) as client:
        answer = await client.post("/v1/agents/search/chat", json={**NONLOCAL, "processor": "advanced"})
        agents = (await client.get("/v1/agents")).json()["agents"]
    assert answer.json()["cost_usd"] == "0.005"
    prices = {one["name"]: one["price_usd"] for one in agents[0]["processors"]}
    assert prices == {"turbo": "0.001", "fast": "0.001", "basic": "0.005", "advanced": "0.005"}


async def test_a_stream_tells_what_happens(serve, settings: ResearchSettings, read_events) -> None:
    """Every event has an id; the tokens together are the answer; the last event is the body of a chat."""
    async with serve(create_app(settings)) as client:
        answer = await client.post(
            "/v1/agents/search/stream", json={"message": "What do break and continue do?"}
        )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = read_events(answer.text)
    names = [event.name for event in events]
    assert names[0] == "run.started"
    assert names[-2:] == ["usage", "run.completed"]
    assert names.count("tool.started") == names.count("tool.completed") == 2
    assert {event.data["stage"] for event in events if event.name == "progress"} == {
        "planning",
        "searching",
        "answering",
    }
    run_id = events[0].data["run_id"]
    assert [event.id for event in events] == [f"{run_id}:{number}" for number in range(1, len(events) + 1)]
    done = events[-1].data
    assert "".join(event.data["text"] for event in events if event.name == "token") == done["answer"]
    assert done["cost_usd"] == events[-2].data["cost_usd"] == "0.002"
    assert len(done["citations"]) >= 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "   "},
        {"message": "x" * 4001},
        {**NONLOCAL, "max_cost_usd": 0.01},
        {**NONLOCAL, "max_cost_usd": 1},
        {**NONLOCAL, "max_cost_usd": "-1"},
        {**NONLOCAL, "max_cost_usd": "0.0009"},
        {**NONLOCAL, "processor": "ultra8x"},
        {**NONLOCAL, "session_id": "../etc"},
        {**NONLOCAL, "colour": "red"},
    ],
)
@pytest.mark.parametrize("way", ["chat", "stream"])
async def test_what_cannot_be_is_refused_before_any_call(
    serve, upstream, body: dict[str, object], way: str
) -> None:
    """422 as a problem document, on both endpoints, and nothing is looked up for it."""
    source = await upstream(200, b"{}")
    async with serve(
        create_app(ResearchSettings(parallel_api_key="k", parallel_base_url=source.url))
    ) as client:
        answer = await client.post(f"/v1/agents/search/{way}", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == 422
    assert source.calls == 0


async def test_an_unknown_agent_is_404(serve, settings: ResearchSettings) -> None:
    """Described or asked."""
    async with serve(create_app(settings)) as client:
        described = await client.get("/v1/agents/oracle")
        asked = await client.post("/v1/agents/oracle/chat", json=NONLOCAL)
        known = await client.get("/v1/agents/search")
        index = await client.get("/")
    assert (described.status_code, asked.status_code, known.status_code) == (404, 404, 200)
    assert known.json()["default_processor"] == "fast"
    assert index.json()["engine"] == "local-extractive"


FAULTS = [
    (429, b'{"type":"error"}', "retry-after: 7\r\n", 503, "0"),
    (503, b"", "", 503, "0"),
    (500, b"oops", "", 502, "0.001"),
    (502, b"", "", 502, "0.001"),
    (401, b"{}", "", 502, "0"),
    (200, b"<html>not json", "", 502, "0.001"),
    (200, b'{"results": 3}', "", 502, "0.001"),
]


@pytest.mark.parametrize(("status", "body", "headers", "ours", "cost"), FAULTS)
async def test_a_failing_source_is_a_problem_and_never_an_answer(
    serve, upstream, read_events, status, body, headers, ours, cost
) -> None:
    """Chat: a problem of the right status, with what may have been billed. Stream: the same as its last event. One call
    each, never a retry.
    """
    source = await upstream(status, body, headers)
    async with serve(
        create_app(ResearchSettings(parallel_api_key="k", parallel_base_url=source.url))
    ) as client:
        chat = await client.post("/v1/agents/search/chat", json=NONLOCAL)
        assert source.calls == 1
        stream = await client.post("/v1/agents/search/stream", json=NONLOCAL)
        assert source.calls == 2
    assert chat.status_code == ours
    assert chat.headers["content-type"].startswith("application/problem+json")
    assert chat.json()["cost_usd"] == cost
    assert chat.headers.get("retry-after") == ("7" if headers else None)
    assert stream.status_code == 200
    last = read_events(stream.text)[-1]
    assert last.name == "error"
    assert (last.data["status"], last.data["cost_usd"]) == (ours, cost)
    assert "answer" not in last.data


async def test_a_source_that_is_not_there_is_503(serve, upstream) -> None:
    """A refused connection took nothing, and costs nothing."""
    async with serve(
        create_app(ResearchSettings(parallel_api_key="k", parallel_base_url="http://127.0.0.1:9"))
    ) as client:
        answer = await client.post("/v1/agents/search/chat", json=NONLOCAL)
    assert answer.status_code == 503
    assert answer.json()["cost_usd"] == "0"


async def test_a_slow_or_broken_source_is_504_or_502(serve, upstream) -> None:
    """And presumed billed: the other side had the whole request."""
    slow = await upstream(hang=True)
    settings = ResearchSettings(
        parallel_api_key="k", parallel_base_url=slow.url, upstream_timeout_seconds=0.3
    )
    async with serve(create_app(settings)) as client:
        answer = await client.post("/v1/agents/search/chat", json=NONLOCAL)
    assert (answer.status_code, answer.json()["cost_usd"]) == (504, "0.001")
    cut = await upstream(cut=True)
    async with serve(create_app(ResearchSettings(parallel_api_key="k", parallel_base_url=cut.url))) as client:
        answer = await client.post("/v1/agents/search/chat", json=NONLOCAL)
    assert (answer.status_code, answer.json()["cost_usd"]) == (502, "0.001")


@pytest.mark.parametrize("way", ["chat", "stream"])
async def test_a_client_that_leaves_ends_the_search(serve, upstream, way: str) -> None:
    """The call under way is cancelled within a moment: nobody would read its answer."""
    source = await upstream(hang=True)
    async with serve(
        create_app(ResearchSettings(parallel_api_key="k", parallel_base_url=source.url))
    ) as client:
        asking = asyncio.create_task(client.post(f"/v1/agents/search/{way}", json=NONLOCAL))
        await asyncio.wait_for(source.arrived.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(source.left.wait(), 5)
        names = {task.get_name() for task in asyncio.all_tasks()}
        await asyncio.sleep(0)
        assert not [name for name in names if name.startswith("run-run_") and way == "chat"]


async def test_silence_is_filled_with_comments(serve, upstream) -> None:
    """So that no proxy takes a slow search for a dead connection."""
    source = await upstream(hang=True)
    settings = ResearchSettings(
        parallel_api_key="k",
        parallel_base_url=source.url,
        upstream_timeout_seconds=0.5,
        heartbeat_seconds=0.1,
    )
    async with serve(create_app(settings)) as client:
        answer = await client.post("/v1/agents/search/stream", json=NONLOCAL)
    assert answer.text.count(": ping\n\n") >= 2
    assert json.loads(answer.text.rsplit("data: ", 1)[1].split("\n")[0])["status"] == 504


def test_every_endpoint_is_documented_with_examples() -> None:
    """Requests and responses, in OpenAPI."""
    app = create_app(ResearchSettings(parallel_api_key="k"))
    paths = app.openapi()["paths"]
    for path in ("/v1/agents/search/chat", "/v1/agents/search/stream"):
        operation = paths[path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["examples"]
        content = operation["responses"]["200"]["content"]
        assert all("example" in one for one in content.values()), path
    assert list(paths["/v1/agents/search/stream"]["post"]["responses"]["200"]["content"]) == [
        "text/event-stream"
    ]
    for path in ("/v1/agents", "/v1/agents/{agent}"):
        assert "example" in paths[path]["get"]["responses"]["200"]["content"]["application/json"]


async def test_many_ask_at_once(serve, settings: ResearchSettings) -> None:
    """Answers do not mix: each run has its own session, sources and meter."""
    words = ["nonlocal", "lambda", "nonlocal", "lambda"] * 4
    async with serve(create_app(settings)) as client:
        answers = await asyncio.gather(
            *(
                client.post("/v1/agents/search/chat", json={"message": f"What is the {word} statement?"})
                for word in words
            )
        )
    for word, answer in zip(words, answers, strict=True):
        assert isinstance(answer, httpx.Response)
        assert answer.json()["citations"][0]["url"].startswith(f"pydoc:{word}"), answer.json()["answer"]
    assert len({answer.json()["run_id"] for answer in answers}) == len(words)
