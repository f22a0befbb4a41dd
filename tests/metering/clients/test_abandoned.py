"""Whoever asked has gone: no cost is lost, and none is made up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import httpx
import openai
import pytest

from prodkit.metering.clients import MeteredTransport, ParallelTariff, metered_client, open_pool
from prodkit.metering.clients import answers as answers_module
from tests.metering.clients.asking import FAST, FOUND, PRICES, SEARCH
from tests.metering.clients.models import MOST_OUTPUT, QUESTION, Scene, line_of, scene
from tests.metering.clients.stepping import cancelled_at
from tests.metering.clients.test_bills import line_of_bill
from tests.support.paid_provider import Reply, books, provider

WAYS: list[Any] = ["abort", "drain"]


async def read_some(client: openai.AsyncOpenAI, pieces: int) -> None:
    """Begin a stream and leave after *pieces* of it, as a handler does whose client went away."""
    stream = await client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
    async for _ in stream:
        pieces -= 1
        if not pieces:
            break
    await stream.close()


@pytest.mark.parametrize("pieces", [1, 3, 7])
async def test_a_drained_stream_is_charged_to_the_token(pieces: int) -> None:
    """The caller leaves, the pump reads on, and what stands in the ledger is what the provider bills."""
    async with scene("slow", on_abandon="drain") as one:
        await read_some(one.client, pieces)
        assert await one.ours.open_calls() == 1
        [entry] = await one.entries()
        [bill] = one.theirs.bills
        assert (line_of(entry), entry.kind, entry.estimated) == (line_of_bill(bill), "settled", False)


@pytest.mark.parametrize("pieces", [1, 3, 7])
async def test_an_aborted_stream_is_charged_by_what_came(pieces: int) -> None:
    """The connection is closed at once; the prompt and what arrived are charged, and flagged."""
    async with scene("slow", on_abandon="abort") as one:
        await read_some(one.client, pieces)
        assert await one.ours.open_calls() == 0
        await asyncio.wait_for(one.wire.left.wait(), 5)
        [entry] = await one.entries()
        [bill] = one.theirs.bills
        assert entry.estimated
        assert bill.input <= entry.units["input_tokens"]
        assert pieces <= entry.units["output_tokens"] < MOST_OUTPUT
        assert entry.amount_nano == 2000 * entry.units["input_tokens"] + 8000 * entry.units["output_tokens"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fate", ["well", "slow", "reasoned"])
async def test_cancelled_at_every_wait(way: Any, fate: Any) -> None:
    """At whatever await of a streamed call its task is cancelled: one line for each bill, exact where it was drained, flagged
    and covering where it was not, and no hold stays open.
    """
    at = 0
    async with scene(on_abandon=way, amount_nano=10**13) as one:
        while True:
            one.theirs.fates = [fate]
            before = len(one.theirs.bills)
            known = len(await settled(one))
            had_wait = await cancelled_at(at, lambda: one.ask(stream=True))
            await quiet(one, known + 1 if len(one.theirs.bills) > before else known)
            fresh = (await settled(one))[known:]
            bills = one.theirs.bills[before:]
            assert len(bills) <= 1
            if bills:
                check(one, fresh, bills[0], exact=way == "drain" or not had_wait)
            if not had_wait:
                break
            at += 1
        assert at >= (4 if way == "drain" else 10)
        await one.entries()
        assert await one.ours.ledger.open_holds() == []
        assert sum(entry.amount_nano for entry in await one.ours.entries()) >= (
            sum(bill.nano for bill in one.theirs.bills) if way == "drain" else 0
        )


async def settled(one: Scene) -> list[Any]:
    return [entry for entry in await one.ours.entries() if entry.amount_nano]


async def quiet(one: Scene, lines: int) -> None:
    """Until the pumps have ended and the ledger has heard of it."""
    for _ in range(400):
        if await one.ours.open_calls() == 0 and len(await settled(one)) >= lines:
            return
        await asyncio.sleep(0.005)


def check(one: Scene, fresh: list[Any], bill: Any, *, exact: bool) -> None:
    [entry] = fresh
    if exact:
        assert line_of(entry) == line_of_bill(bill)
    elif entry.estimated:
        assert entry.amount_nano >= 2000 * bill.input
    else:
        assert line_of(entry) == line_of_bill(bill)


async def test_an_answer_nobody_waits_for_is_drained_too() -> None:
    """Cancelled before the head of the answer came: it is waited for, read and settled, in a task of its own."""
    async with provider(Reply(body=FOUND, drip=0.001)) as wire, books() as ours:
        pool = open_pool(wire.url)
        client = metered_client(pool, ours.envelope, [ParallelTariff(PRICES, wire.url)], on_abandon="drain")
        task = asyncio.create_task(client.post(f"{wire.url}/v1/search", json=SEARCH))
        await wire.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ours.open_calls() == 1
        await client.aclose()
        said = [(entry.kind, entry.amount_nano, entry.estimated) for entry in await ours.entries()]
        assert said == [("settled", FAST, False)]
        await pool.aclose()


@pytest.mark.parametrize("bound", ["seconds", "bytes"])
async def test_a_pump_is_bounded(bound: str) -> None:
    """A provider that never ends does not keep a task, a connection and memory for ever."""
    endless = Reply(
        body=b"data: {}\n\n" * 20_000,
        headers={"content-type": "text/event-stream"},
        chunked=True,
        hang=150_000,
    )
    async with provider(endless) as wire, books() as ours:
        pool = open_pool(wire.url)
        transport = MeteredTransport(
            pool,
            ours.envelope,
            [ParallelTariff(PRICES, wire.url)],
            on_abandon="drain",
            drain_seconds=0.2 if bound == "seconds" else 60,
            drain_bytes=10**9 if bound == "seconds" else 1000,
        )
        client = httpx.AsyncClient(transport=transport, trust_env=False)
        chat = {"model": "speed", "messages": [], "stream": True}
        async with client.stream("POST", f"{wire.url}/chat/completions", json=chat) as answer:
            await anext(answer.aiter_bytes())
        async with asyncio.timeout(5):
            await client.aclose()
        await asyncio.wait_for(wire.left.wait(), 5)
        assert [(entry.kind, entry.estimated) for entry in await ours.entries()] == [("settled", True)]
        await pool.aclose()


async def test_pumps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers who leave cost nothing: beyond so many abandoned answers the rest is aborted, and charged all the same."""
    monkeypatch.setattr(answers_module, "MOST_PUMPS", 2)
    async with scene(*["slow"] * 5, on_abandon="drain") as one:
        one.theirs.drip = 0.003
        for _ in range(5):
            await read_some(one.client, 1)
        assert await one.ours.open_calls() == 2
        entries = await one.entries()
        assert sorted(entry.estimated for entry in entries) == [False, False, True, True, True]


