"""Where things go that arrive and that nobody is to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOWHERE", "Deaf"]

# Behind the last request that is answered: enough for what is under way on a fast line.
_MAX_UNHEARD_BYTES: Final = 64 * 1024 * 1024


class _Nowhere(list[tuple[bytes, bytes]]):
    """A list that keeps nothing."""

    def append(self, pair: tuple[bytes, bytes], /) -> None:
        """Forget *pair*."""


NOWHERE: Final = _Nowhere()


class Deaf:
    """A parser that makes nothing of what it is told.

    Args:
        give_up: called when that is more than anybody sends who waits for answers.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._left = _MAX_UNHEARD_BYTES
        self._give_up = give_up

    def feed_data(self, data: bytes) -> None:
        """Forget *data*."""
        self._left -= len(data)
        if self._left < 0:
            self._give_up()
