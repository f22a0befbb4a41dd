"""Ways in which proxies and frameworks lost money, each shown not to be one of ours.

Numbers are issues and pull requests of BerriAI/litellm, unless another project is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import openai
import pytest

from prodkit import Problem
from prodkit.core.clock import SYSTEM_CLOCK, FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.metering import EnvelopeExhaustedError, FlatTokenPrices, Meter, UnpricedError
from prodkit.metering.clients import metered_openai
from prodkit.stores.ledger import BudgetAsk, Reservation, UsageQuery
from prodkit.stores.memory_ledger import MemoryLedger
from tests.metering.clients.models import QUESTION, line_of, scene
from tests.metering.clients.test_bills import line_of_bill
from tests.support.paid_provider import Reply, books, provider

HELD = 10**7  # above what one call of these tests may cost, below two


async def test_calls_at_once_do_not_race_past_the_budget() -> None:
    """#34732, #26672, #23714, reyn#3047: thirty at once with money for some; what arrives was paid for, to the last of them."""
    async with scene(amount_nano=3 * HELD, most_output_tokens=1000) as one:
        asked = [one.ask(stream=number % 2 == 0) for number in range(30)]
        ended = await asyncio.gather(*asked, return_exceptions=True)
        refused = [error for error in ended if isinstance(error, Exception)]
        assert len(one.theirs.bills) == 30 - len(refused) < 30
        entries = await one.entries()
        assert sorted(map(line_of, entries)) == sorted(map(line_of_bill, one.theirs.bills))
        assert sum(entry.amount_nano for entry in entries) <= 3 * HELD


async def test_a_hold_is_not_cut_down_to_what_is_left() -> None:
    """#26845: a call that may cost more than is left does not leave, even if it would have turned out cheap."""
    async with scene(amount_nano=10**6) as one:
        with pytest.raises(EnvelopeExhaustedError):
            await one.ask()
        assert (one.wire.seen, await one.entries()) == ([], [])


async def test_a_call_that_fits_exactly_is_let_through() -> None:
    """#27020: the boundary belongs to the budget."""
    async with scene() as one:
        before = one.ours.envelope.left_nano
        stream: Any = await one.client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
        held = before - one.ours.envelope.left_nano
        await stream.close()
    async with scene(amount_nano=held) as one:
        stream = await one.client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
        await stream.close()
    async with scene(amount_nano=held - 1) as one:
        with pytest.raises(EnvelopeExhaustedError):
            await one.client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)


@pytest.mark.parametrize(
    "fate", ["well", "busy", "accepted_then_502", "accepted_then_silent", "cut", "no_usage", "unavailable"]
)
async def test_no_hold_is_left_behind(fate: Any) -> None:
    """#27639, PR #29493: a phantom hold would refuse others at random; whatever happens, none stays, also without closing."""
    async with scene(fate) as one:
        with contextlib.suppress(openai.APIError):
            await one.ask(stream=True)
        assert await one.ours.open_calls() == 0
        await one.entries()
        assert await one.ours.ledger.open_holds() == []


async def test_a_ledger_that_is_away_stops_what_costs() -> None:
    """#33923, docs #948, #34238: a hold that cannot be written down is no reason to go on without it."""

    class Away(MemoryLedger):
        async def draw(self, envelope: str, reservation: Reservation) -> Any:
            raise StoreUnavailableError("away")

    async with provider(Reply(body={})) as wire, books(ledger=Away()) as ours:
        client = metered_openai(ours.envelope, api_key="k", prices=FLAT, base_url=f"{wire.url}/v1")
        with pytest.raises(Problem):
            await client.chat.completions.create(model="m", messages=QUESTION)
        assert wire.seen == []
        await client.close()


FLAT = FlatTokenPrices(input_usd="1", output_usd="2", version="v")


