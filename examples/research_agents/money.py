"""Money as integer nano-USD (1e-9 USD), and as the decimal strings that cross the border. Never a float.

Nano, because the price of one token of a language model is a whole number of them and not of micro-USD.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

__all__ = ["NANO_PER_USD", "UsdString", "format_usd", "parse_usd"]

NANO_PER_USD = 1_000_000_000
_PATTERN = r"^\d{1,6}(\.\d{1,9})?$"

# What a client may send: a JSON string. A JSON number is refused with 422 (pydantic turns no number into a string), as
# it has been a binary float in somebody's program.
UsdString = Annotated[str, Field(pattern=_PATTERN, max_length=16, examples=["0.01"])]


def parse_usd(text: str) -> int:
    """Nano-USD of a decimal string such as `"0.005"`: up to six digits before the point and nine after.

    Raises:
        ValueError: *text* is not such a number; signs, exponents and blanks are not.
    """
    if not re.fullmatch(_PATTERN, text, re.ASCII):
        message = f"not an amount in USD: {text[:32]!r}"
        raise ValueError(message)
    whole, _, fraction = text.partition(".")
    return int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0"))


def format_usd(nano: int) -> str:
    """The shortest decimal string that says *nano* exactly: 1_000_000 is `"0.001"`, 0 is `"0"`."""
    sign = "-" if nano < 0 else ""
    whole, fraction = divmod(abs(nano), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
