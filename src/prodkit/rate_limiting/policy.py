"""A rate limit as a value: what is counted, for whom, and how fast it refills."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import limits

from prodkit.core.context import RequestContext
from prodkit.stores import Rate

__all__ = ["By", "Cost", "Policy", "parse_rate"]

By: TypeAlias = Literal["address", "principal", "tenant"] | Callable[[RequestContext], str | None]
"""Whose requests share a bucket.

`address`: the client's address. `principal`: the authenticated caller, else the address. `tenant`: the caller's
tenant, else as `principal`. A function: what it returns, and the policy does not apply where that is None.
"""

Cost: TypeAlias = int | Callable[[RequestContext], int]
"""How much of the bucket one request takes; a function is asked for each request and must not block."""

# It becomes a metric label, a part of a store's key and a quoted string in a header; no character here needs escaping
# in any of them.
_NAME: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_SEVERAL: Final = re.compile(r"[,;|]")


def parse_rate(text: str, burst: int = 0) -> Rate:
    """Read `100/minute`, `5 per 10 seconds`: a number, and a window of seconds, minutes, hours, days, months or years.

    Args:
        text: the rate in the grammar of the `limits` package; one rate, not a list.
        burst: how many may come at once; 0 for as many as the rate's number.

    Raises:
        ValueError: the text is no rate, or one that no bucket can have; says what to write, after a bar.
    """
    cure = "Write a number and a window, e.g. 100/minute or 5 per 10 seconds."
    if _SEVERAL.search(text):
        message = f"{text!r} holds several rates, and a policy has one | Declare a policy for each of them."
        raise ValueError(message)
    try:
        item = limits.parse(text)
        return Rate(item.amount, float(item.get_expiry()), burst)
    except ValueError as error:
        message = f"{text!r} is not a rate: {error} | {cure}"
        raise ValueError(message) from None


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit.

    A bucket holds `burst` and refills evenly, so over any stretch of time at most burst + rate x time is admitted: in
    the worst trailing window of `100/minute` these are 200, a full bucket and its refill.

    Attributes:
        name: 1 to 64 characters of `[A-Za-z0-9._-]`, shown to clients and in metrics; two workers with the same name share
            a bucket.
        rate: `100/minute`; see `parse_rate`.
        by: whose requests share a bucket.
        burst: how many may come at once; 0, the default, for as many as the rate's number.
        cost: how much one request takes; 0 looks without taking.
        layer: `address` decides before authentication, `admission` after it.
        enforce: False only counts what would have been refused, to try a limit out before it hurts.
        refill: derived: the rate as a store takes it.

    Raises:
        ValueError: a field is impossible, e.g. a principal before authentication, or a cost that never fits.
    """

    name: str
    rate: str
    by: By = "principal"
    burst: int = 0
    cost: Cost = 1
    layer: Literal["address", "admission"] = "admission"
    enforce: bool = True
    refill: Rate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be, and read the rate."""
        if _NAME.fullmatch(self.name) is None:
            message = "a policy's name is 1 to 64 characters of [A-Za-z0-9._-] | Shorten it, or use dashes."
            raise ValueError(message)
        refill = parse_rate(self.rate, self.burst)
        if self.layer == "address" and self.by in ("principal", "tenant"):
            message = f"policy {self.name} is decided before anybody is identified | Set layer to admission, or by to address."
            raise ValueError(message)
        if not callable(self.cost) and not 0 <= self.cost <= refill.burst:
            message = f"policy {self.name} has a cost outside 0 to {refill.burst}, its burst | Raise the burst or lower the cost."
            raise ValueError(message)
        object.__setattr__(self, "refill", refill)
