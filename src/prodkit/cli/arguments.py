"""A parser of command lines that does not repeat what it was given: what stands in a wrong place may be a credential."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from prodkit.core.redaction import MASK, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DiscreetParser"]

# Whatever cannot be guessed is as long, and no word of ours is, but for names of options.
_LONG_WORD: Final = re.compile(r"(?<![^\s'\"=(),])(?!--[a-z\-]+:?(?:\s|$))[^\s'\"=(),]{17,}")


class DiscreetParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors count words it does not know, and mask long ones; its subparsers do likewise."""

    # Any: a namespace may be of any type, as argparse has it
    def parse_known_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse all of it; what is left over would be named by a parser further out, which knows no discretion."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            noun = "argument is" if len(unknown) == 1 else "arguments are"
            self.error(f"{len(unknown)} {noun} unknown or too many; --help shows what there is")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and exit with 2."""
        super().error(_LONG_WORD.sub(MASK, redact_text(message)))
