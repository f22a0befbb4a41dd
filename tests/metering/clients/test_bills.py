"""The provider's own books and ours, line by line, whatever becomes of an answer."""

from __future__ import annotations

import contextlib

import openai
import pytest

from prodkit.metering import TokenUse
from prodkit.metering.clients import retrying
from tests.metering.clients.models import MOST_OUTPUT, Scene, house_prices, line_of, scene
from tests.support.billing_provider import MODELS, Bill, Fate

EXACT: list[Fate] = [
    "well",
    "usage_twice",
    "zero_usage",
    "usage_with_choices",
    "running_totals",
    "other_model",
    "cached",
    "written",
    "reasoned",
    "cut_after_usage",
]
UNKNOWN: list[Fate] = ["accepted_then_502", "accepted_then_silent", "cut", "no_usage", "unknown_model"]
REFUSED: list[Fate] = ["busy", "refused", "unavailable"]


def line_of_bill(bill: Bill):
    units = [
        ("input_tokens", bill.input),
        ("cached_input_tokens", bill.cached),
        ("cache_write_tokens", bill.written),
        ("output_tokens", bill.output),
        ("reasoning_tokens", bill.reasoning),
    ]
    return bill.model, bill.nano, units


async def ask_all(one: Scene, count: int, how: str, *, stream: bool) -> None:
    for _ in range(count):
        with contextlib.suppress(openai.APIError):
            await one.ask(how, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["chat", "responses"])
async def test_what_is_said_is_charged_to_the_token(how: str, stream: bool) -> None:
    """Each line of the provider's books stands in the ledger with the same model, the same tokens and the same amount."""
    async with scene(*EXACT) as one:
        await ask_all(one, len(EXACT), how, stream=stream)
        entries = await one.entries()
        assert [line_of(entry) for entry in entries] == [line_of_bill(bill) for bill in one.theirs.bills]
        assert not any(entry.estimated for entry in entries)
        assert all(entry.units["requests"] == 1 for entry in entries)
        assert {entry.attributes["price_book"] for entry in entries} == {"house-1"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["chat", "responses"])
async def test_what_is_not_said_is_never_charged_too_little(how: str, stream: bool) -> None:
    """Accepted and then lost: charged at least as much as is billed, at most what was held, and flagged."""
    async with scene(*UNKNOWN) as one:
        await ask_all(one, len(UNKNOWN), how, stream=stream)
        entries = await one.entries()
        assert len(entries) == len(one.theirs.bills) == len(UNKNOWN)
        for entry, bill in zip(entries, one.theirs.bills, strict=True):
            held = 2500 * 400 + 8000 * MOST_OUTPUT
            least = bill.nano if bill.fate != "cut" else bill.input * 2000
            assert least <= entry.amount_nano <= held, bill
            assert entry.estimated


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_refused_costs_nothing(stream: bool) -> None:
    """No bill, no line."""
    async with scene(*REFUSED) as one:
        await ask_all(one, len(REFUSED), "chat", stream=stream)
        assert (one.theirs.bills, await one.entries()) == ([], [])
        assert len(one.wire.seen) == len(REFUSED)


async def test_embeddings_are_charged_by_their_input() -> None:
    """They have no output, and need no price for it."""
    async with scene("well", "other_model") as one:
        for _ in range(2):
            await one.ask("embeddings")
        assert [line_of(entry) for entry in await one.entries()] == [
            line_of_bill(bill) for bill in one.theirs.bills
        ]


async def test_a_day_of_mixed_fates_adds_up() -> None:
    """However it is mixed, the ledger is at least the invoice, and exactly where the answers said it."""
    fates = (EXACT + UNKNOWN + REFUSED) * 3
    async with scene(*fates) as one:
        for number in range(len(fates)):
            with contextlib.suppress(openai.APIError):
                await one.ask("chat", stream=number % 2 == 0)
        entries, bills = await one.entries(), one.theirs.bills
        assert len(entries) == len(bills) == (len(EXACT) + len(UNKNOWN)) * 3
        for entry, bill in zip(entries, bills, strict=True):
            if entry.estimated:
                assert bill.fate in UNKNOWN
            else:
                assert line_of(entry) == line_of_bill(bill)


async def test_attempts_of_one_call_share_an_operation() -> None:
    """Each attempt is a line of its own, none overwrites another, and reports can count the call once."""
    async with scene("unavailable", "busy", "accepted_then_502", "well") as one:
        with pytest.raises(openai.InternalServerError):
            await retrying(lambda: one.ask("chat"), attempts=9, name="call-1", sleep=_at_once)
        await retrying(lambda: one.ask("chat"), name="call-2", sleep=_at_once)
        entries = await one.entries()
        assert [entry.attributes["operation"] for entry in entries] == ["call-1", "call-2"]
        assert [entry.kind for entry in entries] == ["presumed", "settled"]
        assert len(one.theirs.bills) == 2
        every = await one.ours.entries()
        assert [entry.attributes["operation"] for entry in every] == ["call-1"] * 3 + ["call-2"]


async def test_a_served_model_is_priced_by_its_own_name() -> None:
    """Asked for the cheap one and served by the dear one, and the other way round."""
    async with scene("other_model", "well") as one:
        await one.ask("chat", model="m-1")
        await one.ask("chat", model="m-2")
        dear, also_dear = await one.entries()
        assert dear.attributes["model"] == also_dear.attributes["model"] == "m-2"
        assert dear.amount_nano == also_dear.amount_nano > dear.units["output_tokens"] * MODELS["m-1"][3]


async def _at_once(_seconds: float) -> None:
    return None


async def test_the_day_can_be_priced_again() -> None:
    """From model and units alone, at the prices that its lines name: to the nano-USD, estimates included."""
    fates = [*EXACT, "no_usage", "cut"]
    async with scene(*fates) as one:
        await ask_all(one, len(fates), "chat", stream=True)
        for entry in await one.entries():
            counts = {name: count for name, count in entry.units.items() if name != "requests"}
            rates = house_prices().rates("openai", entry.attributes["model"])
            assert rates.version == entry.attributes["price_book"]
            assert rates.cost(TokenUse(**{"input_tokens": 0, **counts})) == entry.amount_nano
