"""The agents over HTTP: chat and stream, end to end, with sources that answer and sources that do not."""

from __future__ import annotations

import asyncio

import pytest

from examples.research_agents.catalogue import AGENTS
from examples.research_agents.settings import ResearchSettings
from tests.support.research import bearer

NONLOCAL = {"message": "What does the nonlocal statement do?"}


async def test_a_question_is_answered_with_citations_and_cost(open_research) -> None:
    """Over a real socket, the hardened application, Agno, the SDK, and the real corpus."""
    async with open_research() as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
    body = answer.json()
    assert answer.status_code == 200, body
    assert "previously bound variables in the nearest enclosing scope" in body["answer"]
    assert body["citations"][0]["url"] == "pydoc:nonlocal"
    # What was read and not quoted is no citation.
    assert all(f"[{one['n']}]" in body["answer"] for one in body["citations"])
    assert (body["agent"], body["processor"], body["engine"]) == ("search", "fast", "local-extractive")
    assert body["run_id"].startswith("run_")
    assert body["session_id"].startswith("ses_")
    assert body["cost_usd"] == answer.headers["x-cost-usd"] == "0.001"
    assert body["usage"]["calls"] == 1
    assert body["usage"]["units"] == {"requests": 1, "search.fast": 1}
    assert body["usage"]["simulated"] is True
    assert body["usage"]["estimated"] is False


async def test_what_is_not_in_the_corpus_is_not_answered(open_research) -> None:
    """An honest sentence, no citation, and the price of having looked."""
    async with open_research() as ada:
        answer = await ada.post("/v1/agents/search/chat", json={"message": "Who won the world cup in 2018?"})
    body = answer.json()
    assert body["answer"].startswith("Not found in the corpus")
    assert body["not_found"] == ["Who won the world cup in 2018?"]
    assert body["citations"] == []
    assert body["cost_usd"] == "0.001"


