r"""Whether a pattern says how the registered name in an origin ends: `example.com`, before which only a dot may stand.

Whoever writes `[a-z-]*example\.com` lets in `evilexample.com`, and with `example\.[a-z]+` everybody who buys `example.xyz`. That is
looked up in the automaton, from its end: however it is written, each way back to the dot or the slash before the registered name
has to be one of single characters.

Source: PortSwigger, "Exploiting CORS misconfigurations" (2016), on prefixes and suffixes; RFC 2606 (reserved names).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.cors.suffixes import is_second_level

if TYPE_CHECKING:
    from prodkit.cors.patterns import OriginPattern

__all__ = ["has_loose_end", "literal_ends"]

_DIGITS: Final = frozenset(b"0123456789")
_COLON: Final = ord(":")
_LONGEST_LABEL: Final = 63
_LONGEST_HOST: Final = 253
# Names below these cannot be bought (RFC 2606 and 6762; ICANN on `internal`).
_NOT_FOR_SALE: Final = frozenset({"example", "internal", "invalid", "local", "localhost", "test"})
# More ways than this has no pattern that a person has written.
_MOST_STEPS: Final = 20_000


def has_loose_end(pattern: OriginPattern) -> bool:
    """Whether somebody could register a name of his own that *pattern* takes; an address has no registered name."""
    before = pattern.predecessors()
    ends, is_open = _host_ends(pattern, before)
    if is_open:
        return True
    ways: list[tuple[int, str, tuple[str, ...]]] = [(end, "", ()) for end in ends]
    for _ in range(_MOST_STEPS):
        if not ways:
            return False
        position, label, labels = ways.pop()
        taken = pattern.taken[position]
        if len(taken) != 1 or len(label) > _LONGEST_LABEL:
            return True
        character = chr(next(iter(taken)))
        if character in "/]":  # the whole name was literal, or it is an IPv6 address
            continue
        if character == ".":
            labels, label = (*labels, label), ""
            if len(labels) >= _labels_needed(labels):
                continue
        else:
            label = character + label
        ways.extend((other, label, labels) for other in before[position])
    return True


def literal_ends(pattern: OriginPattern) -> set[str]:
    """With what hosts end in any case, on each way through *pattern* to a dot before which it leaves something open."""
    before = pattern.predecessors()
    ends, _ = _host_ends(pattern, before)
    ways = [(end, "") for end in ends]
    found: set[str] = set()
    for _ in range(_MOST_STEPS):
        if not ways:
            break
        position, text = ways.pop()
        taken = pattern.taken[position]
        if len(taken) != 1 or len(text) > _LONGEST_HOST:
            if text.startswith("."):
                found.add(text[1:])
            continue
        character = chr(next(iter(taken)))
        if character not in "/]":
            ways.extend((other, character + text) for other in before[position])
    return found


def _labels_needed(labels: tuple[str, ...]) -> int:
    """How many labels a registered name has that ends so; *labels* are those known, the last one first."""
    if labels[0] in _NOT_FOR_SALE:
        return 1
    return 3 if len(labels) > 1 and is_second_level(labels[0], labels[1]) else 2


def _host_ends(pattern: OriginPattern, before: list[list[int]]) -> tuple[set[int], bool]:
    """With which positions a host that is no address may end, ports taken off; and whether that cannot be told."""
    ends, behind = _without_digits(pattern, before, pattern.last_positions())
    if any(_COLON in pattern.taken[position] for position in ends):
        return set(), True
    colons = {position for position in behind if _COLON in pattern.taken[position]}
    if any(len(pattern.taken[colon]) > 1 for colon in colons):
        return set(), True
    hosts = [position for colon in colons for position in before[colon]]
    # What has digits at its end here is an IPv4 address: no top-level domain has.
    named, _ = _without_digits(pattern, before, hosts)
    return ends | named, False


def _without_digits(
    pattern: OriginPattern, before: list[list[int]], positions: list[int]
) -> tuple[set[int], set[int]]:
    """Those of *positions* that are more than digits, and what may stand before the digits of the others."""
    behind: set[int] = set()
    left = list(positions)
    digits: set[int] = set()
    while left:
        position = left.pop()
        if position in digits or position in behind:
            continue
        if pattern.taken[position] <= _DIGITS:
            digits.add(position)
            left.extend(before[position])
        elif position not in positions:
            behind.add(position)
    return {position for position in positions if position not in digits}, behind
