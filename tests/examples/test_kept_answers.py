"""Searches and pages that a tenant has paid for are not paid again; its own documents are never out of date by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from examples.research_agents.settings import ResearchSettings
from examples.research_agents.upstream import KEPT, Found, Upstream, UpstreamError
from prodkit.core.identity import Principal
from prodkit.metering import AnswerCache, PriceBook
from prodkit.stores.memory_cache import MemoryCacheStore
from tests.support.paid_provider import Provider, Reply, Seen, books, provider
from tests.support.research import bearer, settings_for

PRICES = PriceBook.load("parallel")
FAST = 1_000_000
ADA = Principal(id="ada", kind="api_key", tenant="acme")
BOB = Principal(id="bob", kind="api_key", tenant="acme")
EVE = Principal(id="eve", kind="api_key", tenant="rivals")
FOUND = {
    "search_id": "search_1",
    "session_id": "session-of-the-first",
    "results": [{"url": "https://a.example", "title": "A", "excerpts": ["one", "two"]}],
    "usage": [{"name": "sku_search", "count": 1}],
}
PAGES = {
    "extract_id": "extract_1",
    "session_id": "session-of-the-first",
    "results": [{"url": "https://a.example", "title": None, "excerpts": ["one"]}],
    "errors": [],
    "usage": [{"name": "sku_extract_excerpts", "count": 1}],
}
NONLOCAL = {"message": "What does the nonlocal statement do?"}


class World:
    """A provider, and runs of several principals with a cache between them and it."""

    def __init__(self, other: Provider, upstream: Upstream, stack: AsyncExitStack) -> None:
        self.other, self.upstream, self._stack = other, upstream, stack
        self.books: list[Any] = []

    async def run_of(self, principal: Principal, amount_nano: int = 10**9) -> Any:
        book = await self._stack.enter_async_context(books(amount_nano))
        self.books.append(book)
        return self.upstream.for_caller(book.envelope, principal)

    @property
    def spent_and_saved(self) -> list[tuple[int, int]]:
        return [(book.envelope.charged_nano, book.envelope.saved_nano) for book in self.books]


@asynccontextmanager
async def world(answer: Reply | Callable[[Seen], Reply]) -> AsyncIterator[World]:
    cache = AnswerCache(MemoryCacheStore(), namespace=KEPT, ttl_seconds=60.0)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(provider(answer))
        upstream = await stack.enter_async_context(Upstream(settings_for(other.url), PRICES, cache=cache))
        yield World(other, upstream, stack)


async def test_identical_searches_at_once_are_one_for_a_tenant() -> None:
    """Ten callers of two principals, one request, one price; another tenant has its own; each keeps its own session."""
    async with world(Reply(body=FOUND, drip=0.001)) as w:
        runs = [await w.run_of(ADA if number % 2 else BOB) for number in range(10)]
        found = await asyncio.gather(
            *(run.search("what?", mode="fast", session_id=f"ses_{number}") for number, run in enumerate(runs))
        )
        assert len(w.other.seen) == 1
        assert {one.results for one in found} == {(Found("https://a.example", "A", ("one", "two")),)}
        assert [one.session_id for one in found] == [f"ses_{number}" for number in range(10)]
        assert sorted(w.spent_and_saved) == [(0, FAST)] * 9 + [(FAST, 0)]
        eve = await w.run_of(EVE)
        assert (await eve.search("what?", mode="fast")).results == found[0].results
        assert len(w.other.seen) == 2
        assert w.spent_and_saved[-1] == (FAST, 0)


async def test_what_is_not_the_same_question_is_asked() -> None:
    """Another mode, another objective, other words; the session is no part of it."""
    async with world(Reply(body=FOUND)) as w:
        run = await w.run_of(ADA)
        for query, options in (
            ("a", {"mode": "fast"}),
            ("a", {"mode": "basic"}),
            ("a", {"mode": "fast", "objective": "b"}),
            ("a ", {"mode": "fast"}),
        ):
            await run.search(query, **options)
        assert len(w.other.seen) == 4
        await run.search("a", mode="fast", session_id="ses_other")
        assert len(w.other.seen) == 4


async def test_pages_are_kept_unless_one_could_not_be_read() -> None:
    """It may be there the next time."""
    unread = {
        **PAGES,
        "errors": [
            {
                "url": "https://b.example",
                "error_type": "fetch_error",
                "http_status_code": 503,
                "content": None,
            }
        ],
    }
    bodies = [PAGES, unread, unread]
    async with world(lambda _: Reply(body=bodies.pop(0))) as w:
        run = await w.run_of(ADA)
        pages = [await run.read(["https://a.example"], query="q") for _ in range(2)]
        assert pages[0] == pages[1]
        assert pages[0].results == (Found("https://a.example", None, ("one",)),)
        assert len(w.other.seen) == 1
        some = [await run.read(["https://a.example", "https://b.example"], query="q") for _ in range(2)]
        assert [one.unread for one in some] == [("https://b.example",)] * 2
        assert len(w.other.seen) == 3


async def test_a_failure_is_not_kept_and_is_nobody_elses() -> None:
    """Each is told of its own attempt, and the first that succeeds serves those who still wait."""
    replies = [Reply(status=429, body={}), Reply(body=FOUND)]
    async with world(lambda _: replies.pop(0)) as w:
        runs = [await w.run_of(ADA) for _ in range(4)]
        answers = await asyncio.gather(
            *(run.search("q", mode="fast") for run in runs), return_exceptions=True
        )
        assert [type(one) for one in answers].count(UpstreamError) == 1
        assert len(w.other.seen) == 2
        assert sorted(w.spent_and_saved) == [(0, 0), (0, FAST), (0, FAST), (FAST, 0)]


@pytest.fixture
def keeping(settings: ResearchSettings) -> ResearchSettings:
    return settings.model_copy(update={"cache_seconds": 60.0})


async def test_a_question_asked_again_costs_nothing_and_says_what_it_saved(
    open_research: Any, keeping: ResearchSettings, read_events: Any
) -> None:
    """In the body of a chat, in the event of a stream, and in the ledger; for the tenant, and not for another one."""
    async with open_research(settings=keeping) as ada:
        first = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        again = (await ada.post("/v1/agents/search/chat", json=NONLOCAL, headers=bearer("bob"))).json()
        stream = await ada.post("/v1/agents/search/stream", json=NONLOCAL)
        other = (await ada.post("/v1/agents/search/chat", json=NONLOCAL, headers=bearer("eve"))).json()
        usage = (await ada.get("/v1/usage", params={"group_by": "agent"})).json()
    assert (first["cost_usd"], first["usage"]["saved_usd"]) == ("0.001", "0")
    assert (again["cost_usd"], again["usage"]["saved_usd"], again["usage"]["calls"]) == ("0", "0.001", 0)
    assert again["answer"] == first["answer"]
    assert again["citations"] == first["citations"]
    told = {event.name: event.data for event in read_events(stream.text)}
    assert (told["usage"]["cost_usd"], told["usage"]["saved_usd"]) == ("0", "0.001")
    assert told["run.completed"]["usage"]["saved_usd"] == "0.001"
    assert (other["cost_usd"], other["usage"]["saved_usd"]) == ("0.001", "0")
    assert usage["total_usd"] == "0.001"


async def test_without_the_setting_nothing_is_kept(open_research: Any) -> None:
    """Who asks twice pays twice, as always."""
    async with open_research() as ada:
        bodies = [(await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json() for _ in range(2)]
    assert [(one["cost_usd"], one["usage"]["saved_usd"]) for one in bodies] == [("0.001", "0")] * 2


async def test_documents_are_never_out_of_date(open_research: Any, keeping: ResearchSettings) -> None:
    """One that is added is found by the next question, and not any more once it is deleted, whatever is kept."""
    asked = {"message": "When was Velkor Dynamics founded?"}
    document = {
        "title": "About Velkor Dynamics",
        "text": "Velkor Dynamics was founded in 1987. It is in Oslo.",
    }

    async def answer(client: Any) -> dict[str, Any]:
        body: dict[str, Any] = (await client.post("/v1/agents/search/chat", json=asked)).json()
        return body

    async with open_research(settings=keeping) as ada:
        before = await answer(ada)
        added = (await ada.post("/v1/documents", json=document)).json()["id"]
        between = await answer(ada)
        await ada.delete(f"/v1/documents/{added}")
        after = await answer(ada)
    assert "1987" not in before["answer"]
    assert "1987" in between["answer"]
    assert between["citations"][0]["url"].startswith("document:")
    assert "1987" not in after["answer"]
    assert [one["usage"]["saved_usd"] for one in (before, between, after)] == ["0", "0.001", "0.001"]
