"""What a period would have cost with other prices."""

from __future__ import annotations

import asyncio
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from prodkit.metering import Price, PriceBook
from prodkit.metering.repricing import reprice
from prodkit.metering.shares import Sold, shares_of
from tests.metering.booked import BOOK, SKUS, fresh, spend


def book(*prices: Price) -> PriceBook:
    return PriceBook(prices, version="other", captured=date(2026, 1, 1), source="a test")


DOUBLE = book(
    *(
        Price(price.provider, price.sku, price.unit, str(2 * float(price.price_usd)), price.per)
        for price in BOOK
        if price.provider == "parallel"
    )
)


@given(st.lists(st.tuples(st.sampled_from([*SKUS]), st.integers(1, 9)), max_size=20))
def test_the_same_prices_give_the_same_cost(bought):
    """To the nano-dollar; twice the prices, twice the cost; and the history is as it was."""

    async def run() -> None:
        ledger, _ = fresh()
        for number, (sku, quantity) in enumerate(bought):
            await spend(ledger, f"h{number}", SKUS[sku] * quantity, {sku: quantity})
        before = await ledger.entries(limit=100)
        same, double = await reprice(ledger, BOOK), await reprice(ledger, DOUBLE)
        assert same.priced.repriced_nano == same.priced.charged_nano == same.charged_nano
        assert double.priced.repriced_nano == 2 * same.priced.repriced_nano
        assert sum(one.repriced_nano for one in same.by_sku.values()) == same.priced.repriced_nano
        assert sum(one.quantity for one in same.by_sku.values()) == sum(count for _, count in bought)
        assert same.is_complete
        assert await ledger.entries(limit=100) == before

    asyncio.run(run())


async def test_what_has_no_price_is_listed_and_never_free():
    """Neither its old cost nor nothing stands in the sums that are compared; the whole is the ledger's."""
    ledger, _ = fresh()
    await spend(ledger, "a", 1_000_000, {"search.fast": 1})
    await spend(ledger, "b", 9_000, {"search.fast": 1, "novel": 2})
    await spend(ledger, "c", 500, {"input_tokens": 3}, provider="openai", model="gpt-y")
    await spend(ledger, "d", 70)
    await ledger.adjust("m", -30, reason="a credit")
    found = await reprice(ledger, BOOK)
    assert not found.is_complete
    assert (found.priced.entries, found.priced.charged_nano, found.priced.repriced_nano) == (
        1,
        1_000_000,
        1_000_000,
    )
    unpriced = {key: (one.quantity, one.charged_nano) for key, one in found.unpriced.items()}
    assert unpriced == {("parallel", "novel"): (2, 9_000), ("openai", "gpt-y.input"): (3, 500)}
    assert (found.without_units.entries, found.without_units.charged_nano) == (1, 70)
    assert (found.other.entries, found.other.charged_nano) == (1, -30)
    assert found.charged_nano == 1_000_000 + 9_000 + 500 + 70 - 30


async def test_tokens_are_priced_as_they_were_bought():
    """Each line rounded up once, cached tokens by their own price, reasoning by that of the output it is a part of."""
    ledger, _ = fresh()
    units = {
        "requests": 1,
        "input_tokens": 1001,
        "cached_input_tokens": 1000,
        "output_tokens": 7,
        "reasoning_tokens": 2,
    }
    await spend(ledger, "a", 1, units, provider="openai", model="gpt-x")
    found = await reprice(ledger, BOOK)
    assert found.priced.repriced_nano == 38 + 10_000 + 17_500
    assert {sku: one.quantity for (_, sku), one in found.by_sku.items()} == {
        "gpt-x.input": 1,
        "gpt-x.cached_input": 1000,
        "gpt-x.output": 7,
    }


async def test_searches_of_before_are_known_by_another_name():
    """What Parallel's answers call `sku_search` is the mode that was asked for."""
    ledger, _ = fresh()
    await spend(ledger, "a", 5_000_000, {"sku_search": 1}, processor="advanced")
    await spend(ledger, "b", 3_000_000, {"sku_search": 1, "sku_search_additional_results": 2})
    found = await reprice(ledger, BOOK)
    assert found.priced.repriced_nano == 8_000_000
    assert {sku for _, sku in found.by_sku} == {"search.advanced", "search.fast", "search.additional_result"}


async def test_the_count_of_requests_is_no_part_of_what_a_client_bought():
    """What metered clients write, `requests` beside an SKU, is priced by the SKU and compared under its name."""
    ledger, _ = fresh()
    await spend(ledger, "a", 5_000_000, {"requests": 1, "search.advanced": 1}, processor="advanced")
    found = await reprice(ledger, BOOK)
    assert found.is_complete
    assert (found.priced.charged_nano, found.priced.repriced_nano) == (5_000_000, 5_000_000)
    assert {sku: one.quantity for (_, sku), one in found.by_sku.items()} == {"search.advanced": 1}
    [entry] = await ledger.entries()
    [share] = shares_of(entry, BOOK)
    assert (share.sku, share.quantity, share.amount_nano) == ("search.advanced", 1, 5_000_000)
    assert share.price is not None


async def test_requests_that_have_a_price_or_stand_alone_are_sold():
    """Where the book sells requests they cost; where nothing else was delivered they are what has no price."""
    ledger, _ = fresh()
    await spend(ledger, "a", 7_000_000, {"requests": 2, "search.fast": 1})
    sells = book(Price("parallel", "requests", "request", "0.003"), *BOOK)
    assert (await reprice(ledger, sells)).priced.repriced_nano == 7_000_000
    alone, _ = fresh()
    await spend(alone, "b", 9, {"requests": 1})
    assert {key: one.charged_nano for key, one in (await reprice(alone, BOOK)).unpriced.items()} == {
        ("parallel", "requests"): 9
    }


async def test_a_correction_takes_back_by_the_new_prices():
    """What was presumed and then turned out otherwise is counted as it turned out."""
    ledger, _ = fresh()
    from prodkit.stores.ledger import Reservation

    await ledger.reserve(
        Reservation(
            id="a",
            amount_nano=3_000_000,
            lease_seconds=60,
            attributes={"provider": "parallel"},
            dispatched=True,
            units={"search.fast": 3},
        )
    )
    await ledger.presume("a")
    await ledger.settle("a", 1_000_000, units={"search.fast": 1})
    found = await reprice(ledger, DOUBLE)
    assert (found.priced.charged_nano, found.priced.repriced_nano) == (1_000_000, 2_000_000)


async def test_a_pricer_of_ones_own_is_asked_first():
    """It may know units that no book names; what it does not know is left to the next."""

    def by_weight(units, attributes, prices):
        if "grams" not in units:
            return None
        price = Price("post", "parcel", "kilogram", "2", per=1000)
        return [Sold("post", "grams", "parcel", units["grams"], price)]

    from prodkit.metering.shares import PRICERS

    ledger, _ = fresh()
    await spend(ledger, "a", 1, {"grams": 500})
    await spend(ledger, "b", 1_000_000, {"search.fast": 1})
    found = await reprice(ledger, BOOK, pricers=(by_weight, *PRICERS))
    assert found.priced.repriced_nano == 1_000_000_000 + 1_000_000
    assert found.is_complete
