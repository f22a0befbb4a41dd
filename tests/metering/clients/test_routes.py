"""Any HTTP API, by method and path."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import httpx
import pytest

from prodkit.metering import Price, PriceBook, UnpricedError
from prodkit.metering.clients import FREE, FlatTariff, Outgoing, Route, RouteTariff, metered_client, open_pool
from tests.support.paid_provider import Reply, books, provider

BOOK = PriceBook(
    [Price("scans", "page", "page", "0.002"), Price("scans", "job", "job", "0.05")],
    version="scans-1",
    captured=date(2026, 11, 22),
    source="the tests",
)
ROUTES = [
    Route(
        method="POST",
        path="/v2/scans",
        sku="page",
        quantity=lambda body: len(body["pages"]),
        delivered=lambda document: document.get("pages_read"),
    ),
    Route(method="POST", path="/v2/jobs/{id}/run", sku="job"),
    Route(method="GET", path="/v2/scans/{id}"),
]
PAGE, JOB = 2_000_000, 50_000_000


@contextlib.asynccontextmanager
async def asking(reply: Reply, tariff: Any = None) -> AsyncIterator[tuple[httpx.AsyncClient, Any, Any]]:
    async with provider(reply) as wire, books() as ours:
        pool = open_pool(wire.url)
        chosen = tariff(wire.url) if tariff else RouteTariff(BOOK, wire.url, ROUTES, provider="scans")
        client = metered_client(pool, ours.envelope, [chosen], timeout_seconds=2)
        client.base_url = httpx.URL(wire.url)
        yield client, ours, wire
        await pool.aclose()


@pytest.mark.parametrize("id_", ["%2e%2e", "..%2fjobs", "a%2F..%2f..%2Fcostly", "%2E", "a%5c..%5Cb", ".%2e"])
def test_a_path_that_climbs_for_who_unescapes_it_has_no_price(id_: str) -> None:
    """What is free by its segments might be something costly for the server."""
    url = "https://scans.example"
    free = RouteTariff(BOOK, url, ROUTES, provider="scans")
    flat = FlatTariff(f"{url}/v2", price_usd="0.001", provider="scans", captured=date(2026, 11, 22))
    for tariff in (free, flat):
        assert tariff.quote(Outgoing("GET", f"{url}/v2/scans/{id_}", None)) is None
    assert free.quote(Outgoing("GET", f"{url}/v2/scans/org%2Fmodel..1", None)) is FREE


async def test_each_thing_in_a_request_is_charged() -> None:
    """By the answer, which may have delivered less than was asked for."""
    async with asking(Reply(body={"pages_read": 2})) as (client, ours, _):
        await client.post("/v2/scans", json={"pages": ["a", "b", "c"]})
        [entry] = await ours.entries()
        assert (entry.amount_nano, entry.units, entry.estimated) == (
            2 * PAGE,
            {"requests": 1, "page": 2},
            False,
        )
        told = {name: entry.attributes[name] for name in ("provider", "sku", "price_book")}
        assert told == {"provider": "scans", "sku": "page", "price_book": "scans-1"}


@pytest.mark.parametrize(
    "said", [{}, {"pages_read": "2"}, {"pages_read": -1}, {"pages_read": True}, {"pages_read": None}]
)
async def test_an_answer_that_does_not_say_is_charged_as_asked(said: Any) -> None:
    """And flagged."""
    async with asking(Reply(body=said)) as (client, ours, _):
        await client.post("/v2/scans", json={"pages": ["a", "b", "c"]})
        [entry] = await ours.entries()
        assert (entry.amount_nano, entry.estimated) == (3 * PAGE, True)


async def test_nothing_delivered_is_nothing_charged() -> None:
    """An explicit zero is one."""
    async with asking(Reply(body={"pages_read": 0})) as (client, ours, _):
        await client.post("/v2/scans", json={"pages": ["a"]})
        [entry] = await ours.entries()
        assert (entry.amount_nano, entry.units, entry.estimated) == (0, {"requests": 1}, False)


@pytest.mark.parametrize(("cut", "estimated"), [(None, False), (3, True)])
async def test_a_fixed_price_needs_no_answer(cut: int | None, estimated: bool) -> None:
    """What was accepted costs it; an answer that broke off is flagged."""
    async with asking(Reply(body={"ok": 1}, cut=cut)) as (client, ours, _):
        with contextlib.suppress(httpx.HTTPError):
            await client.post("/v2/jobs/7/run")
        assert await ours.closed() == [("settled", JOB, estimated)]


@pytest.mark.parametrize(
    ("status", "kind", "amount"), [(429, "settled", 0), (404, "settled", 0), (500, "presumed", JOB)]
)
async def test_failures_are_charged_as_everywhere(status: int, kind: str, amount: int) -> None:
    """Refused is free, unknown is presumed."""
    async with asking(Reply(status, {})) as (client, ours, _):
        await client.post("/v2/jobs/7/run")
        assert [entry[:2] for entry in await ours.closed()] == [(kind, amount)]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/scans", None),
        ("POST", "/v2/scans/7", None),
        ("POST", "/v2/jobs/7/8/run", None),
        ("POST", "/v2/jobs//run", None),
        ("POST", "/v2/jobs/7%2F8/run/", None),
        ("DELETE", "/v2/scans/7", None),
        ("POST", "/v2/scans", None),
        ("POST", "/v2/scans", {}),
        ("POST", "/v2/scans", {"pages": 7}),
        ("POST", "/", None),
    ],
)
async def test_what_no_route_fits_is_not_sent(method: str, path: str, body: Any) -> None:
    """Nor what a route cannot count."""
    async with asking(Reply()) as (client, ours, wire):
        with pytest.raises(UnpricedError):
            await client.request(method, path, json=body)
        assert (wire.seen, ours.envelope.calls) == ([], 0)


async def test_free_routes_cost_nothing() -> None:
    """They are named, too: what is not named is not free."""
    async with asking(Reply(body={})) as (client, ours, wire):
        await client.get("/v2/scans/7")
        assert (len(wire.seen), ours.envelope.calls) == (1, 0)
    tariff = RouteTariff(BOOK, "https://scans.example", ROUTES, provider="scans")
    assert tariff.quote(Outgoing("GET", "https://scans.example/v2/scans/7?x=1", None)) is FREE


def test_a_route_without_a_price_is_refused_at_once() -> None:
    """When the application starts, and not in the first request."""
    with pytest.raises(UnpricedError):
        RouteTariff(BOOK, "https://scans.example", [Route(method="GET", path="/", sku="x")], provider="scans")
    with pytest.raises(ValueError):
        RouteTariff(BOOK, "scans.example", ROUTES, provider="scans")


async def test_a_flat_price_is_for_every_request() -> None:
    """Whatever its method and path; other places are not asked."""

    def flat(url: str) -> FlatTariff:
        return FlatTariff(url, price_usd="0.0000000015", provider="maps", captured=date(2026, 11, 22))

    async with asking(Reply(body={}), flat) as (client, ours, _):
        await client.get("/a?b=c")
        await client.delete("/")
        entries = await ours.entries()
        assert [entry.amount_nano for entry in entries] == [2, 2]  # 1.5 nano-USD, rounded up
        assert entries[0].units == {"requests": 1, "request": 1}
        assert entries[0].attributes["price_book"] == "maps-2026-11-22"
        with pytest.raises(UnpricedError):
            await client.get("http://127.0.0.1:1/")
