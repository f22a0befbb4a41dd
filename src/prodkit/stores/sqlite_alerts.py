"""The alerts of a ledger in SQLite as statements: each is part of one transaction on the file's own thread."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prodkit.stores.accounting import reached_percents
from prodkit.stores.spending import Alert

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from prodkit.stores.accounting import Posting
    from prodkit.stores.spending import Account, BudgetAsk, Entry

__all__ = ["finish_alert", "read_alerts", "take_alerts", "write_alerts"]

# The columns are the fields of an Alert; whether it is open says `due_at`, which is empty once somebody has heard it.
_FIELDS = tuple(field.name for field in fields(Alert))[:-1]
_SELECT = f"SELECT {', '.join(_FIELDS)}, due_at IS NOT NULL FROM ledger_alerts"  # noqa: S608  our own names
_INSERT = """
    INSERT INTO ledger_alerts (budget, unit, window_start, window_end, percent, limit_nano, settled_nano, is_hard, at, hold,
        attributes, attempts, due_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?9)
    ON CONFLICT (budget, window_start, percent, limit_nano) DO NOTHING
"""


def write_alerts(
    connection: sqlite3.Connection,
    added: Iterable[Posting],
    entry: Entry,
    read_account: Callable[[sqlite3.Connection, BudgetAsk], Account],
) -> None:
    """Write which parts of their limits were reached with *entry*, each once; *added* is in the accounts already."""
    for ask, _, settled in added:
        if settled <= 0 or not ask.alert_percents:
            continue
        account = read_account(connection, ask)
        limit, percents = reached_percents(
            ask, limit_nano=account.limit_nano, settled_nano=account.settled_nano
        )
        for percent in percents:
            window = (ask.budget, ask.unit, ask.window_start, ask.window_end)
            amounts = (percent, limit, account.settled_nano, ask.is_hard)
            connection.execute(
                _INSERT, (*window, *amounts, entry.at, entry.hold, json.dumps(entry.attributes))
            )


def take_alerts(connection: sqlite3.Connection, now: float, lease_seconds: float, limit: int) -> list[Alert]:
    """See `LedgerStore.take_alerts`."""
    due = [
        sequence
        for (sequence,) in connection.execute(
            "SELECT sequence FROM ledger_alerts WHERE due_at <= ? ORDER BY sequence LIMIT ?", (now, limit)
        )
    ]
    connection.executemany(
        "UPDATE ledger_alerts SET due_at = ?, attempts = attempts + 1 WHERE sequence = ?",
        [(now + lease_seconds, sequence) for sequence in due],
    )
    return [_alert_of(connection.execute(f"{_SELECT} WHERE sequence = ?", (one,)).fetchone()) for one in due]


def finish_alert(connection: sqlite3.Connection, sequence: int, again_at: float | None) -> None:
    """See `LedgerStore.finish_alert`; *again_at* is in unix seconds."""
    connection.execute(
        "UPDATE ledger_alerts SET due_at = ? WHERE sequence = ? AND due_at IS NOT NULL", (again_at, sequence)
    )


def read_alerts(connection: sqlite3.Connection, after: int, limit: int) -> list[Alert]:
    """See `LedgerStore.alerts`."""
    rows = connection.execute(f"{_SELECT} WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit))
    return [_alert_of(row) for row in rows]


def _alert_of(row: tuple[Any, ...]) -> Alert:  # Any: sqlite3 does not know the types of columns
    values = dict(zip((*_FIELDS, "is_open"), row, strict=True))
    for name in ("is_hard", "is_open"):
        values[name] = bool(values[name])
    values["attributes"] = json.loads(values["attributes"])
    return Alert(**values)
