"""Whatever happens on the way to a provider, the ledger charges each accepted call once, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import itertools
import json
from typing import Any

import httpx
import pytest

from prodkit import Problem
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.metering import EnvelopeExhaustedError, UnpricedError
from prodkit.metering.clients import MeteredTransport, ParallelTariff, open_pool
from prodkit.stores.memory_ledger import MemoryLedger
from tests.metering.clients.asking import (
    FAST,
    FOUND,
    PRICES,
    SEARCH,
    SPEED,
    TASK,
    ask,
    client_of,
)
from tests.support.paid_provider import Reply, books, events, provider


async def test_an_answer_is_settled_by_what_it_says() -> None:
    """The usage of the answer is the cost, and the units stand in the ledger."""
    usage = [{"name": "sku_search", "count": 1}, {"name": "sku_search_additional_results", "count": 3}]
    async with (
        provider(Reply(body={**FOUND, "usage": usage})) as other,
        books() as ledger,
        client_of(ledger, other.url) as client,
    ):
        body = {**SEARCH, "advanced_settings": {"max_results": 15}}
        answer = await client.post(f"{other.url}/v1/search", json=body)
        assert answer.json()["usage"] == usage
        [entry] = await ledger.entries()
        assert (entry.kind, entry.amount_nano, entry.estimated) == ("settled", FAST + 3 * 1_000_000, False)
        assert entry.units == {"requests": 1, "search.fast": 1, "search.additional_result": 3}
        told = {name: entry.attributes[name] for name in ("tenant", "provider", "model", "sku")}
        assert told == {"tenant": "acme", "provider": "parallel", "model": "fast", "sku": "search"}


async def test_the_hold_is_in_the_ledger_before_the_request_arrives() -> None:
    """A process that dies on the way leaves a dispatched hold behind, so nothing is lost."""
    dispatched: list[list[str]] = []
    async with books() as ledger:

        def answer(_: Any) -> Reply:
            assert isinstance(ledger.ledger, MemoryLedger)
            holds = ledger.ledger._holds.values()
            dispatched.append([hold.state for hold in holds if not hold.envelope])
            return Reply(body=FOUND)

        async with provider(answer) as other, client_of(ledger, other.url) as client:
            await client.post(f"{other.url}/v1/search", json=SEARCH)
    assert dispatched == [["dispatched"]]


@pytest.mark.parametrize(
    ("reply", "kind", "charged"),
    [
        (Reply(400, {}), "settled", 0),
        (Reply(401, {}), "settled", 0),
        (Reply(402, {}), "settled", 0),
        (Reply(422, {}), "settled", 0),
        (Reply(429, {}, {"retry-after": "1"}), "settled", 0),
        (Reply(503, {}, {"retry-after": "1"}), "settled", 0),
        (Reply(503, {}, {"x-should-retry": "true"}), "settled", 0),
        (Reply(503, {}), "presumed", FAST),
        (Reply(302, {}, {"location": "/v1/extract"}), "presumed", FAST),
        (Reply(408, {}), "presumed", FAST),
        (Reply(499, {}), "presumed", FAST),
        (Reply(500, {}), "presumed", FAST),
        (Reply(502, {}), "presumed", FAST),
        (Reply(504, {}), "presumed", FAST),
        (Reply(None), "presumed", FAST),
        (Reply(hang=-1), "presumed", FAST),
        (Reply(body=FOUND, hang=10), "presumed", FAST),
        (Reply(body=FOUND, cut=0), "presumed", FAST),
        (Reply(body=FOUND, cut=20), "presumed", FAST),
        (Reply(body=b"{broken"), "presumed", FAST),
        (Reply(body=b"[" * 100_000), "presumed", FAST),
        (Reply(body=b"[]"), "presumed", FAST),
        (Reply(204), "presumed", FAST),
        (Reply(body={**FOUND, "usage": None}), "settled", FAST),
        (Reply(body={**FOUND, "usage": [{"name": "sku_search", "count": 0}]}), "settled", 0),
    ],
    ids=str,
)
async def test_every_way_to_end_is_charged_once(reply: Reply, kind: str, charged: int) -> None:
    """Not accepted costs nothing; unknown costs the estimate; and the call is made once, whatever comes back."""
    entries, other, _ = await ask(reply, timeout_seconds=0.2 if reply.hang is not None else 5.0)
    assert len(other.seen) == 1
    assert [(entry[0], entry[1]) for entry in entries if entry[1]] == ([(kind, charged)] if charged else [])
    assert len(entries) <= 1


async def test_a_missing_usage_is_flagged() -> None:
    """The price of what was asked for, and that it is an estimate."""
    entries, _, _ = await ask(Reply(body={**FOUND, "usage": None}))
    assert entries == [("settled", FAST, True)]


async def test_a_refused_connection_costs_nothing() -> None:
    """Nobody listened: the hold is given back."""
    async with provider(Reply()) as other:
        url = other.url
    async with books() as ledger, client_of(ledger, url) as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(f"{url}/v1/search", json=SEARCH)
        assert ledger.envelope.calls == 1
        assert [entry for entry in await ledger.closed() if entry[1]] == []


async def test_a_full_pool_costs_nothing() -> None:
    """A request that never got a connection was not sent, whether it ran out of time or was cancelled."""
    async with provider(Reply(hang=-1)) as other, books() as ledger:
        pool = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1))
        async with client_of(ledger, other.url, pool=pool) as client:
            first = asyncio.create_task(client.post(f"{other.url}/v1/search", json=SEARCH))
            await other.arrived.wait()
            with pytest.raises(httpx.PoolTimeout):
                await client.post(f"{other.url}/v1/search", json=SEARCH, timeout=httpx.Timeout(5, pool=0.01))
            waiting = asyncio.create_task(client.post(f"{other.url}/v1/search", json=SEARCH))
            while ledger.envelope.calls < 3:
                await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0)
            for task in (waiting, first):
                task.cancel()
            await asyncio.wait([waiting, first])
            charged = [entry for entry in await ledger.closed() if entry[1]]
            assert charged == [("presumed", FAST, True)]
        assert len(other.seen) == 1


async def test_an_unknown_transport_is_taken_to_have_sent() -> None:
    """Only httpx's own tells its steps; of any other one a cancelled request may have left."""

    class Stuck(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    async with books() as ledger, client_of(ledger, "http://127.0.0.1:9", pool=Stuck()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.post("http://127.0.0.1:9/v1/search", json=SEARCH)
        assert await ledger.closed() == [("presumed", FAST, True)]


@pytest.mark.parametrize("steps", [*range(12), 20, 40, 80, 160])
async def test_a_cancelled_call_is_charged_iff_it_arrived(steps: int) -> None:
    """Cancelled after any number of turns of the loop: what the provider saw is what is charged."""
    async with provider(Reply(hang=-1)) as other, books() as ledger:
        async with client_of(ledger, other.url) as client:
            task = asyncio.create_task(client.post(f"{other.url}/v1/search", json=SEARCH))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.02)  # what was written may still be on its way to the other side
            await ledger.meter.keeper.beat()
            charged = [entry for entry in await ledger.closed() if entry[1]]
        if other.seen:
            assert charged == [("presumed", FAST, True)]
        elif charged:
            # Cancelled while the bytes were being written: nobody can know, so it counts.
            assert charged == [("presumed", FAST, True)]
            assert steps > 2


async def test_the_client_may_stop_reading_anywhere() -> None:
    """A stream that is left is charged; with all of the price, because it was begun."""
    pieces = [{"choices": [{"delta": {"content": str(n)}}]} for n in range(5)]
    chat = {"model": "speed", "messages": [], "stream": True}
    for read in range(6):
        async with provider(events(*pieces, hang=400)) as other, books() as ledger:
            async with client_of(ledger, other.url) as client:
                url = f"{other.url}/v1beta/chat/completions"
                async with client.stream("POST", url, json=chat) as answer:
                    lines = answer.aiter_lines()
                    for _ in range(read):
                        await anext(lines)
                assert await ledger.open_calls() == 0
                assert await ledger.closed() == [("settled", SPEED, True)]
            await asyncio.wait_for(other.left.wait(), 2)


async def test_a_stream_that_nobody_closes_is_charged() -> None:
    """Forgotten by its reader, it is charged when the run ends."""
    async with (
        provider(events({"choices": []}, hang=10)) as other,
        books() as ledger,
        client_of(ledger, other.url) as client,
    ):
        url = f"{other.url}/chat/completions"
        request = client.build_request("POST", url, json={"model": "speed", "messages": []})
        answer = await client.send(request, stream=True)
        assert await ledger.closed() == [("presumed", SPEED, True)]
        await answer.aclose()
        # Known late, and the same: nothing is added.
        assert ledger.envelope.charged_nano == SPEED
        assert sum(entry.amount_nano for entry in await ledger.entries()) == SPEED
    gc.collect()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/findall/runs", {}),
        ("POST", "/v1beta/tasks/groups", {}),
        ("POST", "/v1/search/", SEARCH),
        ("POST", "//v1/search", SEARCH),
        ("POST", "/v1/responses", {"model": "parallel"}),
        ("POST", "/v1/search", {**SEARCH, "mode": "unheard-of"}),
        ("POST", "/v1/search", {**SEARCH, "mode": ["fast"]}),
        ("POST", "/v1/search", {**SEARCH, "advanced_settings": {"max_results": 10**30}}),
        ("POST", "/v1/search", {**SEARCH, "advanced_settings": {"max_results": True}}),
        ("POST", "/v1/search", {**SEARCH, "advanced_settings": [1]}),
        ("POST", "/v1/search", ["fast"]),
        ("POST", "/v1/extract", {"urls": []}),
        ("POST", "/v1/extract", {}),
        ("POST", "/v1/tasks/runs", {"input": "q"}),
        ("POST", "/v1/tasks/runs", {**TASK, "processor": "ultra16x"}),
        ("POST", "/v1/tasks/runs", {**TASK, "metadata": "x"}),
        ("POST", "/chat/completions", {"messages": []}),
        ("DELETE", "/v1/tasks/runs/trun_1", None),
        ("GET", "/v1/monitors", None),
    ],
)
async def test_what_has_no_price_is_not_sent(method: str, path: str, body: Any) -> None:
    """Neither an unknown product nor an unknown variant of a known one leaves this machine, or is held."""
    async with provider(Reply()) as other, books() as ledger, client_of(ledger, other.url) as client:
        with pytest.raises(UnpricedError):
            await client.request(method, f"{other.url}{path}", json=body)
        assert (other.seen, ledger.envelope.calls) == ([], 0)


