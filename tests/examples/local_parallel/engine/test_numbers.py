"""Quantities and dates: read, converted, compared."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.local_parallel.engine.agreement import agree
from examples.research_agents.local_parallel.engine.numbers import Quantity, plain, quantities_in


def only(text: str) -> Quantity:
    [found] = quantities_in(text)
    return found


@pytest.mark.parametrize(
    ("text", "shown", "unit", "family"),
    [
        ("340 people", "340", "people", "count:people"),
        ("three hundred and forty employees", "340", "employees", "count:employee"),
        ("$3.2 million", "3200000", "USD", "money:USD"),
        ("84,000 euros", "84000", "EUR", "money:EUR"),
        ("160 euros a night", "160", "EUR/night", "money:EUR/night"),
        ("36 MW", "36", "MW", "power"),
        ("12 km²", "12", "km²", "area"),
        ("18 percent", "18", "%", "share"),
        ("built in 1987", "1987", "", "date"),
        ("on 3 May 2031", "2031-05-03", "", "date"),
        ("at 09:12 UTC", "09:12", "", "clock"),
        ("a population of 1852", "1852", "", "number"),
        ("~50 %", "50", "%", "share"),
    ],
)
def test_quantities_are_read(text: str, shown: str, unit: str, family: str) -> None:
    """The value as a finding carries it, with its unit and what it can be compared with."""
    found = only(text)
    assert (found.shown, found.unit, found.family) == (shown, unit, family)


@pytest.mark.parametrize(
    "text", ["Python >=3.11", "version 8.1.0", "one of them", "the 1st of them", "starlette<2", "B2B", ""]
)
def test_what_is_no_quantity(text: str) -> None:
    """Versions, ordinals and names with digits are none."""
    assert quantities_in(text) == ()


@pytest.mark.parametrize(
    ("claimed", "told", "agreed"),
    [
        ("2.1 kg", "2100 g", True),
        ("340 people", "340 people", True),
        ("340 people", "341 people", False),
        ("3.2 million people", "3,204,000 people", True),
        ("3.24 million people", "3.2 million people", None),
        ("more than 300 people", "340 people", True),
        ("more than 400 people", "340 people", False),
        ("290 people", "more than 300 people", False),
        ("500 people", "more than 300 people", None),
        ("about 12,000 payments", "12,400 payments", True),
        ("about 9,000 payments", "12,400 payments", False),
        ("up to 210 euros", "up to 160 euros", None),
        ("5 euros", "5 dollars", None),
        ("5 miles", "8 km", True),
        ("32 °F", "0 °C", True),
        ("in May 2031", "on 3 May 2031", True),
        ("in June 2031", "on 3 May 2031", False),
        ("at 09:12", "at 09:20", False),
        ("99.4 percent", "99.7 percent", False),
    ],
)
def test_values_agree_or_not(claimed: str, told: str, agreed: bool | None) -> None:
    """None where they cannot be compared, or where the digits leave it open."""
    assert agree(only(claimed), only(told)) is agreed


@given(st.integers(min_value=2, max_value=10**12))
def test_whole_numbers_survive(value: int) -> None:
    """With and without separated thousands, to the last digit."""
    for text in (f"It sold {value} boxes.", f"It sold {value:,} boxes."):
        # Four digits behind some words are a year, and then no quantity.
        found = [one.value for one in quantities_in(text) if one.family != "date"]
        assert found == [Decimal(value)] or (not found and 1000 <= value < 2200)


@given(st.decimals(min_value=0, max_value=10**9, places=3))
def test_decimals_are_exact(value: Decimal) -> None:
    """What is printed is what was read: no binary fraction in between."""
    found = only(f"It weighs {value:f} kg.")
    assert found.value == value
    assert Decimal(plain(found.told)) == value