@pytest.mark.parametrize("how", ["chat", "responses"])
async def test_streams_are_not_free(how: str) -> None:
    """#37923: a day of streams was EUR 830 at the provider and $1.47 at the proxy; here both say the same."""
    async with scene() as one:
        for _ in range(5):
            await one.ask(how, stream=True)
        entries = await one.entries()
        assert sum(entry.amount_nano for entry in entries) == sum(bill.nano for bill in one.theirs.bills) > 0


@pytest.mark.parametrize("way", ["abort", "drain"])
async def test_a_client_that_leaves_is_not_free(way: Any) -> None:
    """#14457, PR #33736, #30630, #36008, pollinations#5594, open-ace#3422: a line stands there, and drained it is exact."""
    async with scene("slow", on_abandon=way) as one:
        stream: Any = await one.client.chat.completions.create(model="m-1", messages=QUESTION, stream=True)
        await anext(stream)
        await stream.close()
        [entry] = await one.entries()
        [bill] = one.theirs.bills
        assert entry.amount_nano == bill.nano if way == "drain" else entry.amount_nano >= bill.input * 2000


async def test_nothing_said_is_not_nothing_used() -> None:
    """LLMKube#1852, PR #37734: an answer without usage, or half of one, is charged by an estimate that says it is one."""
    async with scene("no_usage", "cut", "no_usage") as one:
        for stream in (True, True, False):
            with contextlib.suppress(openai.APIError):
                await one.ask(stream=stream)
        entries = await one.entries()
        assert len(entries) == 3
        assert all(entry.amount_nano > 0 and entry.estimated for entry in entries)


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_used_is_not_nothing_said(stream: bool) -> None:
    """#37992: explicit zeros are zeros, and exact."""
    async with scene("zero_usage") as one:
        await one.ask(stream=stream)
        [entry] = await one.entries()
        assert (entry.amount_nano, entry.estimated, entry.units) == (0, False, {"requests": 1})


async def test_usage_beside_choices_is_seen() -> None:
    """#36083, #36168: the chunk that finishes may bring the usage with it; and cached tokens are cheap, not fourfold."""
    async with scene("usage_with_choices", "cached") as one:
        for _ in range(2):
            await one.ask(stream=True)
        entries = await one.entries()
        assert [line_of(entry) for entry in entries] == [line_of_bill(bill) for bill in one.theirs.bills]
        assert entries[1].amount_nano < entries[0].amount_nano


async def test_the_last_usage_counts_once() -> None:
    """Langfuse#4590: two chunks with usage are one call, and the last of them is right."""
    async with scene("usage_twice", "running_totals") as one:
        for _ in range(2):
            await one.ask(stream=True)
        assert [line_of(entry) for entry in await one.entries()] == [
            line_of_bill(bill) for bill in one.theirs.bills
        ]


@pytest.mark.parametrize("fate", ["cached", "written", "reasoned"])
async def test_parts_are_not_counted_twice(fate: Any) -> None:
    """langfuse#10592, codex-plugin#22, #7478: cached and written tokens are in the input, reasoning is in the output."""
    async with scene(fate) as one:
        await one.ask()
        [entry], [bill] = await one.entries(), one.theirs.bills
        assert entry.units["input_tokens"] == bill.input
        assert entry.units["output_tokens"] == bill.output
        assert entry.amount_nano == bill.nano


@pytest.mark.parametrize(
    "path", ["/completions", "/images/generations", "/audio/speech", "/batches", "/files"]
)
async def test_other_endpoints_are_no_way_around(path: str) -> None:
    """#38176: what has no tariff does not leave."""
    async with scene() as one:
        with pytest.raises(UnpricedError):
            await one.client.post(path, cast_to=object, body={"model": "m-1"})
        assert one.wire.seen == []


async def test_responses_are_counted_once() -> None:
    """#15740: one call of `/responses`, streamed or not, is one line."""
    async with scene() as one:
        for stream in (True, False):
            await one.ask("responses", stream=stream)
        assert len(await one.entries()) == len(one.theirs.bills) == 2


