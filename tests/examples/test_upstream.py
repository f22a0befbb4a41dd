"""Search and pages through the official SDK, and what failures of the other side mean to our client."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from parallel import APIConnectionError, APIStatusError, APITimeoutError

from examples.research_agents.upstream import (
    Citation,
    Found,
    ParallelRun,
    Upstream,
    UpstreamError,
    error_of,
    open_client,
)
from examples.research_agents.upstream.values import Basis
from prodkit import Problem
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.metering import EnvelopeExhaustedError, PriceBook
from prodkit.stores.memory_ledger import MemoryLedger
from tests.support.paid_provider import Books, Provider, Reply, Seen, books, provider
from tests.support.research import settings_for

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/search")
PRICES = PriceBook.load("parallel")
FAST = 1_000_000
FOUND = {
    "search_id": "search_1",
    "session_id": "session_1",
    "results": [{"url": "https://a.example", "title": "A", "excerpts": ["one", "two"]}],
    "usage": [{"name": "sku_search", "count": 1}],
}


async def with_run(
    answer: Reply | Callable[[Seen], Reply],
    work: Callable[[ParallelRun], Any],
    *,
    amount_nano: int = 10**9,
    ledger: MemoryLedger | None = None,
    **settings: Any,
) -> tuple[Any, Provider, Books, list[tuple[str, int, bool]]]:
    """What *work* returns or raises; the provider; the books, closed."""
    async with (
        provider(answer) as other,
        books(amount_nano, ledger) as book,
        Upstream(settings_for(other.url, **settings), PRICES) as upstream,
    ):
        try:
            result = await work(upstream.for_run(book.envelope))
        except Exception as error:
            result = error
        return result, other, book, await book.closed()


def status_error(status: int, **headers: str) -> APIStatusError:
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return APIStatusError("secret words of the other side", response=response, body=None)


async def test_a_search_returns_pages_and_is_paid() -> None:
    """The SDK's request, our plain values, one entry in the ledger."""
    found, other, _, entries = await with_run(
        Reply(body=FOUND), lambda run: run.search("what?", mode="fast", session_id="ses_1")
    )
    assert found.results == (Found("https://a.example", "A", ("one", "two")),)
    assert found.session_id == "session_1"
    [seen] = other.seen
    assert (seen.path, seen.headers["x-api-key"]) == ("/v1/search", "key-of-the-tests")
    assert (
        seen.headers["user-agent"].startswith("AsyncParallel/Python".lower())
        or "parallel" in seen.headers["user-agent"]
    )
    assert seen.body == {
        "search_queries": ["what?"],
        "objective": "what?",
        "mode": "fast",
        "session_id": "ses_1",
    }
    assert entries == [("settled", FAST, False)]


async def test_pages_are_read_and_each_is_paid() -> None:
    """One of two could not be read: the answer says which, and what was billed."""
    answer = {
        "extract_id": "extract_1",
        "session_id": "s",
        "results": [
            {"url": "https://a.example", "title": None, "excerpts": [], "full_content": "x" * 5000},
        ],
        "errors": [{"url": "https://b.example", "error_type": "fetch_error"}],
        "usage": [{"name": "sku_extract_excerpts", "count": 1}],
    }
    read, other, _, entries = await with_run(
        Reply(body=answer), lambda run: run.read(["https://a.example", "https://b.example"], query="why?")
    )
    assert read.results == (Found("https://a.example", None, ("x" * 4000,)),)
    assert read.unread == ("https://b.example",)
    assert other.seen[0].body == {"urls": ["https://a.example", "https://b.example"], "objective": "why?"}
    assert entries == [("settled", 1_000_000, False)]


