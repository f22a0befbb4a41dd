"""When something is decided, and what an algorithm is to those who decide by it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

__all__ = [
    "MOST_COUNTED",
    "NEGATIVE_COST",
    "PERMIT_COST",
    "Algorithm",
    "Moment",
    "Written",
    "seconds",
    "waiting_seconds",
]

NEGATIVE_COST: Final = "a cost cannot be negative: it would refill the bucket; use reset() for that"
PERMIT_COST: Final = "a permit costs 1"

MOST_COUNTED: Final = 2**53
"""No count goes beyond this: a double holds every whole number up to here."""


class Moment(NamedTuple):
    """One reading of the time.

    Attributes:
        ns: nanoseconds on the scale that buckets live on; where that is another one than unix time, only differences count.
        us: unix time in microseconds, for everything else.
    """

    ns: int
    us: int


class Written(NamedTuple):
    """What is kept of a count in a window, and what it is decided on.

    Attributes:
        ends_us: the moment from which on it means nothing. That of a fixed or calendar window is its end, and tells which
            window it is; that of a sliding one is the end of the next window, which still looks back at it.
        counted: what was counted in the window.
        previous: what was counted in the one before; 0 but in sliding windows.
    """

    ends_us: int
    counted: int
    previous: int = 0


class Algorithm(Protocol):
    """What `decide` wants to know of a kind of rule.

    States and views are `Any` here: each algorithm knows its own, and nobody else looks inside. A view is what a state comes
    to at one moment under one rule; taking makes another view and leaves the first as it was, so that what is tried for
    nothing has touched nothing. A view that is given to `fit` comes back under the rule given now.
    """

    def fit(self, state: Any, now: Moment, rule: Any) -> Any:
        """The view of a state, of a view or, for None, of nothing used."""

    def wait(self, view: Any, now: Moment, rule: Any, cost: int) -> float:
        """0.0 where the cost fits, else `Decision.retry_seconds`."""

    def take(self, view: Any, now: Moment, rule: Any, cost: int) -> Any:
        """The view when the cost has been consumed, which fits."""

    def take_denied(self, view: Any, now: Moment, rule: Any, cost: int) -> Any:
        """The view when as much of the cost has been consumed as is left."""

    def describe(self, view: Any, now: Moment, rule: Any) -> tuple[int, float]:
        """`Decision.remaining` and `Decision.reset_seconds`."""

    def close(self, view: Any, now: Moment, rule: Any) -> Any:
        """The state to keep; it may be the one the view was made of, changed."""

    def settle(self, state: Any, now: Moment, rule: Any, amount: int, at_ns: int) -> Any:
        """The state with *amount* more, or None where there is nothing to write. *state* is never None but for a bucket."""


def seconds(us: int) -> float:
    """Microseconds as the seconds that a decision tells."""
    return us * 1e-6


def waiting_seconds(us: int) -> float:
    """How long to wait where it takes *us*: 2 microseconds more, since clocks are floats that resolve a quarter of one."""
    return (us + 2) * 1e-6
