"""A language model leads the conversation: a real server on a socket, through Agno's own client, paid out of the run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from examples.research_agents.settings import ResearchSettings
from tests.support.model_server import INPUT_TOKENS, OUTPUT_TOKENS, ModelServer

NONLOCAL = {"message": "What does the nonlocal statement do?"}
# USD for a million tokens, and what one answer of the server costs at that.
INPUT_USD, OUTPUT_USD = "2", "10"
TURN = (INPUT_TOKENS * Decimal(INPUT_USD) + OUTPUT_TOKENS * Decimal(OUTPUT_USD)) / 1_000_000
SEARCH = Decimal("0.001")

Talking = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def model() -> ModelServer:
    return ModelServer()


@pytest.fixture
def talking(serve: Any, open_research: Any, settings: ResearchSettings, model: ModelServer) -> Talking:
    """`async with talking() as ada`: the application with the model behind it; keyword arguments change its settings."""

    @contextlib.asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with serve(model.app()) as there:
            given = {
                "parallel_api_key": settings.parallel_api_key,
                "parallel_base_url": settings.parallel_base_url,
                "model_base_url": f"{str(there.base_url).rstrip('/')}/v1",
                "model_id": "tiny",
                "model_api_key": model.key,
                "model_input_usd_per_million": INPUT_USD,
                "model_output_usd_per_million": OUTPUT_USD,
                "model_max_output_tokens": 500,
            }
            async with open_research(settings=ResearchSettings(**{**given, **changes})) as ada:
                yield ada

    return opened


async def by_provider(ada: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The rows of the ledger, by provider."""
    usage = (await ada.get("/v1/usage?group_by=provider")).json()
    return {row["group"]["provider"]: row for row in usage["rows"]}


async def test_the_model_calls_the_tools_and_writes_the_answer(talking: Talking, model: ModelServer) -> None:
    """The answer is the model's, its source the tool's; the price is that of the tokens and of the search."""
    async with talking() as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
        rows = await by_provider(ada)
    body = answer.json()
    assert answer.status_code == 200, body
    assert (body["answer"], body["engine"]) == (model.text, "model:tiny")
    assert body["citations"][0]["url"] == "pydoc:nonlocal"
    assert Decimal(body["cost_usd"]) == 2 * TURN + SEARCH
    assert body["usage"]["units"] == {
        "input_tokens": 2 * INPUT_TOKENS,
        "output_tokens": 2 * OUTPUT_TOKENS,
        "requests": 3,
        "search.fast": 1,
    }
    assert body["usage"]["estimated"] is False
    assert Decimal(rows["model"]["cost_usd"]) == 2 * TURN
    assert Decimal(rows["parallel"]["cost_usd"]) == SEARCH
    first, second = model.asked
    assert first["stream_options"] == {"include_usage": True}
    assert first["max_tokens"] == 500
    assert {"web_search", "search_documents", "read_page"} == {
        one["function"]["name"] for one in first["tools"]
    }
    assert "previously bound variables" in second["messages"][-1]["content"]


async def test_its_words_are_streamed_as_they_come(
    talking: Talking, model: ModelServer, read_events: Any
) -> None:
    """A token for each piece; the tool's call between them; the cost at the end."""
    async with talking() as ada:
        answer = await ada.post("/v1/agents/writer/stream", json=NONLOCAL)
    events = read_events(answer.text)
    told = [event.data["text"] for event in events if event.name == "token"]
    assert len(told) == len(model.text.split())
    assert "".join(told) == model.text
    started = next(event for event in events if event.name == "tool.started")
    assert (started.data["tool"], started.data["arguments"]) == ("web_search", {"query": NONLOCAL["message"]})
    assert [event.name for event in events[-2:]] == ["usage", "run.completed"]
    assert Decimal(events[-2].data["cost_usd"]) == 2 * TURN + SEARCH


async def test_it_is_told_what_was_said_before(talking: Talking, model: ModelServer) -> None:
    """A conversation reaches the model as one, the newest message last."""
    async with talking() as ada:
        first = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        again = {"message": "And the global one?", "session_id": first["session_id"]}
        assert (await ada.post("/v1/agents/search/chat", json=again)).status_code == 200
    said = [(one["role"], one["content"]) for one in model.asked[2]["messages"] if one["role"] != "system"]
    assert said == [("user", NONLOCAL["message"]), ("assistant", model.text), ("user", "And the global one?")]


