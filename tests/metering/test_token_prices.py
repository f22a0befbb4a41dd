"""What tokens cost: each in one line, rounded up once a line, and never by the price of something else."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.exceptions import MissingExtraError
from prodkit.metering import (
    BookTokenPrices,
    ChainedTokenPrices,
    FlatTokenPrices,
    Price,
    PriceBook,
    TokenPrices,
    TokenRates,
    TokenUse,
    UnpricedError,
)
from prodkit.metering.genai_token_prices import GenaiTokenPrices
from prodkit.metering.token_prices import Rate

GENAI = GenaiTokenPrices(now=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))


def book(**prices: str) -> BookTokenPrices:
    lines = [Price("p", f"m.{kind}", "token", price, per=1_000_000) for kind, price in prices.items()]
    return BookTokenPrices(PriceBook(lines, version="b-1", captured=date(2026, 11, 22), source="the tests"))


def test_each_token_is_in_one_line() -> None:
    """Cached and written ones are taken out of the input, reasoning out of the output."""
    rates = book(input="2", cached_input="0.5", cache_write="2.5", output="8").rates("p", "m")
    use = TokenUse(
        input_tokens=100,
        cached_input_tokens=60,
        cache_write_tokens=10,
        output_tokens=40,
        reasoning_tokens=30,
    )
    assert rates.cost(use) == 30 * 2000 + 60 * 500 + 10 * 2500 + 40 * 8000
    assert use.units() == {
        "requests": 1,
        "input_tokens": 100,
        "cached_input_tokens": 60,
        "cache_write_tokens": 10,
        "output_tokens": 40,
        "reasoning_tokens": 30,
    }


def test_a_part_without_a_rate_costs_what_its_whole_costs() -> None:
    """It is not free, and not rounded by itself."""
    rates = book(input="0.0375", output="0.0375").rates("p", "m")
    use = TokenUse(input_tokens=3, cached_input_tokens=1, output_tokens=3, reasoning_tokens=1)
    assert rates.cost(use) == 113 + 113  # 112.5 nano-USD each


@pytest.mark.parametrize(
    "counts",
    [
        {"input_tokens": -1},
        {"input_tokens": 1, "cached_input_tokens": 2},
        {"input_tokens": 3, "cached_input_tokens": 2, "cache_write_tokens": 2},
        {"input_tokens": 3, "output_tokens": 1, "reasoning_tokens": 2},
        {"input_tokens": 3, "cached_input_tokens": -1},
    ],
)
def test_a_part_fits_into_its_whole(counts: Any) -> None:
    """Else a line of the bill would be negative."""
    with pytest.raises(ValueError):
        TokenUse(**counts)


def test_all_tokens_pay_the_tier_that_is_reached() -> None:
    """Cliffs and no steps, as providers have them; one token below it is cheap."""
    rate = Rate(Decimal(3), ((200_000, Decimal(6)),))
    rates = TokenRates(version="v", input=rate, output=Rate(Decimal(15), ((200_000, Decimal(22)),)))
    assert rates.cost(TokenUse(input_tokens=200_000, output_tokens=1)) == 600_000_000 + 15_000
    assert rates.cost(TokenUse(input_tokens=200_001, output_tokens=1)) == 200_001 * 6000 + 22_000


PRICE = st.decimals(0, 100, places=6).map(abs)
RATE = st.builds(
    Rate, PRICE, st.lists(st.tuples(st.integers(0, 2000), PRICE), max_size=3).map(sorted).map(tuple)
)
RATES = st.builds(
    TokenRates,
    version=st.just("v"),
    input=RATE,
    output=RATE,
    cached_input=st.none() | RATE,
    cache_write=st.none() | RATE,
    reasoning=st.none() | RATE,
    request=PRICE,
)


@given(RATES, st.data())
def test_the_most_is_never_exceeded(rates: TokenRates, data: Any) -> None:
    """Whatever the tiers, also where a higher one is cheaper, and however the tokens divide into kinds: the hold covers it."""
    most_in, most_out = data.draw(st.integers(0, 3000)), data.draw(st.integers(0, 3000))
    given_in, given_out = data.draw(st.integers(0, most_in)), data.draw(st.integers(0, most_out))
    cached = data.draw(st.integers(0, given_in))
    use = TokenUse(
        input_tokens=given_in,
        cached_input_tokens=cached,
        cache_write_tokens=data.draw(st.integers(0, given_in - cached)),
        output_tokens=given_out,
        reasoning_tokens=data.draw(st.integers(0, given_out)),
    )
    assert isinstance(rates.cost(use), int)
    assert rates.cost(use) <= rates.most(most_in, most_out)


def test_a_book_knows_exactly_its_models() -> None:
    """Not one whose name begins the same, and not one without a price for input."""
    prices = book(input="1", output="2")
    assert prices.rates("p", "m").version == "b-1"
    for provider, model in (("p", "m-mini"), ("p", "M"), ("q", "m"), ("p", "")):
        with pytest.raises(UnpricedError):
            prices.rates(provider, model)
    with pytest.raises(UnpricedError):
        book(output="2").rates("p", "m")


def test_prices_by_the_thousand_are_prices() -> None:
    """A book says for how many tokens its prices are."""
    lines = [Price("p", "m.input", "token", "0.001", per=1000), Price("p", "m.output", "token", "1")]
    prices = BookTokenPrices(lambda: PriceBook(lines, version="v", captured=date(2026, 1, 1), source="s"))
    assert prices.rates("p", "m").cost(TokenUse(input_tokens=5, output_tokens=1)) == 5000 + 10**9


def test_overrides_come_first() -> None:
    """The operator's own price for a model, the snapshot's for the others, and none for the unknown."""
    own = BookTokenPrices(
        PriceBook(
            [Price("openai", "gpt-4o.input", "token", "1", per=1_000_000)],
            version="ours",
            captured=date(2026, 11, 22),
            source="the contract",
        )
    )
    chain = ChainedTokenPrices(own, GENAI)
    assert chain.rates("openai", "gpt-4o").version == "ours"
    assert chain.rates("openai", "gpt-4o-mini").version == GENAI.version == "genai-prices-0.2.3"
    with pytest.raises(UnpricedError):
        chain.rates("openai", "gpt-4o-unheard")


@pytest.mark.parametrize("price", ["x", "-1", "NaN", "Infinity", ""])
def test_a_flat_price_is_a_number(price: str) -> None:
    """Wrong ones fail at construction."""
    with pytest.raises(ValueError):
        FlatTokenPrices(input_usd=price, output_usd="1", version="v")


# ------------------------------------------------------------------------------------------------ the snapshot


def test_the_snapshot_prices_what_it_spells_out() -> None:
    """To the decimal, cached input at its own price, and exact where a price is finer than a nano-USD."""
    rates = GENAI.rates("openai", "gpt-4o-mini")
    assert (rates.input, rates.output) == (Rate(Decimal("0.15")), Rate(Decimal("0.6")))
    assert rates.cost(TokenUse(input_tokens=1000, cached_input_tokens=100, output_tokens=10)) == 148_500
    embeddings = GENAI.rates("openai", "text-embedding-3-small")
    assert embeddings.output is None
    with pytest.raises(ValueError):
        embeddings.cost(TokenUse(input_tokens=1, output_tokens=1))


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2031-01-01"),
        ("openai", "computer-use-of-next-year"),
        ("openai", "ft:gpt-4o-2024-08-06:us"),
        ("openai", "no-such"),
        ("openai", ""),
        ("no-such", "gpt-4o"),
        ("parallel", "core"),
        ("openai", "whisper-1"),
    ],
)
def test_what_the_snapshot_does_not_spell_out_has_no_price(provider: str, model: str) -> None:
    """Its rules would find a sister for some of them; her price is not theirs."""
    with pytest.raises(UnpricedError):
        GENAI.rates(provider, model)


def test_the_snapshot_has_tiers() -> None:
    """A model whose long prompts cost more is held at what a long prompt costs."""
    rates = GENAI.rates("anthropic", "claude-sonnet-4-5")
    assert rates.input.tiers
    assert rates.most(300_000, 10) >= rates.cost(TokenUse(input_tokens=300_000, output_tokens=10))
    assert rates.most(300_000, 10) > 300_000 * 3000 + 10 * 15_000


def test_the_snapshot_agrees_with_its_own_arithmetic() -> None:
    """Every model that has a price here costs what the package itself computes."""
    from genai_prices import Usage, calc_price

    use = TokenUse(input_tokens=250_000, cached_input_tokens=1000, output_tokens=700)
    usage = Usage(input_tokens=250_000, cache_read_tokens=1000, output_tokens=700)
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    compared = 0
    for provider in GENAI._snapshot.providers:
        for model in provider.models:
            try:
                rates = GENAI.rates(provider.id, model.id)
            except UnpricedError:
                continue
            if rates.output is None or rates.request:
                continue
            theirs = calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=at)
            if theirs.model.id != model.id:
                continue
            ours = Decimal(rates.cost(use)) / 10**9
            assert theirs.total_price <= ours < theirs.total_price + Decimal("4e-9"), model.id
            compared += 1
    assert compared > 1500


def test_names_of_strangers_do_not_fill_the_memory() -> None:
    """A provider may say a new name each time."""
    prices = GenaiTokenPrices()
    for number in range(1100):
        with pytest.raises(UnpricedError):
            prices.rates("openai", f"stranger-{number}")
    assert len(prices._known) <= 1000


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is built, and not in the first request."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.delitem(sys.modules, "genai_prices.data_snapshot", raising=False)
    with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[prices\]"):
        GenaiTokenPrices()


@pytest.mark.parametrize("prices", [GENAI, book(input="1"), ChainedTokenPrices()])
def test_they_are_prices(prices: Any) -> None:
    """By protocol, so that one's own can stand beside them."""
    assert isinstance(prices, TokenPrices)
