"""The verbs of the ledger as statements: each function is a part of one transaction on the file's own thread.

Whatever a function may refuse, it refuses before it writes; what fails in the middle is undone by whoever called it.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prodkit.stores import accounting
from prodkit.stores.accounting import Change, Charge, known, overdrawn, postings
from prodkit.stores.spending import ATTRIBUTES, Account, BudgetAsk, Entry, Hold, Reaped, Refusal
from prodkit.stores.sqlite_alerts import write_alerts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.stores.accounting import Posting
    from prodkit.stores.spending import EntryKind, Reservation

__all__ = [
    "ENTRY_COLUMNS",
    "adjust",
    "cached",
    "carry_out",
    "draw",
    "entry_of",
    "extend",
    "find",
    "open_holds",
    "read_account",
    "reap",
    "rebuild",
    "reserve",
    "set_limit",
]

# The columns are the fields of a Hold, by name and in order; the last four are JSON.
_HOLD_FIELDS = tuple(field.name for field in fields(Hold))
_HOLD_COLUMNS = ", ".join(_HOLD_FIELDS)
_SELECT_HOLD = f"SELECT {_HOLD_COLUMNS} FROM ledger_holds"  # noqa: S608  our own names
_SAVE_HOLD = (
    f"INSERT INTO ledger_holds ({_HOLD_COLUMNS}) VALUES ({', '.join('?' * len(_HOLD_FIELDS))}) "  # noqa: S608  see above
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, drawn_nano = excluded.drawn_nano, "
    "charged_nano = excluded.charged_nano, expires_at = excluded.expires_at, attributes = excluded.attributes, "
    "drawn_units = excluded.drawn_units"
)
_OPEN = "state IN ('held', 'dispatched')"

_JSON_FIELDS = 4
_PLAIN_ENTRY_COLUMNS = (
    "sequence",
    "hold",
    "kind",
    "amount_nano",
    "at",
    "estimated",
    "units",
    "reason",
    "saved_nano",
)
ENTRY_COLUMNS = ", ".join((*_PLAIN_ENTRY_COLUMNS, *ATTRIBUTES))
"""The columns that `entry_of` takes, in its order."""

_INSERT_ENTRY = (
    f"INSERT INTO ledger_entries ({ENTRY_COLUMNS}, asks) "  # noqa: S608  our own names
    f"VALUES ({', '.join('?' * (len(_PLAIN_ENTRY_COLUMNS) + len(ATTRIBUTES) + 1))})"
)
_READ_ACCOUNT = """
    SELECT l.limit_nano, coalesce(a.settled_nano, 0), coalesce(a.held_nano, 0) FROM (SELECT ?1 AS budget) AS b
    LEFT JOIN ledger_limits AS l ON l.budget = b.budget
    LEFT JOIN ledger_accounts AS a ON a.budget = b.budget AND a.window_start = ?2
"""
_ADD_TO_ACCOUNT = """
    UPDATE ledger_accounts SET held_nano = held_nano + ?1, settled_nano = settled_nano + ?2
    WHERE budget = ?3 AND window_start = ?4
"""
_OPEN_ACCOUNT = (
    "INSERT INTO ledger_accounts (held_nano, settled_nano, budget, window_start) VALUES (?1, ?2, ?3, ?4)"
)
_COUNTED = """
    SELECT json_extract(ask.value, '$[0]') AS budget, json_extract(ask.value, '$[1]') AS window_start,
        {settled} AS settled_nano, {held} AS held_nano
    FROM {table}, json_each({table}.asks) AS ask
"""
# An ask names its unit, or nothing where it counts money.
_OF_ASK = """
    CASE coalesce(json_extract(ask.value, '$[4]'), '') WHEN '' THEN {money} ELSE {units} END
"""
_OF_UNIT = """
    coalesce((SELECT unit.value FROM json_each({table}.{column}) AS unit WHERE unit.key = json_extract(ask.value, '$[4]')), 0)
