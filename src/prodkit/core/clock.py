"""Time as an argument, so that a test never sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SYSTEM_CLOCK", "Clock", "FakeClock", "SystemClock"]


class Clock(Protocol):
    """Two readings of time, both in seconds.

    They are attributes holding callables, not methods, so that the real clock costs a C call and no Python frame.
    """

    @property
    def monotonic(self) -> Callable[[], float]:
        """Seconds that never go backwards; only differences mean something, and only on one machine."""

    @property
    def monotonic_ns(self) -> Callable[[], int]:
        """The same reading as `monotonic`, in whole nanoseconds."""

    @property
    def wall(self) -> Callable[[], float]:
        """Seconds since 1970-01-01T00:00Z; may jump when the machine's clock is set."""


class SystemClock:
    """The machine's own clock. `monotonic` is the clock of the asyncio event loop too."""

    __slots__ = ()

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    monotonic_ns: Callable[[], int] = staticmethod(time.monotonic_ns)
    wall: Callable[[], float] = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()


class FakeClock:
    """A clock that moves only when told to.

    Args:
        wall: the first wall reading, in unix seconds.
    """

    def __init__(self, wall: float = 1_750_000_000.0) -> None:
        self._elapsed = 0.0
        self._wall = wall

    def monotonic(self) -> float:
        """Seconds advanced so far, from an arbitrary origin of 1000."""
        return 1000.0 + self._elapsed

    def monotonic_ns(self) -> int:
        """`monotonic` in nanoseconds."""
        return int(self.monotonic() * 1e9)

    def wall(self) -> float:
        """Unix seconds."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Move both readings forward by *seconds*.

        Raises:
            ValueError: *seconds* is negative; use `set_wall` to make only the wall clock jump.
        """
        if seconds < 0:
            message = f"a monotonic clock cannot go back by {-seconds} s"
            raise ValueError(message)
        self._elapsed += seconds
        self._wall += seconds

    def set_wall(self, seconds: float) -> None:
        """Make the wall clock jump to *seconds*, as an operator or NTP would; `monotonic` is not moved."""
        self._wall = seconds
