"""The provider's own log: every call it accepted and would bill, to be compared with a client's ledger."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["CallLog"]

_CLIENT_REQUEST_ID = "x-client-request-id"
_LONGEST_ID = 512


class CallLog:
    """The last accepted calls, oldest first.

    Args:
        limit: calls kept; a server that runs for weeks must not grow.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._calls: deque[dict[str, Any]] = deque(maxlen=limit)
        self._accepted = 0

    def accept(self, request: Request, **facts: object) -> dict[str, Any]:
        """Log a call at the moment from which Parallel would bill it: before the work, whatever becomes of the answer.

        Args:
            request: whose path is logged.
            facts: what the price depends on, and ids to find the call by. None is left out.

        Returns:
            The entry; what is only known later (`usage`, `status`) is added to it.
        """
        # What a client calls it: a client that keeps books finds its own line again by it.
        facts["client_request_id"] = request.headers.get(_CLIENT_REQUEST_ID, "")[:_LONGEST_ID] or None
        said = {name: value for name, value in facts.items() if value is not None}
        entry = {"path": request.url.path, "accepted_at": datetime.now(UTC).isoformat(), **said}
        self._calls.append(entry)
        self._accepted += 1
        return entry

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What is kept, oldest first."""
        return list(self._calls)

    @property
    def forgotten(self) -> int:
        """Accepted calls that are no longer kept."""
        return self._accepted - len(self._calls)
