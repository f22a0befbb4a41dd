"""What travels to `lua/limits.lua` and back: asks and settlements as bytes, answers as decisions.

A decision costs a few microseconds of Python, most of it here: so everything that a rule always says is packed once, and what
many callers ask is one argument, their answers one text.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prodkit.core.calendar_windows import table_at
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import Decision
from prodkit.stores.algorithms import require_costs
from prodkit.stores.rules import CalendarWindow, Permit, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prodkit.stores import Ask, Rule, Settlement

__all__ = ["AgainError", "Answer", "Packer", "Parcel", "partition", "state_keys", "unpack"]

# The flags and the layouts are those of limits.lua.
_BINDING: Final = 1
_COUNTS_DENIED: Final = 2
_LOOKS: Final = 4
_MICROSECONDS: Final = 8
_ASK: Final = struct.Struct("<cBddd")
_BOUNDS: Final = struct.Struct("<5d")
_QUEUE: Final = struct.Struct("<ddB")
_COUNT: Final = struct.Struct("<H")
_MOMENT: Final = struct.Struct("<d")
_ANSWER: Final = struct.Struct("<?qddH")

_ONE: Final = _COUNT.pack(1)
_SETTLES: Final = _COUNT.pack(0)
_KINDS: Final = "gfscmpq"

# Beyond this a bucket's interval is whole microseconds; see `Rate`.
_EXACT_NS: Final = 2**52
# A double holds every whole number up to here; no limit is as large.
_MOST: Final = 2**53
_MOST_ASKS: Final = 1000
# Rules are made by operators, some hundreds of them; more are made anew for each request, and need not be remembered.
_MOST_RULES: Final = 1024

Answer: TypeAlias = "tuple[Decision, ...]"

Parcel: TypeAlias = tuple[list[str], bytes, int, int]
"""What one caller sends: keys of the states, in the order of the asks; the entries; how many entries those are, one of a call
or one for each settlement; and how many decisions come back. A plain tuple because one is made on every request.
"""


class AgainError(Exception):
    """The store's clock reads *now_us*, and the calendar that was sent along does not cover that."""

    def __init__(self, now_us: int) -> None:
        """Remember the time."""
        super().__init__(now_us)
        self.now_us = now_us


