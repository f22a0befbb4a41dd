"""What the watchdog remembers of a request or socket from one look at it to the next."""

from __future__ import annotations

from typing import Final

__all__ = ["LOOKS_WHILE_IDLE", "Seen", "has_rested"]

LOOKS_WHILE_IDLE: Final = 8


class Seen:
    """What the sweeps know about one request or socket.

    Attributes:
        looked_at: monotonic seconds of the latest look.
        next_at: not to be looked at before.
        waited: seconds spent waiting for its body.
        moved, moved_at: how much had been sent and received, and when that last changed.
        was_missed: whether its task was looked for in vain.
        cancelled_at: when its task was cancelled, or None.
        is_awaited: whether the end of a thread will be told.
        is_stream_cancelled: whether the task of its stream was cancelled, which comes before its own.
        spared_until: not to be cancelled before, once a thread of its has ended, or its stream was cancelled; 0 until then.
        is_told: whether the log knows that it does not end.
    """

    __slots__ = (
        "cancelled_at",
        "is_awaited",
        "is_stream_cancelled",
        "is_told",
        "looked_at",
        "moved",
        "moved_at",
        "next_at",
        "spared_until",
        "waited",
        "was_missed",
    )

    def __init__(self, started_at: float) -> None:
        self.looked_at = started_at
        self.next_at = started_at
        self.waited = 0.0
        self.moved = -1
        self.moved_at = started_at
        self.was_missed = False
        self.cancelled_at: float | None = None
        self.is_awaited = False
        self.is_stream_cancelled = False
        self.spared_until = 0.0
        self.is_told = False


def has_rested(seen: Seen, moved: int, now: float, idle_seconds: float) -> bool:
    """Whether nothing has moved for *idle_seconds*; if not, sets when to look again."""
    if moved != seen.moved:
        seen.moved, seen.moved_at = moved, now
    elif now - seen.moved_at >= idle_seconds:
        seen.next_at = now
        return True
    # Thousands of streams need not be looked at in every sweep.
    seen.next_at = min(now + idle_seconds / LOOKS_WHILE_IDLE, seen.moved_at + idle_seconds)
    return False
