"""When the keys of a provider may be used, when they are fetched again, and how often a stranger can make us fetch.

Source: RFC 5861 (stale-while-revalidate, stale-if-error); RFC 9111, 5.2.2 (max-age).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AbsentKeys", "Schedule"]

# A provider's word about freshness is believed within a minute, so that a wrong one does not make us flood it, and an hour,
# so that a key it takes back is not accepted for longer, whatever it said once.
_MIN_REFRESH_SECONDS: Final = 60.0
_MAX_REFRESH_SECONDS: Final = 3_600.0
# Three times at once, and then twice a minute, a stranger may make us ask whether there is a new key.
_FORCED_SECONDS: Final = 30.0
_FORCED_AT_ONCE: Final = 3
# Between failed tries: 1 s, doubled up to a minute, less up to half of it so that workers do not come in step.
FIRST_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 60.0
_MAX_DOUBLINGS: Final = 10
_NEVER: Final = float("-inf")


class Schedule:
    """The moments that matter, in monotonic seconds. Knows neither keys nor the network.

    Args:
        refresh_seconds: how long a set is fresh where the provider says nothing about it.
        keep_seconds: how long it may be used beyond that.
        jitter: a random number from 0 to below 1.

    Attributes:
        fetched_at: of the last good fetch.
        fresh_until: until then nothing is fetched.
        overdue_at: from then on whoever asks waits for a fetch, unless the last one failed: nobody looked for so long.
        usable_until: until then the keys may be used.
        retry_at: until then nothing is tried after a failure.
        failures: failed tries since the last good one.
    """

    __slots__ = (
        "_forced_until",
        "_jitter",
        "_keep_seconds",
        "_refresh_seconds",
        "failures",
        "fetched_at",
        "fresh_until",
        "overdue_at",
        "retry_at",
        "usable_until",
    )

    def __init__(self, *, refresh_seconds: float, keep_seconds: float, jitter: Callable[[], float]) -> None:
        self._refresh_seconds = refresh_seconds
        self._keep_seconds = keep_seconds
        self._jitter = jitter
        self.fetched_at = self.fresh_until = self.overdue_at = self.usable_until = _NEVER
        self._forced_until = self.retry_at = _NEVER
        self.failures = 0

    def succeeded(self, now: float, max_age_seconds: float | None) -> None:
        """A good set came at *now*; the provider may have said how long it is."""
        self.failures, self.retry_at = 0, _NEVER
        period = self._refresh_seconds
        if max_age_seconds is not None:
            period = min(max(max_age_seconds, _MIN_REFRESH_SECONDS), _MAX_REFRESH_SECONDS)
        self.fetched_at, self.fresh_until, self.overdue_at = now, now + period, now + 2 * period
        self.usable_until = self.fresh_until + self._keep_seconds

    def failed(self, now: float) -> None:
        """No good set came; the next try waits longer than the last."""
        longest = min(_MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        self.retry_at = now + longest * (1 - self._jitter() / 2)

    def may_force(self, now: float, *, spare: int = 0) -> bool:
        """Whether a token may cause a fetch at *now*.

        Args:
            now: the time.
            spare: how many more must be left after it, for those with a better reason.
        """
        return now >= self.retry_at and self.seconds_to_force(now, spare=spare) == 0

    def seconds_to_force(self, now: float, *, spare: int = 0) -> float:
        """How long until one is left for a token."""
        return max(0.0, self._forced_until - now - (_FORCED_AT_ONCE - 1 - spare) * _FORCED_SECONDS)

    def forced(self, now: float) -> None:
        """A token causes one."""
        self._forced_until = max(self._forced_until, now) + _FORCED_SECONDS

    def seconds_to_next(self, now: float) -> float:
        """How long whoever keeps the set fresh should sleep.

        A little less than it is fresh, by chance, so that neither requests find it stale nor workers come in step.
        """
        early = (self.fresh_until - now) * (1 - self._jitter() / 10)
        return max(FIRST_RETRY_SECONDS, early, self.retry_at - now)


class AbsentKeys:
    """Key ids that were looked for and are not there: a bounded memory, each entry for a while.

    It tells a token of nobody from one whose key could not be looked for yet, and is no reason not to look again.

    Args:
        seconds: how long an entry is believed.
        size: how many are remembered; the oldest make room.
    """

    __slots__ = ("_seconds", "_size", "_until")

    def __init__(self, *, seconds: float = 60.0, size: int = 256) -> None:
        self._seconds = seconds
        self._size = size
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def knows(self, kid: str, now: float) -> bool:
        """Whether *kid* was looked for in vain a short while ago."""
        return now < self._until.get(kid, now)

    def add(self, kid: str, now: float) -> None:
        """*kid* was looked for in vain."""
        self._until.pop(kid, None)
        self._until[kid] = now + self._seconds
        while len(self._until) > self._size:
            self._until.popitem(last=False)

    def clear(self) -> None:
        """Other keys came: what was absent may be there."""
        self._until.clear()
