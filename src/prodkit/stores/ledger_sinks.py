"""Places for the export of a ledger (`prodkit.stores.ledger_export`): a file of JSON lines, and an SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores.ledger_export import ExportLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["JsonLinesSink", "SqliteSink"]

R = TypeVar("R")

_CHUNK_BYTES = 65_536


class JsonLinesSink:
    """A file with one line of JSON for each entry, in order: to be read by anything. Lines are only added.

    A line that was cut short by a crash is taken away by the next one who appends. Several processes of one machine may append
    to it, except on Windows, where there has to be one.

    Args:
        path: the file; made when something is appended. Its directory has to exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        self._path = Path(path)

    async def last(self) -> ExportLine | None:
        """See `ExportSink.last`."""
        return await _on_a_thread(self._last)

    async def append(self, lines: Sequence[ExportLine]) -> None:
        """See `ExportSink.append`."""
        await _on_a_thread(partial(self._append, tuple(lines)))

    async def read(self, *, after: int = 0, limit: int = 100) -> Sequence[ExportLine]:
        """See `ExportSink.read`. It looks for the place as in a dictionary, and reads on from there."""
        return await _on_a_thread(partial(self._read, after, limit))

    def _last(self) -> ExportLine | None:
        try:
            with self._path.open("rb") as file:
                return _last_line(file, _complete_bytes(file))
        except FileNotFoundError:
            return None

    def _append(self, lines: Sequence[ExportLine]) -> None:
        with self._path.open("a+b") as file, _locked(file):
            end = _complete_bytes(file)
            text = _text_after(_last_line(file, end), lines)
            if file.seek(0, os.SEEK_END) != end:
                file.truncate(end)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if end == 0:
            _sync_directory(self._path.parent)

    def _read(self, after: int, limit: int) -> list[ExportLine]:
        try:
            with self._path.open("rb") as file:
                end = _complete_bytes(file)
                place = _place_after(file, end, after)
                file.seek(place)
                found: list[ExportLine] = []
                while place < end and len(found) < limit:
                    text = file.readline()
                    place += len(text)
                    found.append(ExportLine.from_json(text))
                return found
        except FileNotFoundError:
            return []


class SqliteSink:
    """A table `ledger_export` (`sequence`, `line`: JSON) in an SQLite file of its own. Several processes of one machine may append.

    Args:
        path: the file; made when it is first used. Its directory has to exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        self._path = Path(path)

    async def last(self) -> ExportLine | None:
        """See `ExportSink.last`."""
        lines = await _on_a_thread(partial(self._select, "ORDER BY sequence DESC LIMIT 1", ()))
        return lines[0] if lines else None

    async def append(self, lines: Sequence[ExportLine]) -> None:
        """See `ExportSink.append`."""
        await _on_a_thread(partial(self._append, tuple(lines)))

    async def read(self, *, after: int = 0, limit: int = 100) -> Sequence[ExportLine]:
        """See `ExportSink.read`."""
        where = "WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return await _on_a_thread(partial(self._select, where, (after, limit)))

    def _select(self, where: str, values: tuple[int, ...]) -> list[ExportLine]:
        with self._opened() as connection:
            rows = connection.execute(f"SELECT line FROM ledger_export {where}", values)  # noqa: S608  our own words
            return [ExportLine.from_json(line) for (line,) in rows]

    def _append(self, lines: Sequence[ExportLine]) -> None:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT line FROM ledger_export ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            fresh = _those_after(None if row is None else ExportLine.from_json(row[0]), lines)
            connection.executemany(
                "INSERT INTO ledger_export (sequence, line) VALUES (?, ?)",
                [(line.sequence, line.to_json()) for line in fresh],
            )
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS ledger_export (sequence INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT"
            )
            yield connection
        finally:
            connection.close()


async def _on_a_thread(work: Callable[[], R]) -> R:
    try:
        return await asyncio.to_thread(work)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            message = f"the export cannot be reached: {error}"
            raise StoreUnavailableError(message) from error
        message = f"the export is not what was written there: {error}"
        raise StoreIncompatibleError(message) from error
    except OSError as error:
        message = f"the export cannot be reached: {error.strerror or error}"
        raise StoreUnavailableError(message) from error


def _those_after(last: ExportLine | None, lines: Sequence[ExportLine]) -> list[ExportLine]:
    """Which of *lines* follow *last*, without a gap between them."""
    sequence = 0 if last is None else last.sequence
    fresh = [line for line in lines if line.sequence > sequence]
    for line in fresh:
        # The first one of an export may have any sequence: a ledger in memory forgets its oldest entries.
        if line.sequence != sequence + 1 and (last is not None or line is not fresh[0]):
            message = f"entry {line.sequence} does not follow {sequence}, which is the last of the export"
            raise StoreIncompatibleError(message)
        sequence = line.sequence
    return fresh


def _text_after(last: ExportLine | None, lines: Sequence[ExportLine]) -> bytes:
    return "".join(f"{line.to_json()}\n" for line in _those_after(last, lines)).encode()


@contextlib.contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """Nobody else appends meanwhile."""
    try:
        import fcntl  # noqa: PLC0415  not there on Windows
    except ImportError:
        yield
        return
    fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    yield  # given back when the file is closed


def _complete_bytes(file: BinaryIO) -> int:
    """How much of *file* are whole lines: what follows the last newline was cut short by a crash."""
    place = file.seek(0, os.SEEK_END)
    while place:
        start = max(0, place - _CHUNK_BYTES)
        file.seek(start)
        newline = file.read(place - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        place = start
    return 0


def _last_line(file: BinaryIO, end: int) -> ExportLine | None:
    place = end - 1
    while place > 0:
        start = max(0, place - _CHUNK_BYTES)
        file.seek(start)
        newline = file.read(place - start).rfind(b"\n")
        if newline >= 0:
            place = start + newline + 1
            break
        place = start
    if end == 0:
        return None
    file.seek(place)
    return ExportLine.from_json(file.readline())


def _place_after(file: BinaryIO, end: int, after: int) -> int:
    """Where the first line with a sequence above *after* begins, or *end*."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        place = _next_line(file, middle)
        if place >= end:
            high = middle
            continue
        line = ExportLine.from_json(file.readline())
        if line.sequence > after:
            high = middle
        else:
            low = place + 1
    return min(_next_line(file, low), end)


def _next_line(file: BinaryIO, place: int) -> int:
    """Go to the first line that begins at *place* or later."""
    if place == 0:
        return file.seek(0)
    file.seek(place - 1)
    file.readline()
    return file.tell()


def _sync_directory(directory: Path) -> None:
    """Let the name of a new file be on the disk too, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