async def test_the_run_may_end_before_the_pump() -> None:
    """Its envelope presumes the call; when the pump knows better, the difference follows."""
    async with scene("slow", on_abandon="drain") as one:
        await read_some(one.client, 2)
        await one.ours.envelope.aclose()
        [presumed] = await one.ours.entries()
        assert presumed.kind == "presumed"
        await one.client.close()
        assert [entry.kind for entry in await one.ours.entries()] == ["presumed", "adjusted"]
        total = sum(entry.amount_nano for entry in await one.ours.entries())
        assert total == one.theirs.bills[0].nano == one.ours.envelope.charged_nano


@pytest.mark.parametrize("way", WAYS)
async def test_a_forgotten_stream_is_charged(way: Any) -> None:
    """Nobody reads it, nobody closes it, and it is collected as garbage."""
    async with scene("slow", on_abandon=way) as one:
        stream: Any = await one.client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
        await anext(stream)
        del stream
        gc.collect()
        entries = await one.entries()
        assert sum(entry.amount_nano for entry in entries) >= one.theirs.bills[0].input * 2000


async def test_a_deadline_is_a_cancellation() -> None:
    """A handler with a time limit loses nothing either."""
    async with scene("slow", on_abandon="drain") as one:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.ask(stream=True)
        [entry] = await one.entries()
        assert line_of(entry) == line_of_bill(one.theirs.bills[0])
