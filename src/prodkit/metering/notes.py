"""What the ledger is told of answers that cost nothing: many at a time, and after everything that is money."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from prodkit.core.exceptions import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.stores.ledger import LedgerStore

__all__ = ["MAX_NOTES", "Notes"]

LOGGER = logging.getLogger("prodkit.metering")

MAX_NOTES: Final = 10_000
"""Notes that wait, about 1 KiB each. What comes beyond is not written down: a report then shows less than was saved."""

# Of one round, so that leases are extended in between however fast they come. A store may put them into one transaction.
_TOGETHER: Final = 500


class _Note(Protocol):
    async def say(self, ledger: LedgerStore) -> None:
        """Have *ledger* write it down; repeatable."""


N = TypeVar("N", bound=_Note)


class Notes(Generic[N]):
    """A bounded queue of notes; its length is how many wait.

    Args:
        on_failure: told `cached_dropped` where there was no room, and `cached` with the error where a note cannot be written.
    """

    def __init__(self, on_failure: Callable[[str, Exception | None], None]) -> None:
        self._on_failure = on_failure
        self._waiting: deque[N] = deque()
        self._is_full = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, note: N) -> None:
        """Have it said with the next round, if there is room."""
        if len(self._waiting) < MAX_NOTES:
            self._waiting.append(note)
            return
        self._on_failure("cached_dropped", None)
        if not self._is_full:
            self._is_full = True
            LOGGER.warning(
                "the ledger does not keep up with a cache: of some answers it is not noted what they saved"
            )

    async def say(self, ledger: LedgerStore, *, everything: bool = False) -> None:
        """Tell *ledger* the next ones, or *everything*.

        Raises:
            StoreUnavailableError: it did not answer; those it did not hear wait on.
        """
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
            answers: list[BaseException | None] = [None] * len(together)
            try:
                answers = await asyncio.gather(
                    *(note.say(ledger) for note in together), return_exceptions=True
                )
            except asyncio.CancelledError:
                # Not known of any of them; each may be said again.
                self._waiting.extendleft(reversed(together))
                raise
            away = None
            unheard = []
            for note, answer in zip(together, answers, strict=True):
                if isinstance(answer, StoreUnavailableError):
                    away = answer
                    unheard.append(note)
                elif isinstance(answer, Exception):
                    self._on_failure("cached", answer)  # saying it again would not help
            self._waiting.extendleft(reversed(unheard))
            if away is not None:
                raise away
            if not everything:
                break
        self._is_full = len(self._waiting) >= MAX_NOTES
