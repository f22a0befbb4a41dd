"""Patterns for origins, matched in time that grows with the length of the origin only, whatever the pattern.

Python's `re` tries one way after the other, and a pattern such as `([a-z]+)+` has exponentially many: one header would stop the
process (ReDoS). So the part of the language that origins need is read here into the automaton of its positions, and all ways are
followed at once. What is left out (look-around, back references, flags, words for characters) is refused with a reason.

Source: V. Glushkov, "The abstract theory of automata", 1961; OWASP, Regular expression Denial of Service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["OriginPattern", "PatternError"]

# What a pattern for origins comes to with every copy of `{2,5}` written out; the longest we saw has 90.
_MAX_POSITIONS: Final = 512
_MAX_COPIES: Final = 253  # the longest host name
_MAX_DEPTH: Final = 16
_COUNT: Final = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{0,3}))?\}")
_CLASS: Final = re.compile(r"\[\^?(?:\\[^A-CE-VX-Za-ce-vx-z0-9]|[^\]\\\[])+\]")
# In a class Python warns of these, since they may come to mean something there.
_RESERVED_PAIRS: Final = ("--", "&&", "~~", "||")
_SHORTHANDS: Final = "dw"


class PatternError(ValueError):
    """What is wrong with a pattern, and the cure after a bar."""


@dataclass(slots=True)
class _Part:
    """A part of a pattern: with which positions its texts begin and end (bit masks), and whether the empty text is one."""

    first: int = 0
    last: int = 0
    is_optional: bool = True


class OriginPattern:
    """A compiled pattern, always held against the whole origin.

    Args:
        text: from ^ to $.

    Raises:
        PatternError: it is none, or uses more than origins need.

    Attributes:
        taken: which bytes each position takes.
    """

    __slots__ = ("_follow", "_part", "_positions", "taken")

    def __init__(self, text: str) -> None:
        reader = _Reader(text.removeprefix("^").removesuffix("$"))
        self._part = reader.read()
        self._follow = tuple(reader.follow)
        self.taken = tuple(reader.taken)
        self._positions = {
            byte: sum(1 << index for index, taken in enumerate(reader.taken) if byte in taken)
            for byte in range(128)
        }

    def matches(self, origin: bytes) -> bool:
        """Whether all of *origin* is one of the texts that the pattern means."""
        if not origin:
            return self._part.is_optional
        positions, follow = self._positions, self._follow
        reachable = self._part.first
        here = 0
        for byte in origin:
            here = reachable & positions.get(byte, 0)
            if not here:
                return False
            reachable, left = 0, here
            while left:
                lowest = left & -left
                reachable |= follow[lowest.bit_length() - 1]
                left ^= lowest
        return here & self._part.last != 0

    def last_positions(self) -> list[int]:
        """The positions with which a text may end."""
        return _indices(self._part.last)

    def predecessors(self) -> list[list[int]]:
        """For each position those that may stand right before it."""
        before: list[list[int]] = [[] for _ in self._follow]
        for index, followers in enumerate(self._follow):
            for follower in _indices(followers):
                before[follower].append(index)
        return before


def _indices(mask: int) -> list[int]:
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


class _Reader:
    """Reads a pattern once, from left to right; each single-character part becomes a position."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.taken: list[frozenset[int]] = []
        self.follow: list[int] = []

    def read(self) -> _Part:
        part = self._alternatives(0)
        if self._at < len(self._text):
            message = "has a parenthesis that was never opened | Write \\( for the character, or remove it."
            raise PatternError(message)
        return part

    def _alternatives(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            message = "has too many groups inside of each other | Name several origins, or write it flatter."
            raise PatternError(message)
        part = self._sequence(depth)
        while self._next() == "|":
            self._at += 1
            other = self._sequence(depth)
            part = _Part(
                part.first | other.first, part.last | other.last, part.is_optional or other.is_optional
            )
        return part

    def _sequence(self, depth: int) -> _Part:
        part, is_empty = _Part(), True
        while (character := self._next()) and character not in "|)":
            part, is_empty = self._joined(part, self._repeated(depth)), False
        if is_empty:
            message = "has an empty alternative or group | Write ? after what may be absent."
            raise PatternError(message)
        return part

    def _repeated(self, depth: int) -> _Part:
        start = self._at
        part = self._atom(depth)
        end = self._at
        least, most = self._quantifier()
        after = self._at
        if most == 0:
            message = "repeats something zero times | Leave it out."
            raise PatternError(message)
        copies = max(least, most or 1)
        whole = part if least else _Part(part.first, part.last)
        for number in range(1, copies):
            # Each copy has positions of its own, so it is read again.
            self._at = start
            part = self._atom(depth)
            if self._at != end:  # pragma: no cover - the same text is read the same way
                raise PatternError
            whole = self._joined(whole, part if number < least else _Part(part.first, part.last))
        if most is None:
            self._link(part.last, part.first)
        self._at = after
        return whole

    def _quantifier(self) -> tuple[int, int | None]:
        character = self._next()
        least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(character, (1, 1))
        if character and character in "?*+":
            self._at += 1
        elif character == "{":
            found = _COUNT.match(self._text, self._at)
            if found is None:
                message = r"has a brace that is no count | Write {2}, {2,} or {2,5}, or \{ for the character."
                raise PatternError(message)
            self._at = found.end()
            least = int(found[1])
            most = least if found[2] is None else int(found[3]) if found[3] else None
            if max(least, most or 0) > _MAX_COPIES or (most is not None and most < least):
                message = (
                    f"has a count that no host name fits | Count from small to large, up to {_MAX_COPIES}."
                )
                raise PatternError(message)
        if (character := self._next()) and character in "?*+{":
            message = "has two repetitions in a row | Leave one out: nothing here depends on which way is tried first."
            raise PatternError(message)
        return least, most

    def _atom(self, depth: int) -> _Part:
        character = self._next()
        if character == "(":
            self._at += 3 if self._text.startswith("(?:", self._at) else 1
            if self._next() == "?":
                message = "has a group with a question mark | Write (...) or (?:...); look-around and flags are not known here."
                raise PatternError(message)
            part = self._alternatives(depth + 1)
            if self._next() != ")":
                message = "has a parenthesis that is never closed | Close it, or write \\( for the character."
                raise PatternError(message)
            self._at += 1
            return part
        if character in "*+?{^$":
            message = rf"has {character} where nothing is repeated or ends | Write \{character} for the character, or remove it."
            raise PatternError(message)
        return self._position(self._single(character))

    def _single(self, character: str) -> str:
        """The pattern of one character that stands here, as `re` reads it."""
        rest = self._text[self._at :]
        if character == "[":
            found = _CLASS.match(rest)
            if found is None or any(pair in found[0] for pair in _RESERVED_PAIRS):
                message = r"has a class that cannot be read | Write [a-z0-9-], with \[ and \] for brackets."
                raise PatternError(message)
            return found[0]
        if character == "\\":
            if len(rest) == 1 or (rest[1].isalnum() and rest[1] not in _SHORTHANDS):
                message = (
                    r"has an escape that is not known here | Known are \., \-, \d, \w and other punctuation."
                )
                raise PatternError(message)
            return rest[:2]
        return character

    def _position(self, single: str) -> _Part:
        if not single.isascii():
            message = "has a character that no origin has | Write international names as browsers do: xn--bcher-kva."
            raise PatternError(message)
        try:
            one = re.compile(single.encode())
        except re.error:
            message = "has a class that cannot be read | Try it in Python with re.compile."
            raise PatternError(message) from None
        self._at += len(single)
        if len(self.taken) >= _MAX_POSITIONS:
            message = (
                "is too long with its counts written out | Name several origins, or use + in place of counts."
            )
            raise PatternError(message)
        self.taken.append(frozenset(byte for byte in range(128) if one.fullmatch(bytes([byte]))))
        self.follow.append(0)
        bit = 1 << (len(self.taken) - 1)
        return _Part(bit, bit, is_optional=False)

    def _joined(self, part: _Part, other: _Part) -> _Part:
        self._link(part.last, other.first)
        return _Part(
            part.first | (other.first if part.is_optional else 0),
            other.last | (part.last if other.is_optional else 0),
            part.is_optional and other.is_optional,
        )

    def _link(self, ends: int, beginnings: int) -> None:
        for index in _indices(ends):
            self.follow[index] |= beginnings

    def _next(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""
