"""Money as integers and decimal strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.money import format_usd, parse_signed_usd, parse_usd, price_nano


@given(st.integers(min_value=0, max_value=999_999_999_999_999))
def test_what_is_written_is_read_again(nano: int) -> None:
    """No amount changes on its way through a string."""
    assert parse_usd(format_usd(nano)) == nano


@given(st.integers(min_value=-999_999_999_999_999, max_value=999_999_999_999_999))
def test_what_is_given_back_has_a_sign(nano: int) -> None:
    """And is read again as it was written; nowhere else is a sign an amount."""
    assert parse_signed_usd(format_usd(nano)) == nano
    for wrong in ("+1", "--1", "- 1", "-", "-1e3"):
        with pytest.raises(ValueError, match="not an amount"):
            parse_signed_usd(wrong)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (1_000_000, "0.001"), (2_500_000_000, "2.5"), (-5, "-0.000000005")],
)
def test_amounts_are_written_as_people_write_them(nano: int, text: str) -> None:
    """No exponent, no trailing zeros."""
    assert format_usd(nano) == text


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", " 1", "1.", ".5", "1.0000000001", "12345678", "NaN", "١", "1\n"]
)
def test_anything_else_is_refused(text: str) -> None:
    """In particular what a float would take."""
    with pytest.raises(ValueError, match="not an amount"):
        parse_usd(text)


@pytest.mark.parametrize(
    ("quantity", "price", "per", "nano"),
    [
        (1, "0.001", 1, 1_000_000),
        (1_000_000, "0.0375", 1_000_000, 37_500_000),
        (1, "0.0375", 1_000_000, 38),  # 37.5 nano-USD, up
        (3, "1e-9", 1, 3),
        (1, "0.0000000001", 1, 1),
        (0, "5", 1, 0),
    ],
)
def test_prices_finer_than_a_nano_are_rounded_up_once(quantity: int, price: str, per: int, nano: int) -> None:
    """A call never costs less than its price, and never more than one nano-USD above it."""
    assert price_nano(quantity, price, per) == nano


@pytest.mark.parametrize(
    ("quantity", "price", "per"), [(1, "-1", 1), (1, "NaN", 1), (1, "x", 1), (-1, "1", 1), (1, "1", 0)]
)
def test_what_is_no_price_is_refused(quantity: int, price: str, per: int) -> None:
    """A wrong price table must not become a free call."""
    with pytest.raises(ValueError, match="pric"):
        price_nano(quantity, price, per)
