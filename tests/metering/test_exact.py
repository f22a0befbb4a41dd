"""Prices that no binary fraction holds, through the ledger and back: every amount is the exact one, rounded up once, and an int."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.money import MOST_NANO, format_usd, parse_usd, price_nano
from prodkit.metering import Meter
from prodkit.metering.pricing import Price, PriceBook
from prodkit.metering.token_prices import BookTokenPrices, TokenUse
from prodkit.stores.ledger import BudgetAsk, UsageQuery
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.sqlite_ledger import SqliteLedger

ALL = BudgetAsk("all", 0, None, MOST_NANO)
# A third, a seventh and their like of a price that is finer than a nano-USD: what is exact in no binary and in no decimal fraction.
PERS = st.sampled_from((1, 3, 6, 7, 9, 11, 13, 1_000, 1_000_000, 3_000_000, 999_983))
PRICES = st.decimals(min_value=0, max_value=100, places=12).map(lambda price: f"{price:f}")
QUANTITIES = st.integers(0, 10_000_000)
# In all below what a limit may be.
BOUGHT = st.lists(st.tuples(st.integers(0, 10_000), PRICES, PERS), min_size=1, max_size=8)


class Resolver:
    """One budget for everything."""

    def asks(self, attributes, at):
        return (ALL,)


def exact(quantity, price_usd, per):
    """What it costs, in fractions of whole numbers."""
    return Fraction(price_usd) * quantity * 1_000_000_000 / per


@given(QUANTITIES, PRICES, PERS)
@example(1, "0.000000001", 3)
@example(3, "0.000000001", 3)
@example(10_000_000, "0.1", 3)
@settings(max_examples=500)
def test_a_cost_is_the_exact_one_rounded_up_once(quantity, price_usd, per):
    """To the nano-USD, whatever the price is divided by; and the text of it is the same amount again."""
    cost = Price("p", "s", "unit", price_usd, per).cost(quantity)
    assert type(cost) is int
    assert cost == ceil(exact(quantity, price_usd, per)) == price_nano(quantity, price_usd, per)
    if cost <= MOST_NANO:
        assert parse_usd(format_usd(cost)) == cost


def whole(value):
    """Require that no number in *value*, and nothing in it, is a float but times."""
    fields = {name: getattr(value, name) for name in value.__slots__} if hasattr(value, "__slots__") else {}
    for name, found in fields.items():
        if name in {"at", "expires_at"}:
            continue
        assert not isinstance(found, float), (name, value)
        if isinstance(found, dict):
            assert not any(isinstance(one, float) for one in found.values()), value
    return value


async def spent(ledger, bought):
    """Buy through a meter; what the ledger says."""
    meter = Meter()
    meter.bind(ledger, FakeClock(), resolver=Resolver())
    costs = [price_nano(*one) for one in bought]
    async with await meter.open("run", amount_nano=sum(costs), attributes={"agent": "search"}) as envelope:
        for cost, (quantity, _, _) in zip(costs, bought, strict=True):
            call = await envelope.call(cost)
            await call.settle(cost, units={"sku": quantity})
        assert (envelope.charged_nano, envelope.left_nano) == (sum(costs), 0)
    entries = [whole(entry) for entry in await ledger.entries()]
    (account,) = await ledger.accounts([ALL])
    rows = await ledger.usage(UsageQuery(since=0.0, until=1e11, group_by=("agent",)))
    assert [entry.amount_nano for entry in entries] == costs
    assert whole(account).settled_nano == sum(costs)
    assert account.held_nano == 0
    assert sum(whole(row).amount_nano for row in rows) == sum(costs)
    assert await ledger.rebuild() == 0
    await meter.aclose()
    await ledger.aclose()
    return costs


@given(BOUGHT)
@settings(max_examples=100)
def test_what_is_charged_is_what_was_priced(bought):
    """Through meter, holds, accounts and reports; in all it is at most a nano-USD for each call above the exact sum."""
    costs = asyncio.run(spent(MemoryLedger(clock=FakeClock()), bought))
    true = sum(exact(*one) for one in bought)
    assert true <= sum(costs) < true + len(bought)


def test_a_file_keeps_every_digit(tmp_path):
    """Thirds and sevenths of amounts as large as a limit may be, which a double hardly holds, come back from SQLite as they were."""
    bought = [(1_999_999, "0.999999999999", per) for per in (1, 3, 7, 13, 999_983)]
    asyncio.run(spent(SqliteLedger(tmp_path / "app.db", clock=FakeClock(), timeout_seconds=30.0), bought))


@pytest.mark.parametrize("amount", [0.1, 1.0, 1e3, float("nan")])
def test_no_verb_takes_a_float(amount):
    """Also one that is a whole number by chance: it has been a fraction in somebody's program."""

    async def main():
        ledger = MemoryLedger(clock=FakeClock())
        meter = Meter()
        meter.bind(ledger, FakeClock(), resolver=Resolver())
        with pytest.raises(ValueError, match="whole number"):
            await meter.open("run", amount_nano=amount, attributes={})
        envelope = await meter.open("run", amount_nano=1000, attributes={})
        call = await envelope.call(500)
        with pytest.raises(ValueError, match="whole number"):
            await call.settle(amount)
        with pytest.raises(ValueError, match="whole number"):
            await ledger.adjust("m", amount, reason="r")
        with pytest.raises(ValueError, match="whole number"):
            await ledger.set_limit("all", amount)
        await call.settle_nothing()
        await envelope.aclose()
        await meter.aclose()

    asyncio.run(main())


def test_json_never_sees_a_number_of_money():
    """What crosses the border is a text: a reader of JSON makes a double of every number."""
    for nano in (1, 333_333_333, MOST_NANO - 1):
        assert parse_usd(json.loads(json.dumps(format_usd(nano)))) == nano


@pytest.mark.parametrize("per", [3, 7, 13, 999_983])
def test_a_rate_of_a_book_is_exact_whatever_it_is_for(per):
    """A price for three tokens is the price of three tokens, and not a nano-USD more."""
    book = PriceBook(
        [Price("house", "m.input", "token", "0.2", per=per)],
        version="v",
        captured=date(2026, 11, 1),
        source="s",
    )
    rates = BookTokenPrices(book).rates("house", "m")
    for count in (1, per - 1, per, 5 * per):
        assert rates.cost(TokenUse(input_tokens=count)) == book.cost("house", "m.input", count)
    assert rates.cost(TokenUse(input_tokens=per)) == 200_000_000
