"""The generic cell rate algorithm, in integer nanoseconds: the one truth that every store is compared with.

Of a bucket only one number is kept: its *theoretical arrival time*, the moment it will be full again. So an
entry whose moment has passed means the same as no entry, and expiry needs no second field. Integers, because
repeated addition of float intervals drifts, and "admits exactly N" has to be exact.

A bucket may be overdrawn by one burst, when an admitted ask turns out to have cost more. What is beyond that (the clock was
set back, or the rate was made smaller) is cut off, and the cut has to be written down, also when the ask is refused: cut anew
at each look, the bucket would stay empty for as long as the clock jumped.

Source: ITU-T I.371, annex A ("virtual scheduling" form).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodkit.stores import Decision
from prodkit.stores.algorithms.moments import NEGATIVE_COST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.stores import Ask, Rate
    from prodkit.stores.algorithms.moments import Moment

__all__ = ["Bucket", "decide", "look", "refuse", "settled"]


def decide(
    full_at: Mapping[str, int], now: int, asks: Sequence[Ask]
) -> tuple[tuple[Decision, ...], dict[str, int]]:
    """Decide all or nothing over what *full_at* holds, and return the decisions and what to write.

    The same as `prodkit.stores.algorithms.decide` for asks that are all of rates, written out, since that is what most
    requests ask.

    Args:
        full_at: key -> moment in nanoseconds at which its bucket is full; a missing key is a full bucket.
        now: the present moment on the same scale.
        asks: what is asked, all of it rates; asks that share a key are counted one after the other.

    Returns:
        One decision per ask, and the new moments of the keys that changed. If a binding ask was refused these are
        only of asks that count what is denied, and the moments that no bucket of its rate can have, cut.

    Raises:
        ValueError: a cost is negative.
    """
    changed: dict[str, int] = {}
    decisions = []
    refused = False
    rate: Rate
    for key, rate, cost in asks:  # type: ignore[assignment]  # see Args
        if cost < 0:
            raise ValueError(NEGATIVE_COST)
        capacity = rate.capacity_ns
        backlog = max((changed[key] if key in changed else full_at.get(key, now)) - now, 0)
        if backlog > 2 * capacity:
            backlog = 2 * capacity
            changed[key] = now + backlog
        after = backlog + cost * rate.interval_ns
        if cost and after > capacity:
            refused = refused or rate.is_binding
            decisions.append(refuse(rate, cost, backlog, now))
        else:
            if cost:
                changed[key] = now + after
            remaining = (capacity - after) // rate.interval_ns if after < capacity else 0
            decisions.append(Decision(True, remaining, after * 1e-9, 0.0, now))
    if not refused:
        return tuple(decisions), changed
    return tuple(decisions), _refused(full_at, now, asks, decisions)


def _refused(
    full_at: Mapping[str, int], now: int, asks: Sequence[Ask], decisions: Sequence[Decision]
) -> dict[str, int]:
    """Tell *decisions* what is left after a refused call, and return what that has changed."""
    changed: dict[str, int] = {}
    rate: Rate
    for key, rate, cost in asks:  # type: ignore[assignment]  # see `decide`
        moment = changed[key] if key in changed else full_at.get(key, now)
        backlog = moment - now
        if backlog > 2 * rate.capacity_ns:
            backlog = 2 * rate.capacity_ns
            changed[key] = now + backlog
        if rate.counts_denied and cost:
            backlog = max(backlog, 0)
            changed[key] = now + max(backlog, min(backlog + cost * rate.interval_ns, rate.capacity_ns))
    for (key, rate, cost), decision in zip(asks, decisions, strict=True):  # type: ignore[assignment]
        backlog = _backlog(changed[key] if key in changed else full_at.get(key, now), now, rate)
        decision.remaining = _remaining(rate, backlog)
        decision.reset_seconds = backlog * 1e-9
        if rate.counts_denied and not decision.allowed:
            decision.retry_seconds = _wait(rate, cost, backlog)
    return changed


def refuse(rate: Rate, cost: int, backlog: int, now: int) -> Decision:
    """Make the decision for an ask that does not fit on top of *backlog* nanoseconds."""
    return Decision(False, _remaining(rate, backlog), backlog * 1e-9, _wait(rate, cost, backlog), now)


def look(full_at: int, now: int, rate: Rate) -> Decision:
    """Tell what an ask of cost 1 would get, with what is left now."""
    backlog = _backlog(full_at, now, rate)
    if backlog + rate.interval_ns > rate.capacity_ns:
        return refuse(rate, 1, backlog, now)
    return Decision(True, _remaining(rate, backlog), backlog * 1e-9, 0.0, now)


def settled(full_at: int, now: int, rate: Rate, amount: int, at_ns: int) -> int:
    """The moment at which the bucket is full when what was asked at *at_ns* has cost *amount* more.

    What is given back counts for as long as a bucket needs to refill: all that was taken before that is there again.
    """
    backlog = _backlog(full_at, now, rate)
    if amount < 0 and now - at_ns >= rate.capacity_ns:
        return now + backlog
    return now + min(max(backlog + amount * rate.interval_ns, 0), 2 * rate.capacity_ns)


class Bucket:
    """The same as an `Algorithm`; state and view are the moment at which the bucket is full."""

    def fit(self, state: int | None, now: Moment, rule: Rate) -> int:
        """See `Algorithm.fit`."""
        return now.ns if state is None else now.ns + _backlog(state, now.ns, rule)

    def wait(self, view: int, now: Moment, rule: Rate, cost: int) -> float:
        """See `Algorithm.wait`."""
        backlog = view - now.ns
        if not cost or backlog + cost * rule.interval_ns <= rule.capacity_ns:
            return 0.0
        return _wait(rule, cost, backlog)

    def take(self, view: int, now: Moment, rule: Rate, cost: int) -> int:
        """See `Algorithm.take`."""
        del now
        return view + cost * rule.interval_ns

    def take_denied(self, view: int, now: Moment, rule: Rate, cost: int) -> int:
        """See `Algorithm.take_denied`."""
        return max(view, min(view + cost * rule.interval_ns, now.ns + rule.capacity_ns))

    def describe(self, view: int, now: Moment, rule: Rate) -> tuple[int, float]:
        """See `Algorithm.describe`."""
        return _remaining(rule, view - now.ns), (view - now.ns) * 1e-9

    def close(self, view: int, now: Moment, rule: Rate) -> int:
        """See `Algorithm.close`."""
        del now, rule
        return view

    def settle(self, state: int | None, now: Moment, rule: Rate, amount: int, at_ns: int) -> int | None:
        """See `Algorithm.settle`."""
        full_at = now.ns if state is None else state
        after = settled(full_at, now.ns, rule, amount, at_ns)
        return None if after <= now.ns and state is None else after


def _backlog(full_at: int, now: int, rate: Rate) -> int:
    return min(max(full_at - now, 0), 2 * rate.capacity_ns)


def _remaining(rate: Rate, backlog: int) -> int:
    return max(rate.capacity_ns - backlog, 0) // rate.interval_ns


def _wait(rate: Rate, cost: int, backlog: int) -> float:
    if cost > rate.burst:
        return math.inf
    # A wall reading is a float that resolves a quarter of a microsecond: round up past that, so that a
    # caller who waits exactly as told is admitted.
    excess = backlog + cost * rate.interval_ns - rate.capacity_ns
    return (excess // 1000 + 2) * 1e-6 if excess > 0 else 0.0
