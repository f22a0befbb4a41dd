"""What a ledger looks like in Redis: the names it stands under, the scripts, and holds and entries as text."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from prodkit.stores.accounting import merged_attributes
from prodkit.stores.ledger_export import ExportLine
from prodkit.stores.redis_link import Script
from prodkit.stores.redis_values import number_text, reading
from prodkit.stores.spending import Alert, BudgetAsk, Entry, Hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prodkit.stores.spending import EntryKind, HoldState, Reservation

__all__ = [
    "ALL",
    "STANDING",
    "Line",
    "Verb",
    "account_name",
    "alerts_of",
    "are_plain",
    "as_bytes",
    "asks_text",
    "export_line_of",
    "hold_of",
    "holds_of",
    "json_text",
    "lines_of",
    "mark_text",
    "restore_texts",
    "script",
    "units_text",
]

# One hash tag: on a cluster all of it is on one machine, where a script sees it as one. The number changes when what stands
# there changes its meaning. It did not when units and alerts came: what was written before reads as it did, and of what counts
# units or alerts a release before that can read nothing, so it fails rather than counts wrong (see `lua/ledger.lua`).
_NAME: Final = "pk:ledger:1:{ledger}"
_HOLDS: Final = f"{_NAME}:holds"
_ENTRIES: Final = f"{_NAME}:entries"
_ALERTS: Final = f"{_NAME}:alerts"
STANDING: Final = {
    _HOLDS: b"hash",
    f"{_NAME}:open": b"zset",
    f"{_NAME}:held": b"hash",
    f"{_NAME}:settled": b"hash",
    f"{_NAME}:limits": b"hash",
    _ENTRIES: b"stream",
    f"{_NAME}:index": b"hash",
    f"{_NAME}:manual": b"hash",
    f"{_NAME}:cached": b"hash",
    _ALERTS: b"hash",
    f"{_NAME}:alerted": b"hash",
    f"{_NAME}:due": b"zset",
}
"""Every name of a ledger in Redis, with what Redis calls its type."""

ALL: Final = tuple(STANDING)
"""The names, in the order in which `lua/ledger.lua` takes them."""

_KINDS: Final[Mapping[str, EntryKind]] = {
    "settled": "settled",
    "presumed": "presumed",
    "adjusted": "adjusted",
    "manual": "manual",
    "cached": "cached",
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
def script(verb: str, *, guarded: bool = False, charges: bool = False) -> Script:
    """The script of one verb: what all share, what those share that write entries, and `lua/ledger_<verb>.lua`."""
    parts = ["ledger_guard"] * guarded + ["ledger_charge"] * charges
    names = ("ledger", *parts, f"ledger_{verb}")
    text = "".join(Script.load(name).text for name in names)
    return Script(f"ledger_{verb}", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Verb(NamedTuple):
    """A verb that admits or writes an entry.

    Attributes:
        plain: its script.
        guarded: that, which first looks whether an entry that was exported is there.
    """

    plain: Script
    guarded: Script

    @staticmethod
    def load(verb: str, *, charges: bool = False) -> Verb:
        """Both scripts of *verb*; see `script`."""
        return Verb(script(verb, charges=charges), script(verb, guarded=True, charges=charges))


def as_bytes(name: str) -> bytes:
    """An id that somebody asks for: also one that can be no id, of which nothing is known then."""
    return name.encode("utf-8", "surrogatepass")


def json_text(
    value: Mapping[str, str]
    | Mapping[str, int]
    | Mapping[str, Sequence[str]]
    | Sequence[Sequence[str]]
    | str,
) -> bytes:
    """JSON in one line."""
    return _JSON.encode(value).encode()


def asks_text(asks: Iterable[BudgetAsk]) -> bytes:
    """*asks* as lists of strings: a whole number may be too large for the numbers of a script."""
    return json_text([_ask_texts(ask) for ask in asks])


def are_plain(asks: Iterable[BudgetAsk]) -> bool:
    """Whether releases that know no units and no alerts count these right."""
    return all(not ask.unit and ask.is_hard and not ask.alert_percents for ask in asks)


def units_text(reservation: Reservation) -> bytes:
    """What a hold says of units; nothing where it has none and all its asks are plain."""
    if not reservation.units and are_plain(reservation.asks):
        return b""
    return json_text({unit: (_digits(quantity),) for unit, quantity in reservation.units.items()})


def account_name(ask: BudgetAsk) -> bytes:
    """What the account of *ask* is called."""
    return b"%d:%b" % (ask.window_start, as_bytes(ask.budget))


def hold_of(hold: str, text: bytes) -> Hold:
    """The hold that a script returned."""
    with reading(f"{hold!r} of {_HOLDS}"):
        first, parent, asks, attributes, *more = text.decode().split("\n")
        units: dict[str, list[str]] = json.loads(*more) if more else {}
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
            units={unit: int(pair[0]) for unit, pair in units.items()},
            drawn_units={unit: int(pair[1]) for unit, pair in units.items() if len(pair) > 1},
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
    first, hold, units, asks, attributes, reason, *saved = text.decode().split("\n")
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
        saved_nano=int(*saved),
    )
    return entry, asks


def export_line_of(line: Line) -> ExportLine:
    """A line as it is exported."""
    with reading(_ENTRIES):
        return ExportLine(line.entry, tuple(map(_ask, json.loads(line.asks))))


def mark_text(line: ExportLine | None) -> bytes:
    """By what `lua/ledger_guard.lua` knows an entry; nothing for none."""
    if line is None:
        return b""
    entry = line.entry
    return f"{entry.sequence:d} {entry.kind} {entry.amount_nano:d} {number_text(entry.at)}\n{entry.hold}".encode()


def restore_texts(line: ExportLine) -> tuple[str | bytes, ...]:
    """What `lua/ledger_restore.lua` takes."""
    entry, asks = line.entry, line.asks or ()
    saved = f"{entry.saved_nano:d}" if entry.kind == "cached" or not are_plain(asks) else ""
    return (
        *(f"{entry.sequence:d}", entry.kind, f"{entry.amount_nano:d}", number_text(entry.at)),
        *(_digits(entry.estimated), entry.hold.encode(), json_text(entry.hold), json_text(entry.units)),
        *(asks_text(asks), json_text(entry.attributes), json_text(entry.reason), saved),
    )


def alerts_of(answer: Sequence[bytes]) -> list[Alert]:
    """The alerts in a list of sequence, alert and whether somebody has still to hear of it."""
    with reading(_ALERTS):
        return [
            _alert(int(sequence), text.decode(), is_open=is_open == b"1")
            for sequence, text, is_open in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        ]


def _alert(sequence: int, text: str, *, is_open: bool) -> Alert:
    first, window, hold, attributes = text.split("\n")
    attempts, percent, limit, settled, at = first.split(" ")
    budget, start, end, unit, is_hard = json.loads(window)
    return Alert(
        sequence=sequence,
        budget=budget,
        unit=unit,
        window_start=int(start),
        window_end=int(end) if end else None,
        percent=int(percent),
        limit_nano=int(limit),
        settled_nano=int(settled),
        is_hard=is_hard == "1",
        at=float(at),
        hold=json.loads(hold),
        attributes=merged_attributes({}, json.loads(attributes)),
        attempts=int(attempts),
        is_open=is_open,
    )


def _ask_texts(ask: BudgetAsk) -> list[str]:
    texts = [ask.budget, _digits(ask.window_start), _digits(ask.window_end), _digits(ask.limit_nano)]
    if not are_plain((ask,)):
        texts += [ask.unit, _digits(ask.is_hard), ",".join(map(_digits, ask.alert_percents))]
    return texts


def _ask(texts: Sequence[str]) -> BudgetAsk:
    budget, start, end, limit, *more = texts
    unit, is_hard, percents = more or ("", "1", "")
    return BudgetAsk(
        budget,
        int(start),
        int(end) if end else None,
        int(limit) if limit else None,
        unit,
        is_hard == "1",
        tuple(map(int, percents.split(","))) if percents else (),
    )


def _digits(number: int | None) -> str:
    return "" if number is None else f"{number:d}"
