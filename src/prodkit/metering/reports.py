"""Sums of what was used, and the pages of a history that everything else is computed from."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Final

from prodkit.metering.periods import Span, spans
from prodkit.stores.ledger import UsageQuery, UsageRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import tzinfo

    from prodkit.stores.ledger import Entry, LedgerStore

__all__ = ["Report", "report", "scan"]

PAGE: Final = 500
"""Entries of a page: some hundred kilobytes, and some milliseconds of work."""


@dataclass(frozen=True, slots=True)
class Report:
    """Groups of what was used.

    Attributes:
        rows: the largest amount first.
        others: what the groups beyond the limit add up to, or None where all are shown.
        total: of all: amounts and units are exactly the sums of the rows and *others*. An operation that is in several
            groups counts in each, and here once.
    """

    rows: Sequence[UsageRow]
    others: UsageRow | None
    total: UsageRow


async def report(
    ledger: LedgerStore,
    *,
    since: float,
    until: float,
    where: Mapping[str, str] | None = None,
    group_by: Sequence[str] = (),
    zone: tzinfo = UTC,
    limit: int = 1000,
) -> Report:
    """What was used from *since* to *until* (unix seconds), by what *group_by* names.

    Args:
        ledger: whose entries.
        since: included.
        until: not included.
        where: attribute to the value it must have.
        group_by: as `UsageQuery.group_by`, each name once.
        zone: whose days, where they are grouped by `day`.
        limit: most rows.

    Raises:
        PeriodError: it is grouped by days of a zone, and longer than three years.
        ValueError: a name is unknown.
    """
    query = UsageQuery(
        since=since, until=until, where=dict(where or {}), group_by=tuple(group_by), limit=limit + 1
    )
    parts = spans(since, until, zone) if "day" in query.group_by else [Span(since, until, 0)]
    rows = [row for part in parts for row in await _usage(ledger, query, part)]
    rows.sort(key=lambda row: (-row.amount_nano, *row.group.values()))
    if not query.group_by:
        return Report(rows, None, rows[0])
    (whole,) = await ledger.usage(replace(query, group_by=()))
    shown = rows[:limit]
    if len(rows) <= limit:
        added = _added(rows)
        return Report(rows, None, replace(added, operations=whole.operations, attempts=whole.attempts))
    return Report(shown, _without(whole, _added(shown)), whole)


async def scan(
    ledger: LedgerStore,
    *,
    since: float = 0.0,
    until: float | None = None,
    where: Mapping[str, str] | None = None,
    page: int = PAGE,
) -> AsyncIterator[Sequence[Entry]]:
    """Entries from *since* to *until* (unix seconds), page by page in the order they were written; a page may be empty."""
    after = 0
    while True:
        found = await ledger.entries(after=after, limit=page, where=where)
        # By its time, and not by its place: clocks of several machines do not rise together.
        yield [entry for entry in found if since <= entry.at and (until is None or entry.at < until)]
        if len(found) < page:
            return
        after = found[-1].sequence
        # A ledger in memory answers without waiting: what is read of a long history is not read in one go.
        await asyncio.sleep(0)


async def _usage(ledger: LedgerStore, query: UsageQuery, span: Span) -> Sequence[UsageRow]:
    part = replace(query, since=span.since, until=span.until, utc_offset_seconds=span.utc_offset_seconds)
    if span.day is None:
        return await ledger.usage(part)
    names = tuple(name for name in query.group_by if name != "day")
    rows = await ledger.usage(replace(part, group_by=names, utc_offset_seconds=0))
    return [
        replace(row, group={name: row.group.get(name, span.day) for name in query.group_by})
        for row in rows
        if names or _is_something(row)
    ]


def _is_something(row: UsageRow) -> bool:
    """Whether there was anything; a total is a row also where there was nothing."""
    return bool(row.operations or row.attempts or row.amount_nano)


def _added(rows: Sequence[UsageRow]) -> UsageRow:
    units: Counter[str] = Counter()
    for row in rows:
        units.update(row.units)
    return UsageRow(
        group={},
        amount_nano=sum(row.amount_nano for row in rows),
        operations=sum(row.operations for row in rows),
        estimated_nano=sum(row.estimated_nano for row in rows),
        units=dict(units),
        attempts=sum(row.attempts for row in rows),
        saved_nano=sum(row.saved_nano for row in rows),
    )


def _without(whole: UsageRow, part: UsageRow) -> UsageRow:
    units = Counter(whole.units)
    units.subtract(part.units)
    return UsageRow(
        group={},
        amount_nano=whole.amount_nano - part.amount_nano,
        operations=max(0, whole.operations - part.operations),
        estimated_nano=whole.estimated_nano - part.estimated_nano,
        units={unit: quantity for unit, quantity in units.items() if quantity},
        attempts=max(0, whole.attempts - part.attempts),
        saved_nano=whole.saved_nano - part.saved_nano,
    )
