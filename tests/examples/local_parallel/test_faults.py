"""Faults that are ordered happen, as often as ordered; and the log of calls says what was accepted in spite of them."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from openai import APIConnectionError, OpenAI
from parallel import InternalServerError, Parallel, RateLimitError

from examples.research_agents.local_parallel.server import create_server

SEARCH = {"search_queries": ["nonlocal"], "mode": "fast"}


def accepted(provider: Any, before: int, path: str) -> list[dict[str, Any]]:
    return [call for call in provider.calls()[before:] if call["path"] == path]


def test_a_refusal_is_not_accepted_and_happens_as_often_as_ordered(provider: Any, client: Parallel) -> None:
    """With `Retry-After`; the call after the last one is answered."""
    before = len(provider.calls())
    provider.order("/v1/search", "status", status=429, retry_after="1", times=2)
    for _ in range(2):
        with pytest.raises(RateLimitError) as caught:
            client.search(**SEARCH)
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.body["type"] == "error"
    assert accepted(provider, before, "/v1/search") == []
    assert client.search(**SEARCH).results
    assert len(accepted(provider, before, "/v1/search")) == 1


def test_a_run_that_was_accepted_and_answered_502_runs(provider: Any, client: Parallel) -> None:
    """The client has no id of it; the provider's log has, with the metadata to find it by."""
    before = len(provider.calls())
    provider.order("/v1/tasks/runs", "accept_then_status", status=502)
    with pytest.raises(InternalServerError):
        client.task_run.create(input="What is a generator?", processor="core", metadata={"ledger_id": "c1"})
    [call] = accepted(provider, before, "/v1/tasks/runs")
    assert (call["processor"], call["metadata"]) == ("core", {"ledger_id": "c1"})
    assert client.task_run.result(call["run_id"]).run.status == "completed"
    assert accepted(provider, before, "/v1/tasks/runs")[0]["status"] == "completed"


@pytest.mark.parametrize("after", [0, 1, 50, 10_000_000])
def test_an_answer_can_be_cut_anywhere(provider: Any, after: int) -> None:
    """The call was accepted; the client sees a broken connection, even where the whole body would have fitted."""
    before = len(provider.calls())
    provider.order("/v1/search", "cut", after_bytes=after)
    with pytest.raises(httpx.RemoteProtocolError):
        provider.post("/v1/search", SEARCH)
    assert len(accepted(provider, before, "/v1/search")) == 1


@pytest.mark.parametrize("after", [0, 300, 10_000_000])
def test_a_stream_can_be_cut_anywhere(provider: Any, openai: OpenAI, after: int) -> None:
    """Likewise, between or within its events."""
    provider.order("/chat/completions", "cut", after_bytes=after)
    with pytest.raises(APIConnectionError):
        list(
            openai.chat.completions.create(
                model="base", messages=[{"role": "user", "content": "What is a generator?"}], stream=True
            )
        )


def test_a_call_can_hang_and_one_can_be_slow(provider: Any) -> None:
    """The hanging one was accepted and answers nothing until the client has enough of it."""
    before = len(provider.calls())
    provider.order("/v1/search", "hang")
    with pytest.raises(httpx.ReadTimeout):
        provider.http.post("/v1/search", json=SEARCH, timeout=0.3)
    assert len(accepted(provider, before, "/v1/search")) == 1
    provider.order("/v1/search", "slow", delay_seconds=0.2)
    began = time.monotonic()
    assert provider.post("/v1/search", SEARCH).status_code == 200
    assert time.monotonic() - began >= 0.2


def test_a_body_can_be_broken(provider: Any) -> None:
    """200, and no JSON."""
    provider.order("/v1/search", "bad_json")
    answer = provider.post("/v1/search", SEARCH)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_faults_befall_the_path_they_are_ordered_for(provider: Any) -> None:
    """A star stands for any id; others are left alone; DELETE ends it."""
    provider.order("/v1/tasks/runs/*/result", "status", status=500, times=9)
    assert provider.post("/v1/search", SEARCH).status_code == 200
    assert provider.http.get("/v1/tasks/runs/trun_x/result").status_code == 500
    assert provider.http.get("/v1/tasks/runs/trun_x").status_code == 404
    assert provider.http.get("/local/faults").json()["faults"][0]["times"] == 8
    provider.http.delete("/local/faults")
    assert provider.http.get("/v1/tasks/runs/trun_x/result").status_code == 404


def test_the_log_tells_what_the_price_depends_on(provider: Any, openai: OpenAI) -> None:
    """Mode and units of a search, URLs of an extraction, processor of a run, model of a chat."""
    before = len(provider.calls())
    provider.post("/v1/search", {**SEARCH, "session_id": "s-9"})
    provider.post("/v1/extract", {"urls": ["pydoc:nonlocal", "pydoc:nobody"]})
    provider.post("/v1/tasks/runs", {"input": "x", "processor": "lite-fast"})
    openai.chat.completions.create(model="lite", messages=[{"role": "user", "content": "What is a class?"}])
    search, extract, run, chat = provider.calls()[before:]
    assert (search["mode"], search["session_id"]) == ("fast", "s-9")
    assert search["usage"] == [{"name": "sku_search", "count": 1}]
    assert extract["usage"] == [{"name": "sku_extract_excerpts", "count": 1}]
    assert run["processor"] == "lite-fast"
    assert run["run_id"].startswith("trun_")
    assert (chat["path"], chat["model"]) == ("/chat/completions", "lite")
    assert all(call["accepted_at"] for call in (search, extract, run, chat))


@pytest.mark.parametrize(
    "body",
    [
        {"path": "/v1/search", "kind": "explode"},
        {"path": "/v1/search", "kind": "status", "status": 200},
        {"path": "/v1/search", "kind": "status", "retry_after": "1\r\nx: y"},
        {"path": "/v1/search", "kind": "status", "times": 0},
        {"kind": "status"},
    ],
)
def test_an_order_without_sense_is_422(provider: Any, body: dict[str, object]) -> None:
    """And nothing is armed."""
    assert provider.post("/local/faults", body).status_code == 422
    assert provider.http.get("/local/faults").json() == {"faults": []}


def test_orders_need_the_token(provider: Any) -> None:
    """Like everything else."""
    for path in ("/local/faults", "/local/calls"):
        assert httpx.get(f"{provider.url}{path}", trust_env=False).status_code == 401


async def test_a_server_that_was_not_started_for_it_knows_no_faults(serve: Any) -> None:
    """The paths are unknown, with the token too."""
    token = "token-of-a-well-behaved-server"
    async with serve(create_server(token)) as http:
        headers = {"x-api-key": token}
        for method, path in (("POST", "/local/faults"), ("GET", "/local/calls"), ("DELETE", "/local/faults")):
            assert (await http.request(method, path, headers=headers)).status_code == 404
