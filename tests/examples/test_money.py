"""Money as integers and decimal strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.money import format_usd, parse_usd
from examples.research_agents.prices import PARALLEL_PRICES


@given(st.integers(min_value=0, max_value=999_999_999_999_999))
def test_what_is_written_is_read_again(nano: int) -> None:
    """No amount changes on its way through a string."""
    assert parse_usd(format_usd(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (1_000_000, "0.001"), (2_500_000_000, "2.5"), (-5, "-0.000000005")],
)
def test_amounts_are_written_as_people_write_them(nano: int, text: str) -> None:
    """No exponent, no trailing zeros."""
    assert format_usd(nano) == text


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", " 1", "1.", ".5", "1.0000000001", "1234567", "NaN", "١", "1\n"]
)
def test_anything_else_is_refused(text: str) -> None:
    """In particular what a float would take."""
    with pytest.raises(ValueError, match="not an amount"):
        parse_usd(text)


def test_prices_follow_the_requested_mode() -> None:
    """The SKU in the response is the same for all modes; extra results cost extra; an unknown mode has no price."""
    assert PARALLEL_PRICES.search("fast") == parse_usd("0.001")
    assert PARALLEL_PRICES.search("advanced") == parse_usd("0.005")
    assert PARALLEL_PRICES.search("fast", max_results=12) == parse_usd("0.003")
    with pytest.raises(KeyError):
        PARALLEL_PRICES.search("ultra")