async def test_other_places_are_not_asked() -> None:
    """A client for one provider reaches no other, nor the same one on another port."""
    async with provider(Reply()) as other, books() as ledger:
        async with client_of(ledger, "http://127.0.0.1:9") as client:
            with pytest.raises(UnpricedError):
                await client.post(f"{other.url}/v1/search", json=SEARCH)
        assert other.seen == []


async def test_what_does_not_fit_is_not_sent() -> None:
    """The envelope says no before the socket does anything."""
    async with (
        provider(Reply(body=FOUND)) as other,
        books(FAST) as ledger,
        client_of(ledger, other.url) as client,
    ):
        await client.post(f"{other.url}/v1/search", json=SEARCH)
        with pytest.raises(EnvelopeExhaustedError):
            await client.post(f"{other.url}/v1/search", json=SEARCH)
        assert len(other.seen) == 1


async def test_concurrent_calls_share_the_envelope() -> None:
    """64 at once with money for 9: exactly 9 arrive."""
    async with (
        provider(Reply(body=FOUND)) as other,
        books(9 * FAST) as ledger,
        client_of(ledger, other.url) as client,
    ):
        asked = [client.post(f"{other.url}/v1/search", json=SEARCH) for _ in range(64)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, EnvelopeExhaustedError) for one in answers) == 55
        assert len(other.seen) == 9
        assert len(await ledger.closed()) == 9


