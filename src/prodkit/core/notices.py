"""Notices: what the application tells others of its own accord, and whoever brings it to them.

The one who has something to tell looks for sinks in the `Kit` by protocol, and says it again until each has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Notice", "NoticeSink", "UndeliveredError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell. The same whenever, and by whatever process, it is told again.

    Attributes:
        id: unique for ever and the same at every attempt, so that a receiver can drop doubles; 1 to 128 characters of
            `[A-Za-z0-9_-]`.
        type: what happened, e.g. `budget.threshold_reached`.
        at: when, in unix seconds.
        data: JSON values; money as decimal strings.
    """

    id: str
    type: str
    at: float
    data: Mapping[str, str | int | bool | None]


class UndeliveredError(Exception):
    """A sink could not bring a notice to where it belongs, and may be asked again.

    Args:
        reason: for the log; nothing that a stranger sent and no credential.
        retry_after_seconds: how long the receiver asks to be left alone, or None.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@runtime_checkable
class NoticeSink(Protocol):
    """Brings notices somewhere: `webhooks` does, and what a feature of yours provides."""

    async def deliver(self, notice: Notice) -> None:
        """Bring *notice* where it belongs; returns when it has arrived. May be asked again with the same one.

        Raises:
            UndeliveredError: not yet. Any other exception means the same, and is counted as a fault.
        """
