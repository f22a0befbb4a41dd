"""Is the event loop turning? A loop that is always late serves nobody, and only a restart helps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prodkit.core.features import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Watchdog"]

_TICK_SECONDS: Final = 0.5


class Watchdog:
    """Measures by how much the event loop is late, twice a second.

    Args:
        monotonic: the clock.

    Attributes:
        lag_seconds: how late the latest tick was.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.lag_seconds = 0.0
        self._monotonic = monotonic

    async def run_for_ever(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self.lag_seconds = max(0.0, self._monotonic() - due)

    def samples(self) -> Iterable[Sample]:
        """The present lag."""
        yield Sample(
            "prodkit_event_loop_lag_seconds",
            {},
            self.lag_seconds,
            "gauge",
            "By how much the event loop was late at its latest tick.",
        )