async def test_a_deeper_processor_costs_more(open_research) -> None:
    """The price follows what was asked for."""
    async with open_research() as ada:
        answer = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "processor": "advanced"})
        agents = (await ada.get("/v1/agents")).json()["agents"]
    assert answer.json()["cost_usd"] == "0.005"
    assert [one["id"] for one in agents] == ["search", "analyst", "critic", "writer", "deep_research"]
    prices = {one["name"]: one["price_usd"] for one in agents[0]["processors"]}
    assert prices == {"turbo": "0.001", "fast": "0.001", "basic": "0.005", "advanced": "0.005"}


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_stream_tells_what_happens(open_research, read_events, agent: str) -> None:
    """Every event has an id; the tokens together are the answer; the last event is the body of a chat."""
    async with open_research() as ada:
        message = {"message": AGENTS[agent].example}
        answer = await ada.post(f"/v1/agents/{agent}/stream", json=message, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = read_events(answer.text)
    names = [event.name for event in events]
    assert names[:2] == ["run.started", "progress"]
    assert names[-2:] == ["usage", "run.completed"]
    assert names.count("tool.started") == names.count("tool.completed") >= 1
    result = events[-1].data
    assert [event.id for event in events] == [f"{result['run_id']}:{n}" for n in range(1, len(events) + 1)]
    assert "".join(event.data["text"] for event in events if event.name == "token") == result["answer"]
    assert events[-2].data["cost_usd"] == result["cost_usd"]
    assert result["citations"], result["answer"]
    assert result["agent"] == agent
    assert float(result["cost_usd"]) > 0


async def test_a_stream_is_resumed_where_it_broke_off(open_research, read_events) -> None:
    """With Last-Event-ID nothing is asked twice, nothing is told twice, and nothing is missing."""
    async with open_research() as ada:
        seen = read_events((await ada.post("/v1/agents/search/stream", json=NONLOCAL)).text)
        for place in (0, 2, len(seen) - 2):
            answer = await ada.post(
                "/v1/agents/search/stream", json=NONLOCAL, headers={"Last-Event-ID": seen[place].id}
            )
            assert read_events(answer.text) == seen[place + 1 :]
        run_id = seen[-1].data["run_id"]
        assert read_events((await ada.get(f"/v1/runs/{run_id}/events")).text) == seen
        whole = (await ada.get(f"/v1/runs/{run_id}")).json()
        usage = (await ada.get("/v1/usage")).json()
    assert whole["status"] == "completed"
    assert whole["result"]["answer"] == seen[-1].data["answer"]
    assert usage["total_usd"] == "0.001"


async def test_a_run_belongs_to_its_tenant(open_research, read_events) -> None:
    """Another tenant's run is as unknown as one that never was."""
    async with open_research() as ada:
        seen = read_events((await ada.post("/v1/agents/search/stream", json=NONLOCAL)).text)
        run_id, session_id = seen[-1].data["run_id"], seen[-1].data["session_id"]
        eve = bearer("eve")
        statuses = [
            (await ada.get(f"/v1/runs/{run_id}", headers=eve)).status_code,
            (await ada.get(f"/v1/runs/{run_id}/events", headers=eve)).status_code,
            (await ada.delete(f"/v1/runs/{run_id}", headers=eve)).status_code,
            (
                await ada.post(
                    "/v1/agents/search/stream", json=NONLOCAL, headers={**eve, "Last-Event-ID": seen[0].id}
                )
            ).status_code,
            (
                await ada.post(
                    "/v1/agents/search/chat", json={**NONLOCAL, "session_id": session_id}, headers=eve
                )
            ).status_code,
        ]
        theirs = (await ada.get("/v1/usage", headers=eve)).json()
    assert statuses == [404] * 5
    assert theirs["total_usd"] == "0"


@pytest.mark.parametrize(
    ("header", "message", "status"),
    [
        ("nonsense", NONLOCAL["message"], 400),
        (f"run_{'0' * 32}:1", NONLOCAL["message"], 404),
        (None, "What is a generator?", 409),
    ],
)
async def test_what_cannot_be_resumed_is_refused(open_research, read_events, header, message, status) -> None:
    """A client that means to resume must not begin, and pay for, something new."""
    async with open_research() as ada:
        seen = read_events((await ada.post("/v1/agents/search/stream", json=NONLOCAL)).text)
        answer = await ada.post(
            "/v1/agents/search/stream",
            json={"message": message},
            headers={"Last-Event-ID": header or seen[0].id},
        )
        usage = (await ada.get("/v1/usage")).json()
    assert answer.status_code == status
    assert usage["total_usd"] == "0.001"


async def test_what_was_never_told_cannot_be_resumed(open_research, read_events) -> None:
    """An invented position is refused; behind the last event there is nothing more."""
    async with open_research() as ada:
        seen = read_events((await ada.post("/v1/agents/search/stream", json=NONLOCAL)).text)
        run_id = seen[-1].data["run_id"]
        invented = {"Last-Event-ID": f"{run_id}:{len(seen) + 5}"}
        stream = await ada.post("/v1/agents/search/stream", json=NONLOCAL, headers=invented)
        events = await ada.get(f"/v1/runs/{run_id}/events", headers=invented)
        end = await ada.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": seen[-1].id})
    assert (stream.status_code, events.status_code) == (409, 409)
    assert (end.status_code, read_events(end.text)) == (200, [])


async def test_a_conversation_goes_on_and_knows_what_it_is_about(open_research) -> None:
    """What "it" is, the question before has named; the session remembers the processor and every exchange."""
    async with open_research() as ada:
        made = await ada.post("/v1/sessions", json={"agent": "search", "processor": "turbo"})
        session = made.json()["id"]
        first = await ada.post(
            "/v1/agents/search/chat",
            json={"message": "What is the license of the package fastapi?", "session_id": session},
        )
        second = await ada.post(
            "/v1/agents/search/chat",
            json={"message": "Which Python does it require?", "session_id": session},
        )
        messages = (await ada.get(f"/v1/sessions/{session}/messages")).json()
    assert first.json()["processor"] == "turbo"
    assert "The license of the package fastapi is MIT" in first.json()["answer"]
    assert "The package fastapi requires Python" in second.json()["answer"]
    said = messages["messages"]
    assert [one["role"] for one in said] == ["user", "assistant", "user", "assistant"]
    assert said[-1]["content"] == second.json()["answer"]


async def test_a_session_keeps_its_agent(open_research) -> None:
    """409 for another agent, 404 for a session that does not exist; nothing is spent on either."""
    async with open_research() as ada:
        session = (await ada.post("/v1/sessions", json={"agent": "writer"})).json()["id"]
        other = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "session_id": session})
        unknown = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "session_id": "ses_unknown"})
        usage = (await ada.get("/v1/usage")).json()
    assert (other.status_code, unknown.status_code) == (409, 404)
    assert usage["total_usd"] == "0"


