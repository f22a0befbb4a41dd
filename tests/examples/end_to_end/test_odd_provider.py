"""A provider that answers 200 with something else than was asked: a problem, never a "not found", and never for ever."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from examples.research_agents.settings import ResearchSettings
from examples.research_agents.state.documents import Documents
from prodkit.core.exceptions import StoreUnavailableError
from tests.support.paid_provider import Reply, Seen, events, provider
from tests.support.world import make_world

FOUND = {
    "search_id": "search_1",
    "session_id": "s",
    "results": [{"url": "https://e.test/1", "title": "Tea", "excerpts": ["Tea is a drink made of leaves."]}],
    "usage": [{"name": "sku_search", "count": 1}],
}
EVIDENCE = {"url": "https://e.test/1", "title": "T", "excerpt": "Tea is old.", "stance": "supports"}
VERDICT = {"verdict": "supported", "confidence": "high", "reasoning": "It says so.", "evidence": [EVIDENCE]}
FINDING = {"statement": "Tea is old.", "url": "https://e.test/1"}
ANALYSIS: dict[str, Any] = {"findings": [FINDING], "comparisons": [], "conflicts": [], "not_found": []}


def run_of(status: str) -> dict[str, Any]:
    return {
        "run_id": "trun_1",
        "interaction_id": "i",
        "status": status,
        "is_active": status == "running",
        "processor": "core",
    }


def answering(content: Any = None, search: Any = None, chat: Reply | None = None) -> Any:
    """A provider whose tasks come to *content*, whose searches to *search*, and whose chats to *chat*."""

    def answer(request: Seen) -> Reply:
        if request.path == "/v1/search":
            return Reply(body=FOUND) if search is None else search
        if request.path.endswith("/chat/completions"):
            return chat or events(
                {"choices": [{"delta": {"content": "Tea. [1]"}, "finish_reason": "stop"}]}, done=True
            )
        if request.method == "POST":
            return Reply(202, run_of("running"))
        output = {"type": "json", "content": content, "basis": []}
        if request.path.endswith("/events"):
            return events({"type": "task_run.state", "run": run_of("completed"), "output": output})
        return Reply(body={"run": run_of("completed"), "output": output})

    return answer


def settings_for(url: str) -> ResearchSettings:
    return ResearchSettings(parallel_api_key="k", parallel_base_url=url, upstream_timeout_seconds=5)


async def ask(
    open_research: Any, answer: Any, agent: str, message: str = "What is tea?"
) -> tuple[Any, list[Seen], str]:
    """(the answer to one message, what the provider saw, what was spent)."""
    async with provider(answer) as other, open_research(settings=settings_for(other.url)) as ada:
        answered = await asyncio.wait_for(
            ada.post(f"/v1/agents/{agent}/chat", json={"message": message}), timeout=20
        )
        spent = (await ada.get("/v1/usage")).json()["total_usd"]
    return answered, other.seen, spent


@pytest.mark.parametrize(
    "plan", [{"sub_questions": 5}, {"sub_questions": [1]}, {}, [], {"sub_questions": None}]
)
async def test_a_plan_that_is_none_ends_the_run(open_research, plan: Any) -> None:
    """502 at once, with the price of the plan: nothing is asked again and again, and the server goes on answering."""
    answered, seen, spent = await ask(open_research, answering(plan), "deep_research")
    assert answered.status_code == 502, answered.text
    assert Decimal(answered.json()["cost_usd"]) == Decimal(spent) == Decimal("0.1")
    assert len([one for one in seen if one.method == "POST"]) == 1


@pytest.mark.parametrize(
    "content",
    [
        {**ANALYSIS, "findings": "abc"},
        {**ANALYSIS, "findings": ["x"]},
        {**ANALYSIS, "findings": [{**FINDING, "statement": 5}]},
        {**ANALYSIS, "findings": None},
        {**ANALYSIS, "not_found": [5]},
        {**ANALYSIS, "comparisons": [{"statement": "x", "order": "high"}]},
    ],
    ids=str,
)
async def test_an_analysis_that_is_none_is_not_told(open_research, content: Any) -> None:
    """502 and what it cost; the session holds the question and no answer."""
    answered, _, spent = await ask(open_research, answering(content), "analyst")
    assert answered.status_code == 502, answered.text
    assert answered.json()["cost_usd"] == spent == "0.025"


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "perhaps"},
        {"verdict": None},
        {"confidence": 7},
        {"reasoning": 7},
        {"evidence": ["x"]},
        {"evidence": [{**EVIDENCE, "url": 5}]},
        {"evidence": [{**EVIDENCE, "stance": "neutral"}]},
    ],
    ids=str,
)
async def test_a_verdict_that_is_none_is_not_told(open_research, change: Any) -> None:
    """502, and never a verdict that nobody gave."""
    answered, _, spent = await ask(open_research, answering({**VERDICT, **change}), "critic", "Tea is old.")
    assert answered.status_code == 502, answered.text
    assert spent == "0.025"


async def test_what_is_missing_in_a_good_answer_is_empty(open_research) -> None:
    """A null title or unit, a finding whose source is not among the basis: it is told, numbered by us, and cited."""
    evidence = {**EVIDENCE, "title": None, "n": 99}
    verdict, _, _ = await ask(
        open_research, answering({**VERDICT, "evidence": [evidence]}), "critic", "Tea is old."
    )
    analysis, _, _ = await ask(
        open_research,
        answering({**ANALYSIS, "findings": [{**FINDING, "unit": None, "n": [9, "x"]}]}),
        "analyst",
    )
    assert verdict.status_code == analysis.status_code == 200, (verdict.text, analysis.text)
    assert [one["n"] for one in verdict.json()["citations"]] == [1]
    assert verdict.json()["claims"][0]["basis"][0]["n"] == 1
    assert analysis.json()["findings"][0]["n"] == [1]
    assert analysis.json()["citations"][0]["url"] == "https://e.test/1"


@pytest.mark.parametrize(
    "search", [Reply(body=b"null"), Reply(body=b"[]"), Reply(body={"results": 5})], ids=str
)
async def test_a_search_that_is_none_is_no_empty_one(open_research, search: Reply) -> None:
    """502: "not found" is said of what was looked for."""
    answered, _, _ = await ask(open_research, answering(search=search), "search")
    assert answered.status_code == 502, answered.text
    assert "ot found" not in answered.text


@pytest.mark.parametrize(
    "chat",
    [
        events({"choices": [{"delta": {"content": "Tea is"}, "finish_reason": "length"}]}, done=True),
        events({"choices": [{"delta": {"content": "Tea is"}, "finish_reason": "content_filter"}]}, done=True),
        events(done=True),
        events({"choices": [{"delta": {}, "finish_reason": "stop"}]}, done=True),
    ],
    ids=["length", "filter", "nothing", "empty"],
)
async def test_half_a_text_is_none(open_research, chat: Reply) -> None:
    """502, whatever ended it: a part that is recorded as complete would be taken for the whole."""
    answered, _, _ = await ask(open_research, answering(chat=chat), "writer")
    assert answered.status_code == 502, answered.text


async def test_a_long_message_is_a_short_query_with_its_purpose(open_research) -> None:
    """A search takes a thousand characters; the rest of the question goes with it as the objective."""
    message = "tea " + "leaves of many mountains and gardens " * 100
    answered, seen, _ = await ask(open_research, answering(), "search", message)
    assert answered.status_code == 200, answered.text
    body = next(one.body for one in seen if one.path == "/v1/search")
    assert len(body["search_queries"][0]) <= 1000
    assert not body["search_queries"][0].endswith(" gard")
    assert len(body["objective"]) > 3000


async def test_names_of_units_are_bounded(open_research) -> None:
    """They are somebody else's words, and would become labels of metrics."""
    odd = {**FOUND, "usage": [{"name": "x" * 5000, "count": 1}]}
    new = {**FOUND, "usage": [{"name": "sku_search", "count": 1}, {"name": "sku_new", "count": 1}]}
    for usage in (odd, new):
        answered, _, spent = await ask(open_research, answering(search=Reply(body=usage)), "search")
        assert answered.status_code == 200
        assert answered.json()["usage"]["units"].keys() <= {"requests", "search.fast"}
        assert answered.json()["usage"]["estimated"] is True
        assert Decimal(spent) > 0


@pytest.mark.parametrize("agent", ["search", "analyst", "critic", "writer", "deep_research"])
async def test_documents_that_cannot_be_read_are_not_missing(
    open_research, monkeypatch: pytest.MonkeyPatch, agent: str
) -> None:
    """503 where our own store is away: nobody is told "not found" about what could not be looked at."""
    world = make_world()

    async def away(*_: object) -> None:
        message = "the disk is away"
        raise StoreUnavailableError(message)

    async with open_research() as ada:
        monkeypatch.setattr(Documents, "library", away)
        message = {"message": f"How many people does {world.first.name} employ?"}
        answered = await asyncio.wait_for(ada.post(f"/v1/agents/{agent}/chat", json=message), timeout=20)
        alive = await ada.get("/livez")
    assert answered.status_code == 503, answered.text
    assert "the disk" not in answered.text
    assert alive.status_code == 200
