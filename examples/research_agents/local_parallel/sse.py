"""Server-sent events: their text, and the headers that let them pass proxies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["KEEP_ALIVE", "event", "event_stream"]

KEEP_ALIVE = ": keep-alive\n\n"


def event(data: dict[str, Any], event_id: int | None = None) -> str:
    """One event. Parallel's and OpenAI's clients read `data` as JSON and do not look at event names."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return line if event_id is None else f"id: {event_id}\n{line}"


def event_stream(events: AsyncIterator[str]) -> StreamingResponse:
    """The response; *events* is cancelled when the client leaves."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