class Away(MemoryLedger):
    """A ledger that does not answer some verbs."""

    away: frozenset[str] = frozenset()

    async def draw(self, envelope: str, reservation: Any) -> Any:
        if "draw" in self.away:
            raise StoreUnavailableError("away")
        return await super().draw(envelope, reservation)

    async def settle(self, hold: str, amount_nano: int, **options: Any) -> Any:
        if "settle" in self.away:
            raise StoreUnavailableError("away")
        return await super().settle(hold, amount_nano, **options)


async def test_without_a_ledger_nothing_leaves() -> None:
    """What cannot be written down first is not bought."""
    ledger = Away()
    async with provider(Reply(body=FOUND)) as other, books(ledger=ledger) as book:
        async with client_of(book, other.url) as client:
            ledger.away = frozenset({"draw"})
            with pytest.raises(Problem) as refused:
                await client.post(f"{other.url}/v1/search", json=SEARCH)
            assert refused.value.status_code == 503
            ledger.away = frozenset()
        assert other.seen == []


async def test_a_ledger_that_is_away_after_the_call_loses_nothing() -> None:
    """The answer is delivered, and the cost follows when the ledger is back."""
    ledger = Away()
    async with (
        provider(Reply(body=FOUND)) as other,
        books(ledger=ledger) as book,
        client_of(book, other.url) as client,
    ):
        ledger.away = frozenset({"settle"})
        assert (await client.post(f"{other.url}/v1/search", json=SEARCH)).is_success
        assert await book.entries() == []
        ledger.away = frozenset()
        await book.meter.keeper.beat()
        assert [(entry.kind, entry.amount_nano) for entry in await book.entries()] == [("settled", FAST)]


