"""Reports out of the entries of a ledger in SQLite: what was spent, by what and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.stores.spending import UsageRow
from prodkit.stores.sqlite_ledger_rows import ENTRY_COLUMNS, entry_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from prodkit.stores.spending import Entry, UsageQuery

__all__ = ["read_entries", "read_usage"]

# Everything is named in full: `json_each` has a column `key` of its own.
# What was presumed is no estimate any more once the provider has told.
_ESTIMATED = """
    entry.estimated AND NOT (entry.kind = 'presumed' AND EXISTS (
        SELECT 1 FROM ledger_entries AS later
        WHERE later.hold = entry.hold AND later.kind = 'adjusted' AND NOT later.estimated
    ))
"""
_BOUGHT = "entry.kind <> 'cached'"
# The whole second, because SQLite rounds to the nearest millisecond, and so sometimes into tomorrow.
_DAY = "date(CAST(entry.at AS INTEGER) + :offset, 'unixepoch')"
# SQLite refuses a sum of more than 64 bits, and entries are never deleted: a thousand of the largest, and no report would be
# read any more. So the upper and the lower halves are added up apart.
_HALF = 32
_LOWER = (1 << _HALF) - 1


def _sums(what: str) -> str:
    return f"coalesce(sum(({what}) >> {_HALF}), 0), coalesce(sum(({what}) & {_LOWER}), 0)"


def _whole(upper: int, lower: int) -> int:
    return (upper << _HALF) + lower


def read_usage(connection: sqlite3.Connection, query: UsageQuery) -> list[UsageRow]:
    """See `LedgerStore.usage`; the names in *query* have been checked."""
    conditions, values = _where(query.where)
    where = " AND ".join(["entry.at >= :since", "entry.at < :until", *conditions])
    values |= {
        "since": query.since,
        "until": query.until,
        "offset": query.utc_offset_seconds,
        "limit": query.limit,
    }
    groups = [_DAY if name == "day" else f"entry.{name}" for name in query.group_by]
    width = len(groups)
    group_by = f"GROUP BY {', '.join(groups)}" if groups else ""
    upper, lower = f"sum(entry.amount_nano >> {_HALF})", f"sum(entry.amount_nano & {_LOWER})"
    largest = [f"{upper} + ({lower} >> {_HALF}) DESC", f"({lower} & {_LOWER}) DESC"]
    order_by = ", ".join([*largest, *(str(position + 1) for position in range(width))])
    sums = ", ".join(
        [
            _sums("entry.amount_nano"),
            f"count(DISTINCT CASE WHEN {_BOUGHT} THEN coalesce(nullif(entry.operation, ''), entry.hold) END)",
            _sums(f"CASE WHEN {_ESTIMATED} THEN entry.amount_nano ELSE 0 END"),
            f"count(DISTINCT CASE WHEN {_BOUGHT} THEN entry.hold END)",
            f"count(*) FILTER (WHERE NOT {_BOUGHT})",
            _sums("entry.saved_nano"),
        ]
    )
    rows = connection.execute(
        f"SELECT {', '.join([*groups, sums])} FROM ledger_entries AS entry WHERE {where} "  # noqa: S608  checked names
        f"{group_by} ORDER BY {order_by} LIMIT :limit",
        values,
    ).fetchall()
    units: dict[tuple[str, ...], dict[str, int]] = {row[:width]: {} for row in rows}
    for *group, unit, upper_part, lower_part in connection.execute(
        f"SELECT {', '.join([*groups, 'unit.key', _sums('unit.value')])} "  # noqa: S608  checked names
        f"FROM ledger_entries AS entry, json_each(entry.units) AS unit WHERE {where} AND {_BOUGHT} "
        f"GROUP BY {', '.join([*groups, 'unit.key'])}",
        values,
    ):
        if tuple(group) in units:
            units[tuple(group)][unit] = _whole(upper_part, lower_part)
    return [
        UsageRow(
            group=dict(zip(query.group_by, row[:width], strict=True)),
            amount_nano=_whole(*row[width : width + 2]),
            operations=row[width + 2],
            estimated_nano=_whole(*row[width + 3 : width + 5]),
            units=units[row[:width]],
            attempts=row[width + 5],
            cached=row[width + 6],
            saved_nano=_whole(*row[width + 7 : width + 9]),
        )
        for row in rows
    ]


def read_entries(
    connection: sqlite3.Connection, after: int, limit: int, where: Mapping[str, str]
) -> Sequence[Entry]:
    """See `LedgerStore.entries`; the names in *where* have been checked."""
    conditions, values = _where(where)
    wanted = " AND ".join(["entry.sequence > :after", *conditions])
    rows = connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM ledger_entries AS entry "  # noqa: S608  checked names
        f"WHERE {wanted} ORDER BY entry.sequence LIMIT :limit",
        {**values, "after": after, "limit": limit},
    )
    return [entry_of(row) for row in rows]


def _where(where: Mapping[str, str]) -> tuple[list[str], dict[str, object]]:
    # A run has few entries and a tenant many: with a plus in front, no other index than that of runs is thought of.
    plus = "+" if "run" in where else ""
    conditions = [f"{plus if name != 'run' else ''}entry.{name} = :where_{name}" for name in where]
    return conditions, {f"where_{name}": where[name] for name in where}
