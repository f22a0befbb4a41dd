"""Whether what this process remembers may still be trusted: it has looked for changes within the last second, or it looks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreError
from prodkit.core.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.core.clock import Clock
    from prodkit.stores import KeyStore

__all__ = ["Freshness"]

LOGGER = logging.getLogger("prodkit.api_keys")

PAUSE_SECONDS: Final = 1.0
"""How long a store that failed is left alone: its callers are answered at once, and it is not hammered."""


class Freshness:
    """Looks at what changed in the store, at most once per *check_seconds* and only when a key is used.

    A key that is revoked anywhere is refused everywhere *check_seconds* later, and by no message that could be lost: a
    process that has not looked since may not accept a key. While looking fails, what is remembered stays good for
    *stale_seconds* after the last look that did not. Only looks decide this: strangers can make look-ups of single keys late
    by asking for many, and must neither keep a revoked key alive by it nor have everybody else sent away.

    Args:
        store: where the keys are.
        clock: its monotonic reading.
        forget: called with the ids of changed keys, or None when all have to be forgotten.
        check_seconds, stale_seconds: see above.

    Attributes:
        until: monotonic seconds until when what is remembered may be used without asking anybody.
        is_failing: whether the store did not answer the last time.
    """

    __slots__ = (
        "_check_seconds",
        "_cursor",
        "_flights",
        "_forget",
        "_looked_at",
        "_monotonic",
        "_paused_until",
        "_stale_seconds",
        "_store",
        "is_failing",
        "until",
    )

    def __init__(
        self,
        store: KeyStore,
        clock: Clock,
        forget: Callable[[Sequence[str] | None], None],
        *,
        check_seconds: float,
        stale_seconds: float,
    ) -> None:
        self._store = store
        self._monotonic = clock.monotonic
        self._forget = forget
        self._check_seconds = check_seconds
        self._stale_seconds = stale_seconds
        self._cursor: int | None = None
        self._flights: SingleFlight[None] = SingleFlight()
        # Before the first look nothing is remembered that could be used.
        self._looked_at = float("-inf")
        self._paused_until = float("-inf")
        self.until = float("-inf")
        self.is_failing = False

    @property
    def is_paused(self) -> bool:
        """Whether the store failed a moment ago, and is not asked."""
        return self._monotonic() < self._paused_until

    async def look(self) -> bool:
        """Look at what changed unless somebody just did; return whether what is remembered may be used now."""
        if self._monotonic() >= self.until and not self.is_paused:
            await self._flights.run("look", self._look)
        return self._monotonic() < self.until

    def _failed(self, error: StoreError) -> None:
        """Leave the store alone for a moment: it did not say what changed."""
        now = self._monotonic()
        self._paused_until = now + PAUSE_SECONDS
        self.until = min(self._paused_until, self._looked_at + self._stale_seconds)
        if not self.is_failing:
            self.is_failing = True
            LOGGER.warning(
                "the store of API keys does not answer (%s); keys known here are accepted for %g s after the last answer",
                error,
                self._stale_seconds,
            )

    async def _look(self) -> None:
        # The moment before asking: what is committed later may not be in the answer.
        asked_at = self._monotonic()
        try:
            cursor, changed = await self._store.changes_since(self._cursor)
        except StoreError as error:
            self._failed(error)
            return
        self._forget(changed)
        self._cursor = cursor
        self._looked_at = asked_at
        self.until = asked_at + self._check_seconds
        if self.is_failing:
            self.is_failing = False
            LOGGER.warning("the store of API keys answers again")
