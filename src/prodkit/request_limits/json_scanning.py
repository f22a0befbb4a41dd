"""The shape of a JSON text, measured while its bytes pass: how deep, how many elements, how long its literals.

Nothing is parsed and nothing is kept. What decides is counted by `bytes` methods over whole pieces, so that it costs a
fraction of the parsing that follows. The trick: with escapes out of the way, whether a byte stands in a string is the
parity of the quotes before it, and taking out two quotes that stand side by side changes no parity. Once everything but
quotes, brackets and commas is deleted, nearly every string is such a pair.

What is not JSON is never let through for being odd: where brackets close that were never opened, closing stops to count.

Source: RFC 8259; its section 9 allows limits on size, depth, range of numbers and length of strings.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

__all__ = ["JSONExcess", "JSONLimits", "JSONScanner", "names_constants"]

JSONExcess = Literal["encoding", "depth", "elements", "number", "string", "constant"]

# Everything but []{}," goes, and both kinds of brackets become one.
_DELETED: Final = bytes(set(range(256)) - set(b'[]{},"'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
# As signed bytes: 1 opens, -1 closes.
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
# What a number is written with becomes 0, a quote stays, all else is a space.
_NUMBERS: Final = bytes(
    0x30 if byte in b"0123456789+-.eE" else 0x22 if byte == 0x22 else 0x20 for byte in range(256)
)
# JSON has no letter of these outside of a string: of NaN and Infinity there is one on each side, wherever they are cut.
_CONSTANTS: Final = (b"N", b"I", b"y")
_N, _I, _BACKSLASH = b"NI\\"
_CARRIED: Final = len(b"Infinity") - 1
# Each takes out one level of nesting; what is deeper is counted step by step.
_MAX_ROUNDS: Final = 12


@dataclass(frozen=True, slots=True)
class JSONLimits:
    """How large a JSON text may be in each way.

    Attributes:
        depth: levels of arrays and objects.
        elements: members and elements of all of them together; an empty one counts as one.
        number_bytes: characters of one number.
        string_bytes: bytes of one string as it is written, without its quotes; None for any.
    """

    depth: int
    elements: int
    number_bytes: int
    string_bytes: int | None = None


class JSONScanner:
    """Measures one JSON text that arrives in pieces.

    Args:
        limits: may be replaced as long as nothing was fed.
        strict: whether the names `NaN` and `Infinity`, which Python's parser takes (RFC 8259, 6, does not), are found too.
    """

    __slots__ = (
        "_backslash",
        "_begun",
        "_depth",
        "_digits",
        "_elements",
        "_in_string",
        "_since_quote",
        "_tail",
        "_unbalanced",
        "limits",
        "strict",
    )

    def __init__(self, limits: JSONLimits, *, strict: bool = False) -> None:
        self.limits = limits
        self.strict = strict
        self._tail = b""
        self._begun = False
        self._backslash = False
        self._in_string = 0
        self._depth = 0
        self._unbalanced = False
        self._elements = 0
        self._digits = 0
        self._since_quote = 0

    def feed(self, data: bytes, *, last: bool = False) -> JSONExcess | None:
        """Which limit the text exceeds with *data*, or None. Never raises, whatever the bytes are.

        Args:
            data: what comes next, in pieces of any size.
            last: whether the text ends with it.
        """
        # In UTF-16 and UTF-32 each bracket, quote and digit has a NUL beside it, in UTF-8 JSON there is none: what another
        # encoding would hide is refused with it (RFC 8259, 8.1).
        if 0 in data:  # of a number it is ten times as fast as of bytes
            return "encoding"
        if last and not self._begun and self._is_surely_within(data):
            return None
        self._begun = True
        if self._backslash:
            data = b"\\" + data
        if _BACKSLASH in data:
            trailing = len(data) - len(data.rstrip(b"\\"))
            self._backslash = trailing % 2 == 1
            if self._backslash:
                data = data[:-1]  # it escapes what is not here yet
            # Of the same length, since lengths are measured.
            data = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        began_in_string = self._in_string
        excess = self._structure(data)
        if excess is None:
            excess = (
                self._numbers(data, began_in_string)
                or self._strings(data, began_in_string)
                or self._constants(data, began_in_string)
            )
        return excess

    def _is_surely_within(self, data: bytes) -> bool:
        """Whether *data*, all of the text, cannot exceed a limit whatever stands in strings: what most bodies cost."""
        limits = self.limits
        opened = data.count(b"[") + data.count(b"{")
        size = len(data)
        return (
            opened <= limits.depth
            and (size <= limits.elements or opened + data.count(b",") <= limits.elements)
            and (
                size <= limits.number_bytes
                or b"0" * (limits.number_bytes + 1) not in data.translate(_NUMBERS)
            )
            and (limits.string_bytes is None or size <= limits.string_bytes)
            and not (self.strict and names_constants(data))
        )

    def _structure(self, data: bytes) -> JSONExcess | None:
        compact = data.translate(_ONE_KIND, _DELETED).replace(b'""', b"")
        if b'"' in compact:
            parts = compact.split(b'"')
            compact = b"".join(parts[self._in_string :: 2])
            self._in_string = (self._in_string + len(parts) - 1) % 2
        elif self._in_string:
            return None
        opened = compact.count(b"[")
        self._elements += opened + compact.count(b",")
        if self._elements > self.limits.elements:
            return "elements"
        if self._unbalanced:
            self._depth += opened
            return "depth" if self._depth > self.limits.depth else None
        return self._nesting(compact.replace(b",", b""), opened)

    def _nesting(self, brackets: bytes, opened: int) -> JSONExcess | None:
        limit, before = self.limits.depth, self._depth
        rest, rounds = brackets, 0
        while rounds < _MAX_ROUNDS:
            shorter = rest.replace(b"[]", b"")
            if len(shorter) == len(rest):
                break
            rest, rounds = shorter, rounds + 1
        if b"[]" not in rest:
            # Closing ones, then opening ones; what was between them was at most as deep as it took rounds.
            closing = rest.count(b"]")
            after = before - closing + len(rest) - closing
            if before >= closing and max(before, after) + rounds <= limit:
                self._depth = after
                return None
        steps = array("b", brackets.translate(_STEPS))
        if min(accumulate(steps, initial=before)) < 0:
            self._unbalanced = True
            self._depth = before + opened
            return "depth" if self._depth > limit else None
        if max(accumulate(steps, initial=before)) > limit:
            return "depth"
        self._depth = before + 2 * opened - len(brackets)
        return None

    def _numbers(self, data: bytes, in_string: int) -> JSONExcess | None:
        limit = self.limits.number_bytes
        shape = data.translate(_NUMBERS)
        size = len(shape)
        leading = size - len(shape.lstrip(b"0"))
        run = self._digits + leading
        if not in_string and run > limit:
            return "number"
        if self._in_string:
            self._digits = 0
        else:
            self._digits = run if leading == size else size - len(shape.rstrip(b"0"))
        if size <= limit:
            return None
        needle, seen = b"0" * (limit + 1), 0
        found = shape.find(needle)
        while found >= 0:
            in_string = (in_string + shape.count(b'"', seen, found)) % 2
            if not in_string:
                return "number"
            seen = shape.find(b'"', found)  # digits in a string; on behind its end
            if seen < 0:
                break
            found = shape.find(needle, seen)
        return None

    def _strings(self, data: bytes, in_string: int) -> JSONExcess | None:
        limit = self.limits.string_bytes
        if limit is None:
            return None
        first, last = data.find(b'"'), data.rfind(b'"')
        if first < 0:
            self._since_quote += len(data)
            return "string" if in_string and self._since_quote > limit else None
        if in_string and self._since_quote + first > limit:
            return "string"
        self._since_quote = len(data) - last - 1
        if self._in_string and self._since_quote > limit:
            return "string"
        if last - first <= limit:
            return None
        # Parts are in turn outside and inside; the first quote has opened a string unless the data began in one.
        inside = data[first + 1 : last].split(b'"')[in_string::2]
        return "string" if any(len(part) > limit for part in inside) else None

    def _constants(self, data: bytes, in_string: int) -> JSONExcess | None:
        if not self.strict:
            return None
        text = self._tail + data
        self._tail = text[-_CARRIED:]
        if names_constants(text):  # perhaps in a string
            for part in data.split(b'"')[in_string::2]:
                if any(letter in part for letter in _CONSTANTS):
                    return "constant"
        return None


def names_constants(data: bytes) -> bool:
    """Whether *data* holds `NaN` or `Infinity`, which may stand in a string."""
    return (_N in data and data.find(b"NaN") >= 0) or (_I in data and data.find(b"Infinity") >= 0)
