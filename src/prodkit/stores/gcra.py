"""The generic cell rate algorithm, in integer nanoseconds: the one truth that every store is compared with.

Of a bucket only one number is kept: its *theoretical arrival time*, the moment it will be full again. So an
entry whose moment has passed means the same as no entry, and expiry needs no second field. Integers, because
repeated addition of float intervals drifts, and "admits exactly N" has to be exact.

Source: ITU-T I.371, annex A ("virtual scheduling" form).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodkit.stores import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.stores import Ask, Rate

__all__ = ["NEGATIVE_COST", "decide", "look", "refuse"]

NEGATIVE_COST = "a cost cannot be negative: it would refill the bucket; use reset() for that"


def decide(
    full_at: Mapping[str, int], now: int, asks: Sequence[Ask]
) -> tuple[tuple[Decision, ...], dict[str, int]]:
    """Decide all or nothing over what *full_at* holds, and return the decisions and what to write.

    Args:
        full_at: key -> moment in nanoseconds at which its bucket is full; a missing key is a full bucket.
        now: the present moment on the same scale.
        asks: what is asked; asks that share a key are counted one after the other.

    Returns:
        One decision per ask, and the new moments of the keys that changed. If any ask was refused these are
        only the moments that no bucket of its rate can have, cut to an empty bucket.

    Raises:
        ValueError: a cost is negative.
    """
    changed: dict[str, int] = {}
    healed: dict[str, int] = {}
    decisions = []
    refused = False
    for key, rate, cost in asks:
        if cost < 0:
            raise ValueError(NEGATIVE_COST)
        capacity = rate.capacity_ns
        backlog = max((changed[key] if key in changed else full_at.get(key, now)) - now, 0)
        if backlog > capacity:
            # The clock was set back, or the rate was made smaller. It has to be written down, also when the
            # ask is refused: cut anew at each look, the bucket would stay empty for as long as the clock
            # jumped.
            backlog = capacity
            changed[key] = healed[key] = now + capacity
        after = backlog + cost * rate.interval_ns
        if after > capacity:
            refused = True
            decisions.append(refuse(rate, cost, backlog))
        else:
            if cost:
                changed[key] = now + after
            decisions.append(Decision(True, (capacity - after) // rate.interval_ns, after * 1e-9, 0.0))
    if refused:
        # Nothing is consumed for anybody, so nobody may be told of a consumption.
        for (key, rate, _), decision in zip(asks, decisions, strict=True):
            backlog = _backlog(full_at.get(key, now), now, rate)
            decision.remaining = (rate.capacity_ns - backlog) // rate.interval_ns
            decision.reset_seconds = backlog * 1e-9
        return tuple(decisions), healed
    return tuple(decisions), changed


def refuse(rate: Rate, cost: int, backlog: int) -> Decision:
    """Make the decision for an ask that does not fit on top of *backlog* nanoseconds."""
    if cost > rate.burst:
        retry_seconds = math.inf
    else:
        # A wall reading is a float that resolves a quarter of a microsecond: round up past that, so that a
        # caller who waits exactly as told is admitted.
        excess = backlog + cost * rate.interval_ns - rate.capacity_ns
        retry_seconds = (excess // 1000 + 2) * 1e-6
    return Decision(False, (rate.capacity_ns - backlog) // rate.interval_ns, backlog * 1e-9, retry_seconds)


def look(full_at: int, now: int, rate: Rate) -> Decision:
    """Tell what an ask of cost 1 would get, with what is left now."""
    backlog = _backlog(full_at, now, rate)
    if backlog + rate.interval_ns > rate.capacity_ns:
        return refuse(rate, 1, backlog)
    return Decision(True, (rate.capacity_ns - backlog) // rate.interval_ns, backlog * 1e-9, 0.0)


def _backlog(full_at: int, now: int, rate: Rate) -> int:
    return min(max(full_at - now, 0), rate.capacity_ns)
