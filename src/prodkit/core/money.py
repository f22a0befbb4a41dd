"""Money as integer nano-USD (1e-9 USD), and as the decimal strings that cross the border. Never a float.

Nano, because the price of one token of a language model is a whole number of them and not of micro-USD. A signed 64-bit
integer holds nine thousand million dollars of them.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation, localcontext
from typing import Annotated, Final

from pydantic import Field

__all__ = [
    "MOST_NANO",
    "NANO_PER_USD",
    "SignedUsdString",
    "UsdString",
    "format_usd",
    "parse_signed_usd",
    "parse_usd",
    "price_nano",
]

NANO_PER_USD: Final = 1_000_000_000
MOST_NANO: Final = 9_000_000 * NANO_PER_USD
"""The most any limit may be: every amount below is exact in a double too, which is what Redis scripts compute with."""

# Not \d: to pydantic's engine every script's digits are digits, and what it lets in has to be read below.
_PATTERN = r"^[0-9]{1,7}(\.[0-9]{1,9})?$"

UsdString = Annotated[str, Field(pattern=_PATTERN, max_length=17, examples=["0.01"])]
"""A JSON string. A JSON number is refused with 422 (pydantic turns no number into a string): it has been a binary float
in somebody's program."""

SignedUsdString = Annotated[
    str, Field(pattern=r"^-?[0-9]{1,7}(\.[0-9]{1,9})?$", max_length=18, examples=["-0.01"])
]
"""Likewise, with a minus sign for what is given back."""


def parse_usd(text: str) -> int:
    """Nano-USD of a decimal string such as `"0.005"`: up to seven digits before the point and nine after.

    Raises:
        ValueError: *text* is not such a number; signs, exponents and blanks are not.
    """
    if not re.fullmatch(_PATTERN, text):
        message = f"not an amount in USD: {text[:32]!r}"
        raise ValueError(message)
    whole, _, fraction = text.partition(".")
    return int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0"))


def parse_signed_usd(text: str) -> int:
    """As `parse_usd`, also with a minus sign in front.

    Raises:
        ValueError: *text* is not such a number.
    """
    return -parse_usd(text[1:]) if text.startswith("-") else parse_usd(text)


def format_usd(nano: int) -> str:
    """The shortest decimal string that says *nano* exactly: 1_000_000 is `"0.001"`, 0 is `"0"`."""
    sign = "-" if nano < 0 else ""
    whole, fraction = divmod(abs(nano), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def price_nano(quantity: int, price_usd: str, per: int = 1) -> int:
    """What *quantity* units cost in nano-USD at *price_usd* for each *per* of them, rounded up once, at the end.

    A price may be finer than a nano-USD (`"0.0375"` per million tokens); an amount may not.

    Args:
        quantity: units, not negative.
        price_usd: a decimal string, not negative; an exponent is accepted.
        per: how many units the price is for, e.g. 1_000_000 tokens.

    Raises:
        ValueError: one of them is not such a number.
    """
    try:
        price = Decimal(price_usd)
    except InvalidOperation:
        message = f"not a price in USD: {price_usd[:32]!r}"
        raise ValueError(message) from None
    if not price.is_finite() or price < 0 or quantity < 0 or per < 1:
        message = f"cannot price {quantity} units at {price_usd[:32]!r} for each {per}"
        raise ValueError(message)
    with localcontext(prec=60):
        return int((price * quantity * NANO_PER_USD / per).to_integral_value(ROUND_CEILING))