"""
_SETTLED = _OF_ASK.format(money="amount_nano", units=_OF_UNIT.format(table="ledger_entries", column="units"))
_HELD = _OF_ASK.format(
    money="amount_nano - drawn_nano",
    units=_OF_UNIT.format(table="ledger_holds", column="units")
    + " - "
    + _OF_UNIT.format(table="ledger_holds", column="drawn_units"),
)
# What the accounts should say: every entry once, and of every open hold what it has not passed on.
_TRUE_ACCOUNTS = (
    "SELECT budget, window_start, sum(settled_nano), sum(held_nano) FROM ("  # noqa: S608  our own words
    + _COUNTED.format(table="ledger_entries", settled=_SETTLED, held="0")
    + " UNION ALL "
    + _COUNTED.format(table="ledger_holds", settled="0", held=_HELD)
    + f" WHERE {_OPEN}) GROUP BY budget, window_start"
)


def reserve(connection: sqlite3.Connection, now: float, reservation: Reservation) -> Hold | Refusal:
    """See `LedgerStore.reserve`."""
    hold = find(connection, reservation.id)
    if hold is not None:
        return accounting.recognise(hold, reservation, None)
    for ask in reservation.asks:
        account = read_account(connection, ask)
        refusal = accounting.admit(
            ask,
            reservation,
            limit_nano=account.limit_nano,
            settled_nano=account.settled_nano,
            held_nano=account.held_nano,
        )
        if refusal is not None:
            return refusal
    hold = accounting.new_hold(reservation, now)
    return _make(connection, now, Change(hold, 1))


def draw(
    connection: sqlite3.Connection, now: float, envelope: str, reservation: Reservation
) -> Hold | Refusal:
    """See `LedgerStore.draw`."""
    hold = find(connection, reservation.id)
    if hold is not None:
        return accounting.recognise(hold, reservation, envelope)
    drawn_from = accounting.draw(known(find(connection, envelope), envelope), reservation)
    if isinstance(drawn_from, Refusal):
        return drawn_from
    # The accounts stay as they are: what the envelope no longer holds, its call does.
    _make(connection, now, Change(drawn_from))
    return _make(connection, now, Change(accounting.new_hold(reservation, now, drawn_from)))


def extend(connection: sqlite3.Connection, now: float, holds: Sequence[str], lease_seconds: float) -> None:
    """See `LedgerStore.extend`."""
    connection.executemany(
        f"UPDATE ledger_holds SET expires_at = ? WHERE id = ? AND {_OPEN}",  # noqa: S608  our own words
        [(now + lease_seconds, hold) for hold in holds],
    )


def reap(connection: sqlite3.Connection, now: float, limit: int) -> Reaped:
    """See `LedgerStore.reap`."""
    closed = [
        carry_out(connection, now, hold, accounting.close_expired(hold, now))
        for hold in _expired(connection, now, limit)
    ]
    return Reaped(
        released=tuple(hold for hold in closed if hold.state == "released"),
        presumed=tuple(hold for hold in closed if hold.state == "presumed"),
    )


def adjust(  # noqa: PLR0917  one call, from one place
    connection: sqlite3.Connection,
    now: float,
    entry: str,
    charge: Charge,
    reason: str,
    asks: tuple[BudgetAsk, ...],
    attributes: Mapping[str, str],
) -> Entry:
    """See `LedgerStore.adjust`."""
    made = _find_by_id(connection, "manual", entry)
    if made is not None:
        return accounting.recognise_manual(made, charge.amount_nano, charge.units)
    added = postings(asks, charge)
    _post(connection, added)
    named = accounting.merged_attributes({}, attributes)
    written = _write(connection, now, entry, charge, asks, named, reason)
    write_alerts(connection, added, written, read_account)
    return written


def cached(
    connection: sqlite3.Connection, now: float, entry: str, charge: Charge, attributes: Mapping[str, str]
) -> Entry:
    """See `LedgerStore.cached`."""
    made = _find_by_id(connection, "cached", entry)
    if made is not None:
        return made
    return _write(connection, now, entry, charge, (), accounting.merged_attributes({}, attributes))


def _find_by_id(connection: sqlite3.Connection, kind: EntryKind, entry: str) -> Entry | None:
    row = connection.execute(
        # The kind stands in the text: only so SQLite sees that the index of that kind serves.
        f"SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE hold = ? AND kind = '{kind}'",  # noqa: S608  our own names
        (entry,),
    ).fetchone()
    return None if row is None else entry_of(row)


def set_limit(connection: sqlite3.Connection, budget: str, limit_nano: int | None) -> None:
    """See `LedgerStore.set_limit`."""
    if limit_nano is None:
        connection.execute("DELETE FROM ledger_limits WHERE budget = ?", (budget,))
    else:
        connection.execute("INSERT OR REPLACE INTO ledger_limits VALUES (?, ?)", (budget, limit_nano))


def rebuild(connection: sqlite3.Connection) -> int:
    """See `LedgerStore.rebuild`."""
    kept_accounts = "SELECT budget, window_start, settled_nano, held_nano FROM ledger_accounts"
    true, kept = (
        {(budget, start): (settled, held) for budget, start, settled, held in connection.execute(query)}
        for query in (_TRUE_ACCOUNTS, kept_accounts)
    )
    wrong = [key for key in true.keys() | kept.keys() if true.get(key, (0, 0)) != kept.get(key, (0, 0))]
    connection.executemany(
        "INSERT OR REPLACE INTO ledger_accounts (budget, window_start, settled_nano, held_nano) VALUES (?, ?, ?, ?)",
        [(*key, *true.get(key, (0, 0))) for key in wrong],
    )
    return len(wrong)


def carry_out(connection: sqlite3.Connection, now: float, hold: Hold, change: Change | None) -> Hold:
    """Write down what a verb makes of *hold*; None: it has been done already."""
    return hold if change is None else _make(connection, now, change)


def find(connection: sqlite3.Connection, hold: str) -> Hold | None:
    """See `LedgerStore.find`."""
    row = connection.execute(_SELECT_HOLD + " WHERE id = ?", (hold,)).fetchone()
    return None if row is None else _hold_of(row)


def open_holds(connection: sqlite3.Connection, limit: int) -> list[Hold]:
    """See `LedgerStore.open_holds`."""
    rows = connection.execute(f"{_SELECT_HOLD} WHERE {_OPEN} ORDER BY expires_at, id LIMIT ?", (limit,))
    return [_hold_of(row) for row in rows]


def _expired(connection: sqlite3.Connection, now: float, limit: int) -> list[Hold]:
    """Open holds whose lease is over at *now*, the longest ago first."""
    rows = connection.execute(
        f"{_SELECT_HOLD} WHERE {_OPEN} AND expires_at <= ? ORDER BY expires_at, id LIMIT ?", (now, limit)
    )
    return [_hold_of(row) for row in rows]


def read_account(connection: sqlite3.Connection, ask: BudgetAsk) -> Account:
    """The account of *ask*; 0 where nothing was ever counted."""
    limit_nano, settled_nano, held_nano = connection.execute(
        _READ_ACCOUNT, (ask.budget, ask.window_start)
    ).fetchone()
    return Account(
        budget=ask.budget,
        window_start=ask.window_start,
        limit_nano=limit_nano,
        settled_nano=settled_nano,
        held_nano=held_nano,
    )


def entry_of(row: tuple[Any, ...]) -> Entry:  # Any: sqlite3 does not know the types of columns
    """The entry in a row of `ENTRY_COLUMNS`."""
    values = dict(zip(_PLAIN_ENTRY_COLUMNS, row, strict=False))
    values["estimated"] = bool(values["estimated"])
    values["units"] = json.loads(values["units"])
    named = zip(ATTRIBUTES, row[len(_PLAIN_ENTRY_COLUMNS) :], strict=True)
    return Entry(attributes={name: value for name, value in named if value}, **values)


def _make(connection: sqlite3.Connection, now: float, change: Change) -> Hold:
    hold, charge = change.hold, change.charge
    added = postings(hold.asks, charge, hold=hold, held=change.held)
    _post(connection, added)
    if charge is not None:
        entry = _write(connection, now, hold.id, charge, hold.asks, hold.attributes)
        write_alerts(connection, added, entry, read_account)
    plain = [getattr(hold, name) for name in _HOLD_FIELDS[:-_JSON_FIELDS]]
    documents = (hold.attributes, hold.units, hold.drawn_units)
    connection.execute(_SAVE_HOLD, (*plain, _asks_as_json(hold.asks), *map(json.dumps, documents)))
    return hold


def _post(connection: sqlite3.Connection, added: Sequence[Posting]) -> None:
    for ask, held, settled in added:
        amounts = (held, settled, ask.budget, ask.window_start)
        try:
            if not connection.execute(_ADD_TO_ACCOUNT, amounts).rowcount:
                connection.execute(_OPEN_ACCOUNT, amounts)
        except sqlite3.IntegrityError as error:
            raise overdrawn(ask.budget) from error


def _write(  # noqa: PLR0917  the columns of an entry
    connection: sqlite3.Connection,
    now: float,
    hold: str,
    charge: Charge,
    asks: Sequence[BudgetAsk],
    attributes: Mapping[str, str],
    reason: str = "",
) -> Entry:
    plain = (hold, charge.kind, charge.amount_nano, now, charge.estimated)
    rest = (json.dumps(charge.units), reason, charge.saved_nano)
    named = [attributes.get(name, "") for name in ATTRIBUTES]
    cursor = connection.execute(_INSERT_ENTRY, (None, *plain, *rest, *named, _asks_as_json(asks)))
    return Entry(
        sequence=cursor.lastrowid or 0,
        hold=hold,
        kind=charge.kind,
        amount_nano=charge.amount_nano,
        at=now,
        estimated=charge.estimated,
        units=charge.units,
        attributes=attributes,
        reason=reason,
        saved_nano=charge.saved_nano,
    )


def _hold_of(row: tuple[Any, ...]) -> Hold:  # Any: as entry_of
    values = dict(zip(_HOLD_FIELDS, row, strict=True))
    values["envelope"] = bool(values["envelope"])
    values["asks"] = tuple(_ask_of(ask) for ask in json.loads(values["asks"]))
    for name in ("attributes", "units", "drawn_units"):
        values[name] = json.loads(values[name])
    return Hold(**values)


def _ask_of(values: list[Any]) -> BudgetAsk:  # Any: JSON that we wrote
    budget, start, end, limit, *more = values
    unit, is_hard, percents = more or ("", True, ())
    return BudgetAsk(budget, start, end, limit, unit, is_hard, tuple(percents))


def _asks_as_json(asks: Sequence[BudgetAsk]) -> str:
    return json.dumps([_ask_as_list(ask) for ask in asks])


def _ask_as_list(ask: BudgetAsk) -> list[object]:
    plain: list[object] = [ask.budget, ask.window_start, ask.window_end, ask.limit_nano]
    if not ask.unit and ask.is_hard and not ask.alert_percents:
        return plain
    return [*plain, ask.unit, ask.is_hard, ask.alert_percents]
