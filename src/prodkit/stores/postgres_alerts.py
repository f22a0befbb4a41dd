"""The alerts of a ledger in PostgreSQL: each written once, with the entry that gave rise to it, and told until it is heard."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.spending import ATTRIBUTES, Alert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.stores.postgres_library import Connection

__all__ = ["finish_alert", "read_alerts", "take_alerts"]

# The columns are the fields of an Alert; whether it is open says `due_at`, which is empty once somebody has heard it.
_FIELDS: Final = tuple(field.name for field in fields(Alert))[:-1]
_COLUMNS: Final = ", ".join([*(f"a.{name}" for name in _FIELDS), "a.due_at IS NOT NULL"])
_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
# Who takes at the same time passes over what others are just taking.
_TAKE: Final = f"""
    WITH due AS (
        SELECT sequence FROM {{s}}.ledger_alerts WHERE due_at <= coalesce($1::float8, {_NOW})
        ORDER BY sequence LIMIT $3 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE {{s}}.ledger_alerts AS a SET due_at = coalesce($1::float8, {_NOW}) + $2::float8, attempts = a.attempts + 1
        FROM due WHERE a.sequence = due.sequence RETURNING {_COLUMNS}
    )
    SELECT * FROM taken ORDER BY sequence
"""  # noqa: S608  our own names
_FINISH: Final = f"""
    UPDATE {{s}}.ledger_alerts SET due_at = coalesce($1::float8, {_NOW}) + $2::float8
    WHERE sequence = $3 AND due_at IS NOT NULL
"""  # noqa: S608  our own names
_READ: Final = f"""
    SELECT {_COLUMNS} FROM {{s}}.ledger_alerts AS a WHERE a.sequence > $1 AND a.sequence <= $2 ORDER BY a.sequence LIMIT $3
"""  # noqa: S608  our own names


async def take_alerts(
    connection: Connection, sql: Callable[[str], str], now: float | None, lease_seconds: float, limit: int
) -> list[Alert]:
    """See `LedgerStore.take_alerts`; *now* is in unix seconds, None for the server's time."""
    return [_alert_of(row) for row in await connection.fetch(sql(_TAKE), now, lease_seconds, limit)]


async def finish_alert(
    connection: Connection,
    sql: Callable[[str], str],
    now: float | None,
    sequence: int,
    again_in_seconds: float | None,
) -> None:
    """See `LedgerStore.finish_alert`; *now* as above. Nothing plus None is nothing: it was heard."""
    await connection.execute(sql(_FINISH), now, again_in_seconds, sequence)


async def read_alerts(
    connection: Connection, sql: Callable[[str], str], after: int, horizon: int, limit: int
) -> list[Alert]:
    """See `LedgerStore.alerts`; everything up to *horizon* is decided."""
    return [_alert_of(row) for row in await connection.fetch(sql(_READ), after, horizon, limit)]


def _alert_of(row: Sequence[Any]) -> Alert:  # Any: asyncpg does not know the types of columns
    values = dict(zip((*_FIELDS, "is_open"), row, strict=True))
    named = json.loads(values["attributes"])
    values["attributes"] = {name: named[name] for name in ATTRIBUTES if name in named}
    return Alert(**values)