def partition(key: str) -> str:
    """What stands between the first `{` and the next `}`, or all of it: as Redis Cluster reads a key."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    return key[start + 1 : end] if end > start + 1 else key


def state_keys(key: str) -> list[str]:
    """Everything that may be kept under *key*, by any kind of rule."""
    return [_state_key(key, kind) for kind in _KINDS]


def _state_key(key: str, kind: str) -> str:
    start = key.find("{")
    if start >= 0 and key.find("}", start + 1) > start + 1:
        return f"{key}:{kind}"
    # A key without a partition is one of its own, and all that is kept under it has to stand on one machine. No key of the
    # other form ends like this one.
    return f"{{:{key}}}-{kind}"


class Packer:
    """Turns what is asked into bytes. Remembers what each rule says, as long as there are not too many.

    Args:
        wall: reads about the time of the store's clock, in unix seconds: which windows of a calendar are sent along first.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        """Know no rule."""
        self._wall = wall
        # By identity: to hash a rule costs more than to pack it. The rule itself is kept too, so that it stays the one; then
        # an ask of cost 1, and the same as the only one of an entry.
        self._rules: dict[int, tuple[Rule, bytes, bytes]] = {}

    def pack(self, asks: Sequence[Ask]) -> Parcel:
        """One call of `hit_many`.

        Raises:
            ValueError: see there; or there are over 1000 asks.
        """
        if len(asks) == 1:
            key, rule, cost = asks[0]
            known = self._rules.get(id(rule))
            if cost == 1 and known is not None and known[0] is rule:
                return [_state_key(key, rule.code)], known[2], 1, 1
        require_costs(asks)
        if len(asks) > _MOST_ASKS:
            message = f"at most {_MOST_ASKS} asks travel together, not {len(asks)}"
            raise ValueError(message)
        keys: list[str] = []
        parts = [_COUNT.pack(len(asks))]
        for key, rule, cost in asks:
            keys += _keys(key, rule)
            parts.append(self._piece(rule, cost))
        return keys, b"".join(parts), 1, len(asks)

    def pack_look(self, key: str, rule: Rule) -> Parcel:
        """One call of `peek`."""
        return _keys(key, rule), _ONE + self._piece(rule, 1, _LOOKS), 1, 1

    def pack_settlements(self, settlements: Iterable[Settlement]) -> Parcel:
        """What is settled in one partition."""
        keys: list[str] = []
        parts: list[bytes] = []
        for key, rule, amount, at_ns in settlements:
            keys += _keys(key, rule)
            parts += (_SETTLES, self._piece(rule, amount), _MOMENT.pack(at_ns // 1000))
        return keys, b"".join(parts), len(parts) // 3, 0

    def correct(self, rules: Iterable[Rule], now_us: int) -> None:
        """Send the windows around *now_us* along from now on."""
        for rule in rules:
            if type(rule) is CalendarWindow:
                self._remember(rule, _packed(rule, 1, now_us / 1e6))

    def _common(self, rule: Rule) -> bytes:
        """An ask of cost 1."""
        known = self._rules.get(id(rule))
        if known is not None and known[0] is rule:
            return known[1]
        piece = _packed(rule, 1, self._wall())
        if type(rule) is not Permit:
            self._remember(rule, piece)
        return piece

    def _piece(self, rule: Rule, cost: int, flags: int = 0) -> bytes:
        piece = self._common(rule)
        if cost == 1 and not flags:
            return piece
        code, own_flags, _, limit, third = _ASK.unpack_from(piece)
        cost = max(-_MOST, min(cost, _MOST))
        return _ASK.pack(code, own_flags | flags, cost, limit, third) + piece[_ASK.size :]

    def _remember(self, rule: Rule, piece: bytes) -> None:
        if len(self._rules) >= _MOST_RULES:
            self._rules.clear()
        self._rules[id(rule)] = rule, piece, _ONE + piece


def _keys(key: str, rule: Rule) -> list[str]:
    if rule.code == "p":
        return [_state_key(key, "p"), _state_key(key, "q")]
    return [_state_key(key, rule.code)]


def _packed(rule: Rule, cost: int, at: float) -> bytes:
    flags = (_BINDING if rule.is_binding else 0) | (_COUNTS_DENIED if rule.counts_denied else 0)
    code = rule.code.encode()
    if isinstance(rule, Rate):
        if rule.capacity_ns > _EXACT_NS:
            return _ASK.pack(code, flags | _MICROSECONDS, cost, rule.burst, rule.interval_ns // 1000)
        return _ASK.pack(code, flags, cost, rule.burst, rule.interval_ns)
    if isinstance(rule, CalendarWindow):
        bounds = table_at(rule.unit, rule.count, rule.tz, rule.anchor, at)
        return _ASK.pack(code, flags, cost, rule.limit, 0) + _BOUNDS.pack(*(bound * 1e6 for bound in bounds))
    if isinstance(rule, Permit):
        name = rule.id.encode("utf-8", "surrogatepass")
        lease_us, queue_us = round(rule.lease_seconds * 1e6), round(rule.queue_seconds * 1e6)
        return (
            _ASK.pack(code, flags, cost, rule.limit, lease_us)
            + _QUEUE.pack(rule.queue, queue_us, len(name))
            + name
        )
    return _ASK.pack(code, flags, cost, rule.limit, rule.window_us)


def unpack(
    parcels: Sequence[Parcel], reply: Any
) -> list[Answer | Exception]:  # Any: whatever the script returned
    """What each of those who sent *parcels* is told.

    Raises:
        StoreIncompatibleError: the reply is none of ours.
    """
    text = reply if type(reply) is bytes else reply[0]
    counts = [count for _, _, _, count in parcels]
    if len(text) != _MOMENT.size + _ANSWER.size * sum(counts):
        message = f"the store answered with {len(text)} bytes"
        raise StoreIncompatibleError(message)
    now_us = int(_MOMENT.unpack_from(text)[0])
    at_ns = now_us * 1000
    decisions = [
        Decision(allowed, remaining, reset_seconds, retry_seconds, at_ns, queued)
        for allowed, remaining, reset_seconds, retry_seconds, queued in _ANSWER.iter_unpack(
            text[_MOMENT.size :]
        )
    ]
    answers: list[Answer | Exception]
    if counts.count(1) == len(counts):
        answers = [(decision,) for decision in decisions]
    else:
        rest = iter(decisions)
        answers = [tuple(islice(rest, count)) for count in counts]
    if text is not reply:
        _put_errors(parcels, answers, reply, now_us)
    return answers


def _put_errors(
    parcels: Sequence[Parcel], answers: list[Answer | Exception], reply: list[Any], now_us: int
) -> None:
    """Replace the answers of those whose entries failed; of several settlements the last error counts."""
    owners = [index for index, (_, _, entries, _) in enumerate(parcels) for _ in range(entries)]
    for number, trouble in zip(reply[1::2], reply[2::2], strict=True):
        answers[owners[number]] = _error(trouble.decode("utf-8", "replace"), now_us)


def _error(trouble: str, now_us: int) -> Exception:
    if trouble == "AGAIN":
        return AgainError(now_us)
    if "WRONGTYPE" in trouble or "was not written here" in trouble:
        return StoreIncompatibleError(trouble)
    return StoreUnavailableError(trouble)
