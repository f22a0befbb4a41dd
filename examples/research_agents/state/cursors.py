"""Where a list goes on: the place of the last one seen, as text that callers hand back and do not read."""

from __future__ import annotations

import base64
import binascii

__all__ = ["decode", "encode"]

_LONGEST_NUMBER = 15  # digits; milliseconds have 13


def encode(created_at: int, identifier: str) -> str:
    """The cursor behind the item *identifier* made at *created_at*."""
    return base64.urlsafe_b64encode(f"{created_at}.{identifier}".encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[int, str] | None:
    """What `encode` was given; None when *cursor* is not one of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError):
        return None
    number, dot, identifier = text.partition(".")
    if not dot or not number.isascii() or not number.isdigit() or len(number) > _LONGEST_NUMBER:
        return None
    return int(number), identifier
