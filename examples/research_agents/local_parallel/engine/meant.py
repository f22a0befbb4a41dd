"""Which of several values in a sentence a claim is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .vocabulary import content_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .numbers import Quantity

__all__ = ["meant_by"]


def meant_by(claim: str, claimed: Quantity, text: str, told: Sequence[Quantity]) -> list[Quantity]:
    """Those of several values in *text* that stand before the words that the claim has behind its value.

    "99.4 percent of lead and 97 percent of chlorine" gives for chlorine one of them only.
    """
    if len(told) < 2:
        return list(told)
    behind = content_keys(claim[claimed.end :])
    ends = [*(one.start for one in told[1:]), len(text)]
    fitting = [one for one, end in zip(told, ends, strict=True) if behind & content_keys(text[one.end : end])]
    return fitting or list(told)
