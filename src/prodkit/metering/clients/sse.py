"""Server-sent events, read as the bytes arrive.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EventReader", "EventTooLargeError"]

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MOST_EVENT_BYTES: Final = 4 * 1024 * 1024  # a research report is a few hundred KiB


class EventTooLargeError(ValueError):
    """One event is larger than any that the other side has a reason to send."""

    def __init__(self) -> None:
        super().__init__("an event of the stream is too large")


class EventReader:
    """Puts chunks together to the `data` of events; names and ids of events are ignored, as both SDKs do."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that has not ended
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that *chunk* completes.

        Raises:
            EventTooLargeError: an event exceeds 4 MiB; the reader is of no use afterwards.
        """
        if b"\n" not in chunk and b"\r" not in chunk and not self._held_back():
            self._rest.append(
                chunk
            )  # not joined yet, or a long line in small chunks would be copied each time
            self._count(len(chunk))
            return []
        text = b"".join(self._rest) + chunk
        # The second half of a line end may come with the next chunk, and is no empty line then.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = _LINE_END.split(text[: len(text) - len(held)])
        if held:
            lines[-1] += held
        self._rest = [lines.pop()]
        self._count(len(chunk))
        return [data for line in lines if (data := self._line(line)) is not None]

    def end(self) -> str | None:
        """The data of an event that the end of the stream cut off, or None; it may be whole."""
        rest, self._rest = b"".join(self._rest).rstrip(b"\r"), []
        if rest:
            self._line(rest)
        return self._line(b"")

    def _held_back(self) -> bool:
        return bool(self._rest) and self._rest[-1].endswith(b"\r")

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > _MOST_EVENT_BYTES:
            raise EventTooLargeError

    def _line(self, line: bytes) -> str | None:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        data, self._data, self._size = self._data, [], 0
        return b"\n".join(data).decode("utf-8", errors="replace") if data else None