async def test_the_sdk_does_not_repeat_what_may_be_billed() -> None:
    """#39455, pdd#509, reyn#3047: one call, one request, one line; none hidden, none overwritten."""
    async with scene("accepted_then_502", "accepted_then_silent", "busy") as one:
        for _ in range(3):
            with pytest.raises(openai.APIError):
                await one.ask()
        assert len(one.wire.seen) == 3
        assert len(await one.entries()) == len(one.theirs.bills) == 2


@pytest.mark.parametrize("model", ["m-unheard", "m-1 ", "M-1", "m-1-mini", "openai/m-1"])
async def test_an_unknown_model_is_neither_free_nor_somebody_else(model: str) -> None:
    """PR #35914, #25874, #27463, headroom#3732: it is refused before anything leaves, and a counter says so."""
    async with scene() as one:
        with pytest.raises(UnpricedError):
            await one.ask(model=model)
        assert (one.wire.seen, await one.entries()) == ([], [])
        assert unpriced(one.ours.meter) == {"openai": 1}


async def test_an_unknown_model_that_served_is_charged_and_told() -> None:
    """Asked for one that is known, served by another: charged at the price that was asked for, flagged, and counted."""
    async with scene("unknown_model", "unknown_model") as one:
        for stream in (True, False):
            await one.ask(stream=stream)
        entries = await one.entries()
        assert [entry.amount_nano for entry in entries] == [bill.nano for bill in one.theirs.bills]
        assert all(entry.estimated and entry.attributes["model"] == "m-1-secret" for entry in entries)
        assert unpriced(one.ours.meter) == {"openai": 2}


async def test_labels_of_the_unpriced_are_bounded() -> None:
    """Providers are few; a host that a request names is nobody's label."""
    async with scene() as one:
        for number in range(300):
            one.ours.envelope.unpriced(f"p{number}")
        with pytest.raises(UnpricedError):
            await one.client.post("http://127.0.0.1:1/chosen-by-a-stranger", cast_to=object)
        counted = unpriced(one.ours.meter)
        assert len(counted) <= 201
        assert sum(counted.values()) == 301
        assert not [label for label in counted if "." in label]


def unpriced(meter: Meter) -> dict[str, float]:
    found = [one for one in meter.tally.samples() if one.name == "prodkit_cost_unpriced_total"]
    return {one.labels["provider"]: one.value for one in found}


async def test_money_is_never_a_fraction() -> None:
    """3.546499379999998: a thousand calls at 0.0375 USD a million tokens are whole nano-USD, and add up."""
    prices = FlatTokenPrices(input_usd="0.0375", output_usd="0.0375", version="v")
    async with scene(*["well"] * 20, prices=prices) as one:
        for _ in range(20):
            await one.ask()
        entries = await one.entries()
        assert all(type(entry.amount_nano) is int for entry in entries)
        [total] = await one.ours.ledger.usage(UsageQuery(since=0, until=10**11))
        assert total.amount_nano == sum(entry.amount_nano for entry in entries)
        assert json.dumps(total.amount_nano).isdigit()


async def test_reserved_by_others_is_not_out_of_credit() -> None:
    """justrach/codegraff#269: held for calls under way is another refusal than spent."""
    store = MemoryLedger(clock=FakeClock())
    meter = Meter()

    class Day:
        def asks(self, attributes: Any, at: float) -> tuple[BudgetAsk, ...]:
            return (BudgetAsk("day:all", 0, None, 100),)

    meter.bind(store, SYSTEM_CLOCK, resolver=Day())
    first = await meter.open("a", amount_nano=80, attributes={})
    with pytest.raises(Problem) as waiting:
        await meter.open("b", amount_nano=80, attributes={})
    call = await first.call(80)
    await call.settle(80)
    await first.aclose()
    with pytest.raises(Problem) as spent:
        await meter.open("c", amount_nano=80, attributes={})
    assert (waiting.value.status_code, spent.value.status_code) == (429, 402)
    await meter.aclose()
