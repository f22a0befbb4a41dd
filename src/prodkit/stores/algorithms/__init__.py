"""How every kind of rule is decided: once, over states that each store keeps in its own way.

A store hands in the time and a `Book` of its states; what comes out is the same for each store, which is what the contract
suite holds them to. What an algorithm promises about a trailing window is said in its module:

* `gcra` for `Rate`: at most `burst + limit * elapsed / window_seconds`;
* `windows` for `FixedWindow`, `CalendarWindow` and `SlidingWindow`;
* `moving` for `MovingWindow`: exactly the limit;
* `permits` for `Permit`.

Of a refused call, asks that count what is denied take what is left, each `min(cost, left)`, in order; then what is left, and
how long to wait, is told of the states as they are after that. Permits queue up only where they are all that is in the way:
each binding ask that does not fit is a permit, and has a turn. A permit on trial (not binding) never queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from prodkit.stores import Decision
from prodkit.stores.algorithms.gcra import Bucket
from prodkit.stores.algorithms.moments import NEGATIVE_COST, PERMIT_COST, Algorithm, Moment
from prodkit.stores.algorithms.moving import Moving
from prodkit.stores.algorithms.permits import Permits
from prodkit.stores.algorithms.windows import Calendar, Fixed, Sliding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.stores import Ask, Rule, Settlement

__all__ = ["Book", "Moment", "Slot", "decide", "look", "require_costs", "settle"]

Slot = tuple[str, str]
"""Where a state is kept: the code of the kind of rule, and the key."""

_PERMITS: Final = Permits()
_ALGORITHMS: Final[dict[str, Algorithm]] = {
    "g": Bucket(),
    "f": Fixed(),
    "c": Calendar(),
    "s": Sliding(),
    "m": Moving(),
    "p": _PERMITS,
}

# Neither has a queue nor is cut: what a single ask of these comes to is soon said.
_ALONE: Final = frozenset("fcsm")


class Book(Protocol):
    """The states of a store. `Any`: each algorithm knows its own."""

    def read(self, slot: Slot) -> Any:
        """The state, or None."""

    def write(self, slot: Slot, state: Any, now: Moment) -> None:
        """Keep the state."""


def require_costs(asks: Sequence[Ask]) -> None:
    """Refuse what would be no cost.

    Raises:
        ValueError: a cost is negative, or that of a permit is not 1.
    """
    for _, rule, cost in asks:
        if cost < 0:
            raise ValueError(NEGATIVE_COST)
        if cost != 1 and rule.code == "p":
            raise ValueError(PERMIT_COST)


def decide(asks: Sequence[Ask], now: Moment, book: Book) -> tuple[Decision, ...]:
    """Decide one call, and write what has changed; see `RateLimitStore.hit_many`.

    Raises:
        ValueError: see `require_costs`; nothing was decided.
    """
    require_costs(asks)
    if len(asks) == 1 and asks[0][1].code in _ALONE:
        decision = _decide_one(asks[0], now, book)
        if decision is not None:
            return (decision,)
    known: dict[Slot, Any] = {}
    tried: dict[Slot, Any] = {}
    rules: dict[Slot, Rule] = {}
    decisions: list[Decision] = []
    refused = False
    for key, rule, cost in asks:
        algorithm = _ALGORITHMS[rule.code]
        slot = rule.code, key
        if slot not in known:
            known[slot] = tried[slot] = book.read(slot)
        view = algorithm.fit(tried[slot], now, rule)
        wait = algorithm.wait(view, now, rule, cost)
        if not wait:
            if cost:
                view = algorithm.take(view, now, rule, cost)
                rules[slot] = rule
        elif rule.is_binding:
            refused = True
        if _is_cut(slot, tried[slot], view):
            rules[slot] = rule
        tried[slot] = view
        remaining, reset_seconds = algorithm.describe(view, now, rule)
        at_ns = now.ns if rule.code == "g" else now.us * 1000
        decisions.append(Decision(not wait, remaining, reset_seconds, wait, at_ns))
    if refused:
        rules = _refuse(asks, decisions, now, known)
        tried = known
    for slot, rule in rules.items():
        book.write(slot, _ALGORITHMS[slot[0]].close(tried[slot], now, rule), now)
    return tuple(decisions)


def _decide_one(ask: Ask, now: Moment, book: Book) -> Decision | None:
    """The same for one ask alone, which is what most requests come to; None where a refusal has to be counted."""
    key, rule, cost = ask
    algorithm = _ALGORITHMS[rule.code]
    slot = rule.code, key
    view = algorithm.fit(book.read(slot), now, rule)
    wait = algorithm.wait(view, now, rule, cost)
    if wait and rule.counts_denied and rule.is_binding:
        return None
    taken = cost and not wait
    if taken:
        view = algorithm.take(view, now, rule, cost)
    remaining, reset_seconds = algorithm.describe(view, now, rule)
    if taken:
        book.write(slot, algorithm.close(view, now, rule), now)
    return Decision(not wait, remaining, reset_seconds, wait, now.us * 1000)


def look(state: Any, now: Moment, rule: Rule) -> Decision:
    """Tell what an ask of cost 1 would get; see `RateLimitStore.peek`."""
    algorithm = _ALGORITHMS[rule.code]
    view = algorithm.fit(state, now, rule)
    wait = algorithm.wait(view, now, rule, 1)
    remaining, reset_seconds = algorithm.describe(view, now, rule)
    queued = 0
    if wait and rule.code == "p" and _PERMITS.is_queued(view, rule):  # type: ignore[arg-type]  # its code says so
        queued = _PERMITS.place_in_queue(view, rule)  # type: ignore[arg-type]
    at_ns = now.ns if rule.code == "g" else now.us * 1000
    return Decision(not wait, remaining, reset_seconds, wait, at_ns, queued)


def settle(settlement: Settlement, now: Moment, book: Book) -> None:
    """Carry one settlement out; see `RateLimitStore.settle`."""
    key, rule, amount, at_ns = settlement
    slot = rule.code, key
    state = book.read(slot)
    if amount and (state is not None or rule.code == "g"):
        after = _ALGORITHMS[rule.code].settle(state, now, rule, amount, at_ns)
        if after is not None:
            book.write(slot, after, now)


def _refuse(
    asks: Sequence[Ask], decisions: Sequence[Decision], now: Moment, known: dict[Slot, Any]
) -> dict[Slot, Rule]:
    """Put into *known* what a refused call comes to, tell *decisions*, and return what has to be written by which rule."""
    rules: dict[Slot, Rule] = {}
    for key, rule, cost in asks:
        algorithm = _ALGORITHMS[rule.code]
        slot = rule.code, key
        view = algorithm.fit(known[slot], now, rule)
        if _is_cut(slot, known[slot], view):
            rules[slot] = rule
        if rule.counts_denied and cost:
            view = algorithm.take_denied(view, now, rule, cost)
            rules[slot] = rule
        known[slot] = view
    for (key, rule, cost), decision in zip(asks, decisions, strict=True):
        algorithm = _ALGORITHMS[rule.code]
        view = algorithm.fit(known[rule.code, key], now, rule)
        decision.remaining, decision.reset_seconds = algorithm.describe(view, now, rule)
        if rule.counts_denied and not decision.allowed:
            decision.retry_seconds = algorithm.wait(view, now, rule, cost)
    _enqueue(asks, decisions, now, known, rules)
    return rules


def _enqueue(
    asks: Sequence[Ask],
    decisions: Sequence[Decision],
    now: Moment,
    known: dict[Slot, Any],
    rules: dict[Slot, Rule],
) -> None:
    """Let the permits of a refused call queue up, where nothing else is in the way."""
    in_the_way = [
        (key, rule)
        for (key, rule, _), decision in zip(asks, decisions, strict=True)
        if rule.is_binding and not decision.allowed
    ]
    may_queue = all(
        rule.code == "p" and _PERMITS.place_in_queue(known[rule.code, key], rule)  # type: ignore[arg-type]
        for key, rule in in_the_way
    )
    for (key, rule, _), decision in zip(asks, decisions, strict=True):
        if rule.code != "p" or decision.allowed:
            continue
        slot = rule.code, key
        view = known[slot]
        if may_queue and rule.is_binding and _PERMITS.place_in_queue(view, rule):  # type: ignore[arg-type]
            view.places.enqueue(rule, now.us)
            rules[slot] = rule
        if _PERMITS.is_queued(view, rule):  # type: ignore[arg-type]
            decision.queued = _PERMITS.place_in_queue(view, rule)  # type: ignore[arg-type]


def _is_cut(slot: Slot, before: Any, after: Any) -> bool:
    """Whether a bucket had more of a backlog than it can have; see `gcra`."""
    return slot[0] == "g" and before is not None and bool(after < before)
