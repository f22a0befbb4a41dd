"""What a ledger in PostgreSQL is asked without anything being locked, and limits, which are rows of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.stores.postgres_ledger_rows import HOLD_COLUMNS, hold_of
from prodkit.stores.spending import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.spending import BudgetAsk, Hold

__all__ = ["accounts", "expired", "find", "open_holds", "set_limit"]

_OPEN: Final = "state IN ('held', 'dispatched')"
_FIND: Final = f"SELECT {HOLD_COLUMNS} FROM {{s}}.ledger_holds WHERE id = $1"  # noqa: S608  our own names
_OPEN_HOLDS: Final = (
    f"SELECT {HOLD_COLUMNS} FROM {{s}}.ledger_holds WHERE {_OPEN} ORDER BY expires_at, id LIMIT $1"  # noqa: S608  see above
)
_EXPIRED: Final = f"""
    SELECT id FROM {{s}}.ledger_holds
    WHERE {_OPEN} AND expires_at <= coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8)
    ORDER BY expires_at, id LIMIT $2
"""  # noqa: S608  see above
_ACCOUNTS: Final = """
    SELECT (SELECT l.limit_nano FROM {s}.ledger_limits AS l WHERE l.budget = wanted.budget),
        coalesce(a.settled_nano, 0), coalesce(a.held_nano, 0)
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (budget, start, n)
    LEFT JOIN {s}.ledger_accounts AS a ON a.budget = wanted.budget AND a.window_start = wanted.start ORDER BY n
"""
_SET_LIMIT: Final = """
    INSERT INTO {s}.ledger_limits (budget, limit_nano) VALUES ($1, $2)
    ON CONFLICT (budget) DO UPDATE SET limit_nano = excluded.limit_nano
"""
_UNSET_LIMIT: Final = "DELETE FROM {s}.ledger_limits WHERE budget = $1"


async def find(connection: Connection, sql: Callable[[str], str], hold: str) -> Hold | None:
    """See `LedgerStore.find`."""
    row = await connection.fetchrow(sql(_FIND), hold)
    return None if row is None else hold_of(tuple(row))


async def open_holds(connection: Connection, sql: Callable[[str], str], limit: int) -> list[Hold]:
    """See `LedgerStore.open_holds`."""
    return [hold_of(tuple(row)) for row in await connection.fetch(sql(_OPEN_HOLDS), limit)]


async def expired(
    connection: Connection, sql: Callable[[str], str], now: float | None, limit: int
) -> list[str]:
    """Ids of open holds whose lease is over at *now*, or by the server's time; the longest ago first."""
    return [name for (name,) in await connection.fetch(sql(_EXPIRED), now, limit)]


async def accounts(
    connection: Connection, sql: Callable[[str], str], asks: Sequence[BudgetAsk]
) -> list[Account]:
    """See `LedgerStore.accounts`."""
    rows = await connection.fetch(
        sql(_ACCOUNTS), [ask.budget for ask in asks], [ask.window_start for ask in asks]
    )
    return [
        Account(
            budget=ask.budget,
            window_start=ask.window_start,
            limit_nano=limit,
            settled_nano=settled,
            held_nano=held,
        )
        for ask, (limit, settled, held) in zip(asks, rows, strict=True)
    ]


async def set_limit(
    connection: Connection, sql: Callable[[str], str], budget: str, limit_nano: int | None
) -> None:
    """See `LedgerStore.set_limit`."""
    if limit_nano is None:
        await connection.execute(sql(_UNSET_LIMIT), budget)
    else:
        await connection.execute(sql(_SET_LIMIT), budget, limit_nano)
