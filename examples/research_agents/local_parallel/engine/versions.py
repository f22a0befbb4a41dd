"""Versions of software, which are no decimal numbers: 3.10 is more than 3.9."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Requirement", "requirement_in"]

_SPECIFIER = re.compile(r"(?P<sign>>=|<=|==|~=|!=|<|>)\s{0,2}(?P<version>\d{1,6}(?:\.\d{1,6}){0,4})")
_NAMED = re.compile(
    r"(?:(?P<least>at\sleast)\s)?\b(?P<name>[A-Za-z][\w-]{0,40})\s{0,2}(?P<rest>[<>=~!]{1,2}\s?\d[\d.,<>=~! *]{0,60}|v?\d[\d.]{0,20})"
    r"(?P<newer>\s?\+|\s(?:or|and)\s(?:newer|later|higher|above|up)\b)?",
)
_PLAIN = re.compile(r"v?(?P<version>\d{1,6}(?:\.\d{1,6}){0,4})")
_PARTS = 5


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which versions of something are meant.

    Attributes:
        name: of what, in lower case.
        text: as written.
        bounds: (sign, version) pairs that all have to hold; a bare version is `=`.
    """

    name: str
    text: str
    bounds: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def lowest(self) -> tuple[int, ...] | None:
        """The least version that will do; None without one."""
        return next((version for sign, version in self.bounds if sign in {">=", "~=", "==", "="}), None)

    def bears_out(self, claimed: Requirement) -> bool | None:
        """Whether this, as a source tells it, says what is *claimed*; None where it leaves that open."""
        if claimed.name != self.name or not self.bounds or not claimed.bounds:
            return None
        if set(map(_padded, claimed.bounds)) == set(map(_padded, self.bounds)):
            return True
        mine, theirs = self.lowest, claimed.lowest
        if mine is None or theirs is None or len(claimed.bounds) > 1:
            return None
        if claimed.bounds[0][0] == "=" and theirs == mine[: len(theirs)]:
            return True  # "requires Python 3" of ">=3.11", "version 8.1" of "8.1.0"
        return False if _fill(mine) != _fill(theirs) else None


def requirement_in(text: str) -> Requirement | None:
    """The first requirement in *text*: "Python >=3.11,<4", "Python 3.11 or newer", "version 8.1.0"; None without one."""
    match = _NAMED.search(text)
    if match is None:
        return None
    bounds = tuple((one["sign"], _version(one["version"])) for one in _SPECIFIER.finditer(match["rest"]))
    if not bounds:
        plain = _PLAIN.match(match["rest"])
        if plain is None:
            return None
        bounds = ((">=" if match["newer"] or match["least"] else "=", _version(plain["version"])),)
    return Requirement(match["name"].lower(), match.group().strip(" .,"), bounds)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _fill(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version, *(0,) * _PARTS)[:_PARTS]


def _padded(bound: tuple[str, tuple[int, ...]]) -> tuple[str, tuple[int, ...]]:
    return bound[0], _fill(bound[1])