@pytest.mark.parametrize(
    ("reply", "status", "billable", "charged"),
    [
        (Reply(429, {"error": {"message": "secret"}}, {"retry-after": "7"}), 503, False, 0),
        (Reply(503, {}, {"retry-after": "7"}), 503, False, 0),
        (Reply(503, {}), 503, True, FAST),
        (Reply(401, {"error": {"message": "secret"}}), 502, False, 0),
        (Reply(422, {}), 502, False, 0),
        (Reply(500, b"secret"), 502, True, FAST),
        (Reply(504, {}), 504, True, FAST),
        (Reply(302, b"", {"location": "/v1/extract"}), 502, True, FAST),
        (Reply(None), 502, True, FAST),
        (Reply(hang=-1), 504, True, FAST),
        (Reply(body=FOUND, cut=30), 502, True, FAST),
        (Reply(body=FOUND, drip=0.02), 504, True, FAST),
        (Reply(body=b"{broken"), 502, True, FAST),
        (Reply(body={"search_id": "x"}), 502, True, FAST),
        (Reply(body={**FOUND, "results": [{"url": 7}]}), 502, True, FAST),
        (Reply(body=b'{"a":' * 100_000), 502, True, FAST),
    ],
    ids=str,
)
async def test_failures_are_true_and_charged_alike(
    reply: Reply, status: int, billable: bool, charged: int
) -> None:
    """Our client gets a status that fits, none of their words, and `billable` says what the ledger did. Nothing is repeated."""
    slow = reply.drip or reply.hang is not None
    error, other, _, entries = await with_run(
        reply,
        lambda run: run.search("q", mode="fast"),
        upstream_timeout_seconds=0.15 if slow else 5.0,
    )
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (status, billable)
    assert "secret" not in str(error)
    assert error.retry_after_seconds == (7 if "retry-after" in reply.headers else None)
    assert len(other.seen) == 1
    assert sum(entry[1] for entry in entries) == charged


async def test_nobody_listens() -> None:
    """A refused connection is 503 and costs nothing."""
    async with provider(Reply()) as other:
        url = other.url
    async with books() as book, Upstream(settings_for(url), PRICES) as upstream:
        with pytest.raises(UpstreamError) as failed:
            await upstream.for_run(book.envelope).search("q", mode="fast")
        assert (failed.value.status, failed.value.billable) == (503, False)
        assert book.envelope.charged_nano == 0


async def test_what_does_not_fit_is_told_as_it_is() -> None:
    """Only the caller knows what an exhausted envelope means; the SDK must not hide it."""
    error, other, _, _ = await with_run(
        Reply(body=FOUND), lambda run: run.search("q", mode="fast"), amount_nano=FAST - 1
    )
    assert isinstance(error, EnvelopeExhaustedError)
    assert (error.estimate_nano, error.left_nano) == (FAST, FAST - 1)
    assert other.seen == []


async def test_what_has_no_price_is_not_bought() -> None:
    """A mode that the price book does not know ends the call here."""
    error, other, _, _ = await with_run(Reply(body=FOUND), lambda run: run.search("q", mode="psychic"))
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (503, False)
    assert other.seen == []


async def test_a_ledger_that_is_away_is_its_own_problem() -> None:
    """The error holds the problem that our client is to be told."""

    class Away(MemoryLedger):
        async def draw(self, envelope: str, reservation: Any) -> Any:
            raise StoreUnavailableError("away")

    error, other, _, _ = await with_run(
        Reply(body=FOUND), lambda run: run.search("q", mode="fast"), ledger=Away()
    )
    assert isinstance(error, UpstreamError)
    assert isinstance(error.problem, Problem)
    assert (error.status, error.billable, other.seen) == (503, False, [])


async def test_cancelling_reaches_the_socket() -> None:
    """The connection closes, the call is charged, and the cancellation goes on."""
    async with provider(Reply(hang=-1)) as other, books() as book:
        async with Upstream(settings_for(other.url), PRICES) as upstream:
            task = asyncio.create_task(upstream.for_run(book.envelope).search("q", mode="fast"))
            await other.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(other.left.wait(), 2)
        assert await book.closed() == [("presumed", FAST, True)]


async def test_a_deadline_of_the_caller_is_not_ours() -> None:
    """A `TimeoutError` from outside passes as it is, and not as a slow provider."""

    async def bounded(run: ParallelRun) -> None:
        async with asyncio.timeout(0.05):
            await run.search("q", mode="fast")

    error, _, _, _ = await with_run(Reply(hang=-1), bounded)
    assert type(error) is TimeoutError


