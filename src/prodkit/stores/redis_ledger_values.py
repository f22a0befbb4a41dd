"""What a ledger looks like in Redis: the names it stands under, the scripts, and holds and entries as text."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from prodkit.stores.accounting import merged_attributes
from prodkit.stores.redis_link import Script
from prodkit.stores.redis_values import reading
from prodkit.stores.spending import BudgetAsk, Entry, Hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prodkit.stores.spending import EntryKind, HoldState

__all__ = [
    "ALL",
    "STANDING",
    "Line",
    "account_name",
    "as_bytes",
    "asks_text",
    "hold_of",
    "holds_of",
    "json_text",
    "lines_of",
    "script",
]

# One hash tag: on a cluster all of it is on one machine, where a script sees it as one. The number changes when what stands
# there changes its meaning.
_NAME: Final = "pk:ledger:1:{ledger}"
_HOLDS: Final = f"{_NAME}:holds"
_ENTRIES: Final = f"{_NAME}:entries"
STANDING: Final = {
    _HOLDS: b"hash",
    f"{_NAME}:open": b"zset",
    f"{_NAME}:held": b"hash",
    f"{_NAME}:settled": b"hash",
    f"{_NAME}:limits": b"hash",
    _ENTRIES: b"stream",
    f"{_NAME}:index": b"hash",
    f"{_NAME}:manual": b"hash",
}
"""Every name of a ledger in Redis, with what Redis calls its type."""

ALL: Final = tuple(STANDING)
"""The names, in the order in which `lua/ledger.lua` takes them."""

_KINDS: Final[Mapping[str, EntryKind]] = {
    "settled": "settled",
    "presumed": "presumed",
    "adjusted": "adjusted",
    "manual": "manual",
}
_STATES: Final[Mapping[str, HoldState]] = {
    "held": "held",
    "dispatched": "dispatched",
    "settled": "settled",
    "released": "released",
    "presumed": "presumed",
}


class Line(NamedTuple):
    """An entry as it is read.

    Attributes:
        entry: itself.
        asks: where it counts, as it stands in Redis.
        exact_since: of what was presumed, the sequence of the entry that made it exact, or 0.
    """

    entry: Entry
    asks: str
    exact_since: int


# Made once: `json.dumps` would make one at each call.
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@cache
def script(verb: str) -> Script:
    """The script of one verb: what all share, and `lua/ledger_<verb>.lua`."""
    text = Script.load("ledger").text + Script.load(f"ledger_{verb}").text
    return Script(f"ledger_{verb}", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def as_bytes(name: str) -> bytes:
    """An id that somebody asks for: also one that can be no id, of which nothing is known then."""
    return name.encode("utf-8", "surrogatepass")


def json_text(value: Mapping[str, str] | Mapping[str, int] | Sequence[Sequence[str]] | str) -> bytes:
    """JSON in one line."""
    return _JSON.encode(value).encode()


def asks_text(asks: Iterable[BudgetAsk]) -> bytes:
    """*asks* as lists of strings: a whole number may be too large for the numbers of a script."""
    return json_text(
        [
            (ask.budget, _digits(ask.window_start), _digits(ask.window_end), _digits(ask.limit_nano))
            for ask in asks
        ]
    )


def account_name(ask: BudgetAsk) -> bytes:
    """What the account of *ask* is called."""
    return b"%d:%b" % (ask.window_start, as_bytes(ask.budget))


def hold_of(hold: str, text: bytes) -> Hold:
    """The hold that a script returned."""
    with reading(f"{hold!r} of {_HOLDS}"):
        first, parent, asks, attributes = text.decode().split("\n")
        state, envelope, amount_nano, drawn_nano, charged_nano, expires_at, _ = first.split(" ")
        return Hold(
            id=hold,
            parent=json.loads(parent) if parent else None,
            state=_STATES[state],
            envelope=envelope == "1",
            amount_nano=int(amount_nano),
            drawn_nano=int(drawn_nano),
            charged_nano=int(charged_nano),
            expires_at=float(expires_at),
            asks=tuple(map(_ask, json.loads(asks))),
            attributes=merged_attributes({}, json.loads(attributes)),
        )


def holds_of(answer: Sequence[bytes]) -> Iterator[Hold]:
    """The holds in a list of id, hold, id, hold."""
    for name, text in zip(answer[::2], answer[1::2], strict=True):
        with reading(_HOLDS):
            hold = name.decode()
        yield hold_of(hold, text)


def lines_of(answer: Sequence[bytes]) -> list[Line]:
    """The entries in a list of sequence, entry and the sequence of what made it exact, or 0."""
    with reading(_ENTRIES):
        return [
            Line(*_entry(sequence, text), int(exact_since))
            for sequence, text, exact_since in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        ]


def _entry(sequence: bytes, text: bytes) -> tuple[Entry, str]:
    first, hold, units, asks, attributes, reason = text.decode().split("\n")
    kind, amount_nano, at, estimated = first.split(" ")
    entry = Entry(
        sequence=int(sequence),
        hold=json.loads(hold),
        kind=_KINDS[kind],
        amount_nano=int(amount_nano),
        at=float(at),
        estimated=estimated == "1",
        units=json.loads(units),
        attributes=merged_attributes({}, json.loads(attributes)),
        reason=json.loads(reason),
    )
    return entry, asks


def _ask(texts: Sequence[str]) -> BudgetAsk:
    budget, start, end, limit = texts
    return BudgetAsk(budget, int(start), int(end) if end else None, int(limit) if limit else None)


def _digits(number: int | None) -> str:
    return "" if number is None else f"{number:d}"
