"""Where lines go: one stream for every writer of a process, and what happens when it is gone."""

from __future__ import annotations

import logging
import sys
from io import TextIOWrapper
from os import write
from typing import TYPE_CHECKING, TextIO

from prodkit.core.features import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Sink", "SinkHandler"]


class Sink:
    """Standard output, or the stream it is given; a line that cannot be written is counted, never raised.

    Writing blocks while the reader of a full pipe is slow; a bounded queue in between is planned.

    Attributes:
        stream: None means whatever `sys.stdout` is at that moment.
        lost: lines that could not be written.
    """

    __slots__ = ("_descriptor", "_descriptor_of", "lost", "stream")

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self.lost = 0
        self._descriptor = -1
        self._descriptor_of: TextIO | None = None

    def write_line(self, line: str) -> None:
        """Write *line*, ASCII with its line end, past the stream's buffers, which `write` goes through.

        Nothing of ours is left in those buffers, because `write` flushes. Where the stream has no file descriptor,
        as in tests, this is `write`.
        """
        stream = self.stream or sys.stdout
        if stream is not self._descriptor_of:
            self._descriptor, self._descriptor_of = _descriptor_of(stream), stream
        if self._descriptor < 0:
            self.write(line)
            return
        try:
            data = line.encode()
            written = write(self._descriptor, data)
            while written < len(data):  # a signal or a full pipe cut it
                data = data[written:]
                written = write(self._descriptor, data)
        except OSError:
            self.lost += 1

    def write(self, line: str) -> None:
        """Write *line*, which brings its own line end, and flush."""
        stream = self.stream or sys.stdout
        try:
            stream.write(line)
            stream.flush()
        except UnicodeEncodeError as error:
            self.write(line.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError, AttributeError):  # a broken pipe, a closed stream, no stream at all
            self.lost += 1

    def look_again(self) -> None:
        """Forget the file descriptor: a closed stream's number may be somebody else's by now. Called every second."""
        self._descriptor_of = None

    def is_terminal(self) -> bool:
        """Whether a person is looking."""
        stream = self.stream or sys.stdout
        try:
            return stream.isatty()
        except (ValueError, AttributeError):
            return False

    def samples(self) -> Iterable[Sample]:
        """How many lines were lost."""
        yield Sample(
            "prodkit_log_lines_lost_total",
            {},
            self.lost,
            "counter",
            "Log lines that could not be written to standard output.",
        )


def _descriptor_of(stream: TextIO | None) -> int:
    """The file descriptor behind *stream*, or -1 where writing to it would not be writing to the stream."""
    try:
        return stream.fileno() if type(stream) is TextIOWrapper else -1
    except (OSError, ValueError):
        return -1


class SinkHandler(logging.Handler):
    """A `logging` handler that shares *sink* with the access lines."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write *record*; a record that cannot be formatted is reported by `logging` on stderr."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - the contract of logging.Handler: a log call never raises
            self.sink.lost += 1
            self.handleError(record)
            return
        self.sink.write(f"{line}\n")