async def test_answers_are_bounded() -> None:
    """A body without end breaks off, and is charged."""
    async with provider(Reply(body=b"x" * 10_000)) as other, books() as ledger:
        pool = open_pool(other.url)
        transport = MeteredTransport(
            pool, ledger.envelope, [ParallelTariff(PRICES, other.url)], most_body_bytes=5_000
        )
        client = httpx.AsyncClient(transport=transport, trust_env=False)
        with pytest.raises(httpx.ReadError, match="larger than allowed"):
            await client.post(f"{other.url}/v1/search", json=SEARCH)
        assert await ledger.closed() == [("presumed", FAST, True)]
        await pool.aclose()


async def test_compressed_answers_are_read() -> None:
    """Nobody asked for them, and some send them all the same."""
    reply = Reply(body=gzip.compress(json.dumps(FOUND).encode()), headers={"content-encoding": "gzip"})
    entries, other, answer = await ask(reply)
    assert other.seen[0].headers["accept-encoding"] == "identity"
    assert isinstance(answer, httpx.Response)
    assert answer.json() == FOUND
    assert entries == [("settled", FAST, False)]


async def test_a_run_of_mixed_fates_adds_up() -> None:
    """Of many calls, those charged are those that may have been accepted, each once."""
    fates = itertools.cycle(
        [
            Reply(body=FOUND),
            Reply(429, {}),
            Reply(500, {}),
            Reply(body=FOUND, cut=9),
            Reply(None),
            Reply(422, {}),
        ]
    )
    async with (
        provider(lambda _: next(fates)) as other,
        books() as ledger,
        client_of(ledger, other.url) as client,
    ):
        asked = [client.post(f"{other.url}/v1/search", json=SEARCH) for _ in range(60)]
        await asyncio.gather(*asked, return_exceptions=True)
        assert len(other.seen) == ledger.envelope.calls == 60
        entries = await ledger.closed()
        assert sum(entry[1] for entry in entries) == 40 * FAST
        assert ledger.envelope.presumed_nano == 30 * FAST


async def test_each_request_carries_the_id_of_its_hold() -> None:
    """So that a provider's log can be compared with the ledger line by line; what is not billed carries none."""
    usage = [{"name": "sku_search", "count": 1}]
    async with (
        provider(Reply(body={**FOUND, "usage": usage})) as other,
        books() as ledger,
        client_of(ledger, other.url) as client,
    ):
        for _ in range(2):
            await client.post(f"{other.url}/v1/search", json=SEARCH)
        await client.get(f"{other.url}/v1/tasks/runs/trun_1")
        sent = [seen.headers.get("x-client-request-id") for seen in other.seen]
        assert sent == [*(entry.hold for entry in await ledger.entries()), None]
