"""Reports out of the entries of a ledger in PostgreSQL, and what its accounts should say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.stores.postgres_ledger_rows import ENTRY_COLUMNS, entry_of
from prodkit.stores.spending import UsageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.stores.postgres_library import Connection
    from prodkit.stores.spending import Entry, UsageQuery

__all__ = ["HORIZON", "read_entries", "read_usage", "rebuild"]

HORIZON: Final = "SELECT {s}.ledger_horizon($1)"
"""Up to which sequence of a table everything is decided, by now; in a transaction of its own."""

# What was presumed is no estimate any more once the provider has told.
_ESTIMATED: Final = """
    entry.estimated AND NOT (entry.kind = 'presumed' AND EXISTS (
        SELECT FROM {s}.ledger_entries AS later
        WHERE later.hold = entry.hold AND later.kind = 'adjusted' AND NOT later.estimated
    ))
"""
_BOUGHT: Final = "entry.kind <> 'cached'"
_SUMS: Final = ", ".join(
    [
        "coalesce(sum(entry.amount_nano), 0) AS amount",
        f"count(DISTINCT coalesce(nullif(entry.operation, ''), entry.hold)) FILTER (WHERE {_BOUGHT})",
        f"coalesce(sum(entry.amount_nano) FILTER (WHERE {_ESTIMATED}), 0)",
        f"count(DISTINCT entry.hold) FILTER (WHERE {_BOUGHT})",
        f"count(*) FILTER (WHERE NOT {_BOUGHT})",
        "coalesce(sum(entry.saved_nano), 0)",
    ]
)

_OF_UNIT: Final = "coalesce(({table}.{column} ->> (ask.value ->> 4))::bigint, 0)"
_OF_ASK: Final = """
    SELECT ask.value ->> 0 AS budget, (ask.value ->> 1)::bigint AS window_start,
        {settled} AS settled_nano, {held} AS held_nano
    FROM {{s}}.{table} AS {table}, jsonb_array_elements({table}.asks) AS ask (value)
"""
_CASE: Final = "CASE ask.value ->> 4 WHEN '' THEN {money} ELSE {units} END"
_ENTERED: Final = _OF_ASK.format(
    table="ledger_entries",
    settled=_CASE.format(money="amount_nano", units=_OF_UNIT.format(table="ledger_entries", column="units")),
    held="0::bigint",
)
_HELD: Final = _OF_ASK.format(
    table="ledger_holds",
    settled="0::bigint",
    held=_CASE.format(
        money="amount_nano - drawn_nano",
        units=" - ".join(
            _OF_UNIT.format(table="ledger_holds", column=column) for column in ("units", "drawn_units")
        ),
    ),
)
# What the accounts should say: every entry once, and of every open hold what it has not passed on. Nobody may change an
# account meanwhile; who is about to is waited for.
_LOCK: Final = "LOCK TABLE {s}.ledger_accounts IN EXCLUSIVE MODE"
_REBUILD: Final = f"""
    WITH counted AS ({_ENTERED} UNION ALL {_HELD} WHERE state IN ('held', 'dispatched')),
    true_accounts AS (
        SELECT budget COLLATE "C" AS budget, window_start, sum(settled_nano)::bigint AS settled_nano, sum(held_nano)::bigint AS held_nano
        FROM counted GROUP BY 1, 2
    ), wrong AS (
        SELECT budget, window_start, coalesce(t.settled_nano, 0) AS settled_nano, coalesce(t.held_nano, 0) AS held_nano
        FROM true_accounts AS t FULL JOIN {{s}}.ledger_accounts AS a USING (budget, window_start)
        WHERE (coalesce(t.settled_nano, 0), coalesce(t.held_nano, 0))
            <> (coalesce(a.settled_nano, 0), coalesce(a.held_nano, 0))
    ), written AS (
        INSERT INTO {{s}}.ledger_accounts (budget, window_start, settled_nano, held_nano)
        SELECT budget, window_start, settled_nano, held_nano FROM wrong
        ON CONFLICT (budget, window_start) DO UPDATE SET settled_nano = excluded.settled_nano, held_nano = excluded.held_nano
    )
    SELECT count(*) FROM wrong
