"""What every command needs: where it writes to, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Final, TextIO

from pydantic import ValidationError

from prodkit.core.redaction import redact_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction
    from collections.abc import Mapping

    Commands = _SubParsersAction[ArgumentParser]
    """What `add_subparsers` returns; argparse has no public name for it."""

__all__ = ["Console", "RefusedError", "UsageError"]

_COMMANDS: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "yellow": "33"}


class UsageError(Exception):
    """The command line makes no sense; exit code 2."""


class RefusedError(Exception):
    """The command cannot or will not do it, through no fault of ours; exit code 1."""


class Console:
    """Results to standard output, everything else to standard error.

    A reader that has gone (`prodkit config | head -1`) is no error: what is left is dropped, and the exit code is
    still the command's own. Colour is for terminals only, and not when `NO_COLOR` is set to something.

    Source: https://no-color.org
    """

    def write(self, text: str) -> None:
        """One result, ended by a newline."""
        self._put(sys.stdout, f"{text}\n")

    def put(self, text: str) -> None:
        """A part of a result, as it is."""
        self._put(sys.stdout, text)

    def raw_error(self, text: str) -> None:
        """Words of our own on standard error, as they are: no line of its own, nothing to mask."""
        self._put(sys.stderr, text)

    def json(self, value: Mapping[str, object]) -> None:
        """The whole result for a program."""
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        # JSON lets these stand as they are, and a terminal may obey them; values are what callers sent.
        self.write(_COMMANDS.sub(lambda sign: f"\\u{ord(sign.group()):04x}", text))

    def error(self, text: str) -> None:
        """A message that is no result; whatever has the shape of a credential is masked."""
        self._put(sys.stderr, f"{redact_text(text)}\n")

    def warning(self, text: str) -> None:
        """Something to look at that stops nothing."""
        self.error(f"{self.styled('warning:', 'yellow', sys.stderr)} {text}")

    def traceback(self, error: BaseException) -> None:
        """Where *error* came from, without the values of variables."""
        self.error("".join(traceback.format_exception(error)).rstrip())

    def styled(self, text: str, style: str, stream: TextIO | None = None) -> str:
        """*text* in bold, dim, red or yellow, where the stream (standard output when None) shows it."""
        target = stream or sys.stdout
        if not target.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    @staticmethod
    def one_line(error: BaseException) -> str:
        """The class and the message of *error* on one line. A pydantic error shows no input, which may be a secret."""
        if isinstance(error, ValidationError):
            found = error.errors(include_url=False, include_context=False, include_input=False)
            message = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
        else:
            message = str(error)
        return redact_text(" ".join(f"{type(error).__name__}: {message}".split()))

    def close(self) -> None:
        """Flush; a failure shows here and not as a complaint of the interpreter at its end."""
        for stream in (sys.stdout, sys.stderr):
            self._put(stream, "")

    @staticmethod
    def _put(stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            # The interpreter flushes once more at its end: let it write into nothing.
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
