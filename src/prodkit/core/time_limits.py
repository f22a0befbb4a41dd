"""How long the parts of a request may take; what the pipeline's watchdog is told by whoever owns timeouts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import Self

__all__ = ["TimeLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """All in seconds, infinity for no limit.

    Attributes:
        handler_seconds: until the response begins; what the client needs to send its body is not counted.
        idle_seconds: between two pieces of a response under way.
        websocket_idle_seconds: of an open WebSocket without a message in either direction.
        body_start_seconds: spent waiting for a body, beyond what its bytes account for at `body_bytes_per_second`.
        body_seconds: spent waiting for a body in all, for each MiB that it may have, at least for one.
        body_bytes_per_second: the pace that a body has to keep; 0 for none.
        cleanup_seconds: after which a cancelled handler that still runs is told of in the log.
    """

    handler_seconds: float = inf
    idle_seconds: float = inf
    websocket_idle_seconds: float = inf
    body_start_seconds: float = inf
    body_seconds: float = inf
    body_bytes_per_second: float = 0
    cleanup_seconds: float = 1.0

    def stricter(self, other: TimeLimits) -> Self:
        """The smaller of each; of the pace the greater."""
        pace = "body_bytes_per_second"
        found = {
            field.name: min(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)
        }
        return type(self)(**found | {pace: max(self.body_bytes_per_second, other.body_bytes_per_second)})

    def late_body(self, waited_seconds: float, received: int, allowed_bytes: int | None) -> bool:
        """Whether a body of which *received* bytes came in *waited_seconds* is too slow.

        Args:
            waited_seconds: spent waiting for it.
            received: bytes so far.
            allowed_bytes: the most it may have, None for no bound.
        """
        earned = received / self.body_bytes_per_second if self.body_bytes_per_second else inf
        if waited_seconds > self.body_start_seconds + earned:
            return True
        mebibytes = max(1.0, (received if allowed_bytes is None else allowed_bytes) / 2**20)
        return waited_seconds > self.body_seconds * mebibytes
