"""Price books: what they hold, and what they refuse."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.exceptions import SettingsError
from prodkit.core.money import parse_usd
from prodkit.metering import Price, PriceBook, UnpricedError

BOOK = """
provider = "model"
version = "ours-1"
captured = 2026-01-02
source = "the contract"

[[price]]
sku = "input_tokens"
unit = "token"
price_usd = "0.0375"
per = 1_000_000

[[price]]
provider = "parallel"
sku = "search.fast"
unit = "request"
price_usd = "0.0005"
"""


@pytest.fixture(name="own_book")
def _own_book(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(BOOK, encoding="utf-8")
    return PriceBook.read(path)


def test_packaged_book_has_what_parallel_sells():
    """Searches by mode, URLs, tasks by processor with their twins, chat by model: at the list price."""
    book = PriceBook.load("parallel")
    assert book.cost("parallel", "search.advanced") == parse_usd("0.005")
    assert book.cost("parallel", "search.additional_result", 3) == parse_usd("0.003")
    assert book.cost("parallel", "extract.url", 20) == parse_usd("0.02")
    assert book.cost("parallel", "chat.core") == parse_usd("0.025")
    for processor, usd in {
        "lite": "0.005",
        "base": "0.01",
        "core": "0.025",
        "pro": "0.1",
        "ultra8x": "2.4",
    }.items():
        assert book.cost("parallel", f"task.{processor}") == parse_usd(usd)
        assert book.cost("parallel", f"task.{processor}-fast") == parse_usd(usd)
    assert all(price.provider == "parallel" for price in book)


def test_packaged_book_says_where_it_is_from():
    """Version, day and source go with every price, so an old cost can be explained."""
    book = PriceBook.load("parallel")
    assert book.version == "parallel-2026-10-18"
    assert book.captured == date(2026, 10, 18)
    assert book.source.startswith("https://docs.parallel.ai/")


def test_what_has_no_price_is_refused_and_not_free():
    """Also for a quantity of 0: the question itself is the fault."""
    book = PriceBook.load("parallel")
    for quantity in (0, 1):
        with pytest.raises(UnpricedError) as refused:
            book.cost("parallel", "search.psychic", quantity)
    assert (refused.value.provider, refused.value.sku) == ("parallel", "search.psychic")
    with pytest.raises(UnpricedError):
        book.price("model", "input_tokens")


def test_unknown_book_names_those_there_are():
    """A typo says what could have been meant."""
    with pytest.raises(LookupError, match="parallel"):
        PriceBook.load("paralel")


def test_operators_book_is_read_over_the_packaged_one(own_book):
    """Its prices are added and win; version, source and the older of both dates tell of both."""
    merged = PriceBook.load("parallel").merged(own_book)
    assert merged.cost("parallel", "search.fast") == parse_usd("0.0005")
    assert merged.cost("parallel", "search.turbo") == parse_usd("0.001")
    assert merged.cost("model", "input_tokens", 1_000_000) == parse_usd("0.0375")
    assert merged.version == "parallel-2026-10-18+ours-1"
    assert merged.captured == date(2026, 1, 2)
    assert merged.source.endswith("; the contract")
    assert PriceBook.load("parallel").cost("parallel", "search.fast") == parse_usd("0.001")


def test_one_token_is_rounded_up_and_a_million_exact(own_book):
    """A price finer than a nano-USD costs at least what it says, and is rounded once for all tokens together."""
    price = own_book.price("model", "input_tokens")
    assert price.cost(1) == 38
    assert price.cost(2) == 75
    assert price.cost(0) == 0


@given(
    quantity=st.integers(0, 10**12),
    digits=st.integers(0, 10**9),
    places=st.integers(0, 12),
    per=st.sampled_from([1, 3, 1000, 1_000_000]),
)
def test_cost_is_never_below_the_price_nor_a_nano_above_it(quantity, digits, places, per):
    """Rounding is up and by less than one nano-USD, whatever the price, thirds included."""
    usd = f"{Decimal(digits).scaleb(-places):f}"
    exact = Decimal(digits).scaleb(9 - places) * quantity
    cost = Price("p", "s", "u", usd, per).cost(quantity)
    assert 0 <= Decimal(cost) * per - exact < per


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"0.0375"', "0.0375"), "price 1: price_usd is not a text in quotes"),
        (('"0.0375"', '"-1"'), "price 1: cannot price"),
        (('"0.0375"', '"NaN"'), "price 1: cannot price"),
        (("per = 1_000_000", "per = 0"), "price 1: cannot price"),
        (("per = 1_000_000", "per = 1.5"), "price 1: per is not a whole number"),
        (('unit = "token"', 'units = "token"'), "price 1: a price has no 'units'"),
        (('sku = "input_tokens"', ""), "price 1: sku is not a text in quotes"),
        (("captured = 2026-01-02", 'captured = "yesterday"'), "captured is not a date"),
        (('version = "ours-1"', ""), "version is not a text"),
        (('provider = "parallel"\nsku = "search.fast"', 'sku = "input_tokens"'), "has two prices"),
        (("[[price]]", "[price]"), ""),
        (('source = "the contract"', 'source = "x"\ncurrency = "EUR"'), "the book has no 'currency'"),
    ],
)
def test_a_broken_book_refuses_the_start_and_says_where(tmp_path, change, says):
    """The file, the line and the fault; a price is never guessed."""
    path = tmp_path / "prices.toml"
    path.write_text(BOOK.replace(*change), encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        PriceBook.read(path)
    assert "PRODKIT_METERING__PRICE_BOOK: the price book 'prices.toml'" in str(refused.value)
    assert says in str(refused.value)


def test_missing_and_endless_books_refuse_the_start(tmp_path):
    """A wrong path and a wrong file are faults of the setting, and neither is read for ever."""
    with pytest.raises(SettingsError, match="No such file"):
        PriceBook.read(tmp_path / "nowhere.toml")
    path = tmp_path / "huge.toml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(SettingsError, match="more than 1000000 bytes"):
        PriceBook.read(path)


def test_prices_grow_old(own_book):
    """The age counts from the day of capture, and is not negative before it."""
    day = 86_400
    assert own_book.age_seconds(1_767_312_000 + 3 * day) == 3 * day
    assert own_book.age_seconds(0) == 0
