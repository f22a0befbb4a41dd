"""The language of Redis, version 2: how a command is written, and how answers are read as they arrive.

Answers of several commands arrive in the order of asking, cut anywhere. Version 2 because every server since 6.2 speaks it
unasked, and our scripts return only what it can say: whole numbers, bytes, nothing, and lists of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Reader", "Reply", "code_of", "encode", "encode_parts"]

Reply: TypeAlias = Any  # recursive, which a script's caller knows better than a type could say
"""What a server answers: int, bytes, None, `ResponseError` (not raised), or a list of these."""

_ARRAY: Final = ord("*")
_BULK: Final = ord("$")
_ERROR: Final = ord("-")
_NUMBER: Final = ord(":")
_STATUS: Final = ord("+")


def encode_parts(parts: Sequence[str | bytes | int]) -> bytes:
    """*parts* as they stand in a command, without its head."""
    written = []
    for part in parts:
        if isinstance(part, str):
            raw = part.encode()
        elif isinstance(part, int):
            raw = b"%d" % part
        else:
            raw = part
        written.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(written)


def encode(*parts: str | bytes | int) -> bytes:
    """One whole command."""
    return b"*%d\r\n%b" % (len(parts), encode_parts(parts))


def code_of(error: ResponseError) -> str:
    """The first word of *error*, which says what kind it is; looked for inside where an older server wraps it.

    Redis 6.2 says `ERR Error running script (...): @user_script: 1: -OOM command not allowed`.
    """
    text = str(error)
    if text.startswith("ERR Error running script"):
        _, found, inner = text.rpartition(": -")
        if found:
            text = inner
    return text.partition(" ")[0]


class Reader:
    """Bytes in, whole answers out. What is incomplete waits for the rest and is not read twice."""

    __slots__ = ("_open", "_rest")

    def __init__(self) -> None:
        """Begin between two answers."""
        self._rest = b""
        # Lists that are not complete yet, the innermost last, each with the number of items it will have.
        self._open: list[tuple[list[Reply], int]] = []

    def feed(self, data: bytes) -> list[Reply]:
        """Return the answers that *data* completes.

        Raises:
            ValueError: this is not the language of Redis; nothing that follows can be understood.
        """
        if self._rest:
            data = self._rest + data
        answers: list[Reply] = []
        position = 0
        while True:
            end = data.find(b"\r\n", position)
            if end < 0:
                break
            kind = data[position]
            after = end + 2
            value: Reply
            if kind == _NUMBER:
                value = int(data[position + 1 : end])
            elif kind == _BULK:
                length = int(data[position + 1 : end])
                if length < 0:
                    value = None
                else:
                    if len(data) < after + length + 2:
                        break
                    value = data[after : after + length]
                    after += length + 2
            elif kind == _ARRAY:
                count = int(data[position + 1 : end])
                if count > 0:
                    self._open.append(([], count))
                    position = after
                    continue
                value = None if count < 0 else []
            elif kind == _STATUS:
                value = data[position + 1 : end]
            elif kind == _ERROR:
                value = ResponseError(data[position + 1 : end].decode("utf-8", "replace"))
            else:
                message = "this is not an answer of Redis"
                raise ValueError(message)
            position = after
            self._complete(value, answers)
        self._rest = data[position:]
        return answers

    def _complete(self, value: Reply, answers: list[Reply]) -> None:
        while self._open:
            items, count = self._open[-1]
            items.append(value)
            if len(items) < count:
                return
            self._open.pop()
            value = items
        answers.append(value)
