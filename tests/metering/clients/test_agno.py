"""Agno above a metered client: what its own metrics miss stands in the ledger all the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agno.agent import Agent
from agno.models.openai.like import OpenAILike

from prodkit.metering.clients import ModelTariff, metered_client, open_pool
from tests.metering.clients.models import house_prices, line_of
from tests.metering.clients.test_bills import line_of_bill
from tests.support.billing_provider import BillingProvider
from tests.support.paid_provider import books, provider


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "AGNO_TELEMETRY", "false")


@contextlib.asynccontextmanager
async def agent(*fates: Any, **options: Any) -> AsyncIterator[tuple[Any, Any, Any]]:
    theirs = BillingProvider(list(fates))
    async with provider(theirs) as wire, books(10**12) as ours:
        pool = open_pool(wire.url)
        tariff = ModelTariff(house_prices(), f"{wire.url}/v1", most_output_tokens=200)
        client = metered_client(pool, ours.envelope, [tariff], **options)
        model = OpenAILike(
            id="m-1", api_key="k", base_url=f"{wire.url}/v1", max_retries=0, http_client=client
        )
        yield Agent(model=model, telemetry=False), ours, theirs
        await client.aclose()
        await pool.aclose()


async def entries_of(ours: Any) -> list[Any]:
    await ours.closed()
    return [entry for entry in await ours.entries() if entry.amount_nano]


@pytest.mark.parametrize("way", ["abort", "drain"])
async def test_a_reader_that_leaves_a_run(way: Any) -> None:
    """Agno tells nothing of a run that is left, and keeps nothing; the ledger has its line."""
    async with agent("slow", on_abandon=way) as (one, ours, theirs):
        stream = one.arun("What does nonlocal mean?", stream=True, stream_events=True)
        async for event in stream:
            if event.event == "RunContent":
                break
        await stream.aclose()
        await one.model.http_client.aclose()
        [entry], [bill] = await entries_of(ours), theirs.bills
        if way == "drain":
            assert line_of(entry) == line_of_bill(bill)
        else:
            assert entry.amount_nano >= bill.input * 2000
            assert entry.estimated


async def test_a_stream_that_the_other_side_cuts() -> None:
    """Agno may take it for a success without tokens; here it is charged, and flagged."""
    async with agent("cut") as (one, ours, theirs):
        with contextlib.suppress(Exception):
            async for _ in one.arun("What does nonlocal mean?", stream=True, stream_events=True):
                pass
        [entry], [bill] = await entries_of(ours), theirs.bills
        assert entry.estimated
        assert entry.amount_nano >= bill.input * 2000


@pytest.mark.parametrize("fate", ["busy", "accepted_then_502"])
async def test_no_attempt_is_hidden(fate: Any) -> None:
    """One question is one request, and a line only where it may have been accepted."""
    async with agent(fate) as (one, ours, theirs):
        with contextlib.suppress(Exception):
            await one.arun("What does nonlocal mean?")
        entries = await entries_of(ours)
        assert ours.envelope.calls == 1
        assert len(entries) == len(theirs.bills) == (fate != "busy")


async def test_the_ledger_agrees_with_what_agno_counts() -> None:
    """Where all goes well, both have counted the same tokens."""
    async with agent("cached") as (one, ours, _):
        answer = await one.arun("What does nonlocal mean?")
        [entry] = await entries_of(ours)
        assert answer.metrics.input_tokens == entry.units["input_tokens"]
        assert answer.metrics.output_tokens == entry.units["output_tokens"]
        assert answer.metrics.cache_read_tokens == entry.units["cached_input_tokens"]
