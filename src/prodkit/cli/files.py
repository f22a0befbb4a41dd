"""Files that commands write: there whole, or not at all; and how far they are."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prodkit.cli.console import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.cli.console import Console

__all__ = ["Progress", "table", "written_whole"]

_ON_TERMINAL_SECONDS: Final = 0.5
_ELSEWHERE_SECONDS: Final = 10.0


class Progress:
    """Says on standard error how far a long work is: on a terminal on one line, elsewhere rarely.

    Args:
        console: where to.
        what: is counted, e.g. `entries`.
        clock: seconds, rising.
    """

    def __init__(self, console: Console, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._console = console
        self._what = what
        self._clock = clock
        self._is_terminal = sys.stderr.isatty()
        self._every = _ON_TERMINAL_SECONDS if self._is_terminal else _ELSEWHERE_SECONDS
        self._next = clock() + self._every
        self._is_shown = False

    def add(self, count: int) -> None:
        """So many more are done."""
        self.count += count
        if self._clock() < self._next:
            return
        self._next = self._clock() + self._every
        self._is_shown = True
        end = "\r" if self._is_terminal else "\n"
        self._console.raw_error(f"{self.count} {self._what} ...{end}")

    def end(self) -> None:
        """It is over: a line on a terminal is wiped."""
        if self._is_shown and self._is_terminal:
            self._console.raw_error("\x1b[2K\r")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Callable[[str], None]]:
    """Write text into *path*, which others see when all of it is there and on the disk. What fails leaves what was there before.

    The file is only for its owner: who spent what is nobody else's business.

    Raises:
        RefusedError: it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:

            def write(text: str) -> None:
                try:
                    file.write(text)
                except OSError as error:
                    raise _unwritable(error) from None

            yield write
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise _unwritable(error) from None
    finally:
        Path(name).unlink(missing_ok=True)


def table(console: Console, rows: list[tuple[str, ...]], *, right: frozenset[int] = frozenset()) -> None:
    """Print *rows*, the first of which is the header, in columns; those in *right* to the right."""
    rows = [tuple(_printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.write("  ".join(cells).rstrip())


def _printable(cell: str) -> str:
    """*cell* without what would move a terminal's cursor: attributes are what callers sent."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in cell)


def _unwritable(error: OSError) -> RefusedError:
    return RefusedError(f"the file cannot be written: {error.strerror or type(error).__name__}")