"""  # noqa: S608  our own names


async def read_usage(connection: Connection, sql: Callable[[str], str], query: UsageQuery) -> list[UsageRow]:
    """See `LedgerStore.usage`; the names in *query* have been checked."""
    values: list[object] = [query.since, query.until]
    where = " AND ".join(["entry.at >= $1", "entry.at < $2", *_conditions(query.where, values)])
    groups = []
    for name in query.group_by:
        if name == "day":
            values.append(float(query.utc_offset_seconds))
            day = f"to_timestamp(floor(entry.at) + ${len(values)}::float8) AT TIME ZONE 'UTC'"
            groups.append(f"to_char({day}, 'YYYY-MM-DD')")
        else:
            groups.append(f'entry.{name} COLLATE "C"')
    width = len(groups)
    numbers = [str(position + 1) for position in range(width)]
    group_by = f"GROUP BY {', '.join(numbers)}" if groups else ""
    order_by = ", ".join(["amount DESC", *numbers])
    rows = await connection.fetch(
        sql(
            f"SELECT {', '.join([*groups, _SUMS])} FROM {{s}}.ledger_entries AS entry WHERE {where} "  # noqa: S608  checked names
            f"{group_by} ORDER BY {order_by} LIMIT ${len(values) + 1}"
        ),
        *values,
        query.limit,
    )
    units: dict[tuple[str, ...], dict[str, int]] = {tuple(row[:width]): {} for row in rows}
    for *group, unit, quantity in await connection.fetch(
        sql(
            f"SELECT {', '.join([*groups, 'unit.key', 'sum(unit.value::bigint)'])} "  # noqa: S608  checked names
            f"FROM {{s}}.ledger_entries AS entry, jsonb_each_text(entry.units) AS unit WHERE {where} AND {_BOUGHT} "
            f"GROUP BY {', '.join([*numbers, 'unit.key'])}"
        ),
        *values,
    ):
        if tuple(group) in units:
            units[tuple(group)][unit] = int(quantity)
    return [
        UsageRow(
            group=dict(zip(query.group_by, row[:width], strict=True)),
            amount_nano=int(row[width]),
            operations=row[width + 1],
            estimated_nano=int(row[width + 2]),
            units=units[tuple(row[:width])],
            attempts=row[width + 3],
            cached=row[width + 4],
            saved_nano=int(row[width + 5]),
        )
        for row in rows
    ]


async def read_entries(  # noqa: PLR0917  one call, from one place
    connection: Connection,
    sql: Callable[[str], str],
    after: int,
    horizon: int,
    limit: int,
    where: Mapping[str, str],
) -> list[Entry]:
    """See `LedgerStore.entries`; the names in *where* have been checked, and everything up to *horizon* is decided."""
    values: list[object] = [after, horizon, limit]
    wanted = " AND ".join(["entry.sequence > $1", "entry.sequence <= $2", *_conditions(where, values)])
    rows: list[Any] = await connection.fetch(  # Any: asyncpg does not know the types of columns
        sql(
            f"SELECT {ENTRY_COLUMNS} FROM {{s}}.ledger_entries AS entry "  # noqa: S608  checked names
            f"WHERE {wanted} ORDER BY entry.sequence LIMIT $3"
        ),
        *values,
    )
    return [entry_of(row) for row in rows]


async def rebuild(connection: Connection, sql: Callable[[str], str]) -> int:
    """See `LedgerStore.rebuild`."""
    await connection.execute(sql(_LOCK))
    return int(await connection.fetchval(sql(_REBUILD)) or 0)


def _conditions(where: Mapping[str, str], values: list[object]) -> list[str]:
    """A condition for each name of *where*; the values are added to *values*."""
    conditions = []
    for name, value in where.items():
        values.append(value)
        conditions.append(f"entry.{name} = ${len(values)}")
    return conditions