async def test_attributes_of_a_part_of_a_run_are_noted() -> None:
    """An agent that another one delegates to is told apart in the ledger."""
    async with provider(Reply(body=FOUND)) as other, books() as book:
        async with Upstream(settings_for(other.url), PRICES) as upstream:
            await upstream.for_run(book.envelope, attributes={"tag": "critic"}).search("q", mode="fast")
        assert (await book.entries())[0].attributes["tag"] == "critic"


async def test_making_a_run_is_cheap() -> None:
    """It happens for each request; the costly parts are shared."""
    async with books() as book, Upstream(settings_for("http://127.0.0.1:9"), PRICES) as upstream:
        upstream.for_run(book.envelope)
        spans = []
        for _ in range(20):
            began = time.perf_counter()
            upstream.for_run(book.envelope)
            spans.append(time.perf_counter() - began)
        assert sorted(spans)[10] < 0.002


@pytest.mark.parametrize(
    ("upstream", "ours", "billable"),
    [
        (429, 503, False),
        (503, 503, True),
        (504, 504, True),
        (408, 504, True),
        (401, 502, False),
        (402, 502, False),
        (422, 502, False),
        (500, 502, True),
        (502, 502, True),
    ],
)
def test_statuses_are_told_apart(upstream: int, ours: int, billable: bool) -> None:
    """Try later, too slow, or broken; and whether the call may have been billed."""
    error = error_of(status_error(upstream))
    assert (error.status, error.billable) == (ours, billable)
    assert "secret" not in str(error)


def test_a_503_that_says_when_to_come_back_took_nothing() -> None:
    """A proxy that lost its connection to the work answers 503 as well, but without that."""
    assert not error_of(status_error(503, **{"retry-after": "1"})).billable


def test_connections_are_told_apart() -> None:
    """One that never was took nothing; one that broke, or was too slow, may have."""
    for cause in (httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.PoolTimeout("full")):
        refused = APIConnectionError(request=REQUEST)
        refused.__cause__ = cause
        assert (error_of(refused).status, error_of(refused).billable) == (503, False)
    broken = APIConnectionError(request=REQUEST)
    broken.__cause__ = httpx.RemoteProtocolError("cut")
    assert (error_of(broken).status, error_of(broken).billable) == (502, True)
    slow = error_of(APITimeoutError(request=REQUEST))
    assert (slow.status, slow.billable) == (504, True)
    assert error_of(ValueError("not JSON")).status == 502


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("999999", 3600),
        ("9" * 400, 3600),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_bounded(value: str, seconds: int | None) -> None:
    """What the other side asks for is passed on as a sane number, or not at all."""
    assert error_of(status_error(429, **{"retry-after": value})).retry_after_seconds == seconds


def test_retry_after_may_be_a_date() -> None:
    """RFC 9110, 10.2.3."""
    value = email.utils.formatdate(time.time() + 60, usegmt=True)
    seconds = error_of(status_error(503, **{"retry-after": value})).retry_after_seconds
    assert seconds is not None
    assert 55 <= seconds <= 60


async def test_the_sdk_never_retries_and_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retried search is paid twice; and a proxy of the environment cannot reach this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with open_client(settings_for("http://127.0.0.1:9")) as client:
        assert client.max_retries == 0
        assert not client._client._trust_env


def test_a_basis_out_of_json_is_checked() -> None:
    """What the SDK has no class for is read with care: what is not as documented is left out."""
    given = [
        {
            "field": "[1]",
            "reasoning": "r",
            "citations": [{"url": "u", "excerpts": ["e", 7]}, {"url": 7}, "x"],
        },
        {"field": 7, "citations": 7, "confidence": "high"},
        "x",
    ]
    assert Basis.read(given) == (
        Basis("[1]", "r", (Citation("u", None, ("e",)),)),
        Basis("", "", (), "high"),
    )
    assert Basis.read({"field": "x"}) == ()
