"""A parser of command lines that does not repeat what it was given: what stands in a wrong place may be a credential."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final, NoReturn, overload

from prodkit.core.redaction import MASK, redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    N = TypeVar("N")

__all__ = ["DiscreetParser"]

# No word of ours is as long, and whatever cannot be guessed is longer.
_LONG_WORD: Final = re.compile(r"[^\s'\"=(),]{17,}")


class DiscreetParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors count words it does not know, and mask long ones; its subparsers do likewise."""

    @overload
    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> tuple[argparse.Namespace, list[str]]: ...
    @overload
    def parse_known_args(self, args: Sequence[str] | None, namespace: N) -> tuple[N, list[str]]: ...
    @overload
    def parse_known_args(self, *, namespace: N) -> tuple[N, list[str]]: ...

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: object = None
    ) -> tuple[object, list[str]]:
        """Parse all of it; what is left over would be named by a parser further out, which knows no discretion."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            noun = "argument is" if len(unknown) == 1 else "arguments are"
            self.error(f"{len(unknown)} {noun} unknown or too many; --help shows what there is")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and exit with 2."""
        super().error(_LONG_WORD.sub(MASK, redact_text(message)))
