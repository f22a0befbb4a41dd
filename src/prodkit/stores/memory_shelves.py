"""Where the memory store keeps what is no bucket: bounded, and swept a little with each new key."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from prodkit.stores.algorithms.moments import Written
from prodkit.stores.algorithms.moving import ListLog
from prodkit.stores.algorithms.permits import Places

__all__ = ["CountShelf", "LogShelf", "PlacesShelf", "Shelf"]

K = TypeVar("K")
S = TypeVar("S")

_SWEPT_PER_NEW_KEY: Final = 2
_EVICTION_SAMPLE: Final = 8
_ENTRIES_PER_KEY: Final = 10


class Shelf(Generic[S]):
    """The states of one kind of rule.

    Args:
        max_keys: how many at most.
    """

    def __init__(self, max_keys: int) -> None:
        """Start empty."""
        self._max_keys = max_keys

    def __len__(self) -> int:
        """How many states are kept, the stale ones included."""
        raise NotImplementedError

    def get(self, key: str) -> S | None:
        """The state of that key, or None."""
        raise NotImplementedError

    def put(self, key: str, state: S, now_us: int) -> None:
        """Keep it; make room first where the key is new."""
        raise NotImplementedError

    def forget(self, key: str) -> None:
        """Nothing was used under that key."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything."""
        raise NotImplementedError


class _Swept(Shelf[S], Generic[S, K]):
    """States in the form *K*, with the order in which they are visited.

    What was forgotten stays on the rounds until it is visited: each key is on them exactly once.
    """

    def __init__(self, max_keys: int) -> None:
        """Start empty."""
        super().__init__(max_keys)
        self._kept: dict[str, K] = {}
        self._rounds: deque[str] = deque()

    def __len__(self) -> int:
        """See `Shelf`."""
        return len(self._kept)

    def clear(self) -> None:
        """See `Shelf.clear`."""
        self._kept.clear()
        self._rounds.clear()

    def ends_us(self, kept: K) -> int:
        """From when on it means nothing."""
        raise NotImplementedError

    def weight(self, kept: K) -> int:
        """How much is lost with it."""
        raise NotImplementedError

    def drop(self, key: str) -> None:
        """Let go of what is not on the rounds any more."""
        del self._kept[key]

    def make_room(self, now_us: int) -> None:
        """Sweep a little, and evict if it is still full."""
        kept, rounds = self._kept, self._rounds
        for _ in range(min(_SWEPT_PER_NEW_KEY, len(rounds))):
            visited = rounds.popleft()
            if self.ends_us(kept[visited]) <= now_us:
                self.drop(visited)
            else:
                rounds.append(visited)
        if len(kept) >= self._max_keys:
            self.evict()

    def evict(self) -> None:
        """Drop the lightest of the next eight."""
        rounds = self._rounds
        sample = [rounds.popleft() for _ in range(min(_EVICTION_SAMPLE, len(rounds)))]
        lightest = min(sample, key=lambda key: self.weight(self._kept[key]))
        self.drop(lightest)
        rounds.extend(visited for visited in sample if visited is not lightest)


# The three numbers of a count in one, which takes a third of the memory.
_BITS: Final = 54
_MASK: Final = (1 << _BITS) - 1


class CountShelf(_Swept[Written, int]):
    """Counts of windows, each packed into one integer."""

    def get(self, key: str) -> Written | None:
        """See `Shelf.get`."""
        packed = self._kept.get(key)
        if not packed:
            return None
        # The end comes last, so that what is least is about to end.
        return Written(packed >> (2 * _BITS), packed & _MASK, (packed >> _BITS) & _MASK)

    def put(self, key: str, state: Written, now_us: int) -> None:
        """See `Shelf.put`."""
        if key not in self._kept:
            self.make_room(now_us)
            self._rounds.append(key)
        self._kept[key] = (state.ends_us << (2 * _BITS)) | (state.previous << _BITS) | state.counted

    def forget(self, key: str) -> None:
        """See `Shelf.forget`."""
        if key in self._kept:
            self._kept[key] = 0

    def ends_us(self, kept: int) -> int:
        """See `_Swept.ends_us`."""
        return kept >> (2 * _BITS)

    def weight(self, kept: int) -> int:
        """See `_Swept.weight`."""
        return (kept & _MASK) + ((kept >> _BITS) & _MASK)


class LogShelf(_Swept[ListLog, ListLog]):
    """Logs of moving windows, with a bound on all their entries together."""

    def __init__(self, max_keys: int) -> None:
        """Start empty."""
        super().__init__(max_keys)
        self._max_entries = _ENTRIES_PER_KEY * max_keys
        self._entries = 0
        self._counted: dict[str, int] = {}

    def get(self, key: str) -> ListLog | None:
        """See `Shelf.get`."""
        return self._kept.get(key)

    def put(self, key: str, state: ListLog, now_us: int) -> None:
        """See `Shelf.put`."""
        if key not in self._kept:
            self.make_room(now_us)
            self._rounds.append(key)
            self._counted[key] = 0
        self._kept[key] = state
        self._entries += len(state) - self._counted[key]
        self._counted[key] = len(state)
        while self._entries > self._max_entries and len(self._kept) > 1:
            self.evict()

    def forget(self, key: str) -> None:
        """See `Shelf.forget`."""
        if key in self._kept:
            self._kept[key] = ListLog()
            self._entries -= self._counted[key]
            self._counted[key] = 0

    def clear(self) -> None:
        """See `Shelf.clear`."""
        super().clear()
        self._counted.clear()
        self._entries = 0

    def drop(self, key: str) -> None:
        """See `_Swept.drop`."""
        super().drop(key)
        self._entries -= self._counted.pop(key)

    def ends_us(self, kept: ListLog) -> int:
        """See `_Swept.ends_us`."""
        return kept.newest_us() + kept.window_us

    def weight(self, kept: ListLog) -> int:
        """See `_Swept.weight`."""
        return kept.total


class PlacesShelf(_Swept[Places, Places]):
    """Who holds a place, and who waits for one."""

    def get(self, key: str) -> Places | None:
        """See `Shelf.get`."""
        return self._kept.get(key)

    def put(self, key: str, state: Places, now_us: int) -> None:
        """See `Shelf.put`."""
        if key not in self._kept:
            self.make_room(now_us)
            self._rounds.append(key)
        if not state.holders and not state.waiters:
            state.ends_us = 0
        self._kept[key] = state

    def forget(self, key: str) -> None:
        """See `Shelf.forget`."""
        if key in self._kept:
            self._kept[key] = Places()

    def ends_us(self, kept: Places) -> int:
        """See `_Swept.ends_us`."""
        return kept.ends_us

    def weight(self, kept: Places) -> int:
        """See `_Swept.weight`."""
        return len(kept.holders)
