"""One metered request to a provider that answers as told, and what the ledger and both sides say then."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from prodkit.metering import PriceBook
from prodkit.metering.clients import ParallelTariff, metered_client, open_pool
from tests.support.paid_provider import Books, Provider, Reply, books, provider

PRICES = PriceBook.load("parallel")
FAST, LITE, SPEED = 1_000_000, 5_000_000, 5_000_000  # nano-USD
SEARCH = {"search_queries": ["q"], "mode": "fast"}
FOUND = {
    "search_id": "search_1",
    "session_id": "s",
    "results": [],
    "usage": [{"name": "sku_search", "count": 1}],
}
TASK = {"input": "q", "processor": "lite"}


def run_of(status: str) -> dict[str, Any]:
    return {
        "run_id": "trun_1",
        "interaction_id": "i",
        "status": status,
        "is_active": False,
        "processor": "lite",
    }


@contextlib.asynccontextmanager
async def client_of(
    ledger: Books, url: str, *, timeout_seconds: float = 5.0, pool: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    inner = pool or open_pool(url)
    yield metered_client(
        inner, ledger.envelope, [ParallelTariff(PRICES, url)], timeout_seconds=timeout_seconds
    )
    await inner.aclose()


async def ask(
    reply: Reply, body: Any = None, path: str = "/v1/search", timeout_seconds: float = 5.0
) -> tuple[Sequence[tuple[str, int, bool]], Provider, httpx.Response | Exception]:
    """Send one request to a provider that answers so; what the ledger says then, and what was seen on both sides."""
    async with (
        provider(reply) as other,
        books() as ledger,
        client_of(ledger, other.url, timeout_seconds=timeout_seconds) as client,
    ):
        answer: httpx.Response | Exception
        try:
            answer = await client.post(f"{other.url}{path}", json=SEARCH if body is None else body)
        except httpx.HTTPError as error:
            answer = error
        return await ledger.closed(), other, answer
