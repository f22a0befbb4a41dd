"""Leave alone for a moment what did not answer several times in a row.

Otherwise every request waits out its bound against a dead server, and a server that comes back is met by all who waited.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from prodkit.core.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from prodkit.core.clock import Clock

__all__ = ["ORDINARY", "Breaker", "BreakerState", "Passage"]


class BreakerState(Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    """All go through."""
    OPEN = "open"
    """None goes through."""
    HALF_OPEN = "half-open"
    """One, the probe, is under way; no other goes through."""


class Passage:
    """What was granted to one call; given back with its outcome."""

    __slots__ = ()


ORDINARY: Final = Passage()
"""What is granted while it is closed. Each probe has a passage of its own, so that one of earlier is not taken for it."""


class Breaker:
    """Counts failures in a row; opens at *failures* of them, and lets one probe through after *open_seconds*.

    It knows no event loop and no exceptions: its user says what a failure is. Each passage is given back by exactly one of
    `succeeded`, `failed` and `abandoned`. A call that went through before it opened may still succeed, and closes it: who
    answers is not dead. If such a call fails late, that says nothing new.

    Args:
        failures: in a row. 5: one lost packet is no outage, and 5 bounds of 0.1 s are half a second.
        open_seconds: from opening to the probe, and from a failed probe to the next. 1: soon enough that nobody notices
            the recovery late, seldom enough that probes cost nothing.
        clock: where time comes from.

    Attributes:
        state: see `BreakerState`; open until the probe starts, also when its time has come.
        opened: how often it opened from closed, for a metric.
        refused: how many calls it refused, for a metric.

    Raises:
        ValueError: a bound is not above 0.
    """

    __slots__ = (
        "_clock",
        "_failures",
        "_in_a_row",
        "_open_seconds",
        "_probe",
        "_probe_at",
        "opened",
        "refused",
        "state",
    )

    def __init__(self, *, failures: int = 5, open_seconds: float = 1.0, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin closed."""
        if failures < 1 or not open_seconds > 0:
            message = f"failures and open_seconds must be above 0, not {failures} and {open_seconds}"
            raise ValueError(message)
        self.state = BreakerState.CLOSED
        self.opened = 0
        self.refused = 0
        self._clock = clock
        self._failures = failures
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self._probe = ORDINARY
        self._probe_at = 0.0

    def enter(self) -> Passage | None:
        """Ask to go through; None is a refusal."""
        if self.state is BreakerState.CLOSED:
            return ORDINARY
        if self.state is BreakerState.OPEN and self._clock.monotonic() >= self._probe_at:
            self.state = BreakerState.HALF_OPEN
            self._probe = Passage()
            return self._probe
        self.refused += 1
        return None

    def succeeded(self) -> None:
        """Close: it answered."""
        self._in_a_row = 0
        self.state = BreakerState.CLOSED

    def failed(self, passage: Passage) -> None:
        """Count a failure, and open if it was one too many or the probe."""
        if self.state is BreakerState.CLOSED:
            self._in_a_row += 1
            if self._in_a_row >= self._failures:
                self.opened += 1
                self._open(self._open_seconds)
        elif self.state is BreakerState.HALF_OPEN and passage is self._probe:
            self._open(self._open_seconds)

    def abandoned(self, passage: Passage) -> None:
        """Say that nobody waited for the outcome: a probe is given back to whoever asks next."""
        if self.state is BreakerState.HALF_OPEN and passage is self._probe:
            self._open(0.0)

    def _open(self, seconds: float) -> None:
        self.state = BreakerState.OPEN
        self._probe_at = self._clock.monotonic() + seconds
        self._in_a_row = 0