async def test_what_it_does_not_say_is_charged_as_the_estimate(talking: Talking, model: ModelServer) -> None:
    """Without `usage` a token for each byte that went and came is charged, never less than it was, and flagged."""
    model.how = ["without_usage", "well"]
    async with talking() as ada:
        body = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        row = (await by_provider(ada))["model"]
    estimated = Decimal(row["estimated_usd"])
    assert estimated >= TURN
    assert Decimal(row["cost_usd"]) == estimated + TURN
    assert Decimal(body["cost_usd"]) == estimated + TURN + SEARCH
    assert body["usage"]["estimated"] is True


@pytest.mark.parametrize(
    ("how", "status", "billed"),
    [("cut", 502, True), ("broken", 502, True), ("busy", 503, False), ("refused", 502, False)],
)
async def test_a_model_that_fails_is_a_true_problem(
    talking: Talking, model: ModelServer, how: Any, status: int, billed: bool
) -> None:
    """Never half an answer that looks whole; what may have been generated is charged, once, and nothing is repeated."""
    model.how = ["well", how]
    async with talking() as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
        rows = await by_provider(ada)
        usage = (await ada.get("/v1/usage")).json()
        session = (await ada.get("/v1/sessions")).json()["sessions"][0]["id"]
        said = (await ada.get(f"/v1/sessions/{session}/messages")).json()["messages"]
    problem = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert len(model.asked) == 2
    assert problem["cost_usd"] == usage["total_usd"]
    assert (Decimal(rows["model"]["estimated_usd"]) > 0) is billed
    assert (Decimal(rows["model"]["cost_usd"]) == TURN) is not billed
    assert [one["role"] for one in said] == ["user"]


async def test_a_model_that_cannot_be_reached_costs_nothing(talking: Talking, upstream: Any) -> None:
    """Nobody listens there: 503, and nothing is charged."""
    there = await upstream()
    port = int(there.url.rpartition(":")[2])
    async with talking(model_base_url=f"http://127.0.0.1:{port + 1 if port < 65535 else port - 1}/v1") as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
        usage = (await ada.get("/v1/usage")).json()
    assert answer.status_code == 503, answer.text
    assert answer.json()["cost_usd"] == usage["total_usd"] == "0"


async def test_what_can_never_fit_is_refused_before_it_is_asked(talking: Talking, model: ModelServer) -> None:
    """The least includes one answer of the model; the agent's description says so."""
    async with talking() as ada:
        described = (await ada.get("/v1/agents/search")).json()
        [fast] = [one for one in described["processors"] if one["name"] == "fast"]
        bound = Decimal(fast["least_cost_usd"]) - Decimal("0.000001")
        answer = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "max_cost_usd": str(bound)})
        usage = (await ada.get("/v1/usage")).json()
    assert Decimal(fast["least_cost_usd"]) == SEARCH + 500 * Decimal(OUTPUT_USD) / 1_000_000
    assert answer.status_code == 422
    assert answer.json()["least_cost_usd"] == fast["least_cost_usd"]
    assert model.asked == []
    assert usage["total_usd"] == "0"


async def test_a_turn_that_does_not_fit_any_more_is_not_asked(talking: Talking, model: ModelServer) -> None:
    """The envelope holds the first turn and not the second: 402, with the cost of what was asked."""
    model.how = ["without_usage"]  # so that the whole estimate of the first turn is spent
    async with talking() as ada:
        least = (await ada.get("/v1/agents/search")).json()["processors"][0]["least_cost_usd"]
        bound = str(Decimal(least) + Decimal("0.003"))
        answer = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "max_cost_usd": bound})
        usage = (await ada.get("/v1/usage")).json()
    problem = answer.json()
    assert answer.status_code == 402, problem
    assert "may not cost more" in problem["detail"]
    assert len(model.asked) == 1
    assert problem["cost_usd"] == usage["total_usd"]
    assert Decimal(usage["total_usd"]) <= Decimal(bound)


async def test_a_proxy_of_the_environment_is_no_way_around_the_meter(
    talking: Talking, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An httpx client that trusts the environment would send past its metered transport."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with talking() as ada:
        body = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
    assert Decimal(body["cost_usd"]) == 2 * TURN + SEARCH
    assert len(model.asked) == 2


async def test_deep_research_is_led_by_it_too(talking: Talking, model: ModelServer) -> None:
    """It plans; every call of the model is paid out of the same run."""
    model.tool, model.argument = "make_plan", "question"
    async with talking() as ada:
        body = (await ada.post("/v1/agents/deep_research/chat", json=NONLOCAL)).json()
    assert body["plan"], body
    assert body["engine"] == "model:tiny"
    assert Decimal(body["cost_usd"]) == 2 * TURN + Decimal("0.1")