async def test_who_calls_has_to_be_known_and_allowed(open_research) -> None:
    """401 without a key, 403 without the scope, and 403 for an ultra processor without the scope for those."""
    async with open_research() as ada:
        nobody = await ada.post("/v1/agents/search/chat", json=NONLOCAL, headers={"Authorization": ""})
        idle = await ada.post("/v1/agents/search/chat", json=NONLOCAL, headers=bearer("idle"))
        premium = await ada.post("/v1/agents/critic/chat", json={"message": "x", "processor": "ultra"})
        allowed = await ada.post(
            "/v1/agents/critic/chat",
            json={"message": "Python has no generators.", "processor": "ultra"},
            headers=bearer("root"),
        )
    assert [nobody.status_code, idle.status_code, premium.status_code] == [401, 403, 403]
    assert allowed.status_code == 200, allowed.text


@pytest.mark.parametrize("agent", AGENTS)
async def test_what_can_never_fit_is_refused_before_anything_is_called(open_research, agent: str) -> None:
    """422 with the least that a run costs; the same in a stream, where it is still a status."""
    message = {"message": AGENTS[agent].example, "max_cost_usd": "0.000999"}
    async with open_research() as ada:
        chat = await ada.post(f"/v1/agents/{agent}/chat", json=message)
        stream = await ada.post(f"/v1/agents/{agent}/stream", json=message)
        described = (await ada.get(f"/v1/agents/{agent}")).json()
        usage = (await ada.get("/v1/usage")).json()
    chosen = next(one for one in described["processors"] if one["name"] == described["default_processor"])
    for answer in (chat, stream):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["least_cost_usd"] == chosen["least_cost_usd"]
    assert usage["total_usd"] == "0"


async def test_a_run_stays_below_its_bound(open_research) -> None:
    """What does not fit is not called, and the answer says what was left out."""
    question = "What does the nonlocal statement do? What does the global statement do? What is a generator?"
    async with open_research() as ada:
        answer = await ada.post("/v1/agents/search/chat", json={"message": question, "max_cost_usd": "0.002"})
    body = answer.json()
    assert body["cost_usd"] == "0.002"
    assert "max_cost_usd" in body["answer"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": ""},
        {"message": "x" * 4001},
        {"message": "x", "max_cost_usd": 0.5},
        {"message": "x", "max_cost_usd": "-1"},
        {"message": "x", "processor": "huge"},
        {"message": "x", "session_id": "../etc"},
        {"message": "x", "model": "gpt"},
        {"message": ["x"]},
    ],
)
async def test_what_is_not_valid_is_refused(open_research, body) -> None:
    """As a problem that does not repeat the input."""
    async with open_research() as ada:
        answer = await ada.post("/v1/agents/search/chat", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (429, "retry-after: 3\r\n", 503),
        (503, "retry-after: 3\r\n", 503),
        (503, "", 503),
        (500, "", 502),
        (401, "", 502),
        (422, "", 502),
    ],
)
async def test_a_failing_provider_is_a_true_problem(open_research, upstream, status, headers, told) -> None:
    """Its status says who is to blame, its members what it cost; nothing the other side said is passed on."""
    broken = await upstream(status, b'{"type":"error","error":{"message":"secret"}}', headers)
    settings = ResearchSettings(parallel_api_key="k", parallel_base_url=broken.url)
    async with open_research(settings=settings) as ada:
        answer = await ada.post("/v1/agents/search/chat", json=NONLOCAL)
        usage = (await ada.get("/v1/usage")).json()
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (told, "application/problem+json")
    assert "secret" not in answer.text
    # A bare 503 is also what a proxy says whose connection broke after the call was accepted.
    billable = status == 500 or (status == 503 and not headers)
    assert problem["cost_usd"] == usage["total_usd"] == ("0.001" if billable else "0")
    assert answer.headers.get("retry-after") == ("3" if headers else None)
    assert broken.calls == 1  # never repeated: it might be billed twice


async def test_in_a_stream_a_failure_is_the_last_event(open_research, upstream, read_events) -> None:
    """The status is sent already; the event holds the problem document."""
    broken = await upstream(500, b"{}")
    settings = ResearchSettings(parallel_api_key="k", parallel_base_url=broken.url)
    async with open_research(settings=settings) as ada:
        answer = await ada.post("/v1/agents/search/stream", json=NONLOCAL)
    last = read_events(answer.text)[-1]
    assert answer.status_code == 200
    assert last.name == "error"
    assert (last.data["status"], last.data["cost_usd"]) == (502, "0.001")


async def test_a_client_that_leaves_a_chat_ends_the_run(open_research, upstream) -> None:
    """The call that is under way is cancelled, and counted: it may be billed."""
    silent = await upstream(hang=True)
    settings = ResearchSettings(parallel_api_key="k", parallel_base_url=silent.url)
    async with open_research(settings=settings) as ada:
        asking = asyncio.create_task(ada.post("/v1/agents/search/chat", json=NONLOCAL, timeout=30))
        # Not before: a call that has not left yet costs nothing.
        await asyncio.wait_for(silent.arrived.wait(), 15)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.wait_for(silent.left.wait(), 5)
        for _ in range(100):
            usage = (await ada.get("/v1/usage")).json()
            if usage["total_usd"] != "0":
                break
            await asyncio.sleep(0.05)
    assert usage["total_usd"] == usage["rows"][0]["estimated_usd"] == "0.001"


async def test_silence_is_filled_with_comments(open_research, upstream) -> None:
    """A proxy in between must not take a slow answer for a dead one."""
    silent = await upstream(hang=True)
    settings = ResearchSettings(
        parallel_api_key="k",
        parallel_base_url=silent.url,
        heartbeat_seconds=0.1,
        upstream_timeout_seconds=0.6,
    )
    async with open_research(settings=settings) as ada:
        answer = await ada.post("/v1/agents/search/stream", json=NONLOCAL)
    assert answer.text.count(": ping") >= 3
    last = answer.text.strip().split("\n\n")[-1]
    assert "event: error" in last
    assert '"status":504' in last


async def test_every_endpoint_is_documented_with_examples(open_research) -> None:
    """Each operation of the agents has a body example where it takes one, and an example of what it answers."""
    async with open_research() as ada:
        document = (await ada.get("/openapi.json")).json()
    lacking = []
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if not path.startswith("/v1/"):
                continue
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None and not (content.get("examples") or _has_example(document, content)):
                lacking.append(f"{verb} {path}: request")
            good = next(one for code, one in operation["responses"].items() if code.startswith("2"))
            for kind, media in good.get("content", {}).items():
                if not (media.get("example") or media.get("examples") or _has_example(document, media)):
                    lacking.append(f"{verb} {path}: {kind}")
    assert lacking == []
    assert f"/v1/agents/{next(iter(AGENTS))}/chat" in document["paths"]


def _has_example(document: dict, media: dict) -> bool:
    reference = media.get("schema", {}).get("$ref", "")
    schema = document["components"]["schemas"].get(reference.rsplit("/", 1)[-1], media.get("schema", {}))
    return bool(schema.get("example") or schema.get("examples"))


async def test_what_a_run_needs_ends_with_it(open_research) -> None:
    """After a hundred streams, whole, left early or failed, no task is left."""
    async with open_research() as ada:
        await ada.post("/v1/agents/search/chat", json=NONLOCAL)

        async def leave() -> None:
            async with ada.stream("POST", "/v1/agents/search/stream", json=NONLOCAL) as answer:
                async for _ in answer.aiter_lines():
                    return

        await asyncio.gather(
            *(ada.post("/v1/agents/search/stream", json=NONLOCAL) for _ in range(20)),
            *(leave() for _ in range(20)),
        )
        for _ in range(100):
            left = [task for task in asyncio.all_tasks() if task.get_name().startswith(("run-", "flush-"))]
            if not left:
                break
            await asyncio.sleep(0.05)
        assert left == []
